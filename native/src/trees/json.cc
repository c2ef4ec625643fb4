#include "json.h"

#include <charconv>
#include <cstdint>
#include <limits>

namespace mainspring {
namespace {

constexpr std::size_t kMaxMembers = 4096;

class Reader {
 public:
  explicit Reader(std::string_view text) : at_(text.data()), begin_(at_), end_(at_ + text.size()) {}

  std::string Read(Json* value) {
    if (Value(value, 0)) {
      Space();
      if (at_ != end_) Fail("nothing more");
    }
    if (wrong_ == nullptr) return "";
    return std::string("expected ") + wrong_ + " at byte " + std::to_string(at_ - begin_);
  }

 private:
  bool Fail(const char* wanted) {
    if (wrong_ == nullptr) wrong_ = wanted;
    return false;
  }

  void Space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  bool Take(char c) {
    Space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  bool Word(std::string_view word) {
    if (static_cast<std::size_t>(end_ - at_) < word.size() || std::string_view(at_, word.size()) != word) {
      return false;
    }
    at_ += word.size();
    return true;
  }

  // A number, or a bool as 0 or 1.
  bool Number(double* number, bool* is_bool) {
    Space();
    *is_bool = false;
    if (at_ == end_) return false;
    if (*at_ == 't' || *at_ == 'f') {
      *is_bool = true;
      *number = *at_ == 't';
      return Word(*number != 0 ? "true" : "false");
    }
    constexpr double kInf = std::numeric_limits<double>::infinity();
    if (Word("NaN")) return *number = std::numeric_limits<double>::quiet_NaN(), true;
    if (Word("Infinity")) return *number = kInf, true;
    if (Word("-Infinity")) return *number = -kInf, true;
    if (*at_ != '-' && (*at_ < '0' || *at_ > '9')) return false;
    const auto [stop, code] = std::from_chars(at_, end_, *number);
    // Beyond double's range: no float either.
    if (code != std::errc{} || (stop != end_ && (*stop == '.' || *stop == '+'))) return false;
    at_ = stop;
    return true;
  }

  bool Hex4(std::uint32_t* code) {
    if (end_ - at_ < 4) return false;
    const auto [stop, error] = std::from_chars(at_, at_ + 4, *code, 16);
    if (error != std::errc{} || stop != at_ + 4) return false;
    at_ += 4;
    return true;
  }

  static void AppendUtf8(std::uint32_t code, std::string* text) {
    const auto put = [text](std::uint32_t byte) { text->push_back(static_cast<char>(byte)); };
    if (code < 0x80) {
      put(code);
    } else if (code < 0x800) {
      put(0xC0 | code >> 6), put(0x80 | (code & 63));
    } else if (code < 0x10000) {
      put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
    } else {
      put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)),
          put(0x80 | (code & 63));
    }
  }

  bool Escape(std::string* text) {
    if (at_ == end_) return false;
    const char c = *at_++;
    constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
    if (const std::size_t i = kFrom.find(c); i != std::string_view::npos)
      return text->push_back(kTo[i]), true;
    std::uint32_t code, low;
    if (c != 'u' || !Hex4(&code)) return false;
    if (code >= 0xD800 && code < 0xDC00) {
      if (!Word("\\u") || !Hex4(&low) || low < 0xDC00 || low > 0xDFFF) return false;
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
      return false;
    }
    AppendUtf8(code, text);
    return true;
  }

  bool String(std::string* text) {
    if (!Take('"')) return Fail("a string");
    while (at_ != end_ && *at_ != '"') {
      if (static_cast<unsigned char>(*at_) < 0x20) return Fail("an escaped control character");
      if (*at_ != '\\') {
        text->push_back(*at_++);
      } else if (++at_, !Escape(text)) {
        return Fail("an escape");
      }
    }
    if (at_ == end_) return Fail("the end of a string");
    ++at_;
    return true;
  }

  bool Object(Json* value, std::size_t depth) {
    value->kind = Json::Kind::kObject;
    if (Take('}')) return true;
    do {
      if (value->names.size() == kMaxMembers) return Fail("at most 4096 members in an object");
      std::string name;
      if (!String(&name)) return false;
      if (value->Find(name) != nullptr) return Fail("each member of an object once");
      if (!Take(':')) return Fail("`:`");
      value->names.emplace_back(std::move(name), Json());
      if (!Value(&value->names.back().second, depth)) return false;
    } while (Take(','));
    return Take('}') || Fail("`,` or `}`");
  }

  bool Array(Json* value, std::size_t depth) {
    value->kind = Json::Kind::kNumbers;
    if (Take(']')) return true;
    double number;
    bool is_bool;
    Space();
    if (at_ != end_ && *at_ != '[' && *at_ != '{' && *at_ != '"' && *at_ != 'n') {
      do {
        if (!Number(&number, &is_bool)) return Fail("a number");
        value->numbers.push_back(number);
      } while (Take(','));
    } else {
      value->kind = Json::Kind::kArray;
      do {
        value->items.emplace_back();
        if (!Value(&value->items.back(), depth)) return false;
      } while (Take(','));
    }
    return Take(']') || Fail("`,` or `]`");
  }

  bool Value(Json* value, std::size_t depth) {
    if (depth == kMaxJsonDepth) return Fail("at most 64 levels");
    if (++n_values_ > kMaxJsonValues) return Fail("at most 4194304 values");
    if (Take('{')) return Object(value, depth + 1);
    if (Take('[')) return Array(value, depth + 1);
    if (at_ != end_ && *at_ == '"') {
      value->kind = Json::Kind::kString;
      return String(&value->text);
    }
    if (Word("null")) return true;
    bool is_bool;
    if (!Number(&value->number, &is_bool)) return Fail("a value");
    value->kind = is_bool ? Json::Kind::kBool : Json::Kind::kNumber;
    return true;
  }

  const char* at_;
  const char* const begin_;
  const char* const end_;
  const char* wrong_ = nullptr;
  std::size_t n_values_ = 0;
};

}  // namespace

const Json* Json::Find(std::string_view name) const {
  for (const auto& [key, value] : names) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::string ReadJson(std::string_view text, Json* value) {
  if (text.size() > kMaxModelBytes) return "expected at most 536870912 bytes";
  return Reader(text).Read(value);
}

std::string Quoted(std::string_view text) {
  std::string shown = "`" + std::string(text.substr(0, 60)) + "`";
  for (char& c : shown) {
    if (c < 0x20 || c > 0x7E) c = '?';
  }
  return shown;
}

}  // namespace mainspring
