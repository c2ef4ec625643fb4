// Python objects whose few hot methods are entries of the C API: a call through pybind11 costs 75 ns, one of
// these 40 (Zen 4, Python 3.11, 2026-11).

#ifndef MAINSPRING_BINDINGS_FAST_OBJECT_H_
#define MAINSPRING_BINDINGS_FAST_OBJECT_H_

#include <exception>
#include <memory>
#include <new>
#include <vector>

#include "arrays.h"

namespace mainspring {

// An object that owns one State, made by New and never from Python. One template argument, one Python type.
template <typename State>
class FastObject {
 public:
  static State& Of(PyObject* self) { return *reinterpret_cast<Layout*>(self)->state; }

  // `name` is a literal, `methods` and `getters` (or nullptr) end with an empty one and live for ever; all
  // are taken from the first call.
  static PyTypeObject* Type(const char* name, PyMethodDef* methods, PyGetSetDef* getters = nullptr,
                            reprfunc repr = nullptr, const char* doc = nullptr) {
    static auto* const type = Make(name, methods, getters, repr, doc);
    return type;
  }

  static py::object New(PyTypeObject* type, std::unique_ptr<State> state) {
    PyObject* const self = type->tp_alloc(type, 0);
    if (self == nullptr) throw py::error_already_set();
    reinterpret_cast<Layout*>(self)->state = state.release();
    return py::reinterpret_steal<py::object>(self);
  }

 private:
  struct Layout {
    PyObject_HEAD State* state;
  };

  static void Dealloc(PyObject* self) {
    PyTypeObject* const type = Py_TYPE(self);
    delete reinterpret_cast<Layout*>(self)->state;
    type->tp_free(self);
    Py_DECREF(type);
  }

  static PyTypeObject* Make(const char* name, PyMethodDef* methods, PyGetSetDef* getters, reprfunc repr,
                            const char* doc) {
    std::vector<PyType_Slot> slots = {{Py_tp_dealloc, reinterpret_cast<void*>(Dealloc)},
                                      {Py_tp_methods, methods}};
    if (getters != nullptr) slots.push_back({Py_tp_getset, getters});
    if (repr != nullptr) slots.push_back({Py_tp_repr, reinterpret_cast<void*>(repr)});
    if (doc != nullptr) slots.push_back({Py_tp_doc, const_cast<char*>(doc)});
    slots.push_back({0, nullptr});
    PyType_Spec spec = {name, sizeof(Layout), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                        slots.data()};
    auto* const type = reinterpret_cast<PyTypeObject*>(PyType_FromSpec(&spec));
    if (type == nullptr) throw py::error_already_set();
    return type;
  }
};

// What an entry of the C API gives back: what `work` does, or nullptr with the Python error that it threw.
template <typename Work>
PyObject* Guarded(const Work& work) {
  try {
    return work();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_FAST_OBJECT_H_
