// DenseTransform: converts, checks shapes, releases the GIL.

#include "mainspring/dense.h"

#include <cmath>
#include <string>
#include <vector>

#include "arrays.h"
#include "bindings.h"

namespace mainspring {
namespace {

[[noreturn]] void RaiseItem(const char* name, std::size_t i, const char* expected, PyObject* item) {
  PyErr_Clear();
  Raise(StatusCode::kBadSpec, "`" + std::string(name) + "[" + std::to_string(i) + "]` must be " + expected +
                                  ", got `" + std::string(py::repr(item)) + "`; correct the spec");
}

// One parameter list of the spec, each item through `convert(item, i)`.
template <typename T, typename Convert>
std::vector<T> ParameterList(const py::handle& object, const char* name, const Convert& convert) {
  const py::object sequence = Sequence(object, StatusCode::kBadSpec, name);
  const std::size_t size = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(sequence.ptr()));
  std::vector<T> result(size);
  for (std::size_t i = 0; i < size; ++i) {
    // Held: converting may run Python code that changes the list.
    const py::object item = py::reinterpret_borrow<py::object>(
        PySequence_Fast_GET_ITEM(sequence.ptr(), static_cast<py::ssize_t>(i)));
    result[i] = convert(item.ptr(), i);
  }
  return result;
}

std::vector<double> Floats(const py::handle& object, const char* name) {
  return ParameterList<double>(object, name, [name](PyObject* item, std::size_t i) {
    const double value = PyFloat_AsDouble(item);
    if (value == -1.0 && PyErr_Occurred() != nullptr) RaiseItem(name, i, "a number", item);
    return value;
  });
}

std::vector<std::int32_t> Indices(const py::handle& object, const char* name) {
  return ParameterList<std::int32_t>(object, name, [name](PyObject* item, std::size_t i) {
    const py::ssize_t value = PyNumber_AsSsize_t(item, PyExc_OverflowError);
    if (PyErr_Occurred() != nullptr || value < 0 || value > INT32_MAX) {
      RaiseItem(name, i, "the index of an input column", item);
    }
    return static_cast<std::int32_t>(value);
  });
}

// char rather than bool: std::vector<bool> has no plain elements.
std::vector<char> Flags(const py::handle& object, const char* name) {
  return ParameterList<char>(object, name, [name](PyObject* item, std::size_t i) {
    const std::string type = TypeName(item);
    if (!PyBool_Check(item) && type != "numpy.bool" && type != "numpy.bool_")
      RaiseItem(name, i, "a bool", item);
    return static_cast<char>(PyObject_IsTrue(item));
  });
}

class DenseTransform {
 public:
  // Needs the GIL.
  DenseTransform(const py::object& source, const py::object& indicator, const py::object& fill,
                 const py::object& lower, const py::object& upper, const py::object& log1p,
                 const py::object& mean, const py::object& scale, const py::object& target) {
    const auto sources = Indices(source, "source");
    const auto indicators = Flags(indicator, "indicator");
    const auto fills = Floats(fill, "fill");
    const auto lowers = Floats(lower, "lower");
    const auto uppers = Floats(upper, "upper");
    const auto log1ps = Flags(log1p, "log1p");
    const auto means = Floats(mean, "mean");
    const auto scales = Floats(scale, "scale");
    const std::size_t width = sources.size();
    const auto same_length = [width](const char* name, std::size_t size) {
      if (size == width) return;
      Raise(StatusCode::kBadSpec,
            "`" + std::string(name) + "` must have one entry per output column like `source` (" +
                std::to_string(width) + "), got " + std::to_string(size) + "; complete the list");
    };
    same_length("indicator", indicators.size());
    same_length("fill", fills.size());
    same_length("lower", lowers.size());
    same_length("upper", uppers.size());
    same_length("log1p", log1ps.size());
    same_length("mean", means.size());
    same_length("scale", scales.size());

    std::vector<DenseColumn> columns(width);
    for (std::size_t i = 0; i < width; ++i) {
      columns[i] = {sources[i], indicators[i] != 0, log1ps[i] != 0, fills[i],
                    lowers[i],  uppers[i],          means[i],       scales[i]};
    }
    Check(DenseProgram::Compile(columns.data(), width, ChosenTarget(target), &program_));
  }

  // Needs the GIL; gives it up while a large batch is computed.
  py::object Run(const py::object& columns, const py::object& out) const {
    const py::object sequence = Sequence(columns, StatusCode::kBadDtype, "columns");
    const std::size_t n_sources = program_.n_sources(), width = program_.width();
    const std::size_t rows = RowsOf(sequence.ptr());
    // Allocated before the list is read: allocating may run Python code (a finaliser), reading may not.
    const py::object result = out.is_none() ? NewMatrix(Dtype<float>(), rows, width) : out;
    const std::size_t given = static_cast<std::size_t>(PySequence_Fast_GET_SIZE(sequence.ptr()));
    if (given != n_sources) {
      Raise(StatusCode::kBadShape, "`columns` must hold " + std::to_string(n_sources) + " arrays, got " +
                                       std::to_string(given) +
                                       "; pass every input column of the program, in order");
    }
    PyObject* const* const items = PySequence_Fast_ITEMS(sequence.ptr());
    const float* few[64];
    std::vector<const float*> many;
    const float** pointers = few;
    if (n_sources > std::size(few)) {
      many.resize(n_sources);
      pointers = many.data();
    }
    for (std::size_t i = 0; i < n_sources; ++i) {
      if (!IsPlainArray(items[i], Dtype<float>(), rows))
        CheckArray(items[i], "columns[" + std::to_string(i) + "]", Dtype<float>(), rows, -1);
      pointers[i] = reinterpret_cast<const float*>(py::detail::array_proxy(items[i])->data);
    }

    if (!out.is_none()) CheckOut(out.ptr(), rows, pointers);
    float* const to = reinterpret_cast<float*>(py::detail::array_proxy(result.ptr())->data);
    const bool is_generic = program_.target() == Target::kGeneric;
    if (rows * width < (is_generic ? kReleaseValuesGeneric : kReleaseValues)) {
      Check(program_.Run(pointers, rows, to));
      return result;
    }
    // While others run, they may empty the caller's list; the arrays must outlive that.
    std::vector<py::object> held(n_sources);
    for (std::size_t i = 0; i < n_sources; ++i) held[i] = py::reinterpret_borrow<py::object>(items[i]);
    Status status;
    {
      const py::gil_scoped_release released;
      status = program_.Run(pointers, rows, to);
    }
    Check(status);
    return result;
  }

  std::size_t width() const { return program_.width(); }
  std::size_t n_sources() const { return program_.n_sources(); }
  const char* target() const { return TargetName(program_.target()); }

 private:
  // The length of the first column; 0 where it is none, which CheckArray will say.
  static std::size_t RowsOf(PyObject* sequence) {
    if (PySequence_Fast_GET_SIZE(sequence) == 0) return 0;
    PyObject* const first = PySequence_Fast_GET_ITEM(sequence, 0);
    if (!py::isinstance<py::array>(first) || py::detail::array_proxy(first)->nd != 1) return 0;
    return static_cast<std::size_t>(py::detail::array_proxy(first)->dimensions[0]);
  }

  void CheckOut(PyObject* out, std::size_t rows, const float* const* pointers) const {
    CheckWritable(out, "out", Dtype<float>(), rows, static_cast<py::ssize_t>(program_.width()));
    const auto begin = reinterpret_cast<std::uintptr_t>(py::detail::array_proxy(out)->data);
    const auto end = begin + rows * program_.width() * sizeof(float);
    for (std::size_t i = 0; i < program_.n_sources(); ++i) {
      const auto from = reinterpret_cast<std::uintptr_t>(pointers[i]);
      if (from < end && begin < from + rows * sizeof(float)) {
        Raise(StatusCode::kOverlap,
              "`out` must not share memory with `columns[" + std::to_string(i) + "]`; pass another array");
      }
    }
  }

  DenseProgram program_;
};

}  // namespace

void BindDense(py::module_& module) {
  py::options options;
  options.disable_function_signatures();
  py::class_<DenseTransform>(module, "DenseTransform", py::is_final(),
                             "Compiled dense program. Immutable, thread-safe. See mainspring.native.dense.")
      .def(py::init<const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&, const py::object&,
                    const py::object&>(),
           py::kw_only(), py::arg("source"), py::arg("indicator"), py::arg("fill"), py::arg("lower"),
           py::arg("upper"), py::arg("log1p"), py::arg("mean"), py::arg("scale"),
           py::arg("target") = py::none())
      .def("run", &DenseTransform::Run, py::arg("columns"), py::arg("out") = py::none(),
           "Transform one batch; (n_rows, width) float32. See mainspring.native.dense.")
      .def_property_readonly("width", &DenseTransform::width, "Output columns.")
      .def_property_readonly("n_sources", &DenseTransform::n_sources, "Input columns that run() expects.")
      .def_property_readonly("target", &DenseTransform::target, "The instruction set in force.")
      .def("__repr__", [](const DenseTransform& self) {
        return "DenseTransform(width=" + std::to_string(self.width()) +
               ", n_sources=" + std::to_string(self.n_sources()) + ", target='" + self.target() + "')";
      });
}

}  // namespace mainspring
