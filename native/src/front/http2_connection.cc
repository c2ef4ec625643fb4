#include "http2_connection.h"

#if MAINSPRING_HAS_NGHTTP2

#include <sys/epoll.h>

#include <algorithm>
#include <utility>

#include "http2_upstream.h"

namespace mainspring::front {
namespace {

// Read at once: some 50 of the smallest calls, then others have their turn.
constexpr std::size_t kReadBytes = std::size_t{16} << 10;
constexpr std::int64_t kCheckMs = 250;
// How long a client may still begin calls after it was told that there will be no more.
constexpr std::int64_t kStopMs = 500;
// What a field costs beside its bytes (RFC 9113, 6.5.2).
constexpr std::size_t kFieldOverhead = 32;
constexpr std::size_t kMaxSpare = 16;

// Frames that carry nothing (PING, SETTINGS, PRIORITY, empty DATA, ...): at once, a second, and with each
// call. Clients measure their connection with a few of them.
constexpr double kIdleFrames = 4000, kIdleFramesPerSecond = 2000, kIdleFramesPerCall = 16;

std::int64_t Millis(double seconds) { return static_cast<std::int64_t>(seconds * 1000); }

bool CarriesNothing(const nghttp2_frame& frame) {
  if (frame.hd.type == NGHTTP2_HEADERS) return false;
  return frame.hd.type != NGHTTP2_DATA ||
         (frame.hd.length == 0 && (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) == 0);
}

}  // namespace

Http2Connection::Http2Connection(Loop* loop, int fd)
    : loop_(loop),
      held_(&loop->shared().held_bytes, loop->options().max_held_bytes),
      wire_(loop, fd, this, this),
      opened_ms_(loop->now_ms()),
      idle_since_ms_(opened_ms_),
      idle_frames_(kIdleFrames),
      frames_at_ms_(opened_ms_) {}

Http2Connection::~Http2Connection() {
  // First: whoever sees the end finds it counted.
  loop_->shared().connections.fetch_sub(1, std::memory_order_relaxed);
}

bool Http2Connection::Open() {
  return wire_.Open(true, static_cast<std::uint32_t>(loop_->options().max_calls)) && wire_.Flush();
}

void Http2Connection::OnEvents(std::uint32_t events) {
  if (is_closed_) return;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return Close();
  if ((events & EPOLLIN) != 0 && !wire_.Read(kReadBytes)) return Close();
  Pump();
}

void Http2Connection::Abort() { Close(); }

void Http2Connection::Close() {
  if (is_closed_) return;
  is_closed_ = true;
  if (upstream_ != nullptr) {
    upstream_->Leave();
    loop_->Discard(std::move(upstream_));
  }
  loop_->Discard(this);
}

void Http2Connection::Pump() {
  if (is_closed_) return;
  // What goes out one way makes room for the other: what is left is for the next event.
  if (upstream_ != nullptr && !upstream_->Flush()) OnUpstreamGone();
  if (!wire_.Flush()) return Close();
  if (upstream_ != nullptr && !upstream_->Flush()) {
    OnUpstreamGone();
    if (!wire_.Flush()) return Close();
  }
  if (wire_.is_over()) return Close();
  wire_.Update();
  if (upstream_ != nullptr) upstream_->Update();
}

// ---- time

void Http2Connection::OnSweep() {
  const std::int64_t now = loop_->now_ms();
  if (is_closed_ || now < check_at_ms_) return;
  check_at_ms_ = now + kCheckMs;
  const FrontOptions& options = loop_->options();
  const std::int64_t since = is_greeted_ ? block_began_ms_ : opened_ms_;
  const bool is_slow = (since > 0 && now - since >= Millis(options.head_seconds)) ||
                       (wire_.is_sending() && now - wire_.sent_at_ms() >= Millis(options.write_seconds));
  if (is_slow) {
    loop_->counts().timed_out.Add(1);
    return Close();
  }
  SweepCalls(now);
  if (calls_.empty() && ends_at_ms_ == 0 && now - idle_since_ms_ >= Millis(options.grpc_idle_seconds)) {
    OnStop();
  }
  if (ends_at_ms_ > 0 && now >= ends_at_ms_ && !has_gone_away_) {
    has_gone_away_ = true;
    wire_.GoAway(NGHTTP2_NO_ERROR);
  }
  Pump();
}

void Http2Connection::SweepCalls(std::int64_t now) {
  const FrontOptions& options = loop_->options();
  for (const auto& call : calls_) {
    const std::int64_t waited = now - call->moved_ms;
    const bool is_late =
        (call->state == Http2Call::State::kCollect && waited >= Millis(options.body_seconds)) ||
        (call->state == Http2Call::State::kAnswer && !call->is_sent &&
         waited >= Millis(options.write_seconds));
    if (!is_late) continue;
    loop_->counts().timed_out.Add(1);
    call->moved_ms = now;
    wire_.Reset(call->id, NGHTTP2_CANCEL);
  }
}

void Http2Connection::OnStop() {
  if (ends_at_ms_ > 0) return;
  ends_at_ms_ = loop_->now_ms() + kStopMs;
  wire_.GoAwaySoon();
  Pump();
}

// ---- calls

Http2Call* Http2Connection::MakeCall(std::int32_t stream) {
  std::unique_ptr<Http2Call> made;
  if (spare_.empty()) {
    made = std::make_unique<Http2Call>();
  } else {
    made = std::move(spare_.back());
    spare_.pop_back();
  }
  Http2Call* const call = made.get();
  call->id = stream;
  call->arrived_ms = call->moved_ms = loop_->now_ms();
  call->slot = calls_.size();
  calls_.push_back(std::move(made));
  wire_.SetOfStream(stream, call);
  return call;
}

bool Http2Connection::Hold(Http2Call* call, std::size_t n) {
  if (!held_.Take(n)) {
    loop_->counts().refused.Add(1);
    return false;
  }
  call->held += n;
  return true;
}

void Http2Connection::Release(Http2Call* call, std::size_t n) {
  n = std::min(n, call->held);
  held_.Give(n);
  call->held -= n;
}

bool Http2Connection::OnFrame(const nghttp2_frame& frame) {
  is_greeted_ = true;
  if (!CarriesNothing(frame)) return true;
  const std::int64_t now = loop_->now_ms();
  idle_frames_ += kIdleFramesPerSecond * static_cast<double>(now - frames_at_ms_) / 1000;
  idle_frames_ = std::min(idle_frames_, kIdleFrames) - 1;
  frames_at_ms_ = now;
  if (idle_frames_ > 0) return true;
  loop_->counts().refused.Add(1);
  return false;
}

Http2Events::Took Http2Connection::OnBegin(std::int32_t stream) {
  block_began_ms_ = loop_->now_ms();
  if (CallOf(stream) != nullptr) return Took::kYes;
  idle_frames_ += kIdleFramesPerCall;
  return Hold(MakeCall(stream), sizeof(Http2Call)) ? Took::kYes : GiveUp(stream);
}

// Clients see it as RESOURCE_EXHAUSTED.
Http2Events::Took Http2Connection::GiveUp(std::int32_t stream) {
  wire_.Reset(stream, NGHTTP2_ENHANCE_YOUR_CALM);
  return Took::kReset;
}

Http2Events::Took Http2Connection::OnField(std::int32_t stream, std::string_view name,
                                           std::string_view value) {
  Http2Call* const call = CallOf(stream);
  // Fields behind the message are not gRPC's.
  if (call == nullptr || call->state != Http2Call::State::kFields) return Took::kYes;
  const std::size_t n_bytes = name.size() + value.size();
  const std::size_t size = call->fields.n_bytes() + n_bytes + kFieldOverhead * (call->fields.size() + 1);
  if (size > loop_->options().max_head_bytes) {
    loop_->counts().refused.Add(1);
    return GiveUp(stream);
  }
  if (!Hold(call, n_bytes)) return GiveUp(stream);
  call->fields.Add(name, value);
  return Took::kYes;
}

bool Http2Connection::OnFields(std::int32_t stream, bool ends) {
  block_began_ms_ = 0;
  Http2Call* const call = CallOf(stream);
  if (call == nullptr) return true;
  if (call->state != Http2Call::State::kFields) return !ends || OnEnd(stream);
  call->is_asked = ends;
  Route(call);
  return true;
}

bool Http2Connection::OnData(std::int32_t stream, std::string_view bytes) {
  Http2Call* const call = CallOf(stream);
  if (call == nullptr ||
      (call->state != Http2Call::State::kCollect && call->state != Http2Call::State::kPass)) {
    wire_.Consume(stream, bytes.size());
    return true;
  }
  call->moved_ms = loop_->now_ms();
  if (!Hold(call, bytes.size())) {
    wire_.Consume(stream, bytes.size());
    (void)GiveUp(stream);
    return true;
  }
  if (call->state == Http2Call::State::kCollect) {
    wire_.Consume(stream, bytes.size());
    Collect(call, bytes);
    return true;
  }
  call->to_app.Add(bytes);
  call->unread += bytes.size();
  if (upstream_ != nullptr && call->upstream > 0) upstream_->Feed(*call);
  return true;
}

bool Http2Connection::OnEnd(std::int32_t stream) {
  Http2Call* const call = CallOf(stream);
  if (call == nullptr || call->is_asked) return true;
  call->is_asked = true;
  if (call->state == Http2Call::State::kCollect) {
    Collected(call);
  } else if (call->upstream > 0 && upstream_ != nullptr) {
    upstream_->Feed(*call);
  }
  return true;
}

void Http2Connection::OnClosed(std::int32_t stream, std::uint32_t) {
  Http2Call* const call = CallOf(stream);
  if (call == nullptr) return;
  if (upstream_ != nullptr && call->state == Http2Call::State::kPass) {
    if (call->to_client.size() > 0) upstream_->Consume(*call, call->to_client.size());
    if (call->upstream > 0) upstream_->Abandon(call);
  }
  if (call->unread > 0) wire_.ConsumeClosed(call->unread);
  Release(call, call->held);
  const std::size_t slot = call->slot;
  std::unique_ptr<Http2Call> ended = std::move(calls_[slot]);
  if (slot + 1 < calls_.size()) {
    calls_[slot] = std::move(calls_.back());
    calls_[slot]->slot = slot;
  }
  calls_.pop_back();
  if (calls_.empty()) idle_since_ms_ = loop_->now_ms();
  if (spare_.size() >= kMaxSpare) return;
  ended->Reuse();
  spare_.push_back(std::move(ended));
}

ssize_t Http2Connection::Give(std::int32_t stream, char* room, std::size_t size, std::uint32_t* flags) {
  Http2Call* const call = CallOf(stream);
  if (call == nullptr) return kGiveUp;
  const std::size_t n = call->to_client.Take(room, size);
  if (n > 0) {
    call->moved_ms = loop_->now_ms();
    if (call->state == Http2Call::State::kPass && upstream_ != nullptr) upstream_->Consume(*call, n);
    Release(call, n);
  }
  if (call->to_client.size() > 0) return static_cast<ssize_t>(n);
  if (!call->is_answered) return n > 0 ? static_cast<ssize_t>(n) : kGiveLater;
  *flags |= NGHTTP2_DATA_FLAG_EOF;
  if (call->trailers.size() == 0) return static_cast<ssize_t>(n);
  *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
  sending_.clear();
  call->trailers.ForEach(
      [&](std::string_view name, std::string_view value) { sending_.push_back({name, value}); });
  return wire_.Trail(stream, sending_) ? static_cast<ssize_t>(n) : kGiveUp;
}

void Http2Connection::OnSentEnd(std::int32_t stream) {
  Http2Call* const call = CallOf(stream);
  if (call == nullptr) return;
  call->is_sent = true;
  // The answer came before the end of the question: nobody wants the rest.
  if (!call->is_asked) wire_.Reset(stream, NGHTTP2_NO_ERROR);
}

}  // namespace mainspring::front

#endif  // MAINSPRING_HAS_NGHTTP2
