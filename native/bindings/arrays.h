// What every binding needs: refusals in words, arrays checked as they lie, new matrices.

#ifndef MAINSPRING_BINDINGS_ARRAYS_H_
#define MAINSPRING_BINDINGS_ARRAYS_H_

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "mainspring/status.h"
#include "mainspring/target.h"

namespace mainspring {

namespace py = pybind11;

// Values (rows x columns) from which the lock is given up: about half a millisecond of work on either kind of
// target. Giving it up costs 0.3 us when nobody else wants it, but where another thread runs Python getting
// it back takes up to its switch interval of 5 ms: 1,024 x 16 values went from 7.6 us to 3.3 ms (Zen 4,
// 2026-11). Whoever waits for us meanwhile waits no longer than for that other thread.
inline constexpr std::size_t kReleaseValues = std::size_t{1} << 20;
inline constexpr std::size_t kReleaseValuesGeneric = std::size_t{1} << 15;

// Everything here needs the GIL.

// Finds mainspring.native.status.NativeError and keeps it for the life of the process.
void LoadNativeError();

[[noreturn]] void Raise(StatusCode code, const std::string& message);

// NativeError `full` with how much there must be room for.
[[noreturn]] void RaiseNoRoom(const std::string& message, std::size_t needed);

// `place` names what status.column counts: "output column 3".
std::string Message(const Status& status, const std::string& place);
void Check(const Status& status);

std::string TypeName(PyObject* object);

// A list or tuple as it is; anything else iterable as a new list.
py::object Sequence(const py::handle& object, StatusCode code, const std::string& name);

// The NumPy dtype of T, held for the life of the process.
template <typename T>
PyObject* Dtype() {
  static PyObject* const dtype = py::dtype::of<T>().release().ptr();
  return dtype;
}

// Exactly an array of this dtype, one dimension and length: the common case of CheckArray, a few loads.
bool IsPlainArray(PyObject* object, PyObject* dtype, std::size_t rows);

// Refuses what is no array of `dtype` that kernels may use as it lies; never converts, never copies.
// `rows` and `width` are the expected shape, width -1 for one dimension.
void CheckArray(PyObject* object, const std::string& name, PyObject* dtype, std::size_t rows,
                py::ssize_t width);

// The same, and that it may be written.
void CheckWritable(PyObject* object, const std::string& name, PyObject* dtype, std::size_t rows,
                   py::ssize_t width);

inline void* DataOf(PyObject* array) { return py::detail::array_proxy(array)->data; }
inline std::size_t LengthOf(PyObject* array) {
  return static_cast<std::size_t>(py::detail::array_proxy(array)->dimensions[0]);
}
bool IsArray(PyObject* object);

// (rows, width), 64-byte aligned, not initialised; float32 or int32.
py::object NewMatrix(PyObject* dtype, std::size_t rows, std::size_t width);

// (size,), as NewMatrix.
py::object NewVector(PyObject* dtype, std::size_t size);

Target ChosenTarget(const py::object& name);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_ARRAYS_H_
