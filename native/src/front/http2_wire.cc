#include "http2_wire.h"

#if MAINSPRING_HAS_NGHTTP2

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>

namespace mainspring::front {
namespace {

// What a peer may send ahead of us: of one message, and in all.
constexpr std::int32_t kStreamWindow = 256 << 10, kConnectionWindow = 1 << 20;

// A client that cancels more than this, a second and at once, is after something else.
constexpr std::uint64_t kResetBurst = 4000, kResetRate = 1000;

// Answers to PING and SETTINGS that may wait for a peer that does not read.
constexpr std::size_t kMaxAcks = 256;
constexpr std::size_t kMaxSettings = 32;

Http2Events& EventsOf(void* user) { return *static_cast<Http2Events*>(user); }

std::string_view View(const std::uint8_t* bytes, std::size_t n) {
  return {reinterpret_cast<const char*>(bytes), n};
}

// nghttp2 is C: nothing may be thrown through it. Without memory the connection is over.
template <typename Call>
int Guarded(const Call& call) {
  try {
    return call();
  } catch (const std::exception&) {
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
}

int Code(bool goes_on) { return goes_on ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE; }

int Code(Http2Events::Took took) {
  if (took == Http2Events::Took::kReset) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  return Code(took == Http2Events::Took::kYes);
}

int OnBegin(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  return Guarded([&] { return Code(EventsOf(user).OnBegin(frame->hd.stream_id)); });
}

int OnField(nghttp2_session*, const nghttp2_frame* frame, const std::uint8_t* name, std::size_t n_name,
            const std::uint8_t* value, std::size_t n_value, std::uint8_t, void* user) {
  return Guarded([&] {
    return Code(EventsOf(user).OnField(frame->hd.stream_id, View(name, n_name), View(value, n_value)));
  });
}

int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  return Guarded([&] {
    Http2Events& events = EventsOf(user);
    if (!events.OnFrame(*frame)) return Code(false);
    const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS) return Code(events.OnFields(frame->hd.stream_id, ends));
    if (frame->hd.type == NGHTTP2_DATA && ends) return Code(events.OnEnd(frame->hd.stream_id));
    return 0;
  });
}

int OnData(nghttp2_session*, std::uint8_t, std::int32_t stream, const std::uint8_t* bytes, std::size_t n,
           void* user) {
  return Guarded([&] { return Code(EventsOf(user).OnData(stream, View(bytes, n))); });
}

int OnClosed(nghttp2_session*, std::int32_t stream, std::uint32_t code, void* user) {
  return Guarded([&] {
    EventsOf(user).OnClosed(stream, code);
    return 0;
  });
}

int OnSent(nghttp2_session*, const nghttp2_frame* frame, void* user) {
  const bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
  if (!ends || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)) return 0;
  return Guarded([&] {
    EventsOf(user).OnSentEnd(frame->hd.stream_id);
    return 0;
  });
}

ssize_t OnGive(nghttp2_session*, std::int32_t stream, std::uint8_t* room, std::size_t size,
               std::uint32_t* flags, nghttp2_data_source*, void* user) {
  try {
    return EventsOf(user).Give(stream, reinterpret_cast<char*>(room), size, flags);
  } catch (const std::exception&) {
    return NGHTTP2_ERR_CALLBACK_FAILURE;
  }
}

nghttp2_session_callbacks* MakeCallbacks(const Nghttp2& api) {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (api.session_callbacks_new(&callbacks) != 0) return nullptr;
  api.session_callbacks_set_on_begin_headers_callback(callbacks, OnBegin);
  api.session_callbacks_set_on_header_callback(callbacks, OnField);
  api.session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
  api.session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
  api.session_callbacks_set_on_stream_close_callback(callbacks, OnClosed);
  api.session_callbacks_set_on_frame_send_callback(callbacks, OnSent);
  return callbacks;
}

nghttp2_option* MakeOption(const Nghttp2& api) {
  nghttp2_option* option = nullptr;
  if (api.option_new(&option) != 0) return nullptr;
  api.option_set_no_auto_window_update(option, 1);
  api.option_set_no_closed_streams(option, 1);
  api.option_set_max_settings(option, kMaxSettings);
  api.option_set_max_outbound_ack(option, kMaxAcks);
  if (api.option_set_stream_reset_rate_limit != nullptr) {
    api.option_set_stream_reset_rate_limit(option, kResetBurst, kResetRate);
  }
  return option;
}

}  // namespace

Http2Wire::Http2Wire(Loop* loop, int fd, Handler* handler, Http2Events* events)
    : loop_(loop), fd_(fd), handler_(handler), events_(events), api_(*LoadedNghttp2()) {}

Http2Wire::~Http2Wire() {
  if (session_ != nullptr) api_.session_del(session_);
  close(fd_);
}

bool Http2Wire::Open(bool is_server, std::uint32_t max_streams) {
  // Made once: what they say is the same for all.
  static nghttp2_session_callbacks* const callbacks = MakeCallbacks(api_);
  static nghttp2_option* const option = MakeOption(api_);
  if (callbacks == nullptr || option == nullptr) return false;
  const auto make = is_server ? api_.session_server_new2 : api_.session_client_new2;
  if (make(&session_, callbacks, events_, option) != 0) return false;
  const auto limit = static_cast<std::uint32_t>(loop_->options().max_head_bytes);
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, is_server ? max_streams : 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, limit},
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
  };
  // Servers say nothing of pushes.
  if (api_.submit_settings(session_, NGHTTP2_FLAG_NONE, settings, is_server ? 3 : 4) != 0) return false;
  if (api_.session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow) != 0) {
    return false;
  }
  sent_at_ms_ = loop_->now_ms();
  return loop_->Watch(fd_, watched_ = EPOLLIN, handler_);
}

bool Http2Wire::Read(std::size_t limit) {
  std::vector<char>& buffer = loop_->read_buffer;
  const ssize_t n = recv(fd_, buffer.data(), std::min(buffer.size(), limit), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return false;
  const auto* const bytes = reinterpret_cast<const std::uint8_t*>(buffer.data());
  return api_.session_mem_recv(session_, bytes, static_cast<std::size_t>(n)) == n;
}

bool Http2Wire::Flush() {
  for (;;) {
    while (has_room()) {
      const std::uint8_t* frames = nullptr;
      const ssize_t n = api_.session_mem_send(session_, &frames);
      if (n < 0) return false;
      if (n == 0) break;
      out_.append(reinterpret_cast<const char*>(frames), static_cast<std::size_t>(n));
    }
    if (!is_sending()) break;
    const ssize_t n = send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) break;
    if (n <= 0) return false;
    sent_ += static_cast<std::size_t>(n);
    sent_at_ms_ = loop_->now_ms();
    if (is_sending()) continue;
    out_.clear();
    sent_ = 0;
    if (out_.capacity() > kMaxOut) std::string().swap(out_);
  }
  if (!is_sending()) {
    sent_at_ms_ = loop_->now_ms();
  } else if (sent_ > kMaxOut / 4) {
    out_.erase(0, sent_);
    sent_ = 0;
  }
  return true;
}

void Http2Wire::Update() {
  std::uint32_t events = 0;
  // Who does not take what we have for him is read no more.
  if (has_room()) events |= EPOLLIN;
  if (is_sending() || api_.session_want_write(session_) != 0) events |= EPOLLOUT;
  if (events != watched_) loop_->Rewatch(fd_, watched_ = events, handler_);
}

bool Http2Wire::is_over() const {
  return !is_sending() && api_.session_want_read(session_) == 0 && api_.session_want_write(session_) == 0;
}

void Http2Wire::SetFields(const std::vector<Http2Field>& fields) {
  fields_.clear();
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<std::uint8_t*>(const_cast<char*>(text.data()));
  };
  for (const Http2Field& field : fields) {
    fields_.push_back(
        {bytes(field.name), bytes(field.value), field.name.size(), field.value.size(), NGHTTP2_NV_FLAG_NONE});
  }
}

std::int32_t Http2Wire::Ask(const std::vector<Http2Field>& fields, void* of_stream) {
  SetFields(fields);
  nghttp2_data_provider data{};
  data.read_callback = OnGive;
  return api_.submit_request(session_, nullptr, fields_.data(), fields_.size(), &data, of_stream);
}

bool Http2Wire::Answer(std::int32_t stream, const std::vector<Http2Field>& fields, bool has_data) {
  SetFields(fields);
  nghttp2_data_provider data{};
  data.read_callback = OnGive;
  return api_.submit_response(session_, stream, fields_.data(), fields_.size(), has_data ? &data : nullptr) ==
         0;
}

bool Http2Wire::Trail(std::int32_t stream, const std::vector<Http2Field>& fields) {
  SetFields(fields);
  return api_.submit_trailer(session_, stream, fields_.data(), fields_.size()) == 0;
}

void Http2Wire::Reset(std::int32_t stream, std::uint32_t code) {
  api_.submit_rst_stream(session_, NGHTTP2_FLAG_NONE, stream, code);
}

void Http2Wire::GoAway(std::uint32_t code) {
  const std::int32_t last = api_.session_get_last_proc_stream_id(session_);
  api_.submit_goaway(session_, NGHTTP2_FLAG_NONE, last, code, nullptr, 0);
}

}  // namespace mainspring::front

#endif  // MAINSPRING_HAS_NGHTTP2
