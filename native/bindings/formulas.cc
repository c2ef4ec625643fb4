// Formulas: converts and checks steps.

#include "mainspring/formulas.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "models.h"

namespace mainspring {
namespace {

// As mainspring.native.formulas writes them.
using InputTuple = std::tuple<std::string, bool>;                 // name, is_whole
using OutputTuple = std::tuple<std::string, bool, std::int32_t>;  // name, is_int64, step
using ClockTuple = std::tuple<std::vector<std::int64_t>, std::vector<std::int64_t>, std::int64_t>;
// op, a, b, real, whole, table, clock
using StepTuple = std::tuple<int, std::int32_t, std::int32_t, double, std::int64_t, std::vector<double>,
                             std::optional<ClockTuple>>;

FormulaStep ToStep(StepTuple from) {
  auto& [op, a, b, real, whole, table, clock] = from;
  if (op < 0 || op >= static_cast<int>(kFormulaOps))
    Raise(StatusCode::kBadSpec, "a step is of no known kind");
  FormulaStep step{static_cast<FormulaOp>(op), a, b, real, whole, nullptr, nullptr};
  if (!table.empty()) step.table = std::make_shared<const std::vector<double>>(std::move(table));
  if (clock.has_value()) {
    auto& [hours, minutes, end] = *clock;
    step.clock =
        std::make_shared<const FormulaClock>(FormulaClock{std::move(hours), std::move(minutes), end});
  }
  return step;
}

std::shared_ptr<Formulas> Make(std::vector<InputTuple> inputs, std::vector<StepTuple> steps,
                               std::vector<OutputTuple> outputs) {
  FormulaSpec spec;
  for (auto& [name, is_whole] : inputs) spec.inputs.push_back({std::move(name), is_whole});
  for (StepTuple& step : steps) spec.steps.push_back(ToStep(std::move(step)));
  for (auto& [name, is_int64, step] : outputs) spec.outputs.push_back({std::move(name), is_int64, step});
  auto made = std::make_shared<Formulas>();
  const Status status = Formulas::Compile(std::move(spec), made.get());
  if (!status.ok()) Raise(status.code, Message(status, "step"));
  return made;
}

// Arrays of each input, int64 or float64; arrays of each output, or None where a time is not known. Holds the
// GIL.
py::object Run(const Formulas& formulas, const py::list& columns, std::size_t rows) {
  const FormulaSpec& spec = formulas.spec();
  if (columns.size() != spec.inputs.size()) Raise(StatusCode::kBadShape, "pass a column for each input");
  std::vector<const std::int64_t*> wholes(spec.inputs.size());
  std::vector<const double*> reals(spec.inputs.size());
  for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
    const py::object column = columns[i];
    const FormulaInput& input = spec.inputs[i];
    CheckArray(column.ptr(), input.name, input.is_whole ? Dtype<std::int64_t>() : Dtype<double>(), rows, -1);
    const void* const data = py::cast<py::array>(column).data();
    input.is_whole ? (void)(wholes[i] = static_cast<const std::int64_t*>(data))
                   : (void)(reals[i] = static_cast<const double*>(data));
  }
  FormulaWorkspace workspace;
  if (!formulas.Run(wholes.data(), reals.data(), rows, &workspace)) return py::none();
  py::list made;
  for (std::size_t i = 0; i < spec.outputs.size(); ++i) {
    const auto n = static_cast<py::ssize_t>(rows);
    spec.outputs[i].is_int64 ? made.append(py::array_t<std::int64_t>(n, workspace.ints[i].data()))
                             : made.append(py::array_t<float>(n, workspace.floats[i].data()));
  }
  return made;
}

}  // namespace

std::shared_ptr<const Formulas> FormulasOf(const py::handle& object) {
  if (!py::isinstance<Formulas>(object)) return nullptr;
  return py::cast<std::shared_ptr<Formulas>>(object);
}

void BindFormulas(py::module_& module) {
  py::options options;
  options.disable_function_signatures();
  py::class_<Formulas, std::shared_ptr<Formulas>>(module, "Formulas", py::is_final(),
                                                  "See mainspring.native.formulas.")
      .def(py::init(&Make), py::arg("inputs"), py::arg("steps"), py::arg("outputs"))
      .def("run", &Run, py::arg("columns"), py::arg("rows"));
}

}  // namespace mainspring
