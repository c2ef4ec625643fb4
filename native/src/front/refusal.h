// What the front itself says no with, in the words and forms of core/errors.py and serving/http/errors.py.

#ifndef MAINSPRING_SRC_FRONT_REFUSAL_H_
#define MAINSPRING_SRC_FRONT_REFUSAL_H_

#include <string>
#include <string_view>

namespace mainspring::front {

struct Refusal {
  int status = 400;
  const char* code = "";    // of the error, as core/errors.py has it
  std::string message;      // printable ASCII without quotes and backslashes
  const char* detail = "";  // the error's one field, and its value as JSON
  const char* detail_value = "";
};

Refusal BadRequest(int status, std::string_view why);
Refusal HeadTooLarge(std::size_t limit);
Refusal HeadTooSlow(double seconds);
Refusal BodyTooSlow(double seconds);
Refusal TooManyConnections();
Refusal AppDown();
Refusal AppBroke();
Refusal AppTooSlow(double seconds);

// The whole answer, which closes the connection. `is_v2`: as clients of the v2 protocol read errors, else a
// problem document (RFC 9457). `head` leaves the body out, which HEAD asks for.
void AppendRefusal(const Refusal& refusal, bool is_v2, bool is_head, std::string_view request_id,
                   std::string_view date, std::string* out);

std::string_view ReasonOf(int status);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_REFUSAL_H_
