// One function per file of bindings, called by module.cc.

#ifndef MAINSPRING_BINDINGS_BINDINGS_H_
#define MAINSPRING_BINDINGS_BINDINGS_H_

#include <pybind11/pybind11.h>

namespace mainspring {

void BindAsof(pybind11::module_& module);
void BindBatcher(pybind11::module_& module);
void BindContributions(pybind11::module_& module);
void BindDense(pybind11::module_& module);
void BindFormulas(pybind11::module_& module);
void BindFront(pybind11::module_& module);
void BindInferModel(pybind11::module_& module);
void BindJagged(pybind11::module_& module);
void BindLimits(pybind11::module_& module);
void BindMlp(pybind11::module_& module);
void BindProgram(pybind11::module_& module);
void BindTrees(pybind11::module_& module);
void BindTable(pybind11::module_& module);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_BINDINGS_H_
