// The arguments of an entry of the C API (METH_FASTCALL | METH_KEYWORDS): by place, or by name.

#ifndef MAINSPRING_BINDINGS_ARGUMENTS_H_
#define MAINSPRING_BINDINGS_ARGUMENTS_H_

#include <array>
#include <cstddef>

#include "arrays.h"

namespace mainspring {

// `names` in their order; the first `n_by_place` may also come without a name, the first `n_needed` must
// come.
template <std::size_t kCount>
struct Signature {
  const char* function;
  std::array<const char*, kCount> names;
  std::size_t n_by_place, n_needed;
};

// Borrowed references, nullptr for those that did not come. TypeError as Python words it.
template <std::size_t kCount>
std::array<PyObject*, kCount> TakeArguments(const Signature<kCount>& signature, PyObject* const* given,
                                            py::ssize_t n_given, PyObject* given_names) {
  std::array<PyObject*, kCount> taken = {};
  const auto n = static_cast<std::size_t>(n_given);
  const auto refuse = [](auto... words) {
    PyErr_Format(PyExc_TypeError, words...);
    throw py::error_already_set();
  };
  if (n > signature.n_by_place) {
    refuse("%s() takes at most %zu positional arguments (%zu given)", signature.function,
           signature.n_by_place, n);
  }
  for (std::size_t i = 0; i < n; ++i) taken[i] = given[i];
  const py::ssize_t n_named = given_names == nullptr ? 0 : PyTuple_GET_SIZE(given_names);
  for (py::ssize_t k = 0; k < n_named; ++k) {
    PyObject* const name = PyTuple_GET_ITEM(given_names, k);
    std::size_t i = 0;
    while (i < kCount && PyUnicode_CompareWithASCIIString(name, signature.names[i]) != 0) ++i;
    if (i == kCount) refuse("%s() got an unexpected keyword argument '%U'", signature.function, name);
    if (taken[i] != nullptr) refuse("%s() got multiple values for argument '%U'", signature.function, name);
    taken[i] = given[n_given + k];
  }
  for (std::size_t i = 0; i < signature.n_needed; ++i) {
    if (taken[i] == nullptr) {
      refuse("%s() missing required argument '%s'", signature.function, signature.names[i]);
    }
  }
  return taken;
}

using FastMethod = PyObject* (*)(PyObject* self, PyObject* const* given, py::ssize_t n_given,
                                 PyObject* names);

inline PyMethodDef AsFastMethod(const char* name, FastMethod method, int more_flags = 0) {
  return {name, reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(method)),
          METH_FASTCALL | METH_KEYWORDS | more_flags, nullptr};
}

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_ARGUMENTS_H_
