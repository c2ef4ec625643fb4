// A socket that speaks HTTP/2: its session, what waits to be sent, and which events matter. What the frames
// mean is its owner's.

#ifndef MAINSPRING_SRC_FRONT_HTTP2_WIRE_H_
#define MAINSPRING_SRC_FRONT_HTTP2_WIRE_H_

#include "nghttp2.h"

#if MAINSPRING_HAS_NGHTTP2

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "loop.h"

namespace mainspring::front {

// What Give may say beside a number of bytes: nothing yet; nothing at all.
inline constexpr ssize_t kGiveLater = NGHTTP2_ERR_DEFERRED;
inline constexpr ssize_t kGiveUp = NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;

// What a session tells, between Read and its return. False: the connection is over.
class Http2Events {
 public:
  // Any frame, before what it means.
  virtual bool OnFrame(const nghttp2_frame& frame) = 0;
  // A block of fields begins, goes on, and is whole; `ends`: so is the message. kReset gives the stream up.
  enum class Took { kYes, kReset, kBroken };
  virtual Took OnBegin(std::int32_t stream) = 0;
  virtual Took OnField(std::int32_t stream, std::string_view name, std::string_view value) = 0;
  virtual bool OnFields(std::int32_t stream, bool ends) = 0;
  virtual bool OnData(std::int32_t stream, std::string_view bytes) = 0;
  virtual bool OnEnd(std::int32_t stream) = 0;
  virtual void OnClosed(std::int32_t stream, std::uint32_t code) = 0;
  // Between Flush and its return. Bytes of a message's data into `room`; as nghttp2's read callback.
  virtual ssize_t Give(std::int32_t stream, char* room, std::size_t size, std::uint32_t* flags) = 0;
  // The last frame of a message of ours went out.
  virtual void OnSentEnd(std::int32_t stream) = 0;

 protected:
  ~Http2Events() = default;
};

// A field to send. Both are copied.
struct Http2Field {
  std::string_view name, value;
};

class Http2Wire {
 public:
  // Owns `fd`. `handler` gets its events, `events` what they mean.
  Http2Wire(Loop* loop, int fd, Handler* handler, Http2Events* events);
  ~Http2Wire();
  Http2Wire(const Http2Wire&) = delete;
  Http2Wire& operator=(const Http2Wire&) = delete;

  // Begins a session. `max_streams` of the peer's.
  bool Open(bool is_server, std::uint32_t max_streams);

  // Reads once, at most `limit` bytes. False: the peer has gone, or broke the protocol.
  bool Read(std::size_t limit);
  // Sends what the session has to send, as far as the socket takes it. False: the peer has gone.
  bool Flush();
  // Asks for the events that matter now.
  void Update();

  // Neither side has anything more to say.
  bool is_over() const;
  bool has_room() const { return out_.size() - sent_ < kMaxOut; }
  bool is_sending() const { return sent_ < out_.size(); }
  std::int64_t sent_at_ms() const { return sent_at_ms_; }  // something went, or nothing was waiting

  // ---- messages. `data`: OnGive has it, else the fields are all there is.

  // The stream's id, or below 0.
  std::int32_t Ask(const std::vector<Http2Field>& fields, void* of_stream);
  bool Answer(std::int32_t stream, const std::vector<Http2Field>& fields, bool has_data);
  bool Trail(std::int32_t stream, const std::vector<Http2Field>& fields);
  // Give has something again.
  void Resume(std::int32_t stream) { api_.session_resume_data(session_, stream); }
  void Reset(std::int32_t stream, std::uint32_t code);
  // The peer may send so much more.
  void Consume(std::int32_t stream, std::size_t n) { api_.session_consume(session_, stream, n); }
  void ConsumeClosed(std::size_t n) { api_.session_consume_connection(session_, n); }

  void* of_stream(std::int32_t stream) { return api_.session_get_stream_user_data(session_, stream); }
  void SetOfStream(std::int32_t stream, void* of_stream) {
    api_.session_set_stream_user_data(session_, stream, of_stream);
  }

  // Says that the end is near, so that no request is lost on its way; then, that it is here.
  void GoAwaySoon() { api_.submit_shutdown_notice(session_); }
  void GoAway(std::uint32_t code);

 private:
  // Beyond it the session's frames wait in the session.
  static constexpr std::size_t kMaxOut = std::size_t{256} << 10;

  void SetFields(const std::vector<Http2Field>& fields);

  Loop* const loop_;
  const int fd_;
  Handler* const handler_;
  Http2Events* const events_;
  const Nghttp2& api_;
  nghttp2_session* session_ = nullptr;
  std::uint32_t watched_ = 0;
  std::string out_;
  std::size_t sent_ = 0;
  std::int64_t sent_at_ms_ = 0;
  std::vector<nghttp2_nv> fields_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_HAS_NGHTTP2

#endif  // MAINSPRING_SRC_FRONT_HTTP2_WIRE_H_
