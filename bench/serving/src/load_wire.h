// How one request goes out on a connection and how its answer comes back: HTTP/1.1, or one unary gRPC call.

#ifndef MAINSPRING_BENCH_LOAD_WIRE_H_
#define MAINSPRING_BENCH_LOAD_WIRE_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

namespace mainspring::load {

enum class Came { kMore, kAnswer, kBroken };

struct Answer {
  int status = 0;  // of HTTP; of gRPC 200 where a message came, else 500
  std::string body;
  bool is_last = false;  // the connection takes no further request
};

// One request at a time. Not thread-safe.
class Wire {
 public:
  virtual ~Wire() = default;
  // What goes out first on a new connection.
  virtual void Open(std::string* out) = 0;
  // Puts the request behind `out`; false where the peer lets nothing through at present.
  virtual bool Ask(std::string* out) = 0;
  // Takes from the front of `in` what is whole; what must be said at once goes behind `out`.
  virtual Came Take(std::string* in, std::string* out, Answer* answer) = 0;
};

class Http : public Wire {
 public:
  explicit Http(const std::string& request) : request_(request) {}
  void Open(std::string*) override {}
  bool Ask(std::string* out) override {
    out->append(request_);
    return true;
  }

  Came Take(std::string* in, std::string*, Answer* answer) override {
    const std::size_t end = in->find("\r\n\r\n");
    if (end == std::string::npos) return Came::kMore;
    const std::string_view head(in->data(), end);
    if (head.size() < 12 || head.substr(0, 7) != "HTTP/1.") return Came::kBroken;
    std::size_t whole = end + 4;
    if (const std::string_view length = Field(head, "content-length"); !length.empty()) {
      const std::size_t n = std::strtoull(std::string(length).c_str(), nullptr, 10);
      if (in->size() < whole + n) return Came::kMore;
      answer->body.assign(*in, whole, n);
      whole += n;
    } else if (Field(head, "transfer-encoding") == "chunked") {
      if (const Came came = Chunks(*in, &whole, &answer->body); came != Came::kAnswer) return came;
    } else {
      return Came::kBroken;
    }
    answer->status = std::atoi(std::string(head.substr(9, 3)).c_str());
    answer->is_last = Field(head, "connection") == "close";
    in->erase(0, whole);
    return Came::kAnswer;
  }

 private:
  // The chunks from `*at` on, which ends behind the last one; trailers are not expected.
  static Came Chunks(const std::string& in, std::size_t* at, std::string* body) {
    body->clear();
    for (;;) {
      const std::size_t line = in.find("\r\n", *at);
      if (line == std::string::npos) return Came::kMore;
      char* after = nullptr;
      const std::size_t n = std::strtoull(in.c_str() + *at, &after, 16);
      if (after == in.c_str() + *at || n > 1u << 30) return Came::kBroken;
      if (in.size() < line + 2 + n + 2) return Came::kMore;
      body->append(in, line + 2, n);
      *at = line + 2 + n + 2;
      if (n == 0) return Came::kAnswer;
    }
  }

  static char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

  // The value of a field, `name` in lower case; empty where it is absent.
  static std::string_view Field(std::string_view head, std::string_view name) {
    for (std::size_t at = head.find("\r\n"); at != std::string_view::npos; at = head.find("\r\n", at)) {
      at += 2;
      if (head.size() < at + name.size() + 1 || head[at + name.size()] != ':') continue;
      bool is_same = true;
      for (std::size_t i = 0; i < name.size() && is_same; ++i) is_same = Lower(head[at + i]) == name[i];
      if (!is_same) continue;
      std::string_view value = head.substr(at + name.size() + 1);
      value = value.substr(0, value.find("\r\n"));
      while (!value.empty() && value.front() == ' ') value.remove_prefix(1);
      return value;
    }
    return {};
  }

  const std::string& request_;
};

// HTTP/2 as far as one call at a time needs it. Header blocks of answers are not read: a call that failed has
// no message, which is all that the load must know.
class Grpc : public Wire {
 public:
  // `message` is the serialised request; less than 60 kB, so that no window of a stream ends.
  Grpc(const std::string& message, const std::string& path) {
    fields_ = "\x83\x86";  // :method POST, :scheme http
    Literal("\x04", path);
    Literal("\x01", "127.0.0.1");
    Literal("\x0f\x10", "application/grpc");  // content-type
    Literal(std::string("\x00\x02", 2) + "te", "trailers");
    data_ = std::string(1, '\0') + Number(message.size(), 4) + message;
  }

  void Open(std::string* out) override {
    out->append("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    Frame(out, 4, 0, 0, std::string("\0\2\0\0\0\0\0\4\0\x10\0\0", 12));  // no pushes; 1 MB for each stream
    Frame(out, 8, 0, 0, Number(1 << 30, 4));                             // and enough for the whole run
    stream_ = 1;
    window_ = 65535;
    received_.clear();
  }

  bool Ask(std::string* out) override {
    if (window_ < static_cast<std::int64_t>(data_.size())) return false;
    window_ -= static_cast<std::int64_t>(data_.size());
    Frame(out, 1, 0x4, stream_, fields_);
    Frame(out, 0, 0x1, stream_, data_);
    received_.clear();
    return true;
  }

  Came Take(std::string* in, std::string* out, Answer* answer) override {
    while (in->size() >= 9) {
      const auto* p = reinterpret_cast<const unsigned char*>(in->data());
      const std::size_t n = static_cast<std::size_t>(p[0]) << 16 | static_cast<std::size_t>(p[1]) << 8 | p[2];
      if (in->size() < 9 + n) return Came::kMore;
      const int type = p[3], flags = p[4];
      const std::uint32_t stream = Word(p + 5) & 0x7fffffff;
      const std::string payload = in->substr(9, n);
      in->erase(0, 9 + n);
      const auto* body = reinterpret_cast<const unsigned char*>(payload.data());
      bool is_over = false;
      switch (type) {
        case 0:
          if (flags & 0x8) {
            if (payload.empty() || body[0] + 1u > n) return Came::kBroken;
            received_.append(payload, 1, n - 1 - body[0]);
          } else {
            received_.append(payload);
          }
          is_over = flags & 0x1;
          break;
        case 1:
          is_over = flags & 0x1;
          break;
        case 3:
          is_over = stream == stream_;
          break;
        case 4:
          if (!(flags & 0x1)) Frame(out, 4, 0x1, 0, "");
          break;
        case 6:
          if (!(flags & 0x1)) Frame(out, 6, 0x1, 0, payload);
          break;
        case 7:
          return Came::kBroken;
        case 8:
          if (n == 4 && stream == 0) window_ += Word(body) & 0x7fffffff;
          break;
        default:
          break;
      }
      if (is_over && stream == stream_) {
        answer->status = received_.size() >= 5 ? 200 : 500;
        answer->body = received_.size() >= 5 ? received_.substr(5) : "";
        answer->is_last = stream_ > 0x7fff0000;
        stream_ += 2;
        return Came::kAnswer;
      }
    }
    return Came::kMore;
  }

 private:
  static std::string Number(std::uint64_t n, int bytes) {
    std::string text;
    while (bytes--) text.push_back(static_cast<char>(n >> (8 * bytes)));
    return text;
  }
  static std::uint32_t Word(const unsigned char* p) {
    return static_cast<std::uint32_t>(p[0]) << 24 | static_cast<std::uint32_t>(p[1]) << 16 |
           static_cast<std::uint32_t>(p[2]) << 8 | p[3];
  }
  static void Frame(std::string* out, int type, int flags, std::uint32_t stream, const std::string& payload) {
    out->append(Number(payload.size(), 3));
    out->push_back(static_cast<char>(type));
    out->push_back(static_cast<char>(flags));
    out->append(Number(stream, 4));
    out->append(payload);
  }
  // A field that the peer must not keep: no state is shared, each block reads the same. Values below 127
  // bytes.
  void Literal(const std::string& name, const std::string& value) {
    fields_ += name;
    fields_.push_back(static_cast<char>(value.size()));
    fields_ += value;
  }

  std::string fields_, data_, received_;
  std::uint32_t stream_ = 1;
  std::int64_t window_ = 0;
};

}  // namespace mainspring::load

#endif  // MAINSPRING_BENCH_LOAD_WIRE_H_
