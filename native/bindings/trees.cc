// Trees: converts, checks shapes, releases the GIL.

#include "mainspring/trees.h"

#include <string_view>

#include "bindings.h"
#include "bound_model.h"
#include "models.h"

namespace mainspring {
namespace {

// Nodes x rows of one walk from which the lock is given up: about half a millisecond (see arrays.h).
constexpr std::size_t kReleaseTreeRows = std::size_t{1} << 17;

class Trees : public std::enable_shared_from_this<Trees> {
 public:
  using Reader = ModelError (*)(std::string_view, ForestModel*);

  // Needs the GIL, and keeps it: the text may be a buffer that others change.
  Trees(const py::object& text, Reader read, const char* name, const py::object& target) {
    std::string_view view;
    py::ssize_t size = 0;
    if (PyUnicode_Check(text.ptr())) {
      const char* const data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
      if (data == nullptr) throw py::error_already_set();
      view = {data, static_cast<std::size_t>(size)};
    } else if (PyBytes_Check(text.ptr())) {
      view = {PyBytes_AS_STRING(text.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
    } else {
      Raise(StatusCode::kBadDtype, "`" + std::string(name) + "` must be a str or bytes, got `" +
                                       TypeName(text.ptr()) + "`; pass what the file holds");
    }
    const Target chosen = ChosenTarget(target);
    ForestModel model;
    ModelError error = read(view, &model);
    if (error.ok()) error = Forest::Make(std::move(model), chosen, &forest_);
    if (!error.ok()) Raise(error.code, error.message);
  }

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

  // Checks `out`, or makes it where it is None.
  py::object Out(const py::object& out, PyObject* features, std::size_t rows, bool raw) const {
    const std::size_t width = forest_.n_outputs(raw);
    if (out.is_none()) {
      if (forest_.is_xgboost()) return NewMatrix(Dtype<float>(), rows, width);
      return py::array(py::reinterpret_borrow<py::dtype>(Dtype<double>()), {rows, width});
    }
    CheckWritable(out.ptr(), "out", dtype(), rows, static_cast<py::ssize_t>(width));
    CheckApart(out.ptr(), "features", features);
    return out;
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
  py::object Run(const py::object& features, const py::object& out, bool raw) {
    bool is_double;
    const std::size_t rows = Rows(features.ptr(), &is_double);
    py::object result = Out(out, features.ptr(), rows, raw);
    std::unique_ptr<ForestWorkspace> workspace = idle_.Take([this] { return forest_.MakeWorkspace(); });
    if (IsLong(rows)) {
      const py::gil_scoped_release released;
      RunOn(features.ptr(), is_double, rows, raw, workspace.get(), result.ptr());
    } else {
      RunOn(features.ptr(), is_double, rows, raw, workspace.get(), result.ptr());
    }
    idle_.Return(std::move(workspace));
    return result;
  }

  py::object Bind(const py::object& features, const py::object& out, bool raw);

 private:
  Forest forest_;
  Idle<ForestWorkspace> idle_;
};

class BoundTrees : public BoundModel {
 public:
  BoundTrees(std::shared_ptr<const Trees> owner, const py::object& features, const py::object& out_or_none,
             bool raw)
      : owner_(std::move(owner)), features_(features), raw_(raw) {
    rows_ = owner_->Rows(features.ptr(), &is_double_);
    out = owner_->Out(out_or_none, features.ptr(), rows_, raw);
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

py::object Trees::Bind(const py::object& features, const py::object& out, bool raw) {
  return NewBoundModel(std::make_unique<BoundTrees>(shared_from_this(), features, out, raw));
}

}  // namespace

std::shared_ptr<const Forest> ForestOf(const py::handle& object) {
  if (!py::isinstance<Trees>(object)) return nullptr;
  const auto owner = py::cast<std::shared_ptr<Trees>>(object);
  return {owner, &owner->forest()};
}

void BindTrees(py::module_& module) {
  py::options options;
  options.disable_function_signatures();
  module.attr("BoundModel") = BoundModelClass();
  py::class_<Trees, std::shared_ptr<Trees>>(module, "Trees", py::is_final(),
                                            "Boosted trees. See mainspring.native.trees.")
      .def_static(
          "from_lightgbm",
          [](const py::object& text, const py::object& target) {
            return std::make_shared<Trees>(text, &ReadLightGbm, "text", target);
          },
          py::arg("text"), py::kw_only(), py::arg("target") = py::none())
      .def_static(
          "from_xgboost",
          [](const py::object& json, const py::object& target) {
            return std::make_shared<Trees>(json, &ReadXgboost, "json", target);
          },
          py::arg("json"), py::kw_only(), py::arg("target") = py::none())
      .def("run", &Trees::Run, py::arg("features"), py::arg("out") = py::none(), py::kw_only(),
           py::arg("raw") = false)
      .def("bind", &Trees::Bind, py::arg("features"), py::arg("out") = py::none(), py::kw_only(),
           py::arg("raw") = false)
      .def_property_readonly("width", [](const Trees& self) { return self.forest().width(); })
      .def_property_readonly("n_outputs", [](const Trees& self) { return self.forest().n_outputs(false); })
      .def_property_readonly("n_trees", [](const Trees& self) { return self.forest().n_trees(); })
      .def_property_readonly("n_nodes", [](const Trees& self) { return self.forest().n_nodes(); })
      .def_property_readonly("target", [](const Trees& self) { return TargetName(self.forest().target()); })
      .def_property_readonly("objective", [](const Trees& self) { return self.forest().objective(); })
      .def_property_readonly("feature_names",
                             [](const Trees& self) {
                               py::list names;
                               for (const std::string& name : self.forest().feature_names()) {
                                 PyObject* const text = PyUnicode_DecodeUTF8(
                                     name.data(), static_cast<py::ssize_t>(name.size()), "replace");
                                 if (text == nullptr) throw py::error_already_set();
                                 names.append(py::reinterpret_steal<py::object>(text));
                               }
                               return py::tuple(names);
                             })
      .def_property_readonly(
          "dtype", [](const Trees& self) { return py::reinterpret_borrow<py::object>(self.dtype()); })
      .def("__repr__", [](const Trees& self) {
        const Forest& f = self.forest();
        return "Trees(" + std::to_string(f.n_trees()) + " trees, width=" + std::to_string(f.width()) +
               ", n_outputs=" + std::to_string(f.n_outputs(false)) + ")";
      });
}

}  // namespace mainspring
