// Strings of JSON: read strictly, and written as the app writes them.

#ifndef MAINSPRING_SRC_FRONT_JSON_TEXT_H_
#define MAINSPRING_SRC_FRONT_JSON_TEXT_H_

#include <string>
#include <string_view>

namespace mainspring::front {

// Whether it is UTF-8 (RFC 3629): nothing overlong, no surrogates, nothing above U+10FFFF.
bool IsUtf8(std::string_view text);

// Appends what a string's inside stands for. False where it is no JSON or no UTF-8, or half of a surrogate
// pair; `*out` then has a part of it. Never longer than `inside`.
bool AppendDecoded(std::string_view inside, std::string* out);

// Appends the string in quotes, with the escapes that orjson uses: those that JSON demands, short where there
// is a short form. `text` is UTF-8.
void AppendJsonText(std::string_view text, std::string* out);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_JSON_TEXT_H_
