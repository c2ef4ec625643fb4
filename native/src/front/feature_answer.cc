#include "feature_answer.h"

#include <charconv>
#include <cmath>
#include <cstring>
#include <string_view>

#include "json_number.h"
#include "json_text.h"

namespace mainspring::front {
namespace {

constexpr std::int64_t kDayUs = 86'400'000'000;
constexpr std::int64_t kYear10000Us = 253'402'300'800'000'000;
constexpr std::string_view kStatus[] = {"\"PRESENT\"", "\"NOT_FOUND\"", "\"OUTSIDE_MAX_AGE\""};
constexpr std::string_view kNoTime = "\"1970-01-01T00:00:00Z\"";

void Digits(std::int64_t value, int n, char* to) {
  for (int i = n - 1; i >= 0; --i, value /= 10) to[i] = static_cast<char>('0' + value % 10);
}

// "2013-12-01T11:13:20.000001Z"; no fraction where it is 0. `us` is from 1970 to 9999. Dates: Hinnant's
// civil_from_days (public domain).
void AppendTime(std::int64_t us, std::string* out) {
  const std::int64_t days = us / kDayUs, of_day = us % kDayUs;
  const std::int64_t shifted = days + 719'468;  // since 0000-03-01
  const std::int64_t era = shifted / 146'097, of_era = shifted % 146'097;
  const std::int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36'524 - of_era / 146'096) / 365;
  const std::int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const std::int64_t month = (5 * of_year + 2) / 153;  // from March on
  const std::int64_t day = of_year - (153 * month + 2) / 5 + 1;
  const std::int64_t year = year_of_era + era * 400 + (month >= 10 ? 1 : 0);
  char text[] = "\"0000-00-00T00:00:00.000000Z\"";
  Digits(year, 4, text + 1);
  Digits(month < 10 ? month + 3 : month - 9, 2, text + 6);
  Digits(day, 2, text + 9);
  const std::int64_t second = of_day / 1'000'000, fraction = of_day % 1'000'000;
  Digits(second / 3600, 2, text + 12);
  Digits(second / 60 % 60, 2, text + 15);
  Digits(second % 60, 2, text + 18);
  if (fraction == 0) {
    out->append(text, 20).append("Z\"");
    return;
  }
  Digits(fraction, 6, text + 21);
  out->append(text, sizeof text - 1);
}

template <typename Value>
void AppendFloat(Value value, std::string* out) {
  std::isfinite(value) ? AppendJsonNumber(value, out) : (void)out->append("null");
}

// A list of n floats, in room that is made once: most answers are little else.
template <typename Value>
void AppendAll(const Value* values, std::size_t stride, std::size_t n, std::string* out) {
  const std::size_t begin = out->size();
  out->resize(begin + 2 + n * (kMaxNumber + 1));
  char* to = out->data() + begin;
  *to++ = '[';
  for (std::size_t i = 0; i < n; ++i) {
    if (i > 0) *to++ = ',';
    const Value value = values[i * stride];
    if (std::isfinite(value)) {
      to = WriteJsonNumber(value, to);
    } else {
      std::memcpy(to, "null", 4);
      to += 4;
    }
  }
  *to++ = ']';
  out->resize(static_cast<std::size_t>(to - out->data()));
}

// A list of n values: `append(i)` writes one, or null where it is not there.
template <typename Append>
void AppendList(std::size_t n, const std::uint8_t* valid, std::string* out, const Append& append) {
  out->push_back('[');
  for (std::size_t i = 0; i < n; ++i) {
    if (i > 0) out->push_back(',');
    valid[i] != 0 ? append(i) : (void)out->append("null");
  }
  out->push_back(']');
}

void AppendInt(std::int64_t value, std::string* out) {
  char text[24];
  out->append(text, std::to_chars(text, text + sizeof text, value).ptr);
}

}  // namespace

bool AppendEnding(const std::uint8_t* status, const std::int64_t* event_us, std::size_t rows,
                  std::string* out) {
  out->append(",\"statuses\":[");
  for (std::size_t i = 0; i < rows; ++i) {
    if (i > 0) out->push_back(',');
    out->append(kStatus[status[i]]);
  }
  out->append("],\"event_timestamps\":[");
  std::size_t last = 0;  // where the time before this one is: often it is the same
  for (std::size_t i = 0; i < rows; ++i) {
    if (event_us[i] < 0 || event_us[i] >= kYear10000Us) return false;
    if (i > 0) out->push_back(',');
    const std::size_t begin = out->size();
    if (i > 0 && event_us[i] == event_us[i - 1]) {
      out->append(*out, last, begin - 1 - last);
    } else {
      AppendTime(event_us[i], out);
    }
    last = begin;
  }
  out->append("]}");
  return true;
}

void AppendKeyEnding(std::size_t rows, std::string* out) {
  out->append(",\"statuses\":[");
  for (std::size_t i = 0; i < rows; ++i) out->append(i > 0 ? "," : "").append(kStatus[0]);
  out->append("],\"event_timestamps\":[");
  for (std::size_t i = 0; i < rows; ++i) out->append(i > 0 ? "," : "").append(kNoTime);
  out->append("]}");
}

void AppendFloats(const float* values, std::size_t stride, std::size_t n, std::string* out) {
  AppendAll(values, stride, n, out);
}

void AppendFloats(const double* values, std::size_t n, std::string* out) { AppendAll(values, 1, n, out); }

void AppendCells(FieldType type, const void* cells, const std::uint8_t* valid, std::size_t n,
                 std::string* out) {
  if (type == FieldType::kBool) {
    const auto* const values = static_cast<const std::uint8_t*>(cells);
    AppendList(n, valid, out, [&](std::size_t i) { out->append(values[i] != 0 ? "true" : "false"); });
  } else if (type == FieldType::kInt64) {
    const auto* const values = static_cast<const std::int64_t*>(cells);
    AppendList(n, valid, out, [&](std::size_t i) { AppendInt(values[i], out); });
  } else if (type == FieldType::kFloat32) {
    const auto* const values = static_cast<const float*>(cells);
    AppendList(n, valid, out, [&](std::size_t i) { AppendFloat(double{values[i]}, out); });
  } else {
    const auto* const values = static_cast<const double*>(cells);
    AppendList(n, valid, out, [&](std::size_t i) { AppendFloat(values[i], out); });
  }
}

void AppendTexts(const StringColumn& texts, const std::uint8_t* valid, std::size_t n, std::string* out) {
  AppendList(n, valid, out, [&](std::size_t i) {
    const auto begin = static_cast<std::size_t>(texts.offsets[i]);
    const auto end = static_cast<std::size_t>(texts.offsets[i + 1]);
    AppendJsonText(std::string_view(texts.bytes.data(), texts.bytes.size()).substr(begin, end - begin), out);
  });
}

}  // namespace mainspring::front
