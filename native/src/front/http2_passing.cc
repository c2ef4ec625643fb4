// What a connection does with the calls that are the app's: gives them to it, and its answers to the client.

#include "http2_connection.h"

#if MAINSPRING_HAS_NGHTTP2

#include <algorithm>
#include <string>
#include <utility>

#include "grpc_message.h"
#include "http2_upstream.h"

namespace mainspring::front {

// Gives the call to the app, with what is there of its message.
void Http2Connection::Pass(Http2Call* call) {
  if (upstream_ == nullptr) upstream_ = Http2Upstream::Connect(loop_, this);
  if (upstream_ == nullptr) {
    loop_->counts().upstream_failures.Add(1);
    return Refuse(call, AppDown());
  }
  // The time that it waited here is the client's.
  std::string timeout;
  const std::int64_t waited = loop_->now_ms() - call->arrived_ms;
  if (call->timeout_seconds > 0 && waited > 0) {
    timeout = GrpcTimeout(call->timeout_seconds - static_cast<double>(waited) * 1e-3);
  }
  sending_.clear();
  call->fields.ForEach([&](std::string_view name, std::string_view value) {
    sending_.push_back(
        {name, name == "grpc-timeout" && !timeout.empty() ? std::string_view(timeout) : value});
  });
  call->state = Http2Call::State::kPass;
  if (!upstream_->Ask(call, sending_)) {
    loop_->counts().upstream_failures.Add(1);
    return Refuse(call, AppDown());
  }
  loop_->counts().passed.Add(1);
}

void Http2Connection::OnUpstreamGone() {
  if (upstream_ == nullptr) return;
  upstream_->Leave();
  loop_->Discard(std::move(upstream_));
  for (const auto& call : calls_) {
    if (call->state != Http2Call::State::kPass) continue;
    call->state = Http2Call::State::kAnswer;  // what is there of it
    call->upstream = -1;
    if (call->is_answered) continue;
    loop_->counts().upstream_failures.Add(1);
    call->has_fields ? wire_.Reset(call->id, NGHTTP2_INTERNAL_ERROR) : Refuse(call.get(), AppBroke());
  }
}

void Http2Connection::OnAppFields(Http2Call* call, const FieldList& fields, bool ends) {
  if (call->has_fields) {
    fields.ForEach([&](std::string_view name, std::string_view value) { call->trailers.Add(name, value); });
    call->is_answered = true;
    return wire_.Resume(call->id);
  }
  sending_.clear();
  bool is_interim = false;
  fields.ForEach([&](std::string_view name, std::string_view value) {
    if (name == ":status" && value.substr(0, 1) == "1") is_interim = true;
    sending_.push_back({name, value});
  });
  if (is_interim) return;
  call->has_fields = true;
  call->is_answered = ends;
  if (!wire_.Answer(call->id, sending_, !ends)) wire_.Reset(call->id, NGHTTP2_INTERNAL_ERROR);
}

void Http2Connection::OnAppData(Http2Call* call, std::string_view bytes) {
  if (!Hold(call, bytes.size())) {
    upstream_->Consume(*call, bytes.size());
    return wire_.Reset(call->id, NGHTTP2_ENHANCE_YOUR_CALM);
  }
  call->to_client.Add(bytes);
  wire_.Resume(call->id);
}

void Http2Connection::OnAppEnd(Http2Call* call) {
  call->is_answered = true;
  wire_.Resume(call->id);
}

void Http2Connection::OnAppClosed(Http2Call* call, std::uint32_t code) {
  call->upstream = -1;
  // Nobody will take what is still to go to the app.
  if (call->unread > 0) wire_.Consume(call->id, std::exchange(call->unread, 0));
  Release(call, call->to_app.size());
  call->to_app.Clear();
  if (call->is_answered) return;
  loop_->counts().upstream_failures.Add(1);
  wire_.Reset(call->id, code == NGHTTP2_NO_ERROR ? std::uint32_t{NGHTTP2_INTERNAL_ERROR} : code);
}

ssize_t Http2Connection::GiveApp(Http2Call* call, char* room, std::size_t size, std::uint32_t* flags) {
  const std::size_t n = call->to_app.Take(room, size);
  Release(call, n);
  // What was collected before the call was passed on is counted as read already.
  const std::size_t unread = std::min(n, call->unread);
  if (unread > 0) wire_.Consume(call->id, unread);
  call->unread -= unread;
  if (call->to_app.size() > 0) return static_cast<ssize_t>(n);
  if (call->is_asked) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return n > 0 || call->is_asked ? static_cast<ssize_t>(n) : kGiveLater;
}

}  // namespace mainspring::front

#endif  // MAINSPRING_HAS_NGHTTP2
