// What a connection does with a gRPC call: answers it here, collects its message, or passes it on.

#include "http2_connection.h"

#if MAINSPRING_HAS_NGHTTP2

#include <utility>

#include "admission.h"
#include "grpc_message.h"

namespace mainspring::front {
namespace {

constexpr std::string_view kInfer = "/inference.GRPCInferenceService/ModelInfer";
constexpr std::string_view kContentType = "application/grpc";

// As grpc.aio begins and ends an answer.
const Http2Field kAnswerFields[] = {
    {":status", "200"},
    {"content-type", kContentType},
    {"grpc-accept-encoding", "identity, deflate, gzip"},
};

// The value of a field that may be there once. False: it is there more often.
bool AtMostOnce(const RequestHead& head, std::string_view name, bool* is_there, std::string_view* value) {
  int times = 0;
  *value = head.Only(name, &times);
  *is_there = times > 0;
  return times < 2;
}

bool IsThere(const RequestHead& head, std::string_view name) {
  int times = 0;
  (void)head.Only(name, &times);
  return times > 0;
}

// Whether a call may be for us: an infer request, not compressed, and nothing that only the app knows. All
// that the app does not look at, we do not either.
bool ReadGrpcHead(const RequestHead& head, AskedHead* asked, double* timeout_seconds) {
  *asked = {};
  asked->path = head.target;
  *timeout_seconds = 0;
  if (head.method != "POST" || head.target != kInfer) return false;
  bool is_there = false;
  std::string_view value;
  if (!AtMostOnce(head, "content-type", &is_there, &value) ||
      (value != kContentType && value != "application/grpc+proto")) {
    return false;
  }
  if (!AtMostOnce(head, "te", &is_there, &value) || value != "trailers") return false;
  if (!AtMostOnce(head, "grpc-encoding", &is_there, &value) || (is_there && value != "identity"))
    return false;
  if (!AtMostOnce(head, "grpc-timeout", &is_there, &value)) return false;
  if (is_there && !ReadGrpcTimeout(value, timeout_seconds)) return false;
  if (is_there && *timeout_seconds == 0) return false;  // it has passed
  if (!AtMostOnce(head, "x-request-id", &is_there, &value)) return false;
  if (is_there && IsRequestId(value)) asked->request_id = value;
  return !IsThere(head, "x-mainspring-role") && !IsThere(head, "x-mainspring-bundle");
}

// The model that a message names first, where that much of it is there. False: it cannot be told yet, or not
// so easily.
bool ReadModelAhead(std::string_view framed, std::string_view* model) {
  constexpr std::size_t kAt = kMessagePrefix + 2;
  if (framed.size() < kAt || framed[kMessagePrefix] != '\x0a') return false;
  const auto size = static_cast<unsigned char>(framed[kAt - 1]);
  if (size >= 0x80 || framed.size() < kAt + size) return false;
  *model = framed.substr(kAt, size);
  return true;
}

// Who answers for a model; nullptr: nobody here. Its paths are those of HTTP.
const Answering* FindModel(const PathTable& paths, std::string_view model, std::string_view version,
                           std::string* scratch) {
  if (model.find('/') != std::string_view::npos || version.find('/') != std::string_view::npos)
    return nullptr;
  scratch->assign("/v2/models/").append(model);
  if (!version.empty()) scratch->append("/versions/").append(version);
  return paths.Find(scratch->append("/infer"));
}

}  // namespace

// The call's fields as those of an HTTP/1.1 request, for whoever reads either. Valid until the next one.
const RequestHead& Http2Connection::HeadOf(const Http2Call& call) {
  RequestHead& head = loop_->request_head;
  head.method = head.target = {};
  head.fields.clear();
  call.fields.ForEach([&](std::string_view name, std::string_view value) {
    if (name == ":method") head.method = value;
    if (name == ":path") head.target = value;
    if (name.substr(0, 1) != ":") head.fields.push_back({name, value});
  });
  return head;
}

void Http2Connection::Route(Http2Call* call) {
  const RequestHead& head = HeadOf(*call);
  const InForce& in_force = loop_->in_force();
  AskedHead asked;
  const bool is_ours =
      !call->is_asked && ReadGrpcHead(head, &asked, &call->timeout_seconds) &&
      call->tracing.Begin(head, in_force.trace_share, &loop_->trace_ids) &&
      KnowCaller(head, FrontScope::kPredict, *in_force.callers, call->tracing.is_sampled, &asked);
  if (!is_ours) return Pass(call);
  call->state = Http2Call::State::kCollect;
}

void Http2Connection::Collect(Http2Call* call, std::string_view bytes) {
  const bool is_first = call->to_app.size() == 0;
  call->to_app.Add(bytes);
  if (call->to_app.size() > loop_->options().max_body_bytes + kMessagePrefix) return Pass(call);
  std::string_view model;
  // A large message for a model that is not here should not wait here until it is whole.
  if (is_first && ReadModelAhead(*call->to_app.bytes(), &model)) {
    std::string& path = loop_->scratch.body;
    const PathTable& paths = loop_->in_force().paths;
    if (!paths.HasPrefix(path.assign("/v2/models/").append(model).append("/"))) Pass(call);
  }
}

void Http2Connection::Collected(Http2Call* call) {
  if (!AnswerHere(call)) Pass(call);
}

bool Http2Connection::AnswerHere(Http2Call* call) {
  std::string_view message;
  GrpcInfer infer;
  if (!ReadOnlyMessage(*call->to_app.bytes(), &message) || !ReadGrpcInfer(message, &infer)) return false;
  Scratch& scratch = loop_->scratch;
  const InForce& in_force = loop_->in_force();
  const Answering* const found = FindModel(in_force.paths, infer.model, infer.version, &scratch.body);
  if (found == nullptr) return false;
  const RequestHead& head = HeadOf(*call);
  AskedHead asked;
  double timeout = 0;
  MadeAnswer answer;
  // Who asks is told again: a key may have been revoked while the message came. What comes too late is the
  // app's to refuse.
  const bool may = ReadGrpcHead(head, &asked, &timeout) &&
                   KnowCaller(head, found->door().scope, *in_force.callers,
                              call->tracing.is_sampled || found->charges_callers(), &asked) &&
                   (timeout == 0 || static_cast<double>(loop_->now_ms() - call->arrived_ms) < timeout * 1e3);
  bool is_answered = false;
  if (may) {
    Taken taken(*in_force.callers, found->door(), asked.caller.name);
    scratch.request_id.assign(asked.request_id);
    if (scratch.request_id.empty()) loop_->AppendRequestId(&scratch.request_id);
    scratch.body.clear();
    is_answered = taken.is_taken() && found->AnswerGrpc(infer, loop_->index(), &scratch, &answer);
    if (is_answered) taken.Answered(answer.rows);
  }
  // An answer that finds no room is made once more by the app, which waits for it.
  if (is_answered) is_answered = Hold(call, scratch.body.size());
  if (!is_answered) {
    found->counts(loop_->index()).passed_on.Add(1);
    return false;
  }
  loop_->counts().answered.Add(1);
  if (call->tracing.is_sampled) loop_->KeepSpan(call->tracing, std::string(asked.path), asked, answer);
  Release(call, call->to_app.size());
  call->to_app.Clear();
  call->to_client.Add(scratch.body);
  scratch.Trim();
  call->trailers.Add("grpc-status", "0");
  call->state = Http2Call::State::kAnswer;
  call->is_answered = true;
  sending_.assign(std::begin(kAnswerFields), std::end(kAnswerFields));
  if (!wire_.Answer(call->id, sending_, true)) wire_.Reset(call->id, NGHTTP2_INTERNAL_ERROR);
  return true;
}

// In the words of HTTP, as gRPC says them.
void Http2Connection::Refuse(Http2Call* call, const Refusal& refusal) {
  loop_->counts().refused.Add(1);
  Release(call, call->to_app.size());
  call->to_app.Clear();
  call->state = Http2Call::State::kAnswer;
  call->has_fields = call->is_answered = true;
  sending_ = {{":status", "200"},
              {"content-type", kContentType},
              {"grpc-status", "14"},  // UNAVAILABLE
              {"grpc-message", refusal.message},
              {"x-error-code", refusal.code}};
  if (!wire_.Answer(call->id, sending_, false)) wire_.Reset(call->id, NGHTTP2_INTERNAL_ERROR);
}

}  // namespace mainspring::front

#endif  // MAINSPRING_HAS_NGHTTP2
