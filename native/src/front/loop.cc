#include "loop.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

#include "connection.h"
#include "exchange.h"
#include "refusal.h"

namespace mainspring::front {
namespace {

constexpr std::int64_t kSweepMs = 100;
constexpr std::size_t kReadBytes = std::size_t{64} << 10;
constexpr std::size_t kMaxIdle = 64;  // connections to the app that wait for a request
constexpr int kMaxAccepted = 64;      // at once

std::int64_t NowMs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

std::string PeerOf(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST];
  const auto* const from = reinterpret_cast<const sockaddr*>(&address);
  if (from->sa_family == AF_UNIX ||
      getnameinfo(from, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) != 0) {
    return "unknown";
  }
  return host;
}

// Makes a member function what an epoll set calls.
template <typename Call>
class Calling final : public Handler {
 public:
  explicit Calling(Call call) : call_(std::move(call)) {}
  void OnEvents(std::uint32_t) override { call_(); }
  void Abort() override {}

 private:
  const Call call_;
};

template <typename Call>
std::unique_ptr<Handler> Calls(Call call) {
  return std::make_unique<Calling<Call>>(std::move(call));
}

}  // namespace

Loop::Loop(Shared* shared, std::size_t index, int listener)
    : read_buffer(kReadBytes),
      shared_(shared),
      index_(index),
      listener_(listener),
      in_force_(shared->in_force) {
  accepting_ = Calls([this] { Accept(); });
  waking_ = Calls([this] {
    std::uint64_t times;
    (void)!read(wake_, &times, sizeof times);
  });
}

Loop::~Loop() {
  connections_.clear();
  closed_.clear();
  if (wake_ >= 0) close(wake_);
  if (epoll_ >= 0) close(epoll_);
}

Status Loop::Open() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  UpdateTime();
  if (epoll_ < 0 || wake_ < 0 || !Watch(wake_, EPOLLIN, waking_.get()) ||
      !Watch(listener_, EPOLLIN, accepting_.get())) {
    return {StatusCode::kIo,       -1, "a listening socket that epoll takes", true, double(errno),
            "see the error number"};
  }
  is_accepting_ = true;
  return {};
}

void Loop::Wake() {
  const std::uint64_t once = 1;
  (void)!write(wake_, &once, sizeof once);
}

void Loop::Run() {
  epoll_event events[256];
  sweep_at_ms_ = now_ms_ + kSweepMs;
  while (!is_stopping_ || !connections_.empty()) {
    const auto wait = later_.empty() ? std::max<std::int64_t>(0, sweep_at_ms_ - now_ms_) : 0;
    const int n = epoll_wait(epoll_, events, 256, static_cast<int>(wait));
    UpdateTime();
    for (int i = 0; i < n; ++i) {
      auto* const handler = static_cast<Handler*>(events[i].data.ptr);
      try {
        handler->OnEvents(events[i].events);
      } catch (const std::bad_alloc&) {
        handler->Abort();
      }
    }
    later_now_.swap(later_);
    for (Connection* connection : later_now_) {
      connection->is_later = false;
      connection->Resume();
    }
    later_now_.clear();
    if (now_ms_ >= sweep_at_ms_) Sweep();
    if (!is_stopping_ && shared_->is_stopping.load(std::memory_order_acquire)) BeginStop();
    closed_.clear();
    ended_.clear();
  }
}

bool Loop::Watch(int fd, std::uint32_t events, Handler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  return epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) == 0;
}

void Loop::Rewatch(int fd, std::uint32_t events, Handler* handler) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = handler;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, fd, &event);
}

void Loop::Discard(Connection* connection) {
  if (connection->is_later) later_.erase(std::remove(later_.begin(), later_.end(), connection), later_.end());
  const std::size_t slot = connection->slot;
  closed_.push_back(std::move(connections_[slot]));
  if (slot + 1 < connections_.size()) {
    connections_[slot] = std::move(connections_.back());
    connections_[slot]->slot = slot;
  }
  connections_.pop_back();
}

void Loop::Discard(std::unique_ptr<Exchange> exchange) { ended_.push_back(std::move(exchange)); }

void Loop::Later(Connection* connection) {
  if (connection->is_later) return;
  connection->is_later = true;
  later_.push_back(connection);
}

std::unique_ptr<Exchange> Loop::TakeExchange() {
  while (!idle_.empty()) {
    std::unique_ptr<Exchange> exchange = std::move(idle_.back());
    idle_.pop_back();
    if (exchange->IsAlive()) return exchange;
    exchange->GiveUp();
    ended_.push_back(std::move(exchange));
  }
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  options().upstream.copy(address.sun_path, sizeof address.sun_path - 1);
  auto exchange = std::make_unique<Exchange>(this, fd);
  // A Unix socket connects at once or not at all: EAGAIN says that its backlog is full.
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || !exchange->Open()) {
    return nullptr;
  }
  return exchange;
}

void Loop::ReturnExchange(std::unique_ptr<Exchange> exchange) {
  if (idle_.size() >= kMaxIdle || is_stopping_) {
    exchange->GiveUp();
    return Discard(std::move(exchange));
  }
  exchange->Update();
  idle_.push_back(std::move(exchange));
}

void Loop::DropIdle(Exchange* exchange) {
  const auto found =
      std::find_if(idle_.begin(), idle_.end(), [&](const auto& idle) { return idle.get() == exchange; });
  if (found == idle_.end()) return;
  exchange->GiveUp();
  ended_.push_back(std::move(*found));
  idle_.erase(found);
}

const InForce& Loop::in_force() {
  const std::uint64_t number = shared_->in_force_number.load(std::memory_order_acquire);
  if (number != in_force_number_) {
    const std::lock_guard<std::mutex> lock(shared_->in_force_mutex);
    in_force_ = shared_->in_force;
    in_force_number_ = shared_->in_force_number.load(std::memory_order_relaxed);
  }
  return *in_force_;
}

std::string Loop::MakeRequestId() {
  std::string id;
  AppendRequestId(&id);
  return id;
}

void Loop::AppendRequestId(std::string* out) {
  char digits[40];
  char* end = std::to_chars(digits, digits + sizeof digits, index_, 16).ptr;
  *end++ = '.';
  end = std::to_chars(end, digits + sizeof digits, ++n_ids_, 16).ptr;
  out->append(options().request_id).append(".").append(digits, end);
}

std::string_view Loop::date() { return {date_, date_size_}; }

void Loop::UpdateTime() {
  now_ms_ = NowMs();
  timespec now;
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec == date_second_) return;
  date_second_ = now.tv_sec;
  static constexpr const char* kDays[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                            "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  const int size = std::snprintf(date_, sizeof date_, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                                 kDays[parts.tm_wday], parts.tm_mday, kMonths[parts.tm_mon],
                                 parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
  date_size_ = static_cast<std::size_t>(std::clamp(size, 0, int{sizeof date_} - 1));
}

void Loop::Accept() {
  for (int i = 0; i < kMaxAccepted; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int fd =
        accept4(listener_, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Admit(fd, address, size);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      // The next sweep tries again; without this the loop would do nothing else.
      Rewatch(listener_, 0, accepting_.get());
      is_accepting_ = false;
      return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;
    }
  }
}

void Loop::Admit(int fd, const sockaddr_storage& address, socklen_t size) {
  counts_.accepted.Add(1);
  const std::size_t before = shared_->connections.fetch_add(1, std::memory_order_relaxed);
  auto connection = std::make_unique<Connection>(this, fd, PeerOf(address, size));
  if (before >= options().max_connections) {
    std::string text;
    AppendRefusal(TooManyConnections(), false, false, MakeRequestId(), date(), &text);
    counts_.refused.Add(1);
    (void)!send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    return;
  }
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (!connection->Open()) return;
  connection->slot = connections_.size();
  connections_.push_back(std::move(connection));
}

void Loop::Sweep() {
  sweep_at_ms_ = now_ms_ + kSweepMs;
  if (!is_accepting_ && !is_stopping_) {
    Rewatch(listener_, EPOLLIN, accepting_.get());
    is_accepting_ = true;
  }
  const bool closes_all = is_stopping_ && now_ms_ >= shared_->close_at_ms.load(std::memory_order_relaxed);
  // Backwards: whoever closes is replaced by the last.
  for (std::size_t i = connections_.size(); i-- > 0;) {
    Connection* const connection = connections_[i].get();
    closes_all ? connection->Close() : connection->OnSweep();
  }
}

void Loop::BeginStop() {
  // Whoever was let in by the kernel is served.
  if (is_accepting_) Accept();
  epoll_ctl(epoll_, EPOLL_CTL_DEL, listener_, nullptr);
  is_stopping_ = true;
  for (std::size_t i = connections_.size(); i-- > 0;) connections_[i]->OnStop();
  for (std::unique_ptr<Exchange>& exchange : idle_) ended_.push_back(std::move(exchange));
  idle_.clear();
}

}  // namespace mainspring::front
