// The models and tables behind their Python objects, for what runs them without Python.

#ifndef MAINSPRING_BINDINGS_MODELS_H_
#define MAINSPRING_BINDINGS_MODELS_H_

#include <pybind11/pybind11.h>

#include <atomic>
#include <memory>

#include "mainspring/formulas.h"
#include "mainspring/front_predict.h"
#include "mainspring/mlp.h"
#include "mainspring/table.h"
#include "mainspring/trees.h"

namespace mainspring {

// Each is nullptr where the object is of another class. Need the GIL; what they give does not: it owns its
// model and may end on any thread.
std::shared_ptr<const Mlp> MlpOf(const pybind11::handle& object);
std::shared_ptr<const Forest> ForestOf(const pybind11::handle& object);
std::shared_ptr<const Formulas> FormulasOf(const pybind11::handle& object);

// Both hold on to the table.
struct TableParts {
  std::shared_ptr<const OnlineTable> table;
  std::shared_ptr<const std::atomic<bool>> is_closed;
};
TableParts TableOf(const pybind11::handle& object);

// Of a program of columns and vocabularies; `program` is nullptr where the object is of another class, or the
// program has anything else: event lists, ragged lists, hashes of strings. Holds on to no Python object.
FrontProgram FrontProgramOf(const pybind11::handle& object);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_MODELS_H_
