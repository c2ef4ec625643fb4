#include "arrays.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace mainspring {
namespace {

// Larger outputs get huge pages: a first touch of 4 KiB pages costs as much as the transform itself.
constexpr std::size_t kHugeBytes = std::size_t{4} << 20;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kLine = 64;

PyObject* native_error = nullptr;

std::string Number(double x) { return py::repr(py::float_(x)); }

std::string Shape(PyObject* array) {
  return py::str(py::reinterpret_borrow<py::object>(array).attr("shape"));
}

std::string DtypeName(PyObject* dtype) { return py::str(py::reinterpret_borrow<py::object>(dtype)); }

void FreeBuffer(void* buffer) { std::free(buffer); }

}  // namespace

void LoadNativeError() {
  native_error =
      py::object(py::module_::import("mainspring.native.status").attr("NativeError")).release().ptr();
}

void Raise(StatusCode code, const std::string& message) {
  const py::object error = py::reinterpret_borrow<py::object>(native_error)(CodeName(code), message);
  PyErr_SetObject(native_error, error.ptr());
  throw py::error_already_set();
}

void RaiseNoRoom(const std::string& message, std::size_t needed) {
  static PyObject* const no_room =
      py::object(py::module_::import("mainspring.native.status").attr("NoRoom")).release().ptr();
  const py::object error = py::reinterpret_borrow<py::object>(no_room)(message, needed);
  PyErr_SetObject(no_room, error.ptr());
  throw py::error_already_set();
}

std::string Message(const Status& status, const std::string& place) {
  std::string message = place.empty() ? "" : place + ": ";
  message += status.expected;
  if (status.has_got) message += ", got " + Number(status.got);
  if (*status.next_step != '\0') message += std::string("; ") + status.next_step;
  return message;
}

void Check(const Status& status) {
  if (status.ok()) return;
  const bool is_placed = status.column >= 0;
  Raise(status.code, Message(status, is_placed ? "output column " + std::to_string(status.column) : ""));
}

std::string TypeName(PyObject* object) { return Py_TYPE(object)->tp_name; }

py::object Sequence(const py::handle& object, StatusCode code, const std::string& name) {
  PyObject* fast = PySequence_Fast(object.ptr(), "");
  if (fast == nullptr) {
    PyErr_Clear();
    Raise(code, "`" + name + "` must be a sequence, got `" + TypeName(object.ptr()) + "`; pass a list");
  }
  return py::reinterpret_steal<py::object>(fast);
}

bool IsArray(PyObject* object) { return py::detail::npy_api::get().PyArray_Check_(object); }

bool IsPlainArray(PyObject* object, PyObject* dtype, std::size_t rows) {
  using Api = py::detail::npy_api;
  static PyTypeObject* const plain = Api::get().PyArray_Type_;
  if (Py_TYPE(object) != plain) return false;
  const auto* const array = py::detail::array_proxy(object);
  constexpr int kFlags = Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_;
  return array->descr == dtype && array->nd == 1 && static_cast<std::size_t>(array->dimensions[0]) == rows &&
         (array->flags & kFlags) == kFlags;
}

void CheckArray(PyObject* object, const std::string& name, PyObject* dtype, std::size_t rows,
                py::ssize_t width) {
  const auto& api = py::detail::npy_api::get();
  if (!IsArray(object)) {
    const std::string wanted = DtypeName(dtype);
    Raise(StatusCode::kBadDtype, "`" + name + "` must be a " + wanted + " array, got `" + TypeName(object) +
                                     "`; convert it with numpy.asarray(x, dtype=numpy." + wanted + ")");
  }
  const auto* const array = py::detail::array_proxy(object);
  if (array->descr != dtype && !api.PyArray_EquivTypes_(array->descr, dtype)) {
    const std::string wanted = DtypeName(dtype);
    Raise(StatusCode::kBadDtype, "`" + name + "` must have dtype " + wanted + ", got `" +
                                     DtypeName(array->descr) + "`; convert it with .astype(numpy." + wanted +
                                     ")");
  }
  const bool is_matrix = width >= 0;
  if (array->nd != (is_matrix ? 2 : 1) || static_cast<std::size_t>(array->dimensions[0]) != rows ||
      (is_matrix && array->dimensions[1] != width)) {
    const std::string expected =
        "(" + std::to_string(rows) + (is_matrix ? ", " + std::to_string(width) : ",") + ")";
    Raise(StatusCode::kBadShape, "`" + name + "` must have shape " + expected + ", got " + Shape(object) +
                                     "; pass arrays of one batch");
  }
  using Api = py::detail::npy_api;
  if (!py::detail::check_flags(object, Api::NPY_ARRAY_C_CONTIGUOUS_ | Api::NPY_ARRAY_ALIGNED_)) {
    Raise(StatusCode::kNotContiguous,
          "`" + name +
              "` must be C-contiguous and aligned, got a strided or misaligned view; "
              "copy it with numpy.ascontiguousarray or .copy()");
  }
}

void CheckWritable(PyObject* object, const std::string& name, PyObject* dtype, std::size_t rows,
                   py::ssize_t width) {
  CheckArray(object, name, dtype, rows, width);
  if (!py::detail::check_flags(object, py::detail::npy_api::NPY_ARRAY_WRITEABLE_)) {
    Raise(StatusCode::kNotWritable,
          "`" + name + "` must be writable, got a read-only array; pass another one");
  }
}

py::object NewMatrix(PyObject* dtype, std::size_t rows, std::size_t width) {
  const std::size_t bytes = rows * width * 4;
  const std::size_t alignment = bytes >= kHugeBytes ? kHugePage : kLine;
  const std::size_t padded = (bytes / alignment + 1) * alignment;
  void* const buffer = std::aligned_alloc(alignment, padded);
  if (buffer == nullptr) throw std::bad_alloc();
  // Only advice: where the system has no huge pages the call fails and nothing changes.
  if (alignment == kHugePage) madvise(buffer, padded, MADV_HUGEPAGE);
  const py::capsule owner(buffer, FreeBuffer);
  return py::array(py::reinterpret_borrow<py::dtype>(dtype), {rows, width}, buffer, owner);
}

py::object NewVector(PyObject* dtype, std::size_t size) {
  const py::object memory = NewMatrix(dtype, 1, size);
  return py::array(py::reinterpret_borrow<py::dtype>(dtype), {size}, DataOf(memory.ptr()), memory);
}

Target ChosenTarget(const py::object& name) {
  if (!name.is_none() && !py::isinstance<py::str>(name)) {
    Raise(StatusCode::kUnknownTarget, "`target` must be a str or None, got `" + TypeName(name.ptr()) +
                                          "`; take one from `targets.available()`");
  }
  const std::string text = name.is_none() ? std::string() : name.cast<std::string>();
  Target target;
  Check(ChooseTarget(name.is_none() ? nullptr : text.c_str(), &target));
  return target;
}

}  // namespace mainspring
