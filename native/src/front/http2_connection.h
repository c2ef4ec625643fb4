// A client's connection that speaks gRPC: its calls, many at once, answered here or passed on.

#ifndef MAINSPRING_SRC_FRONT_HTTP2_CONNECTION_H_
#define MAINSPRING_SRC_FRONT_HTTP2_CONNECTION_H_

#include "http2_wire.h"

#if MAINSPRING_HAS_NGHTTP2

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "answering.h"
#include "http2_call.h"
#include "loop.h"
#include "refusal.h"

namespace mainspring::front {

class Http2Upstream;

class Http2Connection final : public Client, private Http2Events {
 public:
  // Owns `fd`.
  Http2Connection(Loop* loop, int fd);
  ~Http2Connection() override;

  bool Open();
  void OnEvents(std::uint32_t events) override;
  void Abort() override;
  void OnSweep() override;
  void OnStop() override;
  void Close() override;

  // ---- for the connection to the app

  void OnAppFields(Http2Call* call, const FieldList& fields, bool ends);
  void OnAppData(Http2Call* call, std::string_view bytes);
  void OnAppEnd(Http2Call* call);
  // Its stream is over, with or without an answer.
  void OnAppClosed(Http2Call* call, std::uint32_t code);
  ssize_t GiveApp(Http2Call* call, char* room, std::size_t size, std::uint32_t* flags);
  // The app has gone.
  void OnUpstreamGone();
  // Sends what waits, both ways.
  void Pump();

 private:
  // What the session tells.
  bool OnFrame(const nghttp2_frame& frame) override;
  Took OnBegin(std::int32_t stream) override;
  Took OnField(std::int32_t stream, std::string_view name, std::string_view value) override;
  bool OnFields(std::int32_t stream, bool ends) override;
  bool OnData(std::int32_t stream, std::string_view bytes) override;
  bool OnEnd(std::int32_t stream) override;
  void OnClosed(std::int32_t stream, std::uint32_t code) override;
  ssize_t Give(std::int32_t stream, char* room, std::size_t size, std::uint32_t* flags) override;
  void OnSentEnd(std::int32_t stream) override;

  Http2Call* CallOf(std::int32_t stream) { return static_cast<Http2Call*>(wire_.of_stream(stream)); }
  Http2Call* MakeCall(std::int32_t stream);
  bool Hold(Http2Call* call, std::size_t n);
  void Release(Http2Call* call, std::size_t n);
  Took GiveUp(std::int32_t stream);
  void SweepCalls(std::int64_t now);

  // ---- grpc_calls.cc

  void Route(Http2Call* call);
  void Collect(Http2Call* call, std::string_view bytes);
  void Collected(Http2Call* call);
  bool AnswerHere(Http2Call* call);
  void Refuse(Http2Call* call, const Refusal& refusal);
  const RequestHead& HeadOf(const Http2Call& call);

  // http2_passing.cc, as is what is for the connection to the app
  void Pass(Http2Call* call);

  Loop* const loop_;
  HeldMemory held_;
  Http2Wire wire_;
  std::unique_ptr<Http2Upstream> upstream_;
  std::vector<std::unique_ptr<Http2Call>> calls_, spare_;
  std::vector<Http2Field> sending_;  // scratch
  bool is_closed_ = false, is_greeted_ = false, has_gone_away_ = false;
  const std::int64_t opened_ms_;
  std::int64_t idle_since_ms_, check_at_ms_ = 0;
  std::int64_t block_began_ms_ = 0;  // a block of fields that is not whole; 0: none
  std::int64_t ends_at_ms_ = 0;      // after a notice that it will; 0: none was given
  double idle_frames_;               // that carry nothing, which may still come
  std::int64_t frames_at_ms_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_HAS_NGHTTP2

#endif  // MAINSPRING_SRC_FRONT_HTTP2_CONNECTION_H_
