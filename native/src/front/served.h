// The models that the front answers for, and what it saw of them.

#ifndef MAINSPRING_SRC_FRONT_SERVED_H_
#define MAINSPRING_SRC_FRONT_SERVED_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "http_head.h"
#include "infer_call.h"
#include "mainspring/front.h"

namespace mainspring::front {

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

// What the head of an infer request says, beside which model is meant.
struct InferHead {
  bool has_json_length = false;
  std::uint64_t json_length = 0;
  bool may_compress = false;  // the caller takes gzip or deflate
  double deadline_ms = 0;     // after its arrival; 0: none
  std::string_view request_id;
};

// Reads it. False for what is not understood: content codings, fields that are there twice, odd values.
bool ReadInferHead(const RequestHead& head, InferHead* infer);

// An id that a caller may give its request.
bool IsRequestId(std::string_view id);

// Scratch of one thread, shared by its models.
struct Scratch {
  InferCall call;
  std::vector<float> input;
  std::vector<float> floats;  // what models give
  std::vector<double> doubles;
  std::string body;

  // Gives back what only a large request needed.
  void Trim();
};

// An answer in `scratch->body`.
struct InferAnswer {
  bool is_binary = false;
  std::size_t json_length = 0;
};

// A model with what each thread needs to run it.
class Served {
 public:
  Served(FrontModel model, std::shared_ptr<ModelBook> book);

  // Answers a body into `scratch->body`, on thread `loop`; false: it is the app's to answer. Never blocks;
  // takes about a millisecond at most.
  bool Answer(const InferHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
              InferAnswer* answer) const;

  LoopModelCounts& counts(std::size_t loop) const { return book_->loops[loop]; }
  const FrontModel& model() const { return model_; }

 private:
  const void* Input(std::string_view binary, Scratch* scratch) const;
  bool Run(const void* input, std::size_t rows, std::size_t loop, Scratch* scratch) const;
  bool Write(Scratch* scratch, InferAnswer* answer) const;

  struct Workspace {
    MlpWorkspace mlp;
    ForestWorkspace forest;
  };

  const FrontModel model_;
  const std::shared_ptr<ModelBook> book_;
  InferNames names_;
  bool gives_double_ = false;
  std::size_t n_outputs_ = 0;
  std::size_t max_rows_here_ = 0;
  mutable std::vector<Workspace> workspaces_;  // one for each thread, used by it alone
};

// Which model answers which path. Immutable.
class ModelTable {
 public:
  ModelTable() = default;
  explicit ModelTable(const std::vector<std::shared_ptr<const Served>>& models);

  // Of the target of a request as it was sent; nullptr: none.
  const std::shared_ptr<const Served>* Find(std::string_view target) const;

 private:
  std::vector<std::pair<std::string, std::shared_ptr<const Served>>> by_path_;  // sorted
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_SERVED_H_
