// A gRPC client's connection to the app: the calls of it that are not answered here, each a stream of its
// own.

#ifndef MAINSPRING_SRC_FRONT_HTTP2_UPSTREAM_H_
#define MAINSPRING_SRC_FRONT_HTTP2_UPSTREAM_H_

#include "http2_wire.h"

#if MAINSPRING_HAS_NGHTTP2

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "http2_call.h"
#include "http2_connection.h"

namespace mainspring::front {

class Http2Upstream final : public Handler, private Http2Events {
 public:
  // nullptr: the app does not listen.
  static std::unique_ptr<Http2Upstream> Connect(Loop* loop, Http2Connection* owner);

  void OnEvents(std::uint32_t events) override;
  void Abort() override;

  // Begins a call. False: the app takes no more on this connection.
  bool Ask(Http2Call* call, const std::vector<Http2Field>& fields);
  // There is more of its message, or its end.
  void Feed(const Http2Call& call) { wire_.Resume(call.upstream); }
  // So much of its answer was sent on.
  void Consume(const Http2Call& call, std::size_t n);
  // The client has left the call.
  void Abandon(Http2Call* call);

  bool Flush() { return wire_.Flush() && !wire_.is_over(); }
  void Update() { wire_.Update(); }
  // The client has gone: whatever comes is for nobody.
  void Leave() { owner_ = nullptr; }

 private:
  Http2Upstream(Loop* loop, int fd, Http2Connection* owner);

  bool OnFrame(const nghttp2_frame& frame) override;
  Took OnBegin(std::int32_t stream) override;
  Took OnField(std::int32_t stream, std::string_view name, std::string_view value) override;
  bool OnFields(std::int32_t stream, bool ends) override;
  bool OnData(std::int32_t stream, std::string_view bytes) override;
  bool OnEnd(std::int32_t stream) override;
  void OnClosed(std::int32_t stream, std::uint32_t code) override;
  ssize_t Give(std::int32_t stream, char* room, std::size_t size, std::uint32_t* flags) override;
  void OnSentEnd(std::int32_t) override {}

  Http2Call* CallOf(std::int32_t stream) { return static_cast<Http2Call*>(wire_.of_stream(stream)); }

  Loop* const loop_;
  Http2Connection* owner_;
  FieldList fields_;  // of the block at hand: blocks do not mix
  Http2Wire wire_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_HAS_NGHTTP2

#endif  // MAINSPRING_SRC_FRONT_HTTP2_UPSTREAM_H_
