// A connection to the app behind the front, and the one request that is on it.

#ifndef MAINSPRING_SRC_FRONT_EXCHANGE_H_
#define MAINSPRING_SRC_FRONT_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "chunks.h"
#include "http_head.h"
#include "loop.h"

namespace mainspring::front {

class Connection;

// Bytes that may wait for a slow reader, in either direction, before the other side is read no more.
inline constexpr std::size_t kMaxWaiting = std::size_t{256} << 10;
// What may be left of a request that is answered already; beyond it the connection ends.
inline constexpr std::size_t kMaxDrained = std::size_t{64} << 10;

// What the app is told beside the request itself.
struct PassedOn {
  std::string_view peer, request_id;
  bool sends_id = false;      // the client sent none that is usable
  bool drops_expect = false;  // the body is here already
};

class Exchange final : public Handler {
 public:
  // Owns `fd`, which is connected or about to be.
  Exchange(Loop* loop, int fd);
  ~Exchange() override;

  bool Open();
  // An idle one: whether the app has neither closed it nor sent what nobody asked for.
  bool IsAlive() const;

  void OnEvents(std::uint32_t events) override;
  void Abort() override;

  // Begins a request of `connection`: its head, as it goes to the app, and how its body ends.
  void Begin(Connection* connection, const RequestHead& head, const PassedOn& how);

  // Takes of the request's body from the front of `*bytes` until about `limit` bytes wait to be sent. False:
  // the coding is bad.
  bool Feed(std::string_view* bytes, std::size_t limit);
  bool is_request_done() const { return is_request_done_; }
  bool has_room() const { return out_.size() - sent_ < kMaxWaiting; }
  bool has_begun_answer() const { return state_ == State::kBody || state_ == State::kDrain; }
  // Whether the answer, which came before the whole request, waits for its rest: a short one is read, so that
  // the connection can go on.
  bool drains() const {
    return !is_request_done_ && !is_request_chunked_ && !expects_continue_ && request_left_ <= kMaxDrained;
  }
  // Ends the exchange if nothing but the request's rest was missing.
  void EndIfDrained();

  // Sends what waits, and asks for the events that matter now.
  void Flush();
  void Update();

  // The client has gone, or was refused: whatever comes is for nobody.
  void Leave() {
    connection_ = nullptr;
    state_ = State::kGone;
  }
  void GiveUp() { state_ = State::kGone; }

 private:
  enum class State { kHead, kBody, kDrain, kIdle, kGone };

  void ReadAnswer();
  void TakeAnswer(std::string_view bytes);
  bool TakeHead(std::string_view* bytes);
  bool TakeBody(std::string_view* bytes);
  void BeginBody(const ResponseHead& head);
  void AppendHead(const ResponseHead& head, std::string* out) const;
  void Relay(std::string_view data);
  void End(bool is_clean);
  void Ended();  // the app closed, or broke

  Loop* const loop_;
  const int fd_;
  Connection* connection_ = nullptr;
  std::uint32_t watched_ = 0;

  std::string out_;
  std::size_t sent_ = 0;
  bool is_write_broken_ = false;
  bool is_request_chunked_ = false, is_request_done_ = true;
  bool expects_continue_ = false;  // the client may leave the body out if it is refused
  std::uint64_t request_left_ = 0;
  ChunkReader request_chunks_;

  enum class Ends { kNow, kLength, kChunks, kClose };
  State state_ = State::kIdle;
  Ends ends_ = Ends::kNow;
  bool is_head_ = false, is_old_client_ = false;  // HEAD; HTTP/1.0
  bool writes_chunks_ = false, may_reuse_ = false, is_clean_ = false;
  std::uint64_t answer_left_ = 0;
  ChunkReader answer_chunks_;
  std::string in_;
  std::size_t seen_ = 0;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_EXCHANGE_H_
