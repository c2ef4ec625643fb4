// One thread of the front: an epoll loop, the connections it accepted, and its connections to the app.

#ifndef MAINSPRING_SRC_FRONT_LOOP_H_
#define MAINSPRING_SRC_FRONT_LOOP_H_

#include <sys/socket.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "answering.h"
#include "http_head.h"
#include "mainspring/front.h"
#include "mainspring/status.h"
#include "spans.h"

namespace mainspring::front {

class Exchange;

// What the loops of a front share.
struct Shared {
  FrontOptions options;

  // Loops look at the number first, and take the lock only where it changed.
  std::mutex in_force_mutex;
  std::shared_ptr<const InForce> in_force = std::make_shared<const InForce>();
  std::atomic<std::uint64_t> in_force_number{0};

  std::atomic<std::size_t> connections{0}, held_bytes{0};
  std::atomic<bool> is_stopping{false};
  std::atomic<std::int64_t> close_at_ms{0};  // of connections that still work, once it is stopping
};

// Something with a socket in the epoll set.
class Handler {
 public:
  virtual ~Handler() = default;
  virtual void OnEvents(std::uint32_t events) = 0;
  // There was no memory for what it was doing.
  virtual void Abort() = 0;
};

// A client's connection, whatever it speaks.
class Client : public Handler {
 public:
  // Goes on with requests that were read already.
  virtual void Resume() {}
  // Closes it where it waited too long.
  virtual void OnSweep() = 0;
  // Closes it soon where nothing is at work; else after what is.
  virtual void OnStop() = 0;
  virtual void Close() = 0;

  std::size_t slot = 0;  // in the loop's list
  bool is_later = false;
};

// What one loop counted.
struct LoopCounts {
  Count accepted, answered, passed, refused, timed_out, upstream_failures;
};

class Loop {
 public:
  // `grpc_listener` below 0: none.
  Loop(Shared* shared, std::size_t index, int listener, int grpc_listener);
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  Status Open();
  void Run();   // until the front stops
  void Wake();  // from any thread

  // ---- for connections and exchanges, on the loop's thread

  bool Watch(int fd, std::uint32_t events, Handler* handler);
  void Rewatch(int fd, std::uint32_t events, Handler* handler);

  // Gives up what is closed. It stays until the events at hand are done: one of them may be for it.
  void Discard(Client* client);
  void Discard(std::unique_ptr<Handler> ended);

  // A connection that has requests left to answer without anything new to read.
  void Later(Client* client);

  // A connection to the app, idle or new; nullptr: the app does not listen.
  std::unique_ptr<Exchange> TakeExchange();
  void ReturnExchange(std::unique_ptr<Exchange> exchange);
  void DropIdle(Exchange* exchange);

  // Valid until the next call.
  const InForce& in_force();
  std::string MakeRequestId();
  void AppendRequestId(std::string* out);
  std::string_view date();
  // Of a sampled request that was answered here, whose id is in `scratch`.
  void KeepSpan(const Tracing& tracing, std::string path, const AskedHead& asked, const MadeAnswer& answer);

  std::int64_t now_ms() const { return now_ms_; }
  bool is_stopping() const { return is_stopping_; }
  std::size_t index() const { return index_; }
  const FrontOptions& options() const { return shared_->options; }
  Shared& shared() { return *shared_; }
  LoopCounts& counts() { return counts_; }

  RequestHead request_head;    // the one at hand
  ResponseHead response_head;  //
  Scratch scratch;
  TraceIds trace_ids;
  SpanBuffer spans;
  std::vector<char> read_buffer;

 private:
  // A socket that listens, and what its clients speak.
  struct Port {
    int fd = -1;
    bool is_grpc = false, is_accepting = false;
    std::unique_ptr<Handler> handler;
  };

  bool Listen(int fd, bool is_grpc);
  void Accept(Port* port);
  void Admit(int fd, bool is_grpc, const sockaddr_storage& address, socklen_t size);
  void Sweep();
  void BeginStop();
  void UpdateTime();

  Shared* const shared_;
  const std::size_t index_;
  const int listener_, grpc_listener_;
  int epoll_ = -1, wake_ = -1;
  std::vector<std::unique_ptr<Port>> ports_;
  std::unique_ptr<Handler> waking_;
  bool is_stopping_ = false;

  std::vector<std::unique_ptr<Client>> clients_, closed_;
  std::vector<std::unique_ptr<Exchange>> idle_;
  std::vector<std::unique_ptr<Handler>> ended_;
  std::vector<Client*> later_, later_now_;

  std::shared_ptr<const InForce> in_force_;
  std::uint64_t in_force_number_ = 0;
  std::int64_t now_ms_ = 0, sweep_at_ms_ = 0;
  std::int64_t date_second_ = -1;
  char date_[32] = {};
  std::size_t date_size_ = 0;
  std::uint64_t n_ids_ = 0;
  LoopCounts counts_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_LOOP_H_
