// Traces: which requests are sampled, and what is told of those that were answered here, until somebody takes
// it.

#ifndef MAINSPRING_SRC_FRONT_SPANS_H_
#define MAINSPRING_SRC_FRONT_SPANS_H_

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "http_head.h"
#include "mainspring/front.h"

namespace mainspring::front {

// Ids that need not be secret, by splitmix64 (Steele, Lea, Flood). Of one thread.
class TraceIds {
 public:
  TraceIds();
  std::uint64_t Next();
  double NextShare();  // in [0, 1)
  // Hexadecimal digits, 16 a number, never all zero, which means none.
  void AppendId(int numbers, std::string* out);

 private:
  std::uint64_t state_;
};

// What a `traceparent` says (W3C).
struct TraceParent {
  std::string_view trace_id, parent_id;
  bool is_sampled = false;
};

// False: it is none, and as good as not there.
bool ReadTraceParent(std::string_view value, TraceParent* parent);

// Of the request at hand, decided once, before its body is read.
struct Tracing {
  bool is_sampled = false;
  std::string trace_id, parent_id;  // "": none
  std::int64_t began = 0;           // on NowNanos

  // `share` of those whose client has not decided it is sampled; below 0: nothing is traced. False: it is for
  // the app to say what was meant.
  bool Begin(const RequestHead& head, double share, TraceIds* ids);
};

// Sampled requests of one loop that wait to be taken.
class SpanBuffer {
 public:
  // At most `max_waiting` wait; what is more is dropped and counted.
  void Limit(std::size_t max_waiting);
  void Add(FrontSpan span);
  void Drain(std::vector<FrontSpan>* out, std::uint64_t* dropped);

 private:
  std::mutex mutex_;
  std::vector<FrontSpan> waiting_;
  std::size_t max_waiting_ = 0;
  std::uint64_t dropped_ = 0;  // since the last drain
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_SPANS_H_
