// One native model's answers to infer requests, for an app that has the body in hand: as the front gives
// them, without its sockets and threads.

#ifndef MAINSPRING_INFER_MODEL_H_
#define MAINSPRING_INFER_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "mainspring/front.h"

namespace mainspring {

namespace front {
struct ModelBook;
}

// What was answered of one name and version. It outlives the models that count in it: a model that is built
// anew goes on where the last one was. Any thread may read while one counts.
class InferCounts {
 public:
  InferCounts(std::string name, std::string version);

  FrontModelCounts Sum() const;
  const std::shared_ptr<front::ModelBook>& book() const { return book_; }

 private:
  std::shared_ptr<front::ModelBook> book_;
};

// An answer; `body` lies in the model, until its next call.
struct InferAnswer {
  std::string_view body;
  std::optional<std::size_t> json_length;  // of the part before binary tensors; none: all of it is JSON
  std::size_t rows = 0;
};

class InferModel {
 public:
  // Requests above about `seconds` of work are not answered. `counts` must be of the model's name and
  // version.
  InferModel(FrontModel model, const InferCounts& counts, double seconds);
  ~InferModel();
  InferModel(const InferModel&) = delete;
  InferModel& operator=(const InferModel&) = delete;

  // Answers a body whose first `json_length` bytes are JSON, nullopt: all of it. False: it is wrong, unusual
  // or too much work, which the app says in its own words, and nothing was counted. One call at a time.
  bool Answer(std::string_view body, std::optional<std::uint64_t> json_length, InferAnswer* answer);

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace mainspring

#endif  // MAINSPRING_INFER_MODEL_H_
