// A small reader of JSON, for bodies of known shapes. It takes what it fully understands: the app behind the
// front reads everything else.

#ifndef MAINSPRING_SRC_FRONT_JSON_READER_H_
#define MAINSPRING_SRC_FRONT_JSON_READER_H_

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <system_error>

namespace mainspring::front {

// A cursor over JSON. Everything it takes it takes whole, or it says no.
class JsonReader {
 public:
  explicit JsonReader(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

  bool AtEnd() {
    Space();
    return at_ == end_;
  }

  bool Take(char c) {
    Space();
    if (at_ == end_ || *at_ != c) return false;
    ++at_;
    return true;
  }

  // A string that stands for itself: printable ASCII without escapes.
  bool Text(std::string_view* text) {
    if (!Take('"')) return false;
    const char* const begin = at_;
    for (; at_ != end_ && *at_ != '"'; ++at_) {
      if (*at_ < 0x20 || *at_ > 0x7E || *at_ == '\\') return false;
    }
    if (at_ == end_) return false;
    *text = std::string_view(begin, static_cast<std::size_t>(at_ - begin));
    ++at_;
    return true;
  }

  // Any string: what is between the quotes, as it was sent. `*is_plain`: it stands for itself and is ASCII.
  // Neither escapes nor UTF-8 are looked at; see json_text.h.
  bool RawText(std::string_view* inside, bool* is_plain) {
    if (!Take('"')) return false;
    const char* const begin = at_;
    *is_plain = true;
    for (; at_ != end_ && *at_ != '"'; ++at_) {
      const auto c = static_cast<unsigned char>(*at_);
      if (c < 0x20) return false;
      if (c == '\\') {
        if (++at_ == end_) return false;
        *is_plain = false;
      } else if (c >= 0x80) {
        *is_plain = false;
      }
    }
    if (at_ == end_) return false;
    *inside = std::string_view(begin, static_cast<std::size_t>(at_ - begin));
    ++at_;
    return true;
  }

  bool Null() {
    Space();
    return Word("null");
  }

  // What comes next, without taking it; 0 at the end.
  char Peek() {
    Space();
    return at_ == end_ ? '\0' : *at_;
  }

  // Where it is: what lies between two of these was taken meanwhile.
  const char* at() {
    Space();
    return at_;
  }

  // What was taken since `begin`, which was at() then: no blanks are behind it.
  std::string_view Since(const char* begin) const { return {begin, static_cast<std::size_t>(at_ - begin)}; }

  bool Bool(bool* value) {
    Space();
    if (Word("true")) return *value = true, true;
    return Word("false") && (*value = false, true);
  }

  // A whole number from 0 on, in at most 18 digits.
  bool Size(std::uint64_t* value) {
    Space();
    const char* const begin = at_;
    *value = 0;
    while (at_ != end_ && IsDigit(*at_) && at_ - begin < 18) {
      *value = *value * 10 + static_cast<std::uint64_t>(*at_++ - '0');
    }
    return at_ != begin && (*begin != '0' || at_ - begin == 1) && NumberEnds();
  }

  // A whole number of 64 bits with a sign, but "-0", which two readers could take for two numbers. `*text` is
  // how it was sent, and the only way to write it.
  bool Int64(std::int64_t* value, std::string_view* text) {
    Space();
    const char* const begin = at_;
    const char* const digits = begin != end_ && *begin == '-' ? begin + 1 : begin;
    if (digits == end_ || !IsDigit(*digits)) return false;
    if (*digits == '0' && (digits != begin || (digits + 1 != end_ && IsDigit(digits[1])))) return false;
    const auto [stop, error] = std::from_chars(begin, end_, *value);
    if (error != std::errc{}) return false;
    at_ = stop;
    *text = std::string_view(begin, static_cast<std::size_t>(stop - begin));
    return NumberEnds();
  }

  // Any number that JSON has and a double can carry.
  bool Number(double* value) {
    Space();
    const char* const begin = at_;
    const char* const digits = begin != end_ && *begin == '-' ? begin + 1 : begin;
    if (digits == end_ || !IsDigit(*digits)) return false;
    if (*digits == '0' && digits + 1 != end_ && IsDigit(digits[1])) return false;
    const auto [stop, error] = std::from_chars(begin, end_, *value);
    if (error != std::errc{} || !IsDigit(stop[-1])) return false;
    at_ = stop;
    if (!NumberEnds()) return false;
    // "-0" is the whole number 0; "-0.0" and "-0e0" are negative zeros.
    if (*value == 0 && stop - begin == 2 && *begin == '-') *value = 0;
    return true;
  }

 private:
  static bool IsDigit(char c) { return c >= '0' && c <= '9'; }

  void Space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  bool Word(std::string_view word) {
    if (static_cast<std::size_t>(end_ - at_) < word.size() || std::string_view(at_, word.size()) != word) {
      return false;
    }
    at_ += word.size();
    return true;
  }

  // Whether what follows cannot belong to the number: "1.", "1.5.2" and "1e" stop early.
  bool NumberEnds() const {
    return at_ == end_ || *at_ == ',' || *at_ == ']' || *at_ == '}' || *at_ == ' ' || *at_ == '\n' ||
           *at_ == '\r' || *at_ == '\t';
  }

  const char* at_;
  const char* const end_;
};

// Members of an object, each at most once: `member(name)` reads the value.
template <typename Member>
bool ReadObject(JsonReader* reader, const Member& member) {
  if (!reader->Take('{')) return false;
  if (reader->Take('}')) return true;
  do {
    std::string_view name;
    if (!reader->Text(&name) || !reader->Take(':') || !member(name)) return false;
  } while (reader->Take(','));
  return reader->Take('}');
}

// True the first time only.
inline bool First(bool* seen) {
  if (*seen) return false;
  return *seen = true;
}

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_JSON_READER_H_
