// Trees: converts, checks shapes, releases the GIL. Entries of the C API (see fast_object.h): of a row's
// microsecond, a call through pybind11 took 0.3, and 0.7 with a keyword (Sapphire Rapids, 2026-11).

#include "mainspring/trees.h"

#include <limits>
#include <string_view>

#include "arguments.h"
#include "bindings.h"
#include "bound_model.h"
#include "fast_object.h"
#include "models.h"
#include "packed.h"

namespace mainspring {
namespace {

// (rows, width), not initialised. NumPy's own memory: it keeps small arrays at hand.
py::object NewOutput(PyObject* dtype, std::size_t rows, std::size_t width) {
  const auto& api = py::detail::npy_api::get();
  Py_intptr_t shape[] = {static_cast<Py_intptr_t>(rows), static_cast<Py_intptr_t>(width)};
  PyObject* const array =
      api.PyArray_NewFromDescr_(api.PyArray_Type_, Py_NewRef(dtype), 2, shape, nullptr, nullptr, 0, nullptr);
  if (array == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(array);
}

// Trees x rows from which the lock is given up: 0.1 ms where nothing is walked, up to 3 ms of large trees
// (see arrays.h for why not from less on).
constexpr std::size_t kReleaseTreeRows = std::size_t{1} << 17;

class Trees : public std::enable_shared_from_this<Trees> {
 public:
  using Reader = ModelError (*)(std::string_view, ForestModel*);

  // Needs the GIL, and keeps it: the text may be a buffer that others change.
  Trees(PyObject* text, Reader read, const char* name, const py::object& target) {
    std::string_view view;
    py::ssize_t size = 0;
    if (PyUnicode_Check(text)) {
      const char* const data = PyUnicode_AsUTF8AndSize(text, &size);
      if (data == nullptr) throw py::error_already_set();
      view = {data, static_cast<std::size_t>(size)};
    } else if (PyBytes_Check(text)) {
      view = {PyBytes_AS_STRING(text), static_cast<std::size_t>(PyBytes_GET_SIZE(text))};
    } else {
      Raise(StatusCode::kBadDtype, "`" + std::string(name) + "` must be a str or bytes, got `" +
                                       TypeName(text) + "`; pass what the file holds");
    }
    const Target chosen = ChosenTarget(target);
    ForestModel model;
    ModelError error = read(view, &model);
    if (error.ok()) error = Forest::Make(std::move(model), chosen, &forest_);
    if (!error.ok()) Raise(error.code, error.message);
  }

  explicit Trees(Forest forest) : forest_(std::move(forest)) {}

  const Forest& forest() const { return forest_; }

  PyObject* dtype() const { return forest_.is_xgboost() ? Dtype<float>() : Dtype<double>(); }

  // Checks `features`; the number of rows.
  std::size_t Rows(PyObject* features, bool* is_double) const {
    *is_double = false;
    if (!IsArray(features) || py::detail::array_proxy(features)->nd != 2) {
      CheckArray(features, "features", Dtype<float>(), 0, static_cast<py::ssize_t>(forest_.width()));
    }
    const auto* const array = py::detail::array_proxy(features);
    *is_double = !forest_.is_xgboost() && array->descr == Dtype<double>();
    const auto rows = static_cast<std::size_t>(array->dimensions[0]);
    CheckArray(features, "features", *is_double ? Dtype<double>() : Dtype<float>(), rows,
               static_cast<py::ssize_t>(forest_.width()));
    return rows;
  }

  // Checks `out`, or makes it where it is None or not given.
  py::object Out(PyObject* out, PyObject* features, std::size_t rows, bool raw) const {
    const std::size_t width = forest_.n_outputs(raw);
    if (out == nullptr || out == Py_None) return NewOutput(dtype(), rows, width);
    CheckWritable(out, "out", dtype(), rows, static_cast<py::ssize_t>(width));
    CheckApart(out, "features", features);
    return py::reinterpret_borrow<py::object>(out);
  }

  bool IsLong(std::size_t rows) const { return rows * forest_.n_trees() >= kReleaseTreeRows; }

  void RunOn(PyObject* features, bool is_double, std::size_t rows, bool raw, ForestWorkspace* workspace,
             PyObject* out) const {
    const void* const from = DataOf(features);
    void* const to = DataOf(out);
    if (forest_.is_xgboost()) {
      forest_.Run(static_cast<const float*>(from), rows, raw, workspace, static_cast<float*>(to));
    } else if (is_double) {
      forest_.Run(static_cast<const double*>(from), rows, raw, workspace, static_cast<double*>(to));
    } else {
      forest_.Run(static_cast<const float*>(from), rows, raw, workspace, static_cast<double*>(to));
    }
  }

  // Needs the GIL; gives it up while a large batch is computed.
  py::object Run(PyObject* features, PyObject* out, bool raw) {
    bool is_double;
    const std::size_t rows = Rows(features, &is_double);
    py::object result = Out(out, features, rows, raw);
    std::unique_ptr<ForestWorkspace> workspace = idle_.Take([this] { return forest_.MakeWorkspace(); });
    if (IsLong(rows)) {
      const py::gil_scoped_release released;
      RunOn(features, is_double, rows, raw, workspace.get(), result.ptr());
    } else {
      RunOn(features, is_double, rows, raw, workspace.get(), result.ptr());
    }
    idle_.Return(std::move(workspace));
    return result;
  }

  py::object Bind(PyObject* features, PyObject* out, bool raw);

 private:
  Forest forest_;
  Idle<ForestWorkspace> idle_;
};

class BoundTrees : public BoundModel {
 public:
  BoundTrees(std::shared_ptr<const Trees> owner, PyObject* features, PyObject* out_or_none, bool raw)
      : owner_(std::move(owner)), features_(py::reinterpret_borrow<py::object>(features)), raw_(raw) {
    rows_ = owner_->Rows(features, &is_double_);
    out = owner_->Out(out_or_none, features, rows_, raw);
    workspace_ = owner_->forest().MakeWorkspace();
  }

  // Keeps the lock: nobody else can be in here.
  void Run() override { owner_->RunOn(features_.ptr(), is_double_, rows_, raw_, &workspace_, out.ptr()); }

 private:
  const std::shared_ptr<const Trees> owner_;
  const py::object features_;
  const bool raw_;
  bool is_double_ = false;
  std::size_t rows_ = 0;
  ForestWorkspace workspace_;
};

py::object Trees::Bind(PyObject* features, PyObject* out, bool raw) {
  return NewBoundModel(std::make_unique<BoundTrees>(shared_from_this(), features, out, raw));
}

// Shared with what is bound to it.
struct TreesState {
  std::shared_ptr<Trees> trees;
};
using TreesObject = FastObject<TreesState>;

Trees& Of(PyObject* self) { return *TreesObject::Of(self).trees; }
const Forest& ForestOf(PyObject* self) { return Of(self).forest(); }

PyTypeObject* TreesType();

PyObject* Read(Trees::Reader read, const Signature<2>& signature, PyObject* const* given, py::ssize_t n,
               PyObject* names) {
  return Guarded([&] {
    const auto [text, target] = TakeArguments(signature, given, n, names);
    const auto chosen = py::reinterpret_borrow<py::object>(target == nullptr ? Py_None : target);
    auto state = std::make_unique<TreesState>();
    state->trees = std::make_shared<Trees>(text, read, signature.names[0], chosen);
    return TreesObject::New(TreesType(), std::move(state)).release().ptr();
  });
}

PyObject* FromLightGbmEntry(PyObject*, PyObject* const* given, py::ssize_t n, PyObject* names) {
  static constexpr Signature<2> kSignature = {"from_lightgbm", {"text", "target"}, 1, 1};
  return Read(&ReadLightGbm, kSignature, given, n, names);
}

PyObject* FromXgboostEntry(PyObject*, PyObject* const* given, py::ssize_t n, PyObject* names) {
  static constexpr Signature<2> kSignature = {"from_xgboost", {"json", "target"}, 1, 1};
  return Read(&ReadXgboost, kSignature, given, n, names);
}

// (features, out=None, *, raw=False), for `run` and for `bind`.
using Method = py::object (Trees::*)(PyObject*, PyObject*, bool);
PyObject* Call(PyObject* self, Method method, const char* name, PyObject* const* given, py::ssize_t n,
               PyObject* names) {
  return Guarded([&] {
    const auto [features, out, raw] =
        TakeArguments(Signature<3>{name, {"features", "out", "raw"}, 2, 1}, given, n, names);
    const int is_raw = raw == nullptr ? 0 : PyObject_IsTrue(raw);
    if (is_raw < 0) throw py::error_already_set();
    return (Of(self).*method)(features, out, is_raw != 0).release().ptr();
  });
}

PyObject* RunEntry(PyObject* self, PyObject* const* given, py::ssize_t n, PyObject* names) {
  return Call(self, &Trees::Run, "run", given, n, names);
}
PyObject* BindEntry(PyObject* self, PyObject* const* given, py::ssize_t n, PyObject* names) {
  return Call(self, &Trees::Bind, "bind", given, n, names);
}

PyObject* SealedEntry(PyObject* self, PyObject*) {
  return Guarded([self] { return PyLong_FromLong(Sealed(*ForestOf(self).packed())); });
}

PyObject* OverEntry(PyObject* self, PyObject* number) {
  return Guarded([&] {
    const long given = PyLong_AsLong(number);
    if (given == -1 && PyErr_Occurred()) throw py::error_already_set();
    const int fd = given < 0 || given > std::numeric_limits<int>::max() ? -1 : static_cast<int>(given);
    Forest made;
    CheckPacked(WithoutLock([&] { return ForestOf(self).Over(fd, &made); }));
    auto state = std::make_unique<TreesState>();
    state->trees = std::make_shared<Trees>(std::move(made));
    return TreesObject::New(TreesType(), std::move(state)).release().ptr();
  });
}

PyObject* PackedOf(PyObject* self, void*) {
  return Guarded([self] { return PackedView(ForestOf(self).packed()).release().ptr(); });
}
PyObject* IsMappedOf(PyObject* self, void*) { return PyBool_FromLong(ForestOf(self).packed()->is_mapped()); }
PyObject* WidthOf(PyObject* self, void*) { return PyLong_FromSize_t(ForestOf(self).width()); }
PyObject* OutputsOf(PyObject* self, void*) { return PyLong_FromSize_t(ForestOf(self).n_outputs(false)); }
PyObject* TreesOf(PyObject* self, void*) { return PyLong_FromSize_t(ForestOf(self).n_trees()); }
PyObject* NodesOf(PyObject* self, void*) { return PyLong_FromSize_t(ForestOf(self).n_nodes()); }
PyObject* TargetOf(PyObject* self, void*) {
  return PyUnicode_FromString(TargetName(ForestOf(self).target()));
}
PyObject* ObjectiveOf(PyObject* self, void*) {
  const std::string& objective = ForestOf(self).objective();
  return PyUnicode_DecodeUTF8(objective.data(), static_cast<py::ssize_t>(objective.size()), "replace");
}
PyObject* DtypeOf(PyObject* self, void*) { return Py_NewRef(Of(self).dtype()); }
PyObject* FeatureNamesOf(PyObject* self, void*) {
  return Guarded([self] {
    py::list names;
    for (const std::string& name : ForestOf(self).feature_names()) {
      PyObject* const text =
          PyUnicode_DecodeUTF8(name.data(), static_cast<py::ssize_t>(name.size()), "replace");
      if (text == nullptr) throw py::error_already_set();
      names.append(py::reinterpret_steal<py::object>(text));
    }
    return py::tuple(names).release().ptr();
  });
}

PyObject* ReprOf(PyObject* self) {
  const Forest& f = ForestOf(self);
  return PyUnicode_FromFormat("Trees(%zu trees, width=%zu, n_outputs=%zu)", f.n_trees(), f.width(),
                              f.n_outputs(false));
}

PyTypeObject* TreesType() {
  static PyMethodDef methods[] = {AsFastMethod("from_lightgbm", FromLightGbmEntry, METH_STATIC),
                                  AsFastMethod("from_xgboost", FromXgboostEntry, METH_STATIC),
                                  AsFastMethod("run", RunEntry),
                                  AsFastMethod("bind", BindEntry),
                                  {"sealed", SealedEntry, METH_NOARGS, nullptr},
                                  {"over", OverEntry, METH_O, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getters[] = {{"width", WidthOf, nullptr, nullptr, nullptr},
                                  {"n_outputs", OutputsOf, nullptr, nullptr, nullptr},
                                  {"n_trees", TreesOf, nullptr, nullptr, nullptr},
                                  {"n_nodes", NodesOf, nullptr, nullptr, nullptr},
                                  {"target", TargetOf, nullptr, nullptr, nullptr},
                                  {"objective", ObjectiveOf, nullptr, nullptr, nullptr},
                                  {"feature_names", FeatureNamesOf, nullptr, nullptr, nullptr},
                                  {"packed", PackedOf, nullptr, nullptr, nullptr},
                                  {"is_mapped", IsMappedOf, nullptr, nullptr, nullptr},
                                  {"dtype", DtypeOf, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};
  return TreesObject::Type("mainspring.native._native.Trees", methods, getters, ReprOf,
                           "Boosted trees. See mainspring.native.trees.");
}

}  // namespace

std::shared_ptr<const Forest> ForestOf(const py::handle& object) {
  if (!Py_IS_TYPE(object.ptr(), TreesType())) return nullptr;
  const std::shared_ptr<Trees>& owner = TreesObject::Of(object.ptr()).trees;
  return {owner, &owner->forest()};
}

void BindTrees(py::module_& module) {
  module.attr("BoundModel") = BoundModelClass();
  module.attr("Trees") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(TreesType()));
}

}  // namespace mainspring
