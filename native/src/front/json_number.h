// Numbers as the answers of the v2 protocol print them.

#ifndef MAINSPRING_SRC_FRONT_JSON_NUMBER_H_
#define MAINSPRING_SRC_FRONT_JSON_NUMBER_H_

#include <string>

namespace mainspring::front {

// The shortest digits that read back as the same value, in the form in which orjson writes them: callers must
// not be able to tell which of the two servers answered. `value` is finite.
void AppendJsonNumber(float value, std::string* out);
void AppendJsonNumber(double value, std::string* out);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_JSON_NUMBER_H_
