#include "connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace mainspring::front {
namespace {

// Of requests that came while another is at work.
constexpr std::size_t kMaxAhead = std::size_t{64} << 10;
// How long what a client still sends is read and dropped, so that the answer is not lost by a reset.
constexpr std::int64_t kLingerMs = 2000;
// How long an idle connection may still bring a request when the front stops: who asks again at once is
// answered, told that this was the last one, and loses nothing.
constexpr std::int64_t kStopMs = 500;

std::int64_t Millis(double seconds) { return static_cast<std::int64_t>(seconds * 1000); }

}  // namespace

Connection::Connection(Loop* loop, int fd, std::string peer)
    : loop_(loop), fd_(fd), peer_(std::move(peer)), body_(&loop->shared().held_bytes) {}

Connection::~Connection() {
  // First: whoever sees the end finds it counted.
  loop_->shared().connections.fetch_sub(1, std::memory_order_relaxed);
  close(fd_);
}

bool Connection::Open() {
  watched_ = EPOLLIN;
  if (!loop_->Watch(fd_, watched_, this)) return false;
  Await();
  return true;
}

void Connection::OnEvents(std::uint32_t events) {
  if (state_ == State::kClosed) return;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0 || (state_ == State::kPass && (events & EPOLLRDHUP) != 0)) {
    Close();
    return;
  }
  if ((events & EPOLLOUT) != 0) {
    Flush();
    if (state_ == State::kPass) exchange_->Update();
    if (state_ == State::kHead && !in_.empty() && has_room()) Resume();
  }
  if ((events & EPOLLIN) != 0 && state_ != State::kClosed) Read();
}

void Connection::Abort() {
  if (state_ != State::kClosed) Close();
}

void Connection::Resume() {
  if (state_ == State::kClosed) return;
  Consume({});
}

void Connection::Read() {
  if (state_ == State::kBody) return ReadBody();
  std::vector<char>& buffer = loop_->read_buffer;
  const ssize_t n = recv(fd_, buffer.data(), buffer.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n < 0 || (n == 0 && state_ != State::kHead)) return Close();
  if (state_ == State::kLinger) return;
  is_end_ = n == 0;
  Consume({buffer.data(), static_cast<std::size_t>(n)});
}

void Connection::ReadBody() {
  const ssize_t n = recv(fd_, body_.end(), body_.missing(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return Close();
  body_.Fill(static_cast<std::size_t>(n));
  if (body_.missing() > 0) return Update();
  Collected();
  // Requests behind the body are read after it: none is waiting.
  if (state_ != State::kClosed) Flush();
}

void Connection::Consume(std::string_view bytes) {
  std::string held;
  if (!in_.empty()) {
    in_.append(bytes);
    held.swap(in_);
    bytes = held;
  }
  std::size_t n_requests = 0;
  while (state_ == State::kHead && ConsumeHead(&bytes, &n_requests)) {
  }
  if (state_ == State::kPass && !exchange_->is_request_done()) {
    if (exchange_->Feed(&bytes, kMaxWaiting)) {
      exchange_->Flush();
    } else if (exchange_->has_begun_answer()) {
      return Close();  // a second answer would be taken for a part of the first
    } else {
      Refuse(BadRequest(400, "its chunked body is malformed"));
    }
  }
  if (state_ == State::kClosed) return;
  if (state_ == State::kHead && closes_) bytes = {};
  in_.assign(bytes);
  if (state_ == State::kPass) exchange_->EndIfDrained();
  if (state_ == State::kClosed) return;
  // Nothing will come that could complete what is left.
  if (is_end_ && state_ == State::kHead && !is_later && has_room()) closes_ = true;
  Flush();
}

void Connection::OnAnswered(bool is_reusable) {
  if (!exchange_->is_request_done()) closes_ = lingers_ = true;
  if (is_reusable) {
    loop_->ReturnExchange(std::move(exchange_));
  } else {
    loop_->Discard(std::move(exchange_));
  }
  state_ = State::kHead;
  wait_ = Wait::kNone;
  if (!in_.empty()) loop_->Later(this);
  Flush();
}

void Connection::OnUpstreamFailed(const Refusal& refusal) {
  loop_->counts().upstream_failures.Add(1);
  if (exchange_->has_begun_answer()) return Close();
  Refuse(refusal);
  Flush();
}

void Connection::Flush() {
  while (sent_ < out_.size()) {
    const ssize_t n = send(fd_, out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (n > 0) {
      sent_ += static_cast<std::size_t>(n);
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return Close();
    }
  }
  if (sent_ == out_.size()) {
    out_.clear();
    sent_ = 0;
    if (out_.capacity() > kMaxAhead) std::string().swap(out_);
    if (state_ == State::kHead && closes_) return lingers_ ? Linger() : Close();
  } else if (sent_ > kMaxAhead) {
    out_.erase(0, sent_);
    sent_ = 0;
  }
  Update();
}

void Connection::Linger() {
  state_ = State::kLinger;
  std::string().swap(in_);
  shutdown(fd_, SHUT_WR);
  Update();
}

void Connection::Close() {
  DropExchange();
  body_.Clear();
  state_ = State::kClosed;
  loop_->Discard(this);
}

// Asks for the events that matter now.
void Connection::Update() {
  std::uint32_t events = 0;
  switch (state_) {
    case State::kHead:
      if (!closes_ && !is_end_ && !is_later && has_room()) events = EPOLLIN;
      break;
    case State::kBody:
    case State::kLinger:
      events = EPOLLIN;
      break;
    case State::kPass:
      events = EPOLLRDHUP;
      if (exchange_->is_request_done() ? in_.size() < kMaxAhead : exchange_->has_room()) events |= EPOLLIN;
      break;
    case State::kClosed:
      return;
  }
  if (sent_ < out_.size()) events |= EPOLLOUT;
  if (events != watched_) loop_->Rewatch(fd_, watched_ = events, this);
  Await();
}

// What is waited for now, and until when.
void Connection::Await() {
  const FrontOptions& options = loop_->options();
  Wait wait = in_.empty() ? Wait::kIdle : Wait::kHead;
  std::int64_t millis = Millis(in_.empty() ? options.idle_seconds : options.head_seconds);
  bool restarts = false;  // with every byte; else it is for the whole
  if (state_ == State::kLinger) {
    wait = Wait::kLinger;
    millis = kLingerMs;
  } else if (sent_ < out_.size()) {
    wait = Wait::kWrite;
    millis = Millis(options.write_seconds);
    restarts = true;
  } else if (state_ == State::kBody ||
             (state_ == State::kPass && !exchange_->is_request_done() && exchange_->has_room())) {
    wait = Wait::kBody;
    millis = Millis(options.body_seconds);
    restarts = true;
  } else if (state_ == State::kPass) {
    wait = Wait::kAnswer;
    millis = Millis(options.answer_seconds);
    restarts = true;
  }
  if (wait != wait_ || restarts) deadline_ms_ = loop_->now_ms() + millis;
  wait_ = wait;
}

void Connection::OnSweep() {
  if (state_ == State::kClosed || loop_->now_ms() < deadline_ms_) return;
  const FrontOptions& options = loop_->options();
  if (wait_ != Wait::kIdle && wait_ != Wait::kLinger) loop_->counts().timed_out.Add(1);
  const bool has_begun = state_ == State::kPass && exchange_->has_begun_answer();
  switch (wait_) {
    case Wait::kHead:
      is_v2_ = is_head_method_ = false;
      request_id_ = loop_->MakeRequestId();
      Refuse(HeadTooSlow(options.head_seconds));
      std::string().swap(in_);
      return Flush();
    case Wait::kBody:
      if (has_begun) return Close();
      Refuse(BodyTooSlow(options.body_seconds));
      return Flush();
    case Wait::kAnswer:
      return OnUpstreamFailed(AppTooSlow(options.answer_seconds));
    case Wait::kNone:
    case Wait::kIdle:
    case Wait::kWrite:
    case Wait::kLinger:
      return Close();
  }
}

void Connection::OnStop() {
  if (wait_ == Wait::kIdle) deadline_ms_ = std::min(deadline_ms_, loop_->now_ms() + kStopMs);
}

}  // namespace mainspring::front
