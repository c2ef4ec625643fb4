#include "http_head.h"

#include <array>
#include <cstring>

namespace mainspring::front {
namespace {

constexpr std::array<bool, 256> MakeTokenTable() {
  std::array<bool, 256> is_token{};
  for (int c = '0'; c <= '9'; ++c) is_token[static_cast<std::size_t>(c)] = true;
  for (int c = 'A'; c <= 'Z'; ++c) is_token[static_cast<std::size_t>(c)] = true;
  for (int c = 'a'; c <= 'z'; ++c) is_token[static_cast<std::size_t>(c)] = true;
  for (char c : {'!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~'}) {
    is_token[static_cast<unsigned char>(c)] = true;
  }
  return is_token;
}

constexpr std::array<bool, 256> kIsToken = MakeTokenTable();

bool IsToken(std::string_view text) {
  for (char c : text) {
    if (!kIsToken[static_cast<unsigned char>(c)]) return false;
  }
  return !text.empty();
}

// Tabs, printable ASCII, and bytes above it, which mean nothing to us and are passed on.
bool IsValue(std::string_view text) {
  for (char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && byte != '\t') || byte == 0x7F) return false;
  }
  return true;
}

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool Refuse(BadHead* bad, int status, const char* why) {
  bad->status = status;
  bad->why = why;
  return false;
}

// Where the head ends, or 0: after the first line that is empty. Every line must end with CR LF.
Parsed FindEnd(std::string_view bytes, std::size_t* seen, std::size_t* end, BadHead* bad) {
  const std::size_t skipped = bytes.substr(0, 2) == "\r\n" ? 2 : 0;
  std::size_t at = *seen > skipped ? *seen : skipped;
  while (at < bytes.size()) {
    const void* const found = std::memchr(bytes.data() + at, '\n', bytes.size() - at);
    if (found == nullptr) break;
    at = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
    if (at == skipped || bytes[at - 1] != '\r') {
      Refuse(bad, 400, "a line of the head does not end with CR LF");
      return Parsed::kBad;
    }
    ++at;
    if (at - skipped >= 4 && bytes[at - 3] == '\n') {
      *end = at;
      return Parsed::kDone;
    }
    if (at - skipped == 2 && skipped > 0) {
      Refuse(bad, 400, "there are empty lines before the request");
      return Parsed::kBad;
    }
  }
  *seen = bytes.size();
  return Parsed::kMore;
}

// The next line of a head that has them all, without its end.
std::string_view TakeLine(std::string_view* rest) {
  const std::size_t end = rest->find('\n');
  const std::string_view line = rest->substr(0, end - 1);
  rest->remove_prefix(end + 1);
  return line;
}

bool ReadFields(std::string_view rest, std::vector<Field>* fields, BadHead* bad) {
  fields->clear();
  for (std::string_view line = TakeLine(&rest); !line.empty(); line = TakeLine(&rest)) {
    if (fields->size() == kMaxFields) return Refuse(bad, 431, "it has more than 100 header fields");
    if (line.front() == ' ' || line.front() == '\t') {
      return Refuse(bad, 400, "a header field goes on in a second line");
    }
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !IsToken(line.substr(0, colon))) {
      return Refuse(bad, 400, "a header field has no valid name");
    }
    const std::string_view value = Trimmed(line.substr(colon + 1));
    if (!IsValue(value)) return Refuse(bad, 400, "a header field has a control character");
    fields->push_back({line.substr(0, colon), value});
  }
  return true;
}

bool ReadFraming(const std::vector<Field>& fields, int minor, Framing* framing, bool* wants_close,
                 BadHead* bad) {
  *framing = {};
  bool has_close = false, has_coding = false;
  for (const Field& field : fields) {
    if (EqualsIgnoringCase(field.name, "content-length")) {
      if (framing->has_length) return Refuse(bad, 400, "it has two Content-Length fields");
      if (!ReadDigits(field.value, &framing->length)) {
        return Refuse(bad, 400, "its Content-Length is no number");
      }
      framing->has_length = true;
    } else if (EqualsIgnoringCase(field.name, "transfer-encoding")) {
      if (has_coding) return Refuse(bad, 400, "it has two Transfer-Encoding fields");
      if (!EqualsIgnoringCase(field.value, "chunked")) {
        return Refuse(bad, 501, "its Transfer-Encoding is not `chunked`");
      }
      has_coding = true;
    } else if (EqualsIgnoringCase(field.name, "connection")) {
      has_close = has_close || HasToken(field.value, "close");
    }
  }
  if (has_coding && framing->has_length) {
    return Refuse(bad, 400, "it has both Content-Length and Transfer-Encoding");
  }
  if (has_coding && minor == 0) return Refuse(bad, 400, "HTTP/1.0 has no Transfer-Encoding");
  framing->is_chunked = has_coding;
  *wants_close = has_close || minor == 0;
  return true;
}

// "HTTP/1.1" or "HTTP/1.0".
bool ReadVersion(std::string_view text, int* minor, BadHead* bad) {
  if (text == "HTTP/1.1" || text == "HTTP/1.0") {
    *minor = text.back() - '0';
    return true;
  }
  if (text.size() == 8 && text.substr(0, 5) == "HTTP/" && text[5] >= '0' && text[5] <= '9' &&
      text[6] == '.' && text[7] >= '0' && text[7] <= '9') {
    return Refuse(bad, 505, "its version is neither HTTP/1.1 nor HTTP/1.0");
  }
  return Refuse(bad, 400, "its first line is no request line of HTTP/1.1");
}

bool ReadRequestLine(std::string_view line, RequestHead* head, BadHead* bad) {
  const std::size_t first = line.find(' '), last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return Refuse(bad, 400, "its first line is no request line of HTTP/1.1");
  }
  head->method = line.substr(0, first);
  head->target = line.substr(first + 1, last - first - 1);
  if (!ReadVersion(line.substr(last + 1), &head->minor, bad)) return false;
  if (!IsToken(head->method)) return Refuse(bad, 400, "its method is no token");
  for (char c : head->target) {
    if (c <= 0x20 || c >= 0x7F) return Refuse(bad, 400, "its target has characters that no URI has");
  }
  if (head->method == "CONNECT") return Refuse(bad, 501, "CONNECT is not offered");
  const bool is_absolute = head->target.substr(0, 7) == "http://" || head->target.substr(0, 8) == "https://";
  if (head->target.empty() || (head->target.front() != '/' && head->target != "*" && !is_absolute)) {
    return Refuse(bad, 400, "its target is no path");
  }
  return true;
}

bool CheckRequest(RequestHead* head, BadHead* bad) {
  int hosts = 0;
  head->expects_continue = false;
  for (const Field& field : head->fields) {
    if (EqualsIgnoringCase(field.name, "host")) {
      ++hosts;
    } else if (EqualsIgnoringCase(field.name, "expect")) {
      if (!EqualsIgnoringCase(field.value, "100-continue")) {
        return Refuse(bad, 417, "its Expect is not `100-continue`");
      }
      head->expects_continue = head->minor == 1;
    }
  }
  if (hosts > 1) return Refuse(bad, 400, "it has two Host fields");
  if (hosts == 0 && head->minor == 1) return Refuse(bad, 400, "it has no Host field");
  return true;
}

bool ReadStatusLine(std::string_view line, ResponseHead* head, BadHead* bad) {
  if (!ReadVersion(line.substr(0, 8), &head->minor, bad)) return false;
  std::uint64_t status = 0;
  if (line.size() < 12 || line[8] != ' ' || !ReadDigits(line.substr(9, 3), &status) || status < 100 ||
      (line.size() > 12 && line[12] != ' ')) {
    return Refuse(bad, 502, "its status line is no status line");
  }
  head->status = static_cast<int>(status);
  head->reason = line.size() > 13 ? line.substr(13) : std::string_view();
  return IsValue(head->reason) || Refuse(bad, 502, "its reason has a control character");
}

}  // namespace

std::string_view RequestHead::Only(std::string_view name, int* times) const {
  std::string_view value;
  *times = 0;
  for (const Field& field : fields) {
    if (!EqualsIgnoringCase(field.name, name)) continue;
    value = field.value;
    ++*times;
  }
  return value;
}

Parsed ReadRequestHead(std::string_view bytes, std::size_t* seen, RequestHead* head, BadHead* bad) {
  const Parsed found = FindEnd(bytes, seen, &head->size, bad);
  if (found != Parsed::kDone) return found;
  std::string_view rest = bytes.substr(0, head->size);
  if (rest.substr(0, 2) == "\r\n") rest.remove_prefix(2);
  const bool is_good = ReadRequestLine(TakeLine(&rest), head, bad) && ReadFields(rest, &head->fields, bad) &&
                       ReadFraming(head->fields, head->minor, &head->framing, &head->wants_close, bad) &&
                       CheckRequest(head, bad);
  return is_good ? Parsed::kDone : Parsed::kBad;
}

Parsed ReadResponseHead(std::string_view bytes, std::size_t* seen, ResponseHead* head, BadHead* bad) {
  const Parsed found = FindEnd(bytes, seen, &head->size, bad);
  if (found != Parsed::kDone) return found;
  std::string_view rest = bytes.substr(0, head->size);
  const bool is_good = ReadStatusLine(TakeLine(&rest), head, bad) && ReadFields(rest, &head->fields, bad) &&
                       ReadFraming(head->fields, head->minor, &head->framing, &head->wants_close, bad);
  return is_good ? Parsed::kDone : Parsed::kBad;
}

bool EqualsIgnoringCase(std::string_view text, std::string_view lower) {
  if (text.size() != lower.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c) != lower[i]) return false;
  }
  return true;
}

bool HasToken(std::string_view list, std::string_view lower) {
  while (!list.empty()) {
    const std::size_t comma = list.find(',');
    if (EqualsIgnoringCase(Trimmed(list.substr(0, comma)), lower)) return true;
    if (comma == std::string_view::npos) break;
    list.remove_prefix(comma + 1);
  }
  return false;
}

bool IsHopByHop(const Field& field, const std::vector<Field>& fields) {
  for (std::string_view name : {"connection", "keep-alive", "proxy-connection", "proxy-authenticate",
                                "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"}) {
    if (EqualsIgnoringCase(field.name, name)) return true;
  }
  char lower[64];
  if (field.name.size() > sizeof lower) return false;
  for (std::size_t i = 0; i < field.name.size(); ++i) {
    const char c = field.name[i];
    lower[i] = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }
  const std::string_view name(lower, field.name.size());
  // Whoever names these wants a message that means something else behind us.
  if (name == "host" || name == "authorization" || name == "x-forwarded-for") return false;
  for (const Field& other : fields) {
    if (EqualsIgnoringCase(other.name, "connection") && HasToken(other.value, name)) return true;
  }
  return false;
}

bool ReadDigits(std::string_view text, std::uint64_t* number) {
  if (text.empty() || text.size() > 18) return false;
  *number = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return false;
    *number = *number * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return true;
}

}  // namespace mainspring::front
