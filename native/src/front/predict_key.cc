#include "predict_key.h"

#include <charconv>
#include <cmath>
#include <cstddef>
#include <vector>

#include "sha256.h"

namespace mainspring::front {
namespace {

// Python writes exponents from here on, and below -4.
constexpr int kFixedUpTo = 16;

// A number as it was sent, which Python read as an int where it is whole and has 64 bits at most.
bool AppendSent(std::string_view sent, std::string* out) {
  if (sent == "null") return out->append("None"), true;
  if (sent.find_first_of(".eE") == std::string_view::npos) {
    if (sent == "-0") return out->push_back('0'), true;
    std::int64_t small = 0;
    std::uint64_t large = 0;
    const char* const end = sent.data() + sent.size();
    if (std::from_chars(sent.data(), end, small).ec == std::errc{} ||
        std::from_chars(sent.data(), end, large).ec == std::errc{}) {
      return out->append(sent), true;
    }
  }
  double value = 0;
  if (std::from_chars(sent.data(), sent.data() + sent.size(), value).ec != std::errc{}) return false;
  AppendRepr(value, out);
  return true;
}

}  // namespace

bool AppendRepr(std::string_view text, std::string* out) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  out->push_back(quote);
  for (const char c : text) {
    if (c < 0x20 || c > 0x7E) return false;
    if (c == quote || c == '\\') out->push_back('\\');
    out->push_back(c);
  }
  out->push_back(quote);
  return true;
}

void AppendRepr(double value, std::string* out) {
  char text[40];
  const char* const end = std::to_chars(text, text + sizeof text, value, std::chars_format::scientific).ptr;
  std::string_view whole(text, static_cast<std::size_t>(end - text));
  if (whole.front() == '-') {
    out->push_back('-');
    whole.remove_prefix(1);
  }
  const std::size_t mark = whole.find('e');
  int exponent = 0;
  std::from_chars(whole.data() + mark + 2, end, exponent);  // digits behind "e+" or "e-"
  if (whole[mark + 1] == '-') exponent = -exponent;
  std::string digits(whole.substr(0, 1));
  if (mark > 1) digits.append(whole.substr(2, mark - 2));
  if (exponent < -4 || exponent >= kFixedUpTo) {
    out->push_back(digits[0]);
    if (digits.size() > 1) out->append(".").append(digits, 1, std::string::npos);
    out->append(whole.substr(mark));  // a sign and two digits at least, as here
    return;
  }
  if (exponent < 0) {
    out->append("0.").append(static_cast<std::size_t>(-exponent - 1), '0').append(digits);
    return;
  }
  const auto n = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() < n) digits.append(n - digits.size(), '0');
  out->append(digits, 0, n).append(".").append(digits.size() > n ? digits.substr(n) : "0");
}

bool AppendRequestKey(const PredictCall& call, const PredictFields& fields,
                      const std::vector<std::size_t>& order, std::string* out) {
  out->push_back('[');
  for (std::size_t k = 0; k < order.size(); ++k) {
    const PredictColumn& column = call.columns[order[k]];
    const bool is_text = fields[order[k]].type == FrontType::kString;
    out->append(k > 0 ? ", [" : "[");
    for (std::size_t i = 0; i < call.rows; ++i) {
      if (i > 0) out->append(", ");
      if (is_text && column.is_null[i] == 0) {
        const Text text = column.texts[i];
        if (!AppendRepr(std::string_view(text.data, text.size), out)) return false;
      } else if (!AppendSent(column.sent[i], out)) {
        return false;
      }
    }
    out->push_back(']');
  }
  out->push_back(']');
  return true;
}

bool AppendColumnsKey(const PredictCall& call, const PredictFields& fields,
                      const std::vector<std::size_t>& order, std::string* out) {
  out->push_back('[');
  for (std::size_t k = 0; k < order.size(); ++k) {
    const PredictColumn& column = call.columns[order[k]];
    out->append(k > 0 ? ", [" : "[");
    for (std::size_t i = 0; i < call.rows; ++i) {
      if (i > 0) out->append(", ");
      switch (fields[order[k]].type) {
        case FrontType::kString:
          if (!AppendRepr(std::string_view(column.texts[i].data, column.texts[i].size), out)) return false;
          break;
        case FrontType::kInt64:
          out->append(std::to_string(column.ints[i]));
          break;
        default:
          std::isnan(column.floats[i]) ? (void)out->append("nan") : AppendRepr(double{column.floats[i]}, out);
      }
    }
    out->push_back(']');
  }
  out->push_back(']');
  return true;
}

}  // namespace mainspring::front

namespace mainspring {

bool GoesToCanary(std::string_view endpoint, std::string_view key, std::uint32_t percent) {
  std::string text(endpoint);
  text.push_back('\0');
  text.append(key);
  const auto digest = front::Sha256(text);
  std::uint64_t bucket = 0;
  for (std::size_t i = 0; i < 8; ++i) bucket = bucket << 8 | digest[i];
  // bucket * 100 < percent * 2^64, in what of it is above 2^64 and what is below.
  const std::uint64_t low = (bucket & 0xffffffff) * 100;
  const std::uint64_t high = (bucket >> 32) * 100 + (low >> 32);
  return high >> 32 < percent;
}

}  // namespace mainspring
