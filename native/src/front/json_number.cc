#include "json_number.h"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "float_digits.h"

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

// More than the digits of any number: copying always so many is one instruction or two, and no call.
constexpr std::size_t kCopied = 17;

char* Copy(const char* from, std::size_t n, char* to) {
  std::memcpy(to, from, kCopied);
  return to + n;
}

// At most 15 zeros, and what follows them.
char* Zeros(std::size_t n, char* to) { return Copy("0000000000000000", n, to); }

char* End(const char (&text)[3], char* to) {
  std::memcpy(to, text, 2);
  return to + 2;
}

// Digits without zeros at the end, with room behind them, of which the first one counts 10^exponent.
template <typename Value>
char* Arrange(const char* digits, std::size_t n, int exponent, char* to) {
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
    return Copy(digits, n, Zeros(static_cast<std::size_t>(-exponent - 1), End("0.", to)));
  }
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (n <= whole) return End(".0", Zeros(whole - n, Copy(digits, n, to)));
  to = Copy(digits, whole, to);
  *to++ = '.';
  return Copy(digits + whole, n - whole, to);
}

}  // namespace

char* WriteJsonNumber(float value, char* to) {
  if (std::signbit(value)) *to++ = '-';
  if (value == 0) return End(".0", Copy("0000000000000000", 1, to));
  const Decimal decimal = ShortestDecimal(std::fabs(value));
  char digits[2 * kCopied];
  const char* const end = std::to_chars(digits, digits + kCopied, decimal.digits).ptr;
  const auto n = static_cast<std::size_t>(end - digits);
  return Arrange<float>(digits, n, decimal.exponent + static_cast<int>(n) - 1, to);
}

char* WriteJsonNumber(double value, char* to) {
  char text[40 + kCopied];
  const char* const end = std::to_chars(text, text + 40, value, std::chars_format::scientific).ptr;
  char* digits = text;
  if (*digits == '-') *to++ = *digits++;
  const char* mark = end - 4;  // an exponent has two digits, or three
  if (*mark != 'e') --mark;
  int exponent = 0;
  for (const char* at = mark + 2; at != end; ++at) exponent = exponent * 10 + (*at - '0');
  if (mark[1] == '-') exponent = -exponent;
  if (mark - digits == 1) return Arrange<double>(digits, 1, exponent, to);
  digits[1] = digits[0];  // in the point's place, and all digits are together
  return Arrange<double>(digits + 1, static_cast<std::size_t>(mark - digits - 1), exponent, to);
}

}  // namespace mainspring::front
