#include "http2_upstream.h"

#if MAINSPRING_HAS_NGHTTP2

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace mainspring::front {
namespace {

constexpr std::size_t kReadBytes = std::size_t{64} << 10;
// Of the app's answers: more than a client could take, whose limit is gRPC's own 8 to 16 KiB.
constexpr std::size_t kMaxFieldBytes = std::size_t{64} << 10;

}  // namespace

Http2Upstream::Http2Upstream(Loop* loop, int fd, Http2Connection* owner)
    : loop_(loop), owner_(owner), wire_(loop, fd, this, this) {}

std::unique_ptr<Http2Upstream> Http2Upstream::Connect(Loop* loop, Http2Connection* owner) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return nullptr;
  std::unique_ptr<Http2Upstream> made(new Http2Upstream(loop, fd, owner));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  loop->options().grpc_upstream.copy(address.sun_path, sizeof address.sun_path - 1);
  // A Unix socket connects at once or not at all: EAGAIN says that its backlog is full.
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return nullptr;
  return made->wire_.Open(false, 0) ? std::move(made) : nullptr;
}

void Http2Upstream::OnEvents(std::uint32_t events) {
  if (owner_ == nullptr) return;
  // What the app sent before it closed comes first.
  const bool has_bytes = (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0;
  if (has_bytes && !wire_.Read(kReadBytes)) owner_->OnUpstreamGone();
  if (owner_ != nullptr) return owner_->Pump();
}

void Http2Upstream::Abort() {
  if (owner_ != nullptr) owner_->Close();
}

bool Http2Upstream::Ask(Http2Call* call, const std::vector<Http2Field>& fields) {
  call->upstream = wire_.Ask(fields, call);
  return call->upstream > 0;
}

void Http2Upstream::Consume(const Http2Call& call, std::size_t n) {
  call.upstream > 0 ? wire_.Consume(call.upstream, n) : wire_.ConsumeClosed(n);
}

void Http2Upstream::Abandon(Http2Call* call) {
  wire_.SetOfStream(call->upstream, nullptr);
  wire_.Reset(call->upstream, NGHTTP2_CANCEL);
  call->upstream = -1;
}

bool Http2Upstream::OnFrame(const nghttp2_frame&) { return owner_ != nullptr; }

Http2Events::Took Http2Upstream::OnBegin(std::int32_t) {
  fields_.Clear();
  return Took::kYes;
}

Http2Events::Took Http2Upstream::OnField(std::int32_t, std::string_view name, std::string_view value) {
  if (fields_.n_bytes() + name.size() + value.size() > kMaxFieldBytes) return Took::kReset;
  fields_.Add(name, value);
  return Took::kYes;
}

bool Http2Upstream::OnFields(std::int32_t stream, bool ends) {
  Http2Call* const call = CallOf(stream);
  if (owner_ != nullptr && call != nullptr) owner_->OnAppFields(call, fields_, ends);
  return owner_ != nullptr;
}

bool Http2Upstream::OnData(std::int32_t stream, std::string_view bytes) {
  Http2Call* const call = CallOf(stream);
  if (owner_ == nullptr) return false;
  call != nullptr ? owner_->OnAppData(call, bytes) : wire_.Consume(stream, bytes.size());
  return true;
}

bool Http2Upstream::OnEnd(std::int32_t stream) {
  Http2Call* const call = CallOf(stream);
  if (owner_ != nullptr && call != nullptr) owner_->OnAppEnd(call);
  return owner_ != nullptr;
}

void Http2Upstream::OnClosed(std::int32_t stream, std::uint32_t code) {
  Http2Call* const call = CallOf(stream);
  if (owner_ != nullptr && call != nullptr) owner_->OnAppClosed(call, code);
}

ssize_t Http2Upstream::Give(std::int32_t stream, char* room, std::size_t size, std::uint32_t* flags) {
  Http2Call* const call = CallOf(stream);
  if (owner_ == nullptr || call == nullptr) return kGiveUp;
  return owner_->GiveApp(call, room, size, flags);
}

}  // namespace mainspring::front

#endif  // MAINSPRING_HAS_NGHTTP2
