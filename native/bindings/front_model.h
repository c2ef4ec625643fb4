// Models and counts as mainspring.native.front writes and reads them.

#ifndef MAINSPRING_BINDINGS_FRONT_MODEL_H_
#define MAINSPRING_BINDINGS_FRONT_MODEL_H_

#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>
#include <tuple>

#include "mainspring/front.h"

namespace mainspring {

// Name, version, input, output, is_default, max_rows, model.
using ModelTuple =
    std::tuple<std::string, std::string, std::string, std::string, bool, std::size_t, pybind11::object>;

// Both need the GIL. Raises bad_spec and bad_dtype for a model that only the app can serve.
FrontModel ToModel(ModelTuple from);
pybind11::tuple ToTuple(const FrontModelCounts& counts);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_FRONT_MODEL_H_
