// What answers requests on the loops themselves, and what is counted of it.

#ifndef MAINSPRING_SRC_FRONT_ANSWERING_H_
#define MAINSPRING_SRC_FRONT_ANSWERING_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "callers.h"
#include "grpc_message.h"
#include "http_head.h"
#include "infer_call.h"
#include "mainspring/front.h"

namespace mainspring::front {

// A JSON body above this is the app's: reading it alone would hold up the loop.
inline constexpr std::size_t kMaxJsonBytes = std::size_t{128} << 10;

// Counted by one thread, read by any.
class Count {
 public:
  void Add(std::uint64_t n) { value_.store(Get() + n, std::memory_order_relaxed); }
  void Set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::uint64_t Get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

// What one thread saw of one model's version.
struct alignas(64) LoopModelCounts {
  Count requests, rows, passed_on, last_ms, input_nanos, infer_nanos, output_nanos;
  Count latency[kFrontLatencyBuckets], row_sizes[kFrontRowBuckets];

  void Answered(std::uint64_t n_rows, std::uint64_t input, std::uint64_t infer, std::uint64_t output);
};

// Outlives the models of its name and version, so that counts never fall.
struct ModelBook {
  ModelBook(std::string name_, std::string version_, std::size_t n_loops)
      : name(std::move(name_)), version(std::move(version_)), loops(n_loops) {}

  FrontModelCounts Sum() const;

  const std::string name, version;
  std::vector<LoopModelCounts> loops;
};

// What the head of a request says, beside which path is meant.
struct AskedHead {
  bool has_json_length = false;
  std::uint64_t json_length = 0;
  bool may_compress = false;    // the caller takes gzip or deflate
  bool accepts_other = false;   // the caller names what it takes, and it may not be JSON
  bool has_other_form = false;  // what came, or what is asked for, may be something else than JSON
  double deadline_ms = 0;       // after its arrival; 0: none
  std::string_view request_id;
  Caller caller;          // who asks, where it matters
  bool has_wish = false;  // of who answers, where traffic should not choose
  std::string_view path;
};

// Reads it. False for what is not understood: content codings, fields that are there twice, odd values.
bool ReadAskedHead(const RequestHead& head, AskedHead* asked);

// An id that a caller may give its request.
bool IsRequestId(std::string_view id);

std::int64_t NowNanos();   // of the steady clock
std::int64_t UnixNanos();  // of the one that people set
// CPU time of this thread. A call into the kernel, some 0.2 us: what is metered is what was used.
std::uint64_t CpuNanos();

// Scratch of one thread, shared by all that answer on it.
struct Scratch {
  InferCall call;
  std::vector<float> input;
  std::vector<float> floats;  // what models give
  std::vector<double> doubles;
  std::string request_id;  // of the request at hand: sent with it, or made
  std::string body;

  // Gives back what only a large request needed.
  void Trim();
};

// An answer in `scratch->body`.
struct MadeAnswer {
  // What a trace tells of it, on NowNanos.
  struct Part {
    const char* name = "";
    std::int64_t began = 0, ended = 0;
  };

  bool is_binary = false;
  std::size_t json_length = 0;
  std::size_t rows = 0;            // that limits charge
  std::string_view model, bundle;  // that ran, as FrontSpan names them; valid as long as who answered
  std::array<Part, 3> parts{};
  std::size_t n_parts = 0;
};

// Immutable but for what each thread has for itself.
class Answering {
 public:
  virtual ~Answering() = default;

  // Answers a body into `scratch->body`, on thread `loop`; false: it is the app's to answer. Never blocks;
  // takes about half a millisecond at most.
  virtual bool Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
                      MadeAnswer* answer) const = 0;

  // Likewise an infer request that came by gRPC; the answer has gRPC's five bytes before it.
  virtual bool AnswerGrpc(const GrpcInfer& infer, std::size_t loop, Scratch* scratch,
                          MadeAnswer* answer) const;

  LoopModelCounts& counts(std::size_t loop) const { return book_->loops[loop]; }
  const Door& door() const { return door_; }
  // Whether use is charged to who asks: then the caller of every request is known.
  virtual bool charges_callers() const { return false; }

 protected:
  Answering(Door door, std::shared_ptr<ModelBook> book) : door_(std::move(door)), book_(std::move(book)) {}
  std::size_t n_loops() const { return book_->loops.size(); }

 private:
  const Door door_;
  const std::shared_ptr<ModelBook> book_;
};

// Who answers which path. Immutable.
class PathTable {
 public:
  using Entry = std::pair<std::string, std::shared_ptr<const Answering>>;

  PathTable() = default;
  explicit PathTable(std::vector<Entry> by_path);

  // Of the target of a request as it was sent; nullptr: nobody.
  const Answering* Find(std::string_view target) const;
  // Whether there is a path that begins so.
  bool HasPrefix(std::string_view prefix) const;

 private:
  using Place = std::vector<Entry>::const_iterator;

  Place FirstFrom(std::string_view path) const;

  std::vector<Entry> by_path_;  // sorted
};

// What the loops answer by. Immutable.
struct InForce {
  PathTable paths;
  std::shared_ptr<const Callers> callers = std::make_shared<const Callers>();
  double trace_share = -1;  // below 0: nothing is traced
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_ANSWERING_H_
