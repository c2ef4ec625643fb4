// The callers' side: making a batcher, reserving places in it, waiting for answers and collecting them.

#include "mainspring/batcher.h"

#include <pthread.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "rings.h"

namespace mainspring {

using namespace batching;  // NOLINT: this is its implementation

std::atomic<std::uint32_t> batching::forks{0};

namespace {

constexpr std::size_t kMaxRows = 65535, kMaxDepth = 1024, kMaxPriorities = 64, kMaxMailboxes = 1024;
// How many of the threads that wait for a batch are woken by who answered it, and by each of them.
constexpr int kFirstWakes = 1, kNextWakes = 2;

void RegisterForkHandler() {
  static const int done = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  (void)done;
}

Status Refuse(StatusCode code, const char* expected, double got, const char* next_step) {
  return {code, -1, expected, true, got, next_step};
}

}  // namespace

std::int64_t MonotonicNs() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

double Batcher::Impl::RetrySeconds() const {
  const std::int64_t run = full_run_ns.load(std::memory_order_relaxed);
  return static_cast<double>(
             std::max<std::int64_t>(run, std::max<std::int64_t>(1000, options.max_delay_ns / 2))) *
         1e-9;
}

Batcher::Batcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)), entrance_(&impl_->entrance) {}
Batcher::~Batcher() = default;

Status Batcher::Create(const BatcherOptions& options, std::unique_ptr<Batcher>* batcher) {
  const auto refuse = [](const char* expected, double got, const char* next_step) {
    return Refuse(StatusCode::kBadSpec, expected, got, next_step);
  };
  if (options.row_bytes.empty()) return refuse("a batcher must have at least one column", 0, "name one");
  if (options.max_rows < 1 || options.max_rows > kMaxRows) {
    return refuse("`max_rows` must be 1 to 65535", static_cast<double>(options.max_rows), "choose another");
  }
  if (options.depth < 1 || options.depth > kMaxDepth || (options.depth & (options.depth - 1)) != 0) {
    return refuse("`depth` must be a power of two up to 1024", static_cast<double>(options.depth),
                  "round it up");
  }
  if (options.priorities < 1 || options.priorities > kMaxPriorities) {
    return refuse("`priorities` must be 1 to 64", static_cast<double>(options.priorities), "choose another");
  }
  constexpr std::int64_t kHourNs = 3600000000000;
  if (options.max_delay_ns < 0 || options.aging_ns < 0 || options.max_delay_ns > kHourNs ||
      options.aging_ns > kHourNs) {
    return refuse("delays must be 0 seconds to an hour",
                  static_cast<double>(std::max(options.max_delay_ns, options.aging_ns)) * 1e-9,
                  "choose another");
  }
  RegisterForkHandler();
  auto impl = std::make_unique<Impl>(options);
  Entrance& entrance = impl->entrance;
  entrance.mask = options.depth - 1;
  entrance.max_rows = static_cast<std::uint32_t>(options.max_rows);
  entrance.priorities = static_cast<std::uint32_t>(options.priorities);
  entrance.fork = forks.load();
  entrance.lanes = std::make_unique<Lane[]>(options.priorities);
  for (std::size_t p = 0; p < options.priorities; ++p) {
    Lane& lane = entrance.lanes[p];
    lane.slabs = std::make_unique<Slab[]>(options.depth);
    lane.head = Later(options.first_batch, 0);
    lane.tail.store(Tail{false, lane.head, 0, 0}.Word());
    for (std::size_t i = 0; i < options.depth; ++i) {
      const std::uint32_t number = Later(options.first_batch, i);
      Slab& slab = lane.slabs[number & entrance.mask];
      slab.number.store(number);
      impl->FindSpare();
      slab.round = std::exchange(impl->spare, impl->spare->next);
      for (const std::size_t row_bytes : options.row_bytes) {
        const std::size_t bytes = (options.max_rows * row_bytes + kLine) / kLine * kLine;
        auto* const memory = static_cast<char*>(std::aligned_alloc(kLine, bytes));
        if (memory == nullptr) throw std::bad_alloc();
        std::memset(memory, 0, bytes);
        slab.columns.emplace_back(memory);
      }
    }
  }
  impl->answered.reserve(options.max_rows);
  batcher->reset(new Batcher(std::move(impl)));
  return {};
}

Status Batcher::Reserve(const RequestOptions& options, Ticket* ticket) noexcept {
  const StatusCode code = TryReserve(options, ticket);
  if (code == StatusCode::kOk) return {};
  if (code == StatusCode::kBusy) {
    return Refuse(code, "the batcher must have room", impl_->RetrySeconds(),
                  "try again after that many seconds");
  }
  if (code == StatusCode::kClosed) {
    return {
        code,  -1, "the batcher must be open, in the process that made it",
        false, 0,  entrance_->IsForked() ? "make one in each process, after the fork" : "make another one"};
  }
  if (options.priority >= impl_->options.priorities) {
    return Refuse(code, "`priority` must be below `priorities`", static_cast<double>(options.priority),
                  "0 is the most urgent");
  }
  return Refuse(code, "a request must have 1 to `max_rows` rows", static_cast<double>(options.rows),
                "split it, or make a batcher of larger batches");
}

StatusCode Batcher::Refused(StatusCode code) noexcept {
  impl_->busy.fetch_add(1, std::memory_order_relaxed);
  return code;
}

void Batcher::Ring() noexcept {
  // Both are cleared, whoever it was that slept: who looks again says anew what it sleeps for.
  const bool was_parked = entrance_->parked.exchange(false), was_dozing = entrance_->dozing.exchange(false);
  if (was_parked || was_dozing) impl_->Ring();
}

void Batcher::Abandon(const Ticket& ticket) noexcept {
  Impl::RequestOf(ticket).answer.store(Answer::kAbandoned, std::memory_order_release);
  if (entrance_->parked.load() || (ticket.is_urgent && entrance_->dozing.load(std::memory_order_relaxed)))
    Ring();
}

char* Batcher::Rows(const Ticket& t, std::size_t column) const noexcept {
  return impl_->SlabOf(t.priority, t.batch).columns[column].get() +
         t.first_row * impl_->options.row_bytes[column];
}

bool Batcher::Cancel(const Ticket& ticket) noexcept {
  if (!Move(Impl::RequestOf(ticket).answer, Answer::kWaiting, Answer::kCancelled)) return false;
  ticket.round->told.fetch_add(1);
  if (ticket.round->waiters.load() != 0) FutexWakeAll(ticket.round->told);
  return true;
}

Answer Batcher::Peek(const Ticket& ticket) const noexcept {
  const Answer answer = Impl::RequestOf(ticket).answer.load(std::memory_order_acquire);
  const bool is_running =
      answer == Answer::kWaiting && ticket.round->is_taken.load(std::memory_order_acquire);
  return is_running ? Answer::kRunning : answer;
}

Answer Batcher::Wait(const Ticket& ticket, std::int64_t until_ns) noexcept {
  Request& request = Impl::RequestOf(ticket);
  Round& round = *ticket.round;
  for (;;) {
    const std::uint32_t seen = round.told.load();
    const Answer answer = Peek(ticket);
    if (IsFinal(answer)) return answer;
    if (entrance_->IsForked()) return Answer::kRejected;
    // Nobody may be left to take it. Where somebody takes it at this moment, its rows are computed for
    // nothing.
    const bool is_waiting = answer == Answer::kWaiting;
    if (is_waiting && impl_->is_rejecting.load()) {
      Move(request.answer, Answer::kWaiting, Answer::kRejected);
      continue;
    }
    const std::int64_t now = MonotonicNs();
    std::int64_t until = until_ns;
    if (is_waiting && request.deadline_ns != 0) {
      if (now >= request.deadline_ns) {
        Move(request.answer, Answer::kWaiting, Answer::kExpired);
        continue;
      }
      until = until == 0 ? request.deadline_ns : std::min(until, request.deadline_ns);
    }
    if (until_ns != 0 && now >= until_ns) return answer;
    round.waiters.fetch_add(1);
    if (!IsFinal(Peek(ticket))) FutexWait(round.told, seen, until);
    // INVARIANT: who may have been woken by Wake passes it on, or others would sleep for ever.
    const bool others_wait = round.waiters.fetch_sub(1) > 1;
    if (others_wait && round.told.load() != seen) FutexWake(round.told, kNextWakes);
  }
}

void Batcher::Range(const Ticket& ticket, std::size_t* first, std::size_t* rows) const noexcept {
  const Request& request = impl_->RequestOf(ticket);
  *first = request.first;
  *rows = request.rows;
}

bool Batcher::Collect(const Ticket& ticket) noexcept { return impl_->Uncount(ticket.round, 1); }

std::uint16_t Batcher::OpenMailbox() {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->mailboxes.size() >= kMaxMailboxes) return 0;
  auto box = std::make_unique<Mailbox>();
  box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (box->fd < 0) return 0;
  impl_->mailboxes.push_back(std::move(box));
  return static_cast<std::uint16_t>(impl_->mailboxes.size());
}

int Batcher::MailboxFd(std::uint16_t mailbox) const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->mailboxes[mailbox - 1u]->fd;
}

void Batcher::Drain(std::uint16_t mailbox, std::vector<Delivery>* out) {
  Mailbox* box = nullptr;
  {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    box = impl_->mailboxes[mailbox - 1u].get();
  }
  out->clear();
  const std::lock_guard<std::mutex> lock(box->mutex);
  std::uint64_t count = 0;
  (void)!read(box->fd, &count, sizeof(count));
  out->swap(box->waiting);
}

void Batcher::CloseMailbox(std::uint16_t mailbox) {
  std::vector<Delivery> left;
  {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    Mailbox& box = *impl_->mailboxes[mailbox - 1u];
    const std::lock_guard<std::mutex> box_lock(box.mutex);
    box.is_closed = true;
    left.swap(box.waiting);
  }
  for (const Delivery& delivery : left) Collect(delivery.ticket);
}

TakeResult Batcher::Take(std::int64_t until_ns, bool is_polling, Batch* batch) {
  if (entrance_->IsForked()) return TakeResult::kFinished;
  return impl_->Take(until_ns, is_polling, batch);
}

char* Batcher::Column(const Batch& batch, std::size_t column) const noexcept {
  return impl_->SlabOf(batch.priority, batch.batch).columns[column].get();
}

bool Batcher::Settle(const Batch& batch, bool is_failed) { return impl_->Settle(batch, is_failed); }
void Batcher::Release(const Batch& batch) noexcept { impl_->Release(batch.priority, batch.batch); }

void Batcher::Wake(const Batch& batch) noexcept {
  if (batch.round->waiters.load() != 0) FutexWake(batch.round->told, kFirstWakes);
}

bool Batcher::Complete(const Batch& batch, bool is_failed) {
  const bool is_last = Settle(batch, is_failed);
  Wake(batch);
  Release(batch);
  return is_last;
}

void Batcher::Close(bool is_draining) {
  if (!is_draining) impl_->is_rejecting.store(true);
  for (std::size_t p = 0; p < impl_->options.priorities; ++p) {
    entrance_->lanes[p].tail.fetch_or(Tail::kClosed);
  }
  impl_->is_closed.store(true);
  impl_->Ring();
  if (is_draining || entrance_->IsForked())
    return;  // a lock that another thread had at the fork stays locked
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  for (const auto& round : impl_->rounds) {
    round->told.fetch_add(1);
    if (round->waiters.load() != 0) FutexWakeAll(round->told);
  }
}

bool Batcher::is_closed() const noexcept { return impl_->is_closed.load() || entrance_->IsForked(); }

BatcherStats Batcher::Stats() {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  BatcherStats stats = impl_->stats;
  stats.busy = impl_->busy.load(std::memory_order_relaxed);
  stats.gap_ns = impl_->gap.ns();
  stats.fixed_cost_ns = impl_->cost.fixed();
  stats.row_cost_ns = impl_->cost.row();
  return stats;
}

const BatcherOptions& Batcher::options() const noexcept { return impl_->options; }

}  // namespace mainspring
