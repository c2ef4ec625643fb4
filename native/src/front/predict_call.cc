#include "predict_call.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "json_reader.h"
#include "json_text.h"

namespace mainspring::front {
namespace {

class PredictReader {
 public:
  PredictReader(std::string_view json, const PredictSchema& schema, std::size_t max_rows, PredictCall* call)
      : json_(json), size_(json.size()), schema_(schema), max_rows_(max_rows), call_(*call) {}

  bool Read() {
    Begin();
    bool has_entities = false, has_rows = false, has_overrides = false, has_time = false;
    const bool is_read = ReadObject(&json_, [&](std::string_view name) {
      if (name == "entities") return First(&has_entities) && (json_.Null() || Rows(true));
      if (name == "rows") return First(&has_rows) && (json_.Null() || Rows(false));
      if (name == "overrides") return First(&has_overrides) && Overrides();
      return name == "as_of" && First(&has_time) && (json_.Null() || Time());
    });
    return is_read && json_.AtEnd() && call_.rows > 0 && (call_.by_entity || !call_.has_overrides);
  }

 private:
  void Begin() {
    call_.rows = 0;
    call_.has_time = call_.has_overrides = false;
    call_.decoded.clear();
    call_.overrides.resize(schema_.overrides.size());
    for (PredictColumn& column : call_.overrides) column.Clear();
  }

  // A list of one object at least, each with all fields. Only one of the two lists may be there.
  bool Rows(bool by_entity) {
    if (call_.rows > 0 || (by_entity && !schema_.has_entities)) return false;
    const PredictFields& fields = by_entity ? schema_.entity : schema_.inputs;
    call_.by_entity = by_entity;
    if (call_.columns.size() < fields.size()) call_.columns.resize(fields.size());
    for (std::size_t i = 0; i < fields.size(); ++i) call_.columns[i].Clear();
    if (!json_.Take('[')) return false;
    do {
      if (call_.rows == max_rows_ || (call_.rows + 1) * fields.size() > kMaxPredictCells) return false;
      if (!Row(fields)) return false;
      ++call_.rows;
    } while (json_.Take(','));
    return json_.Take(']');
  }

  bool Row(const PredictFields& fields) {
    std::size_t n = 0;
    const bool is_read = ReadObject(&json_, [&](std::string_view name) {
      const std::size_t i = fields.Find(name, n);
      if (i == PredictFields::kNone || call_.columns[i].n != call_.rows) return false;
      ++n;
      return Value(fields[i].type, &call_.columns[i]);
    });
    return is_read && n == fields.size();
  }

  bool Overrides() {
    return ReadObject(&json_, [&](std::string_view name) {
      const std::size_t i = schema_.overrides.Find(name);
      if (i == PredictFields::kNone || call_.overrides[i].n > 0) return false;
      call_.has_overrides = true;
      return Value(schema_.overrides[i].type, &call_.overrides[i]);
    });
  }

  bool Time() {
    std::string_view text;
    call_.has_time = true;
    return json_.Text(&text) && ReadUtcTime(text, &call_.as_of_us);
  }

  bool Value(FrontType type, PredictColumn* column) {
    const char* const begin = json_.at();
    if (!Typed(type, column)) return false;
    ++column->n;
    const bool is_text = type == FrontType::kString && column->is_null.back() == 0;
    // Numbers end where the reader stands: it takes no blanks behind them.
    column->sent.push_back(is_text ? std::string_view() : json_.Since(begin));
    return true;
  }

  bool Typed(FrontType type, PredictColumn* column) {
    bool ignored = false;
    switch (type) {
      case FrontType::kString:
        return String(column);
      case FrontType::kInt64:
        return Int(column);
      case FrontType::kBool:
        return json_.Bool(&ignored);
      default:
        return Float(type, column);
    }
  }

  bool Int(PredictColumn* column) {
    std::int64_t value = 0;
    std::string_view sent;
    if (!json_.Int64(&value, &sent)) return false;
    column->ints.push_back(value);
    return true;
  }

  bool Float(FrontType type, PredictColumn* column) {
    double value = std::numeric_limits<double>::quiet_NaN();
    if (json_.Peek() == 'n') {
      if (!json_.Null()) return false;
      column->has_null = true;
    } else if (!json_.Number(&value)) {
      return false;
    }
    if (type == FrontType::kFloat64) {
      column->doubles.push_back(value);
      return true;
    }
    const auto narrow = static_cast<float>(value);
    column->floats.push_back(narrow);
    return !std::isinf(narrow);
  }

  bool String(PredictColumn* column) {
    Text text{"", 0};
    const bool is_null = json_.Peek() == 'n';
    if (is_null ? !json_.Null() : !Decoded(&text)) return false;
    column->has_null = column->has_null || is_null;
    column->texts.push_back(text);
    column->is_null.push_back(is_null ? 1 : 0);
    return true;
  }

  bool Decoded(Text* text) {
    std::string_view inside;
    bool is_plain = false;
    if (!json_.RawText(&inside, &is_plain)) return false;
    if (!is_plain && inside.find('\\') == std::string_view::npos && !IsUtf8(inside)) return false;
    if (!is_plain && inside.find('\\') != std::string_view::npos) {
      // Room for all that may come, once: texts before this one must stay where they are.
      call_.decoded.reserve(size_);
      const std::size_t begin = call_.decoded.size();
      if (!AppendDecoded(inside, &call_.decoded)) return false;
      inside = std::string_view(call_.decoded).substr(begin);
    }
    *text = {inside.data(), static_cast<std::uint32_t>(inside.size())};
    return true;
  }

  JsonReader json_;
  const std::size_t size_;
  const PredictSchema& schema_;
  const std::size_t max_rows_;
  PredictCall& call_;
};

// n digits; -1 where they are none.
int Digits(std::string_view text, std::size_t at, std::size_t n) {
  int value = 0;
  for (std::size_t i = at; i < at + n; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

// Days since 1970: Hinnant's days_from_civil (public domain), of years from 1970 on.
std::int64_t DaysOf(int year, int month, int day) {
  const int y = month <= 2 ? year - 1 : year;
  const std::int64_t era = y / 400, of_era = y - era * 400;
  const std::int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return era * 146'097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719'468;
}

bool IsDate(int year, int month, int day) {
  constexpr int kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  if (year < 1970 || month < 1 || month > 12 || day < 1) return false;
  const bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return day <= kDays[month - 1] + (month == 2 && is_leap ? 1 : 0);
}

}  // namespace

PredictFields::PredictFields(std::vector<FrontField> fields) : fields_(std::move(fields)) {
  for (std::size_t i = 0; i < fields_.size(); ++i) by_name_.push_back(i);
  std::sort(by_name_.begin(), by_name_.end(),
            [this](std::size_t a, std::size_t b) { return fields_[a].name < fields_[b].name; });
}

std::size_t PredictFields::Find(std::string_view name, std::size_t expected) const {
  if (expected < fields_.size() && fields_[expected].name == name) return expected;
  const auto found =
      std::lower_bound(by_name_.begin(), by_name_.end(), name,
                       [this](std::size_t i, std::string_view wanted) { return fields_[i].name < wanted; });
  return found != by_name_.end() && fields_[*found].name == name ? *found : kNone;
}

void PredictColumn::Clear() {
  floats.clear();
  doubles.clear();
  ints.clear();
  texts.clear();
  is_null.clear();
  sent.clear();
  n = 0;
  has_null = false;
}

bool ReadPredictCall(std::string_view json, const PredictSchema& schema, std::size_t max_rows,
                     PredictCall* call) {
  return PredictReader(json, schema, max_rows, call).Read();
}

bool ReadUtcTime(std::string_view text, std::int64_t* us) {
  constexpr std::string_view kForm = "0000-00-00T00:00:00";
  if (text.size() <= kForm.size() || text.back() != 'Z') return false;
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    if (kForm[i] != '0' && text[i] != kForm[i]) return false;
  }
  const int year = Digits(text, 0, 4), month = Digits(text, 5, 2), day = Digits(text, 8, 2);
  const int hour = Digits(text, 11, 2), minute = Digits(text, 14, 2), second = Digits(text, 17, 2);
  if (!IsDate(year, month, day) || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
      second > 59) {
    return false;
  }
  std::int64_t micros = 0;
  if (text.size() > kForm.size() + 1) {
    const std::size_t n = text.size() - kForm.size() - 2;
    if (text[kForm.size()] != '.' || n < 1 || n > 6) return false;
    const int fraction = Digits(text, kForm.size() + 1, n);
    if (fraction < 0) return false;
    micros = fraction;
    for (std::size_t i = n; i < 6; ++i) micros *= 10;
  }
  const std::int64_t seconds = DaysOf(year, month, day) * 86'400 + hour * 3600 + minute * 60 + second;
  *us = seconds * 1'000'000 + micros;
  return true;
}

}  // namespace mainspring::front
