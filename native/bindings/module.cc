// Python's face of the kernels.

#include <pybind11/pybind11.h>

#include "arrays.h"
#include "bindings.h"
#include "mainspring/target.h"

namespace mainspring {
namespace {

py::tuple AvailableTargets() {
  py::list names;
  for (Target target : kAllTargets) {
    if (IsSupported(target)) names.append(TargetName(target));
  }
  return py::tuple(names);
}

}  // namespace
}  // namespace mainspring

PYBIND11_MODULE(_native, module) {
  mainspring::LoadNativeError();
  module.doc() = "Compiled kernels. Use the modules of mainspring.native; see _native.pyi.";
  module.def("available_targets", &mainspring::AvailableTargets);
  module.def("best_target", [] { return mainspring::TargetName(mainspring::BestTarget()); });
  module.def(
      "choose_target",
      [](const pybind11::object& name) { return mainspring::TargetName(mainspring::ChosenTarget(name)); },
      pybind11::arg("name") = pybind11::none());
  mainspring::BindAsof(module);
  mainspring::BindBatcher(module);
  mainspring::BindContributions(module);
  mainspring::BindDense(module);
  mainspring::BindFormulas(module);
  mainspring::BindFront(module);
  mainspring::BindInferModel(module);
  mainspring::BindJagged(module);
  mainspring::BindLimits(module);
  mainspring::BindMlp(module);
  mainspring::BindProgram(module);
  mainspring::BindTrees(module);
  mainspring::BindTable(module);
}
