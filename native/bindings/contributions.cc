// Contributions: converts, checks shapes, releases the GIL.

#include "mainspring/contributions.h"

#include <memory>
#include <string_view>
#include <vector>

#include "arrays.h"
#include "bindings.h"

namespace mainspring {
namespace {

using Reader = ModelError (*)(std::string_view, ForestModel*);

// Needs the GIL, and keeps it: the text may be a buffer that others change.
std::unique_ptr<Contributions> Read(const py::object& text, Reader read, const char* name) {
  std::string_view view;
  if (py::isinstance<py::str>(text)) {
    py::ssize_t size = 0;
    const char* const data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
    if (data == nullptr) throw py::error_already_set();
    view = {data, static_cast<std::size_t>(size)};
  } else if (py::isinstance<py::bytes>(text)) {
    view = {PyBytes_AS_STRING(text.ptr()), static_cast<std::size_t>(PyBytes_GET_SIZE(text.ptr()))};
  } else {
    Raise(StatusCode::kBadDtype, "`" + std::string(name) + "` must be a str or bytes, got `" +
                                     TypeName(text.ptr()) + "`; pass what the file holds");
  }
  ForestModel model;
  auto made = std::make_unique<Contributions>();
  ModelError error = read(view, &model);
  if (error.ok()) error = Contributions::Make(model, made.get());
  if (!error.ok()) Raise(error.code, error.message);
  return made;
}

// Needs the GIL; gives it up while it computes.
py::array_t<double> Run(const Contributions& model, const py::object& features, std::size_t output) {
  PyObject* const array = features.ptr();
  const auto width = static_cast<py::ssize_t>(model.width());
  if (!IsArray(array) || py::detail::array_proxy(array)->nd != 2) {
    CheckArray(array, "features", Dtype<float>(), 0, width);  // which says what is wrong
  }
  const auto* const proxy = py::detail::array_proxy(array);
  const bool is_double = !model.is_xgboost() && proxy->descr == Dtype<double>();
  const auto rows = static_cast<std::size_t>(proxy->dimensions[0]);
  CheckArray(array, "features", is_double ? Dtype<double>() : Dtype<float>(), rows, width);
  if (output >= model.n_outputs()) {
    Raise(StatusCode::kOutOfRange,
          "`output` must be below " + std::to_string(model.n_outputs()) + ", got " + std::to_string(output));
  }
  py::array_t<double> out({static_cast<py::ssize_t>(rows), width + 1});
  double* const to = out.mutable_data();
  const void* const from = DataOf(array);
  {
    const py::gil_scoped_release unlocked;
    std::vector<PathStep> workspace(model.WorkspaceSize());
    if (is_double) {
      model.Run(static_cast<const double*>(from), rows, output, workspace.data(), to);
    } else {
      model.Run(static_cast<const float*>(from), rows, output, workspace.data(), to);
    }
  }
  return out;
}

}  // namespace

void BindContributions(py::module_& module) {
  py::class_<Contributions>(
      module, "Contributions",
      "How much each feature adds to a prediction. See mainspring.native.contributions.")
      .def_static(
          "from_lightgbm", [](const py::object& text) { return Read(text, &ReadLightGbm, "text"); },
          py::arg("text"))
      .def_static(
          "from_xgboost", [](const py::object& json) { return Read(json, &ReadXgboost, "json"); },
          py::arg("json"))
      .def("run", &Run, py::arg("features"), py::kw_only(), py::arg("output") = 0)
      .def_property_readonly("width", &Contributions::width)
      .def_property_readonly("n_outputs", &Contributions::n_outputs)
      .def_property_readonly("n_trees", &Contributions::n_trees)
      .def_property_readonly("depth", &Contributions::depth);
}

}  // namespace mainspring
