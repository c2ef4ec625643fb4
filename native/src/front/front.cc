#include "mainspring/front.h"

#include <pthread.h>
#include <signal.h>
#include <sys/un.h>
#include <time.h>

#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "endpoint_infer.h"
#include "feature_reads.h"
#include "loop.h"
#include "nghttp2.h"
#include "predicting.h"
#include "served.h"

namespace mainspring {
namespace {

std::int64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

Status CheckGrpc(const FrontOptions& options, std::size_t n_listeners, std::size_t n_grpc) {
  if (n_grpc != n_listeners) {
    return {StatusCode::kBadSpec,       -1, "as many sockets for gRPC as for HTTP", true, double(n_grpc),
            "pass one a thread of each"};
  }
  if (options.grpc_upstream.empty() || options.grpc_upstream.size() >= sizeof(sockaddr_un::sun_path)) {
    return {StatusCode::kBadSpec,
            -1,
            "a path of 1 to 107 bytes for `grpc_upstream`",
            true,
            static_cast<double>(options.grpc_upstream.size()),
            "use a shorter one"};
  }
  if (!front::WhyNoHttp2().empty()) {
    return {StatusCode::kBadSpec,
            -1,
            "a build and a machine with nghttp2",
            false,
            0,
            "install libnghttp2-14, or leave gRPC to the app"};
  }
  return {};
}

// Threads that start in its life take no signals: those are for the threads that Python knows.
class WithoutSignals {
 public:
  WithoutSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

struct Front::State {
  // Answers predictions at its path, and infer requests at those that come with it.
  struct Endpoint {
    std::shared_ptr<const front::Predicting> predicting;
    std::vector<front::PathTable::Entry> infers;
  };

  front::Shared shared;
  std::vector<std::unique_ptr<front::Loop>> loops;
  std::vector<std::thread> threads;

  std::mutex books_mutex;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<front::ModelBook>> books;
  std::shared_ptr<front::ModelBook> read_book;
  std::map<std::string, std::shared_ptr<front::ModelBook>> predict_books;  // by endpoint

  // Of endpoints that are answered, and of those that were until what they counted is drained.
  std::mutex tallies_mutex;
  std::vector<std::shared_ptr<front::PredictTally>> tallies;

  // What is in force is made of these. Held until it is in force: the last one set is.
  std::mutex answering_mutex;
  std::vector<std::shared_ptr<const front::Served>> served;
  std::shared_ptr<const front::FeatureReads> reads;  // nullptr: none
  std::shared_ptr<const front::Callers> callers = std::make_shared<const front::Callers>();
  std::vector<Endpoint> endpoints;
  double trace_share = -1;

  std::mutex stop_mutex;

  void PutInForce();
  std::shared_ptr<front::ModelBook> Book(const std::string& name, const std::string& version);
  std::shared_ptr<front::ModelBook> PredictBook(const std::string& endpoint);
  bool Make(FrontEndpoint endpoint, std::vector<Endpoint>* made, std::string* wrong);
};

Front::Front() : state_(std::make_unique<State>()) {}

Front::~Front() { Stop(0); }

Status Front::Start(const FrontOptions& options, const std::vector<int>& listeners,
                    std::unique_ptr<Front>* front, const std::vector<int>& grpc_listeners) {
  if (listeners.empty())
    return {StatusCode::kBadSpec, -1, "a socket that listens", true, 0, "pass one a thread"};
  if (options.upstream.empty() || options.upstream.size() >= sizeof(sockaddr_un::sun_path)) {
    return {StatusCode::kBadSpec,
            -1,
            "a path of 1 to 107 bytes for `upstream`",
            true,
            static_cast<double>(options.upstream.size()),
            "use a shorter one"};
  }
  if (!grpc_listeners.empty()) {
    if (const Status status = CheckGrpc(options, listeners.size(), grpc_listeners.size()); !status.ok()) {
      return status;
    }
  }
  std::unique_ptr<Front> made(new Front);
  State& state = *made->state_;
  state.shared.options = options;
  for (std::size_t i = 0; i < listeners.size(); ++i) {
    const int grpc_listener = grpc_listeners.empty() ? -1 : grpc_listeners[i];
    state.loops.push_back(std::make_unique<front::Loop>(&state.shared, i, listeners[i], grpc_listener));
    if (const Status status = state.loops.back()->Open(); !status.ok()) return status;
  }
  state.read_book = std::make_shared<front::ModelBook>("", "", state.loops.size());
  const WithoutSignals guard;
  for (const auto& loop : state.loops) {
    try {
      state.threads.emplace_back([&loop = *loop] { loop.Run(); });
    } catch (const std::system_error& error) {
      return {StatusCode::kIo, -1, "a thread", true, double(error.code().value()), "see the error number"};
    }
  }
  *front = std::move(made);
  return {};
}

// Needs answering_mutex.
void Front::State::PutInForce() {
  std::vector<front::PathTable::Entry> by_path;
  for (const auto& model : served) front::AddPaths(model, &by_path);
  if (reads != nullptr) front::AddPaths(reads, &by_path);
  for (const Endpoint& endpoint : endpoints) {
    by_path.emplace_back(endpoint.predicting->path(), endpoint.predicting);
    by_path.insert(by_path.end(), endpoint.infers.begin(), endpoint.infers.end());
  }
  std::shared_ptr<const front::InForce> made = std::make_shared<const front::InForce>(
      front::InForce{front::PathTable(std::move(by_path)), callers, trace_share});
  const std::lock_guard<std::mutex> lock(shared.in_force_mutex);
  shared.in_force.swap(made);  // the old one ends outside of the lock, or with the last loop that has it
  shared.in_force_number.fetch_add(1, std::memory_order_release);
}

void Front::SetModels(std::vector<FrontModel> models) {
  std::vector<std::shared_ptr<const front::Served>> served;
  for (FrontModel& model : models) {
    auto book = state_->Book(model.name, model.version);
    served.push_back(std::make_shared<const front::Served>(std::move(model), std::move(book)));
  }
  const std::lock_guard<std::mutex> lock(state_->answering_mutex);
  state_->served.swap(served);
  state_->PutInForce();
}

void Front::SetViews(std::vector<FrontView> views, std::vector<FrontService> services, std::size_t max_rows) {
  std::shared_ptr<const front::FeatureReads> reads;
  if (!views.empty()) {
    reads = std::make_shared<const front::FeatureReads>(std::move(views), std::move(services), max_rows,
                                                        state_->read_book);
  }
  const std::lock_guard<std::mutex> lock(state_->answering_mutex);
  state_->reads.swap(reads);
  state_->PutInForce();
}

void Front::SetGuard(FrontGuard guard) {
  auto callers = std::make_shared<const front::Callers>(std::move(guard));
  const std::lock_guard<std::mutex> lock(state_->answering_mutex);
  state_->callers = std::move(callers);
  state_->PutInForce();
}

std::shared_ptr<front::ModelBook> Front::State::Book(const std::string& name, const std::string& version) {
  const std::lock_guard<std::mutex> lock(books_mutex);
  auto& book = books[{name, version}];
  if (book == nullptr) book = std::make_shared<front::ModelBook>(name, version, loops.size());
  return book;
}

std::shared_ptr<front::ModelBook> Front::State::PredictBook(const std::string& endpoint) {
  const std::lock_guard<std::mutex> lock(books_mutex);
  auto& book = predict_books[endpoint];
  if (book == nullptr) book = std::make_shared<front::ModelBook>(endpoint, "", loops.size());
  return book;
}

// False: its parts do not belong together.
bool Front::State::Make(FrontEndpoint endpoint, std::vector<Endpoint>* made, std::string* wrong) {
  const auto roles = front::EndpointRoles::Make(std::move(endpoint), loops.size(), wrong);
  if (roles == nullptr) return false;
  {
    const std::lock_guard<std::mutex> lock(tallies_mutex);
    for (auto& tally : roles->tallies()) tallies.push_back(std::move(tally));
  }
  Endpoint one;
  one.predicting = std::make_shared<const front::Predicting>(roles, PredictBook(roles->name));
  front::AddPaths(roles, [&](const std::string& version) { return Book(roles->name, version); }, &one.infers);
  made->push_back(std::move(one));
  return true;
}

void Front::SetEndpoints(std::vector<FrontEndpoint> endpoints, std::vector<std::string>* refused) {
  std::vector<State::Endpoint> made;
  for (FrontEndpoint& endpoint : endpoints) {
    const std::string name = endpoint.name;
    std::string wrong;
    if (!state_->Make(std::move(endpoint), &made, &wrong)) refused->push_back(name + ": " + wrong);
  }
  const std::lock_guard<std::mutex> lock(state_->answering_mutex);
  state_->endpoints.swap(made);
  state_->PutInForce();
}

std::vector<FrontPredictions> Front::DrainPredictions() {
  std::vector<FrontPredictions> drained;
  const std::lock_guard<std::mutex> lock(state_->tallies_mutex);
  auto& tallies = state_->tallies;
  for (std::size_t i = tallies.size(); i-- > 0;) {
    // First: who has it could still count. If we alone have it, nothing will come after this drain.
    const bool is_last = tallies[i].use_count() == 1;
    FrontPredictions sums = tallies[i]->Drain();
    if (sums.requests > 0) drained.push_back(std::move(sums));
    if (is_last) tallies.erase(tallies.begin() + static_cast<std::ptrdiff_t>(i));
  }
  return drained;
}

void Front::SetTraces(double share, std::size_t max_waiting) {
  const std::lock_guard<std::mutex> lock(state_->answering_mutex);
  const std::size_t n = state_->loops.size();
  for (const auto& loop : state_->loops) loop->spans.Limit((max_waiting + n - 1) / n);
  state_->trace_share = share;
  state_->PutInForce();
}

std::vector<FrontSpan> Front::DrainSpans(std::uint64_t* dropped) {
  std::vector<FrontSpan> spans;
  *dropped = 0;
  for (const auto& loop : state_->loops) loop->spans.Drain(&spans, dropped);
  return spans;
}

void Front::Stop(double drain_seconds) {
  const std::lock_guard<std::mutex> lock(state_->stop_mutex);
  front::Shared& shared = state_->shared;
  shared.close_at_ms = NowMs() + static_cast<std::int64_t>(drain_seconds * 1000);
  shared.is_stopping.store(true, std::memory_order_release);
  for (const auto& loop : state_->loops) loop->Wake();
  for (std::thread& thread : state_->threads) thread.join();
  state_->threads.clear();
}

std::vector<FrontModelCounts> Front::ModelCounts() const {
  const std::lock_guard<std::mutex> lock(state_->books_mutex);
  std::vector<FrontModelCounts> counts;
  for (const auto& [_, book] : state_->books) counts.push_back(book->Sum());
  return counts;
}

std::string Front::WhyNoGrpc() { return front::WhyNoHttp2(); }

FrontModelCounts Front::ReadCounts() const { return state_->read_book->Sum(); }

std::vector<FrontModelCounts> Front::PredictCounts() const {
  const std::lock_guard<std::mutex> lock(state_->books_mutex);
  std::vector<FrontModelCounts> counts;
  for (const auto& [_, book] : state_->predict_books) counts.push_back(book->Sum());
  return counts;
}

FrontCounts Front::Counts() const {
  FrontCounts sum;
  for (const auto& loop : state_->loops) {
    const front::LoopCounts& counts = loop->counts();
    sum.accepted += counts.accepted.Get();
    sum.answered += counts.answered.Get();
    sum.passed += counts.passed.Get();
    sum.refused += counts.refused.Get();
    sum.timed_out += counts.timed_out.Get();
    sum.upstream_failures += counts.upstream_failures.Get();
  }
  sum.connections = state_->shared.connections.load(std::memory_order_relaxed);
  sum.held_bytes = state_->shared.held_bytes.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace mainspring
