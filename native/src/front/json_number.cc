#include "json_number.h"

#include <charconv>
#include <cstddef>
#include <cstring>

namespace mainspring::front {
namespace {

// Decimal exponents that are written out: 0.000001 and 1000000000000.0, but 1e-7 and 1e+13.
template <typename Value>
struct Plain;
template <>
struct Plain<float> {
  static constexpr int kFirst = -6, kLast = 12;
};
template <>
struct Plain<double> {
  static constexpr int kFirst = -5, kLast = 15;
};

char* Copy(const char* from, std::size_t n, char* to) {
  std::memcpy(to, from, n);
  return to + n;
}

char* Fill(char c, std::size_t n, char* to) {
  std::memset(to, c, n);
  return to + n;
}

// "1.25e-07": the digits, which are moved together, and the exponent.
struct Parts {
  const char* digits;
  std::size_t n;
  int exponent;
};

Parts Split(char* text, const char* end) {
  const char* mark = end - 4;  // an exponent has two digits, or three
  if (*mark != 'e') --mark;
  int exponent = 0;
  for (const char* at = mark + 2; at != end; ++at) exponent = exponent * 10 + (*at - '0');
  if (mark[1] == '-') exponent = -exponent;
  if (mark - text == 1) return {text, 1, exponent};
  text[1] = text[0];
  return {text + 1, static_cast<std::size_t>(mark - text - 1), exponent};
}

template <typename Value>
char* Write(Value value, char* to) {
  char text[40];
  const char* const end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific).ptr;
  const bool is_negative = *text == '-';
  if (is_negative) *to++ = '-';
  const auto [digits, n, exponent] = Split(is_negative ? text + 1 : text, end);
  if (exponent < Plain<Value>::kFirst || exponent > Plain<Value>::kLast) {
    *to++ = *digits;
    if (n > 1) {
      *to++ = '.';
      to = Copy(digits + 1, n - 1, to);
    }
    *to++ = 'e';
    *to++ = exponent < 0 ? '-' : '+';
    return std::to_chars(to, to + 3, exponent < 0 ? -exponent : exponent).ptr;
  }
  if (exponent < 0) {
    to = Copy("0.", 2, to);
    return Copy(digits, n, Fill('0', static_cast<std::size_t>(-exponent - 1), to));
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (n <= whole) return Copy(".0", 2, Fill('0', whole - n, Copy(digits, n, to)));
  to = Copy(digits, whole, to);
  *to++ = '.';
  return Copy(digits + whole, n - whole, to);
}

}  // namespace

char* WriteJsonNumber(float value, char* to) { return Write(value, to); }
char* WriteJsonNumber(double value, char* to) { return Write(value, to); }

}  // namespace mainspring::front
