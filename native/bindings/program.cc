// Program: columns in as they lie, checked once; a batch, or the same buffers again and again.

#include "mainspring/program.h"

#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "../src/program/program_kernels.h"
#include "arrays.h"
#include "bindings.h"

namespace mainspring {
namespace {

// As mainspring.native.spec writes them.
using DenseTuple = std::tuple<int, int, double, double, double, bool, double, double>;
using IdTuple = std::tuple<int, std::vector<std::int32_t>, std::int32_t, std::uint64_t, std::int32_t,
                           std::vector<std::int64_t>, std::vector<double>, bool>;
using WindowTuple = std::tuple<std::int32_t, std::int32_t, std::int64_t, int>;

DenseColumn ToDense(const DenseTuple& from) {
  DenseColumn column;
  int kind = 0;
  std::tie(column.source, kind, column.fill, column.lower, column.upper, column.log1p, column.mean,
           column.scale) = from;
  column.indicator = kind == 1;
  column.pass = kind == 2;
  return column;
}

IdSpec ToId(const IdTuple& from) {
  IdSpec id;
  int kind = 0;
  std::tie(kind, id.sources, id.offset, id.seed, id.buckets, id.values, id.boundaries, id.right) = from;
  id.kind = static_cast<IdKind>(kind);
  return id;
}

struct Names {
  std::vector<std::string> floats, ints, events;
};

// A compiled program, and a workspace that runs take turns with.
class NativeProgram {
 public:
  NativeProgram(Names names, const std::vector<WindowTuple>& windows, const std::vector<DenseTuple>& dense,
                const std::vector<IdTuple>& ids, const py::object& target)
      : names_(std::move(names)) {
    ProgramSpec spec;
    spec.n_floats = static_cast<std::int32_t>(names_.floats.size());
    spec.n_ints = static_cast<std::int32_t>(names_.ints.size());
    spec.n_events = static_cast<std::int32_t>(names_.events.size());
    for (const auto& [events, as_of, width, aggregate] : windows) {
      spec.windows.push_back({events, as_of, width, static_cast<Aggregate>(aggregate)});
    }
    for (const DenseTuple& column : dense) spec.dense.push_back(ToDense(column));
    for (const IdTuple& id : ids) spec.ids.push_back(ToId(id));
    const Status status = Program::Compile(spec, ChosenTarget(target), &program_);
    if (!status.ok()) Raise(status.code, Message(status, Place(spec, status.column)));
  }

  const Program& program() const { return program_; }
  const Names& names() const { return names_; }

  std::size_t width() const { return program_.width(); }
  std::size_t n_ids() const { return program_.n_ids(); }
  const char* target() const { return TargetName(program_.target()); }

  // Whether a run is long enough to let others have the lock.
  bool IsLong(std::size_t rows) const {
    const std::size_t work = rows * (width() + 2 * n_ids() + 8 * names_.events.size());
    return work >= (program_.target() == Target::kGeneric ? kReleaseValuesGeneric : kReleaseValues);
  }

 private:
  static std::string Place(const ProgramSpec& spec, std::int32_t column) {
    if (column < 0) return "";
    std::size_t i = static_cast<std::size_t>(column);
    if (i < spec.dense.size()) return "`dense[" + std::to_string(i) + "]`";
    i -= spec.dense.size();
    if (i < spec.ids.size()) return "`ids[" + std::to_string(i) + "]`";
    return "window " + std::to_string(i - spec.ids.size());
  }

  Names names_;
  Program program_;
};

using Range = std::pair<std::uintptr_t, std::uintptr_t>;

Range RangeOf(PyObject* array, std::size_t bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(DataOf(array));
  return {begin, begin + bytes};
}

// A program with the buffers that it reads and writes, checked when they were bound.
class Bound {
 public:
  // Needs the GIL.
  Bound(std::shared_ptr<const NativeProgram> owner, const py::list& floats, const py::list& ints,
        const py::list& events, const py::object& dense, const py::object& ids)
      : owner_(std::move(owner)), workspace_(owner_->program().MakeWorkspace()) {
    const Names& names = owner_->names();
    rows_ = CountRows(floats, ints, events);
    Take(floats, names.floats, Dtype<float>(), &floats_);
    Take(ints, names.ints, Dtype<std::int64_t>(), &ints_);
    TakeEvents(events, names.events);
    const std::size_t width = owner_->width(), n_ids = owner_->n_ids();
    dense_ = dense.is_none() ? NewMatrix(Dtype<float>(), rows_, width) : dense;
    ids_ = ids.is_none() ? NewMatrix(Dtype<std::int32_t>(), n_ids, rows_) : ids;
    CheckWritable(dense_.ptr(), "dense", Dtype<float>(), rows_, static_cast<py::ssize_t>(width));
    CheckWritable(ids_.ptr(), "ids", Dtype<std::int32_t>(), n_ids, static_cast<py::ssize_t>(rows_));
    CheckOverlap("dense", RangeOf(dense_.ptr(), rows_ * width * sizeof(float)));
    CheckOverlap("ids", RangeOf(ids_.ptr(), rows_ * n_ids * sizeof(std::int32_t)));
  }

  // Needs the GIL; gives it up while a large batch is computed.
  void Run(std::size_t rows) {
    if (rows > rows_) {
      Raise(StatusCode::kBadShape, "`rows` must be at most the " + std::to_string(rows_) +
                                       " that are bound, got " + std::to_string(rows) +
                                       "; bind larger buffers");
    }
    if (is_running_.exchange(true, std::memory_order_acquire)) {
      Raise(StatusCode::kBusy, "another thread runs these buffers; bind one set for each thread");
    }
    ProgramInput input;
    input.floats = floats_.data();
    input.ints = ints_.data();
    input.events = events_.data();
    input.n_rows = rows;
    auto* const dense = static_cast<float*>(DataOf(dense_.ptr()));
    auto* const ids = static_cast<std::int32_t*>(DataOf(ids_.ptr()));
    Status status;
    if (owner_->IsLong(rows)) {
      const py::gil_scoped_release released;
      status = owner_->program().Run(input, &workspace_, dense, ids, rows_);
    } else {
      status = owner_->program().Run(input, &workspace_, dense, ids, rows_);
    }
    is_running_.store(false, std::memory_order_release);
    if (status.ok()) return;
    const std::string row = std::to_string(static_cast<std::int64_t>(status.got));
    status.has_got = false;
    Raise(status.code, Message(status, "row " + row));
  }

  std::size_t rows() const { return rows_; }
  py::object dense() const { return dense_; }
  py::object ids() const { return ids_; }

 private:
  // From the first input; 0 where it is none that could say, which the checks will tell.
  static std::size_t CountRows(const py::list& floats, const py::list& ints, const py::list& events) {
    const auto length = [](const py::handle& object) {
      return IsArray(object.ptr()) && py::detail::array_proxy(object.ptr())->nd == 1 ? LengthOf(object.ptr())
                                                                                     : 0;
    };
    if (!floats.empty()) return length(floats[0]);
    if (!ints.empty()) return length(ints[0]);
    if (events.empty() || !py::isinstance<py::tuple>(events[0]) || py::len(events[0]) == 0) return 0;
    const std::size_t offsets = length(py::reinterpret_borrow<py::tuple>(events[0])[0]);
    return offsets == 0 ? 0 : offsets - 1;
  }

  template <typename T>
  void Take(const py::list& from, const std::vector<std::string>& names, PyObject* dtype,
            std::vector<const T*>* to) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      const py::object column = from[i];
      CheckArray(column.ptr(), names[i], dtype, rows_, -1);
      Hold(column, names[i], rows_ * sizeof(T));
      to->push_back(static_cast<const T*>(DataOf(column.ptr())));
    }
  }

  void TakeEvents(const py::list& from, const std::vector<std::string>& names) {
    for (std::size_t i = 0; i < names.size(); ++i) {
      const py::object lists = from[i];
      if (!py::isinstance<py::tuple>(lists) || py::len(lists) != 3) {
        Raise(StatusCode::kBadDtype, "`" + names[i] + "` must be a tuple (offsets, times, values), got `" +
                                         TypeName(lists.ptr()) + "`; pass three arrays");
      }
      const auto parts = py::reinterpret_borrow<py::tuple>(lists);
      const py::object offsets = parts[0], times = parts[1], values = parts[2];
      const auto is_int32 = [](const py::handle& a) {
        return IsArray(a.ptr()) && py::detail::npy_api::get().PyArray_EquivTypes_(
                                       py::detail::array_proxy(a.ptr())->descr, Dtype<std::int32_t>());
      };
      const bool is_narrow = is_int32(offsets);
      CheckArray(offsets.ptr(), names[i] + ".offsets",
                 is_narrow ? Dtype<std::int32_t>() : Dtype<std::int64_t>(), rows_ + 1, -1);
      const std::size_t size =
          IsArray(times.ptr()) && py::detail::array_proxy(times.ptr())->nd == 1 ? LengthOf(times.ptr()) : 0;
      CheckArray(times.ptr(), names[i] + ".times", Dtype<std::int64_t>(), size, -1);
      CheckArray(values.ptr(), names[i] + ".values", Dtype<float>(), size, -1);
      Hold(offsets, names[i] + ".offsets", (rows_ + 1) * (is_narrow ? 4 : 8));
      Hold(times, names[i] + ".times", size * 8);
      Hold(values, names[i] + ".values", size * 4);
      events_.push_back({DataOf(offsets.ptr()), !is_narrow, size,
                         static_cast<const std::int64_t*>(DataOf(times.ptr())),
                         static_cast<const float*>(DataOf(values.ptr()))});
    }
  }

  void Hold(const py::object& array, const std::string& name, std::size_t bytes) {
    held_.push_back(array);
    inputs_.emplace_back(name, RangeOf(array.ptr(), bytes));
  }

  void CheckOverlap(const std::string& name, Range out) {
    for (const auto& [input, range] : inputs_) {
      if (range.first < out.second && out.first < range.second) {
        Raise(StatusCode::kOverlap,
              "`" + name + "` must not share memory with `" + input + "`; pass another array");
      }
    }
    inputs_.emplace_back(name, out);
  }

  std::shared_ptr<const NativeProgram> owner_;
  ProgramWorkspace workspace_;
  std::size_t rows_ = 0;
  std::vector<const float*> floats_;
  std::vector<const std::int64_t*> ints_;
  std::vector<MainspringEvents> events_;
  std::vector<py::object> held_;
  std::vector<std::pair<std::string, Range>> inputs_;
  py::object dense_, ids_;
  std::atomic<bool> is_running_{false};
};

}  // namespace

void BindProgram(py::module_& module) {
  py::class_<NativeProgram, std::shared_ptr<NativeProgram>>(module, "Program", py::is_final(),
                                                            "See mainspring.native.program.")
      .def(py::init([](std::vector<std::string> floats, std::vector<std::string> ints,
                       std::vector<std::string> events, const std::vector<WindowTuple>& windows,
                       const std::vector<DenseTuple>& dense, const std::vector<IdTuple>& ids,
                       const py::object& target) {
             return std::make_shared<NativeProgram>(
                 Names{std::move(floats), std::move(ints), std::move(events)}, windows, dense, ids, target);
           }),
           py::arg("floats"), py::arg("ints"), py::arg("events"), py::arg("windows"), py::arg("dense"),
           py::arg("ids"), py::arg("target"))
      .def_property_readonly("width", &NativeProgram::width)
      .def_property_readonly("n_ids", &NativeProgram::n_ids)
      .def_property_readonly("target", &NativeProgram::target)
      .def(
          "bind",
          [](const std::shared_ptr<NativeProgram>& self, const py::list& floats, const py::list& ints,
             const py::list& events, const py::object& dense, const py::object& ids) {
            return std::make_unique<Bound>(self, floats, ints, events, dense, ids);
          },
          py::arg("floats"), py::arg("ints"), py::arg("events"), py::arg("dense"), py::arg("ids"));
  py::class_<Bound>(module, "Bound", py::is_final(), "See mainspring.native.program.")
      .def("run", &Bound::Run, py::arg("rows"))
      .def_property_readonly("rows", &Bound::rows)
      .def_property_readonly("dense", &Bound::dense)
      .def_property_readonly("ids", &Bound::ids);
}

}  // namespace mainspring
