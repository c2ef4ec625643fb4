// Heads of HTTP/1.1 messages, read strictly (RFC 9112). Whatever two readers could understand differently is
// refused, for a front and the server behind it must never disagree on where a request ends.

#ifndef MAINSPRING_SRC_FRONT_HTTP_HEAD_H_
#define MAINSPRING_SRC_FRONT_HTTP_HEAD_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace mainspring::front {

inline constexpr std::size_t kMaxFields = 100;

// One header field as it was sent; the value without the blanks around it.
struct Field {
  std::string_view name, value;
};

enum class Parsed { kMore, kDone, kBad };

// Why a head is refused, and what its sender learns.
struct BadHead {
  int status = 400;
  const char* why = "";  // reads after "request is not usable: "
};

// How a message ends.
struct Framing {
  bool has_length = false, is_chunked = false;
  std::uint64_t length = 0;

  bool has_body() const { return is_chunked || length > 0; }
};

// Views of the bytes it was read from; valid as long as they are. Used again, it keeps its room for fields.
struct RequestHead {
  std::string_view method, target;
  int minor = 1;  // of HTTP/1.x
  std::vector<Field> fields;
  Framing framing;
  bool wants_close = false;       // Connection: close, or HTTP/1.0
  bool expects_continue = false;  // Expect: 100-continue
  std::size_t size = 0;           // bytes, with the blank line

  // The value of the only field of this name (lower case). `*times` counts how often it is there.
  std::string_view Only(std::string_view name, int* times) const;
};

struct ResponseHead {
  int status = 0, minor = 1;
  std::string_view reason;
  std::vector<Field> fields;
  Framing framing;
  bool wants_close = false;
  std::size_t size = 0;
};

// Reads the head that `bytes` begin with. kMore: it is not all there; `*seen` (0 at first) is how far it was
// looked at, so that a head in many pieces costs no more than one in one. kBad: `*bad` says why. An empty
// line before a request is skipped and counts as part of it.
Parsed ReadRequestHead(std::string_view bytes, std::size_t* seen, RequestHead* head, BadHead* bad);
Parsed ReadResponseHead(std::string_view bytes, std::size_t* seen, ResponseHead* head, BadHead* bad);

// Whether `text` is `lower`, which is in lower case, whatever the case of `text`.
bool EqualsIgnoringCase(std::string_view text, std::string_view lower);

// Whether a list of tokens ("a, b") has this one (lower case).
bool HasToken(std::string_view list, std::string_view lower);

// Whether a field concerns one connection only, so that no proxy passes it on; `fields` are all of its
// message.
bool IsHopByHop(const Field& field, const std::vector<Field>& fields);

// All digits, at most 18 of them: the number.
bool ReadDigits(std::string_view text, std::uint64_t* number);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_HTTP_HEAD_H_
