// What a connection does with a request: answers it here, collects its body, passes it on, or refuses it.

#include <algorithm>
#include <utility>

#include "admission.h"
#include "connection.h"

namespace mainspring::front {
namespace {

// Small bodies are not counted: a head's worth of memory each connection may have anyway.
constexpr std::size_t kCountedBytes = std::size_t{16} << 10;

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

// A path that is answered here, as the app knows it: only colons are coded in some.
std::string Decoded(std::string_view path) {
  std::string decoded(path);
  if (const std::size_t at = decoded.find("%3A"); at != std::string::npos) decoded.replace(at, 3, ":");
  return decoded;
}

}  // namespace

bool CollectedBody::Begin(std::size_t size, std::size_t aligned, std::size_t limit) {
  Clear();
  const std::size_t counted = size >= kCountedBytes ? size : 0;
  if (held_->fetch_add(counted, std::memory_order_relaxed) + counted > limit && counted > 0) {
    held_->fetch_sub(counted, std::memory_order_relaxed);
    return false;
  }
  counted_ = counted;
  memory_.reset(new char[size + 64]);
  const auto at = reinterpret_cast<std::uintptr_t>(memory_.get()) + aligned;
  begin_ = memory_.get() + (64 - at % 64) % 64;
  size_ = size;
  return true;
}

void CollectedBody::Clear() {
  held_->fetch_sub(counted_, std::memory_order_relaxed);
  memory_.reset();
  begin_ = nullptr;
  size_ = filled_ = counted_ = 0;
}

// One request from the front of `*bytes`. False: there is none, or this is not the time for it.
bool Connection::ConsumeHead(std::string_view* bytes, std::size_t* n_requests) {
  if (closes_ || bytes->empty() || !has_room()) return false;
  if (*n_requests == loop_->options().max_pipelined) {
    loop_->Later(this);
    return false;
  }
  RequestHead& head = loop_->request_head;
  BadHead bad;
  const Parsed parsed = ReadRequestHead(*bytes, &seen_, &head, &bad);
  const std::size_t limit = loop_->options().max_head_bytes;
  if (parsed == Parsed::kMore && bytes->size() <= limit) return false;
  seen_ = 0;
  if (parsed == Parsed::kDone && head.size <= limit) {
    ++*n_requests;
    wait_ = Wait::kNone;  // the next one's time begins anew
    const std::string_view head_bytes = bytes->substr(0, head.size);
    bytes->remove_prefix(head.size);
    Route(head, head_bytes, bytes);
    return true;
  }
  is_v2_ = is_head_method_ = false;
  request_id_ = loop_->MakeRequestId();
  Refuse(parsed == Parsed::kBad ? BadRequest(bad.status, bad.why) : HeadTooLarge(limit));
  return false;
}

void Connection::Route(const RequestHead& head, std::string_view head_bytes, std::string_view* rest) {
  closes_ = head.wants_close || loop_->is_stopping();
  if (head.method == "POST" && head.framing.has_length) {
    const InForce& in_force = loop_->in_force();
    if (const Answering* const found = in_force.paths.Find(head.target)) {
      const auto length = head.framing.length;
      arrived_ms_ = loop_->now_ms();
      AskedHead asked;
      if (tracing_.Begin(head, in_force.trace_share, &loop_->trace_ids) &&
          LetIn(head, found->door(), *in_force.callers, IsTold(*found), &asked)) {
        if (length > rest->size()) {
          if (Collect(head, asked, head_bytes, rest)) return;
        } else if (AnswerHere(*found, *in_force.callers, asked,
                              rest->substr(0, static_cast<std::size_t>(length)))) {
          rest->remove_prefix(static_cast<std::size_t>(length));
          return;
        }
      }
      found->counts(loop_->index()).passed_on.Add(1);
    }
  }
  Pass(head, rest, false);
}

// Begins to collect a body that is not all here. False: it is too large, and streams to the app.
bool Connection::Collect(const RequestHead& head, const AskedHead& asked, std::string_view head_bytes,
                         std::string_view* rest) {
  const FrontOptions& options = loop_->options();
  if (head.framing.length > options.max_body_bytes) return false;
  const auto size = static_cast<std::size_t>(head.framing.length);
  const std::size_t aligned = static_cast<std::size_t>(std::min<std::uint64_t>(asked.json_length, size));
  if (!body_.Begin(size, aligned, options.max_held_bytes)) return false;
  rest->copy(body_.end(), rest->size());
  body_.Fill(rest->size());
  rest->remove_prefix(rest->size());
  held_head_.assign(head_bytes);
  NoteRequest(head);
  if (head.expects_continue) out_.append(kContinue);
  state_ = State::kBody;
  return true;
}

void Connection::Collected() {
  RequestHead& head = loop_->request_head;
  BadHead bad;
  std::size_t seen = 0;
  (void)ReadRequestHead(held_head_, &seen, &head, &bad);  // it was good before
  state_ = State::kHead;
  wait_ = Wait::kNone;
  AskedHead asked;
  std::string_view body = body_.view();
  // Who asks is told again: a key may have been revoked while the body came.
  const InForce& in_force = loop_->in_force();
  const Answering* const found = in_force.paths.Find(head.target);
  const bool is_answered = found != nullptr &&
                           LetIn(head, found->door(), *in_force.callers, IsTold(*found), &asked) &&
                           AnswerHere(*found, *in_force.callers, asked, body);
  if (!is_answered) {
    if (found != nullptr) found->counts(loop_->index()).passed_on.Add(1);
    Pass(head, &body, true);
  }
  body_.Clear();
  if (held_head_.capacity() > kCountedBytes) std::string().swap(held_head_);
}

bool Connection::IsTold(const Answering& answering) const {
  return tracing_.is_sampled || answering.charges_callers();
}

bool Connection::AnswerHere(const Answering& answering, const Callers& callers, const AskedHead& asked,
                            std::string_view body) {
  // What comes too late is the app's to refuse.
  if (asked.deadline_ms > 0 && static_cast<double>(loop_->now_ms() - arrived_ms_) >= asked.deadline_ms) {
    return false;
  }
  Taken taken(callers, answering.door(), asked.caller.name);
  if (!taken.is_taken()) return false;
  Scratch& scratch = loop_->scratch;
  scratch.request_id.assign(asked.request_id);
  if (scratch.request_id.empty()) loop_->AppendRequestId(&scratch.request_id);
  MadeAnswer answer;
  const bool is_answered = answering.Answer(asked, body, loop_->index(), &scratch, &answer);
  if (is_answered) {
    taken.Answered(answer.rows);
    loop_->counts().answered.Add(1);
    out_.append("HTTP/1.1 200 OK\r\ndate: ").append(loop_->date());
    if (answer.is_binary) {
      out_.append("\r\ncontent-type: application/octet-stream\r\ninference-header-content-length: ");
      out_.append(std::to_string(answer.json_length));
    } else {
      out_.append("\r\ncontent-type: application/json");
    }
    out_.append("\r\ncontent-length: ").append(std::to_string(scratch.body.size()));
    out_.append("\r\nx-request-id: ").append(scratch.request_id);
    out_.append(closes_ ? "\r\nconnection: close\r\n\r\n" : "\r\n\r\n").append(scratch.body);
  }
  if (is_answered && tracing_.is_sampled) loop_->KeepSpan(tracing_, Decoded(asked.path), asked, answer);
  scratch.Trim();
  return is_answered;
}

// Gives the request to the app, with what is there of its body. `is_whole`: all of it, and it will not come
// again.
void Connection::Pass(const RequestHead& head, std::string_view* body, bool is_whole) {
  NoteRequest(head);
  exchange_ = loop_->TakeExchange();
  if (exchange_ == nullptr) {
    loop_->counts().upstream_failures.Add(1);
    return Refuse(AppDown());
  }
  loop_->counts().passed.Add(1);
  state_ = State::kPass;
  exchange_->Begin(this, head, {peer_, request_id_, sends_id_, is_whole});
  if (!exchange_->Feed(body, is_whole ? body->size() : kMaxWaiting)) {
    return Refuse(BadRequest(400, "its chunked body is malformed"));
  }
  exchange_->Flush();
}

void Connection::NoteRequest(const RequestHead& head) {
  int times = 0;
  const std::string_view id = head.Only("x-request-id", &times);
  is_v2_ = head.target == "/v2" || head.target.substr(0, 4) == "/v2/";
  is_head_method_ = head.method == "HEAD";
  // Two ids are the app's to choose from.
  sends_id_ = times == 0 || (times == 1 && !IsRequestId(id));
  request_id_.clear();
  times == 1 && IsRequestId(id) ? (void)request_id_.append(id) : loop_->AppendRequestId(&request_id_);
}

void Connection::Refuse(const Refusal& refusal) {
  DropExchange();
  body_.Clear();
  loop_->counts().refused.Add(1);
  AppendRefusal(refusal, is_v2_, is_head_method_, request_id_, loop_->date(), &out_);
  state_ = State::kHead;
  closes_ = lingers_ = true;
}

void Connection::DropExchange() {
  if (exchange_ == nullptr) return;
  exchange_->Leave();
  loop_->Discard(std::move(exchange_));
}

}  // namespace mainspring::front
