// One call of a client, from its fields to its end, and what is held for it.

#ifndef MAINSPRING_SRC_FRONT_HTTP2_CALL_H_
#define MAINSPRING_SRC_FRONT_HTTP2_CALL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "spans.h"

namespace mainspring::front {

// Memory of one connection's calls. Some of it every connection may have; what is beyond is taken from a
// limit that all share, in steps, so that small calls cost no shared counter.
class HeldMemory {
 public:
  HeldMemory(std::atomic<std::size_t>* held, std::size_t limit) : held_(held), limit_(limit) {}
  ~HeldMemory() { held_->fetch_sub(counted_, std::memory_order_relaxed); }
  HeldMemory(const HeldMemory&) = delete;
  HeldMemory& operator=(const HeldMemory&) = delete;

  // False: others hold so much that nothing was taken.
  bool Take(std::size_t n);
  void Give(std::size_t n);

 private:
  static constexpr std::size_t kOwn = std::size_t{64} << 10, kStep = std::size_t{64} << 10;

  std::atomic<std::size_t>* const held_;
  const std::size_t limit_;
  std::size_t used_ = 0, counted_ = 0;
};

// Bytes on their way, first in, first out.
class ByteQueue {
 public:
  void Add(std::string_view bytes) { bytes_.append(bytes); }
  std::size_t Take(char* room, std::size_t size);
  void Clear();
  std::size_t size() const { return bytes_.size() - taken_; }
  std::string* bytes() { return &bytes_; }  // of an empty one, to fill

 private:
  std::string bytes_;
  std::size_t taken_ = 0;
};

// Fields in one piece of memory.
class FieldList {
 public:
  void Add(std::string_view name, std::string_view value);
  void Clear();
  std::size_t size() const { return sizes_.size(); }
  std::size_t n_bytes() const { return text_.size(); }

  // Calls `each(name, value)` in their order. The views are valid until the next Add.
  template <typename Each>
  void ForEach(const Each& each) const {
    std::string_view rest = text_;
    for (const auto& [n_name, n_value] : sizes_) {
      each(rest.substr(0, n_name), rest.substr(n_name, n_value));
      rest.remove_prefix(n_name + n_value);
    }
  }

 private:
  std::string text_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> sizes_;
};

struct Http2Call {
  enum class State {
    kFields,   // are coming
    kCollect,  // the message, for an answer of our own
    kPass,     // to the app, and its answer back
    kAnswer,   // of our own is going out
  };

  State state = State::kFields;
  std::int32_t id = 0;
  FieldList fields;
  std::int64_t arrived_ms = 0, moved_ms = 0;  // when it came; when a byte of it last came or went
  double timeout_seconds = 0;                 // that the client gives it; 0: all the time
  Tracing tracing;
  bool is_asked = false;     // the client has said all
  bool is_answered = false;  // all of the answer is in `to_client` and `trailers`
  bool is_sent = false;      // and has gone out
  bool has_fields = false;   // the answer's have gone out
  std::int32_t upstream = -1;

  ByteQueue to_app;        // kCollect: the message so far
  ByteQueue to_client;     //
  FieldList trailers;      // of the answer
  std::size_t unread = 0;  // bytes for which the client was not told yet that it may send more
  std::size_t held = 0;    // of the connection's memory
  std::size_t slot = 0;    // in the connection's list

  // As a new one, with some of the memory.
  void Reuse();
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_HTTP2_CALL_H_
