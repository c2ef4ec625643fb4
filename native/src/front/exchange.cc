#include "exchange.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "connection.h"
#include "refusal.h"

namespace mainspring::front {
namespace {

constexpr std::size_t kMaxAnswerHead = std::size_t{64} << 10;

void AppendField(std::string_view name, std::string_view value, std::string* out) {
  out->append(name).append(": ").append(value).append("\r\n");
}

bool Is(const Field& field, std::string_view lower) { return EqualsIgnoringCase(field.name, lower); }

}  // namespace

Exchange::Exchange(Loop* loop, int fd) : loop_(loop), fd_(fd) {}

Exchange::~Exchange() { close(fd_); }

bool Exchange::Open() { return loop_->Watch(fd_, watched_ = EPOLLIN, this); }

bool Exchange::IsAlive() const {
  char byte;
  return recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void Exchange::OnEvents(std::uint32_t events) {
  if (connection_ == nullptr) {
    // An idle one that the app closed; any other was given up already.
    if (state_ == State::kIdle) loop_->DropIdle(this);
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    Flush();
    if (connection_->has_waiting_body() && !is_request_done_) {
      connection_->Resume();
    } else {
      connection_->Update();
    }
    if (connection_ == nullptr) return;
  }
  // What the app left before it closed is bounded by the socket: it is read whether there is room or not.
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) ReadAnswer();
}

void Exchange::Abort() {
  if (connection_ != nullptr) connection_->Close();
}

void Exchange::Begin(Connection* connection, const RequestHead& head, const PassedOn& how) {
  connection_ = connection;
  state_ = State::kHead;
  is_write_broken_ = false;
  is_head_ = head.method == "HEAD";
  is_old_client_ = head.minor == 0;
  is_request_chunked_ = head.framing.is_chunked;
  expects_continue_ = head.expects_continue && !how.drops_expect;
  request_left_ = head.framing.length;
  request_chunks_ = {};
  is_request_done_ = !head.framing.has_body();
  seen_ = 0;

  out_.append(head.method).append(" ").append(head.target).append(" HTTP/1.1\r\n");
  std::string forwarded;
  bool has_host = false;
  for (const Field& field : head.fields) {
    if (Is(field, "x-forwarded-for")) {
      forwarded.append(field.value).append(", ");
      continue;
    }
    if (IsHopByHop(field, head.fields) || Is(field, "content-length")) continue;
    if (how.sends_id && Is(field, "x-request-id")) continue;
    if (how.drops_expect && Is(field, "expect")) continue;
    has_host = has_host || Is(field, "host");
    AppendField(field.name, field.value, &out_);
  }
  if (!has_host) AppendField("host", "localhost", &out_);
  AppendField("x-forwarded-for", forwarded.append(how.peer), &out_);
  if (how.sends_id) AppendField("x-request-id", how.request_id, &out_);
  if (head.framing.is_chunked) {
    AppendField("transfer-encoding", "chunked", &out_);
  } else if (head.framing.has_length) {
    AppendField("content-length", std::to_string(head.framing.length), &out_);
  }
  out_.append("\r\n");
}

bool Exchange::Feed(std::string_view* bytes, std::size_t limit) {
  while (!is_request_done_ && !bytes->empty()) {
    const std::size_t waiting = out_.size() - sent_;
    if (waiting >= std::max(limit, kMaxWaiting)) break;
    std::string_view piece;
    if (is_request_chunked_) {
      piece = request_chunks_.Next(bytes);
      AppendChunk(piece, &out_);
      if (request_chunks_.is_bad()) return false;
      is_request_done_ = request_chunks_.is_done();
      if (is_request_done_) out_.append(kLastChunk);
    } else {
      piece =
          bytes->substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(request_left_, bytes->size())));
      bytes->remove_prefix(piece.size());
      out_.append(piece);
      request_left_ -= piece.size();
      is_request_done_ = request_left_ == 0;
    }
  }
  return true;
}

void Exchange::Flush() {
  while (sent_ < out_.size() && !is_write_broken_) {
    const ssize_t n = send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (n > 0) {
      sent_ += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      // It may have answered before it closed: what is there to read decides.
      is_write_broken_ = true;
    }
  }
  if (sent_ == out_.size() || is_write_broken_) {
    out_.clear();
    sent_ = 0;
    if (out_.capacity() > kMaxWaiting) std::string().swap(out_);
  } else if (sent_ > kMaxWaiting / 2) {
    out_.erase(0, sent_);
    sent_ = 0;
  }
  Update();
}

void Exchange::Update() {
  std::uint32_t events = 0;
  if (connection_ == nullptr || connection_->has_room()) events |= EPOLLIN;
  if (sent_ < out_.size()) events |= EPOLLOUT;
  if (events != watched_) loop_->Rewatch(fd_, watched_ = events, this);
}

void Exchange::ReadAnswer() {
  std::vector<char>& buffer = loop_->read_buffer;
  const ssize_t n = recv(fd_, buffer.data(), buffer.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return Ended();
  TakeAnswer({buffer.data(), static_cast<std::size_t>(n)});
}

void Exchange::TakeAnswer(std::string_view bytes) {
  std::string held;
  if (!in_.empty()) {
    in_.append(bytes);
    held.swap(in_);
    bytes = held;
  }
  while (connection_ != nullptr && !bytes.empty() && state_ != State::kDrain) {
    if (!(state_ == State::kHead ? TakeHead(&bytes) : TakeBody(&bytes))) break;
  }
  if (connection_ == nullptr) return;
  if (state_ == State::kDrain && !bytes.empty()) {
    is_clean_ = false;
    bytes = {};
  }
  in_.assign(bytes);
  connection_->Flush();
  if (connection_ != nullptr) Update();
}

// False: it is not all there, or the answer is over.
bool Exchange::TakeHead(std::string_view* bytes) {
  ResponseHead& head = loop_->response_head;
  BadHead bad;
  const Parsed parsed = ReadResponseHead(*bytes, &seen_, &head, &bad);
  if (parsed == Parsed::kMore && bytes->size() <= kMaxAnswerHead) return false;
  if (parsed != Parsed::kDone || head.status == 101) {
    connection_->OnUpstreamFailed(AppBroke());
    return false;
  }
  seen_ = 0;
  bytes->remove_prefix(head.size);
  if (head.status < 200) {
    if (!is_old_client_) AppendHead(head, connection_->out());
    return true;
  }
  BeginBody(head);
  if (ends_ != Ends::kNow) return true;
  End(bytes->empty());
  return false;
}

void Exchange::BeginBody(const ResponseHead& head) {
  state_ = State::kBody;
  may_reuse_ = !head.wants_close;
  answer_left_ = head.framing.length;
  answer_chunks_ = {};
  if (is_head_ || head.status == 204 || head.status == 304) {
    ends_ = Ends::kNow;
  } else if (head.framing.is_chunked) {
    ends_ = Ends::kChunks;
  } else if (head.framing.has_length) {
    ends_ = head.framing.length == 0 ? Ends::kNow : Ends::kLength;
  } else {
    ends_ = Ends::kClose;
    may_reuse_ = false;
  }
  writes_chunks_ = !is_old_client_ && (ends_ == Ends::kChunks || ends_ == Ends::kClose);
  if (loop_->is_stopping() || (!is_request_done_ && !drains())) connection_->CloseAfterAnswer();
  AppendHead(head, connection_->out());
}

void Exchange::AppendHead(const ResponseHead& head, std::string* out) const {
  out->append("HTTP/1.1 ").append(std::to_string(head.status)).append(" ").append(head.reason).append("\r\n");
  for (const Field& field : head.fields) {
    if (!IsHopByHop(field, head.fields)) AppendField(field.name, field.value, out);
  }
  if (head.status >= 200) {
    if (writes_chunks_) AppendField("transfer-encoding", "chunked", out);
    if (connection_->closes()) AppendField("connection", "close", out);
  }
  out->append("\r\n");
}

// False: the answer is over.
bool Exchange::TakeBody(std::string_view* bytes) {
  if (ends_ == Ends::kChunks) {
    Relay(answer_chunks_.Next(bytes));
    if (answer_chunks_.is_bad()) return connection_->Close(), false;
    if (!answer_chunks_.is_done()) return true;
    if (writes_chunks_) connection_->out()->append(kLastChunk);
    return End(bytes->empty()), false;
  }
  std::size_t n = bytes->size();
  if (ends_ == Ends::kLength) n = static_cast<std::size_t>(std::min<std::uint64_t>(n, answer_left_));
  Relay(bytes->substr(0, n));
  bytes->remove_prefix(n);
  answer_left_ -= n;
  if (ends_ != Ends::kLength || answer_left_ > 0) return true;
  return End(bytes->empty()), false;
}

void Exchange::Relay(std::string_view data) {
  if (writes_chunks_) {
    AppendChunk(data, connection_->out());
  } else {
    connection_->out()->append(data);
  }
}

// `is_clean`: nothing came behind the answer.
void Exchange::End(bool is_clean) {
  if (drains() && !connection_->closes()) {
    state_ = State::kDrain;
    is_clean_ = is_clean;
    return;
  }
  const bool is_reusable = may_reuse_ && is_clean && is_request_done_ && out_.empty() && !is_write_broken_;
  Connection* const connection = std::exchange(connection_, nullptr);
  state_ = is_reusable ? State::kIdle : State::kGone;
  connection->OnAnswered(is_reusable);
}

void Exchange::EndIfDrained() {
  if (state_ == State::kDrain && is_request_done_) End(is_clean_);
}

void Exchange::Ended() {
  if (state_ == State::kHead) return connection_->OnUpstreamFailed(AppBroke());
  if (state_ == State::kDrain) {
    connection_->CloseAfterAnswer();
    return End(false);
  }
  if (ends_ != Ends::kClose) return connection_->Close();
  if (writes_chunks_) connection_->out()->append(kLastChunk);
  End(false);
}

}  // namespace mainspring::front
