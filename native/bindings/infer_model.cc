// InferModel: takes a body, gives a body. All methods need the GIL, and hold it: their work is small by
// construction, and the lock is what keeps calls apart.

#include "mainspring/infer_model.h"

#include <pybind11/stl.h>

#include <memory>
#include <string>
#include <utility>

#include "arrays.h"
#include "bindings.h"
#include "fast_object.h"
#include "front_model.h"

namespace mainspring {
namespace {

using InferObject = FastObject<InferModel>;

// None: the whole body is JSON. False: a number that is no length.
bool ReadLength(PyObject* from, std::optional<std::uint64_t>* length) {
  if (from == Py_None) return true;
  const unsigned long long value = PyLong_AsUnsignedLongLong(from);
  if (value == static_cast<unsigned long long>(-1) && PyErr_Occurred() != nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_OverflowError)) throw py::error_already_set();
    PyErr_Clear();
    return false;
  }
  *length = value;
  return true;
}

PyObject* Made(const InferAnswer& answer) {
  const auto size = static_cast<Py_ssize_t>(answer.body.size());
  const auto body = py::reinterpret_steal<py::object>(PyBytes_FromStringAndSize(answer.body.data(), size));
  if (!body) throw py::error_already_set();
  const py::object length =
      answer.json_length.has_value() ? py::object(py::int_(*answer.json_length)) : py::object(py::none());
  return py::make_tuple(body, length, answer.rows).release().ptr();
}

// (body, json_length) to (body, json_length, rows) or None.
PyObject* AnswerEntry(PyObject* self, PyObject* const* arguments, Py_ssize_t n) {
  return Guarded([=]() -> PyObject* {
    if (n != 2) {
      PyErr_Format(PyExc_TypeError, "answer takes a body and the length of its JSON, got %zd arguments", n);
      throw py::error_already_set();
    }
    Py_buffer view;
    if (PyObject_GetBuffer(arguments[0], &view, PyBUF_SIMPLE) != 0) throw py::error_already_set();
    struct Release {
      Py_buffer* view;
      ~Release() { PyBuffer_Release(view); }
    } const release{&view};
    std::optional<std::uint64_t> length;
    InferAnswer answer;
    const std::string_view body(static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len));
    if (!ReadLength(arguments[1], &length) || !InferObject::Of(self).Answer(body, length, &answer)) {
      return Py_NewRef(Py_None);
    }
    return Made(answer);
  });
}

PyTypeObject* InferType() {
  static PyMethodDef methods[] = {
      {"answer", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(AnswerEntry)), METH_FASTCALL, nullptr},
      {nullptr, nullptr, 0, nullptr}};
  return InferObject::Type("mainspring.native._native.InferModel", methods);
}

py::object NewInferModel(ModelTuple model, const InferCounts& counts, double seconds) {
  return InferObject::New(InferType(),
                          std::make_unique<InferModel>(ToModel(std::move(model)), counts, seconds));
}

}  // namespace

void BindInferModel(py::module_& module) {
  py::options options;
  options.disable_function_signatures();
  py::class_<InferCounts>(module, "InferCounts", py::is_final(), "See mainspring.native.infer.")
      .def(py::init<std::string, std::string>(), py::arg("name"), py::arg("version"))
      .def("sum", [](const InferCounts& counts) { return ToTuple(counts.Sum()); });
  module.attr("InferModel") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(InferType()));
  module.def("infer_model", &NewInferModel, py::arg("model"), py::arg("counts"), py::arg("seconds"));
}

}  // namespace mainspring
