#include "json_text.h"

#include <cstddef>
#include <cstdint>

namespace mainspring::front {
namespace {

std::uint8_t ByteAt(std::string_view text, std::size_t i) { return static_cast<std::uint8_t>(text[i]); }

// Bytes of the character that begins at `i`; 0: it is none.
std::size_t CharacterAt(std::string_view text, std::size_t i) {
  const std::uint8_t first = ByteAt(text, i);
  if (first < 0x80) return 1;
  // The second byte's bounds are what rules out overlong forms, surrogates and what is above U+10FFFF.
  std::uint8_t low = 0x80, high = 0xBF;
  std::size_t size = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    size = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    size = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    size = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  }
  if (size == 0 || text.size() - i < size) return 0;
  if (ByteAt(text, i + 1) < low || ByteAt(text, i + 1) > high) return 0;
  for (std::size_t k = 2; k < size; ++k) {
    if ((ByteAt(text, i + k) & 0xC0) != 0x80) return 0;
  }
  return size;
}

// Four hex digits.
bool ReadUnit(std::string_view text, std::size_t at, std::uint32_t* unit) {
  if (text.size() < at + 4) return false;
  *unit = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    const char c = text[i];
    std::uint32_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<std::uint32_t>(c - '0');
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<std::uint32_t>(c - 'a' + 10);
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<std::uint32_t>(c - 'A' + 10);
    } else {
      return false;
    }
    *unit = *unit * 16 + digit;
  }
  return true;
}

void AppendCharacter(std::uint32_t code, std::string* out) {
  const auto put = [out](std::uint32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      put(0xE0 | code >> 12);
    } else {
      put(0xF0 | code >> 18);
      put(0x80 | (code >> 12 & 0x3F));
    }
    put(0x80 | (code >> 6 & 0x3F));
  }
  put(0x80 | (code & 0x3F));
}

// The character of "\uXXXX" at `*i`, which is moved behind it; of a pair, both.
bool AppendUnits(std::string_view text, std::size_t* i, std::string* out) {
  std::uint32_t unit = 0, second = 0;
  if (!ReadUnit(text, *i + 2, &unit)) return false;
  *i += 6;
  if (unit >= 0xDC00 && unit <= 0xDFFF) return false;
  if (unit >= 0xD800 && unit <= 0xDBFF) {
    if (text.substr(*i, 2) != "\\u" || !ReadUnit(text, *i + 2, &second)) return false;
    if (second < 0xDC00 || second > 0xDFFF) return false;
    *i += 6;
    unit = 0x10000 + ((unit - 0xD800) << 10) + (second - 0xDC00);
  }
  AppendCharacter(unit, out);
  return true;
}

// What "\c" stands for; 0: nothing.
char Unescaped(char c) {
  switch (c) {
    case '"':
    case '\\':
    case '/':
      return c;
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return '\0';
  }
}

void AppendEscaped(char c, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('\\');
  switch (c) {
    case '"':
    case '\\':
      return out->push_back(c);
    case '\b':
      return out->push_back('b');
    case '\f':
      return out->push_back('f');
    case '\n':
      return out->push_back('n');
    case '\r':
      return out->push_back('r');
    case '\t':
      return out->push_back('t');
    default:
      out->append("u00");
      out->push_back(kHex[static_cast<std::uint8_t>(c) >> 4]);
      out->push_back(kHex[static_cast<std::uint8_t>(c) & 15]);
  }
}

}  // namespace

bool IsUtf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t size = CharacterAt(text, i);
    if (size == 0) return false;
    i += size;
  }
  return true;
}

bool AppendDecoded(std::string_view inside, std::string* out) {
  for (std::size_t i = 0; i < inside.size();) {
    if (inside[i] == '\\') {
      if (i + 1 == inside.size()) return false;
      if (inside[i + 1] == 'u') {
        if (!AppendUnits(inside, &i, out)) return false;
        continue;
      }
      const char c = Unescaped(inside[i + 1]);
      if (c == '\0') return false;
      out->push_back(c);
      i += 2;
      continue;
    }
    const std::size_t size = CharacterAt(inside, i);
    if (size == 0 || inside[i] == '"' || ByteAt(inside, i) < 0x20) return false;
    out->append(inside, i, size);
    i += size;
  }
  return true;
}

void AppendJsonText(std::string_view text, std::string* out) {
  out->push_back('"');
  std::size_t from = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (ByteAt(text, i) >= 0x20 && text[i] != '"' && text[i] != '\\') continue;
    out->append(text, from, i - from);
    AppendEscaped(text[i], out);
    from = i + 1;
  }
  out->append(text, from, text.size() - from).push_back('"');
}

}  // namespace mainspring::front
