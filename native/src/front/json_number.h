// Numbers as the app's answers print them.

#ifndef MAINSPRING_SRC_FRONT_JSON_NUMBER_H_
#define MAINSPRING_SRC_FRONT_JSON_NUMBER_H_

#include <cstddef>
#include <string>

namespace mainspring::front {

// Characters of a number, at most, and what may be written behind it.
inline constexpr std::size_t kMaxNumber = 48;

// The shortest digits that read back as the same value, in the form in which orjson writes them: callers must
// not be able to tell which of the two servers answered. `value` is finite; `to` has room for kMaxNumber.
// Returns the end.
char* WriteJsonNumber(float value, char* to);
char* WriteJsonNumber(double value, char* to);

template <typename Value>
void AppendJsonNumber(Value value, std::string* out) {
  char text[kMaxNumber];
  out->append(text, WriteJsonNumber(value, text));
}

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_JSON_NUMBER_H_
