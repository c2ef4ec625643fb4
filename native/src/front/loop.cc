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
#include "http2_connection.h"
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

// Owns `fd`. nullptr: it cannot be had.
std::unique_ptr<Client> MakeClient(Loop* loop, int fd, bool is_grpc, std::string peer) {
#if MAINSPRING_HAS_NGHTTP2
  if (is_grpc) {
    auto client = std::make_unique<Http2Connection>(loop, fd);
    return client->Open() ? std::move(client) : nullptr;
  }
#endif
  (void)is_grpc;
  auto client = std::make_unique<Connection>(loop, fd, std::move(peer));
  return client->Open() ? std::move(client) : nullptr;
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

Loop::Loop(Shared* shared, std::size_t index, int listener, int grpc_listener)
    : read_buffer(kReadBytes),
      shared_(shared),
      index_(index),
      listener_(listener),
      grpc_listener_(grpc_listener),
      in_force_(shared->in_force) {
  waking_ = Calls([this] {
    std::uint64_t times;
    (void)!read(wake_, &times, sizeof times);
  });
}

Loop::~Loop() {
  clients_.clear();
  closed_.clear();
  if (wake_ >= 0) close(wake_);
  if (epoll_ >= 0) close(epoll_);
}

Status Loop::Open() {
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  wake_ = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  UpdateTime();
  if (epoll_ < 0 || wake_ < 0 || !Watch(wake_, EPOLLIN, waking_.get()) || !Listen(listener_, false) ||
      (grpc_listener_ >= 0 && !Listen(grpc_listener_, true))) {
    return {StatusCode::kIo,       -1, "a listening socket that epoll takes", true, double(errno),
            "see the error number"};
  }
  return {};
}

bool Loop::Listen(int fd, bool is_grpc) {
  auto port = std::make_unique<Port>();
  port->fd = fd;
  port->is_grpc = is_grpc;
  port->is_accepting = true;
  port->handler = Calls([this, port = port.get()] { Accept(port); });
  ports_.push_back(std::move(port));
  return Watch(fd, EPOLLIN, ports_.back()->handler.get());
}

void Loop::Wake() {
  const std::uint64_t once = 1;
  (void)!write(wake_, &once, sizeof once);
}

void Loop::Run() {
  epoll_event events[256];
  sweep_at_ms_ = now_ms_ + kSweepMs;
  while (!is_stopping_ || !clients_.empty()) {
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
    for (Client* client : later_now_) {
      client->is_later = false;
      client->Resume();
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

void Loop::Discard(Client* client) {
  if (client->is_later) later_.erase(std::remove(later_.begin(), later_.end(), client), later_.end());
  const std::size_t slot = client->slot;
  closed_.push_back(std::move(clients_[slot]));
  if (slot + 1 < clients_.size()) {
    clients_[slot] = std::move(clients_.back());
    clients_[slot]->slot = slot;
  }
  clients_.pop_back();
}

void Loop::Discard(std::unique_ptr<Handler> ended) { ended_.push_back(std::move(ended)); }

void Loop::Later(Client* client) {
  if (client->is_later) return;
  client->is_later = true;
  later_.push_back(client);
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

void Loop::KeepSpan(const Tracing& tracing, std::string path, const AskedHead& asked,
                    const MadeAnswer& answer) {
  FrontSpan span;
  span.trace_id = tracing.trace_id;
  span.parent_id = tracing.parent_id;
  trace_ids.AppendId(1, &span.span_id);
  span.path = std::move(path);
  span.request_id = scratch.request_id;
  span.caller = asked.caller.name;
  // All by one clock that never goes back, and one look at the other.
  const std::int64_t now = NowNanos(), to_unix = UnixNanos() - now;
  span.start_ns = tracing.began + to_unix;
  span.end_ns = now + to_unix;
  span.rows = answer.rows;
  span.model = answer.model;
  span.bundle = answer.bundle;
  for (std::size_t i = 0; i < answer.n_parts; ++i) {
    const MadeAnswer::Part& part = answer.parts[i];
    span.parts.push_back({part.name, "", part.began + to_unix, part.ended + to_unix});
    trace_ids.AppendId(1, &span.parts.back().span_id);
  }
  spans.Add(std::move(span));
}

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

void Loop::Accept(Port* port) {
  for (int i = 0; i < kMaxAccepted; ++i) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    const int fd =
        accept4(port->fd, reinterpret_cast<sockaddr*>(&address), &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      Admit(fd, port->is_grpc, address, size);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      // The next sweep tries again; without this the loop would do nothing else.
      Rewatch(port->fd, 0, port->handler.get());
      port->is_accepting = false;
      return;
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;
    }
  }
}

void Loop::Admit(int fd, bool is_grpc, const sockaddr_storage& address, socklen_t size) {
  counts_.accepted.Add(1);
  const std::size_t before = shared_->connections.fetch_add(1, std::memory_order_relaxed);
  if (before >= options().max_connections) {
    counts_.refused.Add(1);
    shared_->connections.fetch_sub(1, std::memory_order_relaxed);
    if (!is_grpc) {  // gRPC's clients try again by themselves
      std::string text;
      AppendRefusal(TooManyConnections(), false, false, MakeRequestId(), date(), &text);
      (void)!send(fd, text.data(), text.size(), MSG_NOSIGNAL);
      shutdown(fd, SHUT_WR);
    }
    close(fd);
    return;
  }
  const int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  std::unique_ptr<Client> client = MakeClient(this, fd, is_grpc, PeerOf(address, size));
  if (client == nullptr) return;
  client->slot = clients_.size();
  clients_.push_back(std::move(client));
}

void Loop::Sweep() {
  sweep_at_ms_ = now_ms_ + kSweepMs;
  for (const auto& port : ports_) {
    if (port->is_accepting || is_stopping_) continue;
    Rewatch(port->fd, EPOLLIN, port->handler.get());
    port->is_accepting = true;
  }
  const bool closes_all = is_stopping_ && now_ms_ >= shared_->close_at_ms.load(std::memory_order_relaxed);
  // Backwards: whoever closes is replaced by the last.
  for (std::size_t i = clients_.size(); i-- > 0;) {
    Client* const client = clients_[i].get();
    closes_all ? client->Close() : client->OnSweep();
  }
}

void Loop::BeginStop() {
  // Whoever was let in by the kernel is served.
  for (const auto& port : ports_) {
    if (port->is_accepting) Accept(port.get());
    epoll_ctl(epoll_, EPOLL_CTL_DEL, port->fd, nullptr);
  }
  is_stopping_ = true;
  for (std::size_t i = clients_.size(); i-- > 0;) clients_[i]->OnStop();
  for (std::unique_ptr<Exchange>& exchange : idle_) ended_.push_back(std::move(exchange));
  idle_.clear();
}

}  // namespace mainspring::front
