#include "bound_model.h"

#include <utility>

#include "fast_object.h"

namespace mainspring {
namespace {

using BoundObject = FastObject<BoundModel>;

PyObject* RunEntry(PyObject* self, PyObject*) {
  return Guarded([self] {
    BoundObject::Of(self).Run();
    return Py_NewRef(Py_None);
  });
}

PyObject* OutOf(PyObject* self, void*) { return BoundObject::Of(self).out.inc_ref().ptr(); }

PyTypeObject* BoundType() {
  static PyMethodDef methods[] = {{"run", RunEntry, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getters[] = {{"out", OutOf, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};
  return BoundObject::Type("mainspring.native._native.BoundModel", methods, getters);
}

std::size_t BytesOf(PyObject* array) {
  return static_cast<std::size_t>(py::reinterpret_borrow<py::array>(array).nbytes());
}

}  // namespace

py::object BoundModelClass() {
  return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(BoundType()));
}

py::object NewBoundModel(std::unique_ptr<BoundModel> model) {
  return BoundObject::New(BoundType(), std::move(model));
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
