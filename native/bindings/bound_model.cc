#include "bound_model.h"

#include <new>

namespace mainspring {
namespace {

struct BoundObject {
  PyObject_HEAD BoundModel* model;
};

BoundModel& ModelOf(PyObject* self) { return *reinterpret_cast<BoundObject*>(self)->model; }

PyObject* RunEntry(PyObject* self, PyObject*) {
  try {
    ModelOf(self).Run();
    Py_RETURN_NONE;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyObject* OutOf(PyObject* self, void*) { return ModelOf(self).out.inc_ref().ptr(); }

void Dealloc(PyObject* self) {
  PyTypeObject* const type = Py_TYPE(self);
  delete reinterpret_cast<BoundObject*>(self)->model;
  type->tp_free(self);
  Py_DECREF(type);
}

PyTypeObject* BoundType() {
  static PyMethodDef methods[] = {{"run", RunEntry, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getters[] = {{"out", OutOf, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
                                {Py_tp_methods, methods},
                                {Py_tp_getset, getters},
                                {0, nullptr}};
  static PyType_Spec spec = {"mainspring.native._native.BoundModel", sizeof(BoundObject), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  static auto* const type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
  if (type == nullptr) throw py::error_already_set();
  return type;
}

std::size_t BytesOf(PyObject* array) {
  return static_cast<std::size_t>(py::reinterpret_borrow<py::array>(array).nbytes());
}

}  // namespace

py::object BoundModelClass() {
  return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(BoundType()));
}

py::object NewBoundModel(std::unique_ptr<BoundModel> model) {
  PyTypeObject* const type = BoundType();
  PyObject* const self = type->tp_alloc(type, 0);
  if (self == nullptr) throw py::error_already_set();
  reinterpret_cast<BoundObject*>(self)->model = model.release();
  return py::reinterpret_steal<py::object>(self);
}

void CheckApart(PyObject* out, const char* name, PyObject* input) {
  const auto from = reinterpret_cast<std::uintptr_t>(DataOf(input));
  const auto to = reinterpret_cast<std::uintptr_t>(DataOf(out));
  if (from < to + BytesOf(out) && to < from + BytesOf(input)) {
    Raise(StatusCode::kOverlap,
          "`out` must not share memory with `" + std::string(name) + "`; pass another array");
  }
}

}  // namespace mainspring
