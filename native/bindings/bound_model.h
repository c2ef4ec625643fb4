// What the models share: scratch that is used again, and a bound run that costs one entry of the C API.

#ifndef MAINSPRING_BINDINGS_BOUND_MODEL_H_
#define MAINSPRING_BINDINGS_BOUND_MODEL_H_

#include <memory>
#include <utility>
#include <vector>

#include "arrays.h"

namespace mainspring {

// Scratch for runs, one at a time each; taken and given back under the GIL. Grows to as many as ran at once.
template <typename Workspace>
class Idle {
 public:
  template <typename Make>
  std::unique_ptr<Workspace> Take(const Make& make) {
    if (idle_.empty()) return std::make_unique<Workspace>(make());
    std::unique_ptr<Workspace> workspace = std::move(idle_.back());
    idle_.pop_back();
    return workspace;
  }
  void Return(std::unique_ptr<Workspace> workspace) { idle_.push_back(std::move(workspace)); }

 private:
  std::vector<std::unique_ptr<Workspace>> idle_;
};

// A model, its inputs and its output, checked once. Everything here needs the GIL.
class BoundModel {
 public:
  virtual ~BoundModel() = default;
  virtual void Run() = 0;  // raises by throwing

  py::object out;
};

// The class of bound models, and one of it: `run()` and `out`.
py::object BoundModelClass();
py::object NewBoundModel(std::unique_ptr<BoundModel> model);

// Refuses an output that shares memory with an input.
void CheckApart(PyObject* out, const char* name, PyObject* input);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_BOUND_MODEL_H_
