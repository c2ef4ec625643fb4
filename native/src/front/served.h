// The models that the front answers for.

#ifndef MAINSPRING_SRC_FRONT_SERVED_H_
#define MAINSPRING_SRC_FRONT_SERVED_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "answering.h"
#include "infer_call.h"
#include "mainspring/front.h"

namespace mainspring::front {

// What one request may take of a loop of the front.
inline constexpr double kLoopSeconds = 0.5e-3;

// A model with what each thread needs to run it.
class Served final : public Answering {
 public:
  // Leaves requests above about `seconds` of work to the app: they would hold up whoever else is on the loop.
  Served(FrontModel model, std::shared_ptr<ModelBook> book, double seconds = kLoopSeconds);

  bool Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
              MadeAnswer* answer) const override;

  bool AnswerGrpc(const GrpcInfer& infer, std::size_t loop, Scratch* scratch,
                  MadeAnswer* answer) const override;

  const FrontModel& model() const { return model_; }

 private:
  const void* Input(std::string_view binary, Scratch* scratch) const;
  bool Run(const void* input, std::size_t rows, std::size_t loop, Scratch* scratch) const;
  bool Write(Scratch* scratch, MadeAnswer* answer) const;
  bool Fits(const GrpcInfer& infer) const;
  // What Run gave, as it lies in memory.
  std::string_view Bytes(const Scratch& scratch, std::size_t rows) const;

  // On NowNanos: when an answer was begun, its input there, its output there.
  struct Times {
    std::int64_t began = 0, read = 0, ran = 0;
  };
  // Counts it, and says in `answer` what traces tell.
  void Told(std::size_t rows, std::size_t loop, const Times& times, MadeAnswer* answer) const;

  struct Workspace {
    MlpWorkspace mlp;
    ForestWorkspace forest;
  };

  const FrontModel model_;
  InferNames names_;
  bool gives_double_ = false;
  std::size_t n_outputs_ = 0;
  std::size_t max_rows_here_ = 0;
  mutable std::vector<Workspace> workspaces_;  // one for each thread, used by it alone
};

// The paths of a model.
void AddPaths(const std::shared_ptr<const Served>& served, std::vector<PathTable::Entry>* by_path);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_SERVED_H_
