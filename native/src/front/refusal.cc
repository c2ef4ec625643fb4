#include "refusal.h"

#include <algorithm>
#include <cstddef>

namespace mainspring::front {
namespace {

struct Kind {
  const char* code;
  const char* kind;
  bool is_retryable;
};

constexpr Kind kKinds[] = {{"invalid_request", "rejected", false},
                           {"overloaded", "busy", true},
                           {"dependency_down", "unavailable", true},
                           {"deadline_exceeded", "unavailable", true}};

const Kind& KindOf(std::string_view code) {
  for (const Kind& kind : kKinds) {
    if (kind.code == code) return kind;
  }
  return kKinds[0];
}

std::string Whole(double seconds) { return std::to_string(static_cast<long>(seconds + 0.5)); }

std::string Problem(const Refusal& refusal, std::string_view request_id) {
  const Kind& kind = KindOf(refusal.code);
  std::string title = refusal.code;
  std::replace(title.begin(), title.end(), '_', ' ');
  std::string body =
      R"({"type":"urn:mainspring:error:)" + std::string(refusal.code) + R"(","title":")" + title;
  body += R"(","status":)" + std::to_string(refusal.status) + R"(,"detail":")" + refusal.message;
  body += R"(","code":")" + std::string(refusal.code) + R"(","kind":")" + kind.kind;
  body += R"(","message":")" + refusal.message + R"(","retryable":)" + (kind.is_retryable ? "true" : "false");
  body += R"(,"details":{")" + std::string(refusal.detail) + "\":" + refusal.detail_value;
  body += R"(},"request_id":")";
  return body.append(request_id).append("\"}");
}

}  // namespace

Refusal BadRequest(int status, std::string_view why) {
  return {status, "invalid_request", "request is not usable: " + std::string(why) + "; correct it", "field",
          "\"head\""};
}

Refusal HeadTooLarge(std::size_t limit) {
  return {431, "invalid_request",
          "the head of the request is larger than " + std::to_string(limit) +
              " bytes; send fewer or shorter fields",
          "field", "\"head\""};
}

Refusal HeadTooSlow(double seconds) {
  return {408, "invalid_request",
          "the head of the request did not come within " + Whole(seconds) + " s; send it at once", "field",
          "\"head\""};
}

Refusal BodyTooSlow(double seconds) {
  return {408, "invalid_request",
          "no more of the body came for " + Whole(seconds) + " s; send it without a pause", "field",
          "\"body\""};
}

Refusal TooManyConnections() {
  return {503, "overloaded", "too many connections are open; try again in 1 s", "retry_after_seconds", "1.0"};
}

Refusal AppDown() {
  return {503, "dependency_down",
          "the app behind the front does not listen; it is starting, stopping or broken: try again", "name",
          "\"app\""};
}

Refusal AppBroke() {
  return {502, "dependency_down",
          "the app behind the front gave no answer that HTTP knows; see its log, then try again", "name",
          "\"app\""};
}

Refusal AppTooSlow(double seconds) {
  return {504, "deadline_exceeded",
          "the app behind the front gave nothing for " + Whole(seconds) + " s; send less or try again",
          "stage", "\"app\""};
}

void AppendRefusal(const Refusal& refusal, bool is_v2, bool is_head, std::string_view request_id,
                   std::string_view date, std::string* out) {
  const std::string body = is_v2 ? R"({"error":")" + refusal.message + "\"}" : Problem(refusal, request_id);
  out->append("HTTP/1.1 ")
      .append(std::to_string(refusal.status))
      .append(" ")
      .append(ReasonOf(refusal.status));
  out->append("\r\ndate: ").append(date).append("\r\ncontent-type: ");
  out->append(is_v2 ? "application/json" : "application/problem+json");
  out->append("\r\ncontent-length: ").append(std::to_string(body.size()));
  out->append("\r\nx-error-code: ").append(refusal.code);
  if (KindOf(refusal.code).is_retryable) out->append("\r\nretry-after: 1");
  out->append("\r\nx-request-id: ").append(request_id).append("\r\nconnection: close\r\n\r\n");
  if (!is_head) out->append(body);
}

std::string_view ReasonOf(int status) {
  switch (status) {
    case 400:
      return "Bad Request";
    case 408:
      return "Request Timeout";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Error";
  }
}

}  // namespace mainspring::front
