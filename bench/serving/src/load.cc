// The load generator: closed loop, or an open loop of Poisson arrivals whose latency counts from the intended
// sending.
//
//   load --port N --seconds S --request FILE [--answer FILE]... [--connections N] [--rate R] [--grpc PATH]
//        [--in-time-ms MS] [--leave-ms MS] [--seed N] [--part FILE]...
//
// Every answer is compared with the bodies of --answer, or must contain one of the --part, where bodies carry
// ids or ages. One thread; one JSON object on stdout; exit code 2 for bad arguments. A connection that ends
// is made anew.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>
#include <deque>
#include <fstream>
#include <iterator>
#include <random>

#include "load_book.h"
#include "load_wire.h"

namespace mainspring::load {
namespace {

struct Options {
  int port = 0, connections = 64;
  double seconds = 1, rate = 0, in_time_ms = 0, leave_ms = 0;
  std::uint64_t seed = 0;
  std::string request, grpc_path;
  std::vector<std::string> answers, parts;
};

constexpr double kDrainSeconds = 10, kAgainSeconds = 0.01;
// Waking takes some 60 us: what is due sooner is waited for with open eyes.
constexpr double kSpinSeconds = 200e-6;

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

struct Connection {
  int fd = -1;
  std::unique_ptr<Wire> wire;
  std::string in, out;
  double intended = 0;  // of the request under way
  bool is_busy = false;
  bool wants_out = false;
  bool is_held = false;  // the peer's window is closed: to be asked as soon as it opens
  double again_at = 0;   // when to connect, while fd is -1
};

class Loop {
 public:
  explicit Loop(const Options& options) : options_(options), chance_(options.seed) {}

  void Run() {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
    connections_.resize(static_cast<std::size_t>(options_.connections));
    began_ = Now();
    for (Connection& c : connections_) {
      c.wire = options_.grpc_path.empty()
                   ? std::unique_ptr<Wire>(std::make_unique<Http>(options_.request))
                   : std::unique_ptr<Wire>(std::make_unique<Grpc>(options_.request, options_.grpc_path));
      Connect(&c);
    }
    began_ = Now();
    stop_at_ = began_ + options_.seconds;
    next_ = began_ + Gap();
    for (Connection& c : connections_) Free(&c, began_);
    double ended = began_;
    for (double now = Now();; now = Now()) {
      Arrive(now);  // those also that were due before the end and are looked at after it
      if (now >= stop_at_ && (AllDone() || now > stop_at_ + kDrainSeconds)) {
        ended = now;
        break;
      }
      Mend(now);
      Wait(now);
    }
    book_.unanswered = due_.size();
    for (const Connection& c : connections_) book_.unanswered += c.is_busy;
    rusage used;
    getrusage(RUSAGE_SELF, &used);
    book_.Print(ended - began_, Seconds(used.ru_utime) + Seconds(used.ru_stime));
  }

 private:
  static double Seconds(const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  }
  double Gap() { return options_.rate > 0 ? exponential_(chance_) / options_.rate : INFINITY; }
  bool AllDone() const {
    if (!due_.empty()) return false;
    for (const Connection& c : connections_) {
      if (c.is_busy) return false;
    }
    return true;
  }

  void Arrive(double now) {
    for (; next_ <= now && next_ < stop_at_; next_ += Gap()) {
      ++book_.sent;
      if (free_.empty()) {
        due_.push_back(next_);
      } else {
        Connection* c = free_.front();
        free_.pop_front();
        Ask(c, next_);
      }
    }
  }

  // Connects what was lost; lets go of what takes too long.
  void Mend(double now) {
    if (lost_ == 0 && options_.leave_ms <= 0) return;
    for (Connection& c : connections_) {
      if (c.fd < 0 && now >= c.again_at) {
        if (Connect(&c)) --lost_, Free(&c, now);
      } else if (c.fd >= 0 && options_.leave_ms > 0 && c.is_busy &&
                 (now - c.intended) * 1e3 > options_.leave_ms) {
        ++book_.left;
        c.is_busy = false;
        Lose(&c, now);
      }
    }
  }

  void Wait(double now) {
    double wait = lost_ || options_.leave_ms > 0 ? 1e-3 : 0.05;
    if (now < stop_at_) wait = std::min({wait, stop_at_ - now, next_ - now});
    wait = wait > kSpinSeconds ? wait - kSpinSeconds / 2 : 0;
    const timespec timeout = {0, static_cast<long>(wait * 1e9)};
    epoll_event events[256];
    const int n = epoll_pwait2(epoll_, events, 256, &timeout, nullptr);
    for (int i = 0; i < n; ++i) {
      auto* c = static_cast<Connection*>(events[i].data.ptr);
      if (c->fd >= 0 && (events[i].events & EPOLLOUT)) Flush(c);
      if (c->fd >= 0 && (events[i].events & ~static_cast<unsigned>(EPOLLOUT))) Read(c);
    }
  }

  bool Connect(Connection* c) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(options_.port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) {
      close(fd);
      if (c->again_at == 0) ++lost_;
      c->again_at = Now() + kAgainSeconds;
      return false;
    }
    const int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->fd = fd;
    c->again_at = 0;
    c->in.clear();
    c->out.clear();
    c->is_held = c->wants_out = false;
    c->wire->Open(&c->out);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = c;
    epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
    Flush(c);
    return c->fd >= 0;
  }

  void Lose(Connection* c, double now) {
    if (c->fd < 0) return;
    close(c->fd);
    c->fd = -1;
    ++lost_;
    c->again_at = now;  // at once; a refused connection waits
    if (c->again_at == 0) c->again_at = 1e-9;
    if (c->is_busy) {
      ++book_.failed;
      c->is_busy = false;
    }
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (*it == c) {
        free_.erase(it);
        break;
      }
    }
  }

  // The connection has no request under way: what next?
  void Free(Connection* c, double now) {
    if (c->fd < 0) return;
    if (options_.rate > 0) {
      if (due_.empty()) {
        free_.push_back(c);
      } else {
        const double intended = due_.front();
        due_.pop_front();
        Ask(c, intended);
      }
    } else if (now < stop_at_) {
      ++book_.sent;
      Ask(c, now);
    }
  }

  void Ask(Connection* c, double intended) {
    c->intended = intended;
    c->is_busy = true;
    c->is_held = !c->wire->Ask(&c->out);
    Flush(c);
  }

  void Flush(Connection* c) {
    while (!c->out.empty()) {
      const ssize_t n = send(c->fd, c->out.data(), c->out.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) break;
      if (n < 0) return Lose(c, Now());
      c->out.erase(0, static_cast<std::size_t>(n));
    }
    if (c->out.empty() == !c->wants_out) return;
    c->wants_out = !c->out.empty();
    epoll_event event{};
    event.events = EPOLLIN | (c->wants_out ? EPOLLOUT : 0u);
    event.data.ptr = c;
    epoll_ctl(epoll_, EPOLL_CTL_MOD, c->fd, &event);
  }

  void Read(Connection* c) {
    char buffer[1 << 16];
    const ssize_t n = recv(c->fd, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    const double now = Now();
    if (n <= 0) return Lose(c, now);
    c->in.append(buffer, static_cast<std::size_t>(n));
    Answer answer;
    const Came came = c->wire->Take(&c->in, &c->out, &answer);
    if (came == Came::kBroken || (came == Came::kAnswer && !c->is_busy)) return Lose(c, now);
    if (came == Came::kAnswer) {
      c->is_busy = false;
      book_.Note(answer.status, IsRight(answer.body), (now - c->intended) * 1e3, options_.in_time_ms,
                 answer.body);
      if (answer.is_last) return Lose(c, now);
      Free(c, now);
    } else if (c->is_held) {
      c->is_held = !c->wire->Ask(&c->out);
    }
    if (c->fd >= 0) Flush(c);
  }

  bool IsRight(const std::string& body) const {
    for (const std::string& answer : options_.answers) {
      if (answer == body) return true;
    }
    for (const std::string& part : options_.parts) {
      if (body.find(part) != std::string::npos) return true;
    }
    return options_.answers.empty() && options_.parts.empty();
  }

  const Options& options_;
  std::mt19937_64 chance_;
  std::exponential_distribution<double> exponential_{1.0};
  int epoll_ = -1;
  int lost_ = 0;
  double began_ = 0, stop_at_ = 0, next_ = 0;
  std::vector<Connection> connections_;
  std::deque<Connection*> free_;
  std::deque<double> due_;
  Book book_;
};

int Fail(const std::string& what) {
  std::fprintf(stderr, "load: %s\n", what.c_str());
  return 2;
}

bool ReadFile(const char* path, std::string* content) {
  std::ifstream file(path, std::ios::binary);
  content->assign(std::istreambuf_iterator<char>(file), {});
  return file.good() || file.eof();
}

}  // namespace

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; i += 2) {
    const std::string name = argv[i];
    if (i + 1 == argc) return Fail("`" + name + "` has no value");
    const char* value = argv[i + 1];
    char* end = nullptr;
    const double number = std::strtod(value, &end);
    const bool is_number = *value && !*end && std::isfinite(number) && number >= 0;
    bool is_fine = is_number;
    if (name == "--port" && number < 65536) {
      options.port = static_cast<int>(number);
    } else if (name == "--connections" && number >= 1 && number <= 4096) {
      options.connections = static_cast<int>(number);
    } else if (name == "--seconds") {
      options.seconds = number;
    } else if (name == "--rate") {
      options.rate = number;
    } else if (name == "--in-time-ms") {
      options.in_time_ms = number;
    } else if (name == "--leave-ms") {
      options.leave_ms = number;
    } else if (name == "--seed") {
      options.seed = static_cast<std::uint64_t>(number);
    } else if (name == "--grpc") {
      options.grpc_path = value;
      is_fine = options.grpc_path.size() < 127;
    } else if (name == "--request") {
      is_fine = ReadFile(value, &options.request) && !options.request.empty();
    } else if (name == "--answer") {
      is_fine = ReadFile(value, &options.answers.emplace_back());
    } else if (name == "--part") {
      is_fine = ReadFile(value, &options.parts.emplace_back()) && !options.parts.back().empty();
    } else {
      return Fail("unknown option or value: `" + name + " " + value + "`");
    }
    if (!is_fine) return Fail("`" + name + "` cannot be `" + value + "`");
  }
  if (!options.port || options.request.empty()) return Fail("give --port and --request");
  if (!options.grpc_path.empty() && options.request.size() > 60000)
    return Fail("a message of more than 60 kB");
  Loop(options).Run();
  return 0;
}

}  // namespace mainspring::load

int main(int argc, char** argv) { return mainspring::load::Main(argc, argv); }
