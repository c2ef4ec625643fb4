#include "json_number.h"

#include <charconv>
#include <cstddef>
#include <string_view>

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

// "-1.25e-07" as sign, digits and exponent.
struct Parts {
  bool is_negative = false;
  char digits[24];
  std::size_t n_digits = 0;
  int exponent = 0;
};

template <typename Value>
Parts Split(Value value) {
  char text[40];
  const auto [end, _] = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific);
  Parts parts;
  const char* at = text;
  if (*at == '-') {
    parts.is_negative = true;
    ++at;
  }
  for (; *at != 'e'; ++at) {
    if (*at != '.') parts.digits[parts.n_digits++] = *at;
  }
  ++at;
  if (*at == '+') ++at;
  std::from_chars(at, end, parts.exponent);
  return parts;
}

template <typename Value>
void Append(Value value, std::string* out) {
  const Parts parts = Split(value);
  const std::string_view digits(parts.digits, parts.n_digits);
  if (parts.is_negative) out->push_back('-');
  if (parts.exponent < Plain<Value>::kFirst || parts.exponent > Plain<Value>::kLast) {
    out->append(digits.substr(0, 1));
    if (digits.size() > 1) out->append(".").append(digits.substr(1));
    out->append(parts.exponent < 0 ? "e-" : "e+");
    char exponent[8];
    const int size = parts.exponent < 0 ? -parts.exponent : parts.exponent;
    const auto [end, _] = std::to_chars(exponent, exponent + sizeof exponent, size);
    out->append(exponent, end);
  } else if (parts.exponent < 0) {
    out->append("0.").append(static_cast<std::size_t>(-parts.exponent - 1), '0').append(digits);
  } else {
    const auto whole = static_cast<std::size_t>(parts.exponent) + 1;
    out->append(digits.substr(0, whole));
    if (digits.size() <= whole) {
      out->append(whole - digits.size(), '0').append(".0");
    } else {
      out->append(".").append(digits.substr(whole));
    }
  }
}

}  // namespace

void AppendJsonNumber(float value, std::string* out) { Append(value, out); }
void AppendJsonNumber(double value, std::string* out) { Append(value, out); }

}  // namespace mainspring::front
