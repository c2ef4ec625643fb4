// Program and its bound buffers: the spec in, batches through.

#include "mainspring/program.h"

#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "bindings.h"
#include "mainspring/device_plan.h"
#include "models.h"
#include "native_program.h"

namespace mainspring {
namespace {

// As mainspring.native.spec writes them.
using DenseTuple = std::tuple<int, int, double, double, double, bool, double, double>;
using IdTuple = std::tuple<int, std::vector<std::int32_t>, std::int32_t, std::uint64_t, std::int32_t,
                           std::vector<std::int64_t>, std::vector<double>, bool>;
using DerivedTuple = std::tuple<std::size_t, int, std::uint64_t>;
using WindowTuple = std::tuple<std::int32_t, std::int32_t, std::int64_t, int>;

using Vocabularies = std::vector<std::shared_ptr<const StringVocabulary>>;

// Needs the GIL.
Vocabularies Build(const std::vector<std::vector<std::string>>& vocabularies) {
  Vocabularies built;
  for (const std::vector<std::string>& values : vocabularies) {
    auto vocabulary = std::make_shared<StringVocabulary>();
    Check(StringVocabulary::Build(values, vocabulary.get()));
    built.push_back(std::move(vocabulary));
  }
  return built;
}

// Of a derivation that looks up, the number is that of its vocabulary.
std::vector<Derived> ToDerived(const std::vector<DerivedTuple>& from, const Vocabularies& vocabularies) {
  std::vector<Derived> made;
  for (const auto& [string, kind, number] : from) {
    const bool is_listed = kind == static_cast<int>(Derivation::kVocabulary);
    made.push_back({string, static_cast<Derivation>(kind), is_listed ? 0 : number,
                    is_listed ? vocabularies.at(number) : nullptr});
  }
  return made;
}

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

ProgramSpec ToSpec(const Names& names, const std::vector<WindowTuple>& windows,
                   const std::vector<DenseTuple>& dense, const std::vector<IdTuple>& ids,
                   const std::vector<IdTuple>& bags) {
  ProgramSpec spec;
  spec.n_floats = static_cast<std::int32_t>(names.n_floats);
  spec.n_ints = static_cast<std::int32_t>(names.n_ints + names.derived.size());
  spec.n_events = static_cast<std::int32_t>(names.n_events);
  for (const auto& [events, as_of, width, aggregate] : windows) {
    spec.windows.push_back({events, as_of, width, static_cast<Aggregate>(aggregate)});
  }
  for (const DenseTuple& column : dense) spec.dense.push_back(ToDense(column));
  for (const IdTuple& id : ids) spec.ids.push_back(ToId(id));
  spec.n_lists = static_cast<std::int32_t>(names.n_lists + names.derived_lists.size());
  for (const IdTuple& bag : bags) spec.bags.push_back(ToId(bag));
  return spec;
}

// The bytes of mainspring/device_plan.h. Needs the GIL.
py::bytes DevicePlan(const std::vector<std::string>& floats, const std::vector<std::string>& ints,
                     const std::vector<std::string>& events, const std::vector<WindowTuple>& windows,
                     const std::vector<DenseTuple>& dense, const std::vector<IdTuple>& ids) {
  std::vector<std::uint64_t> plan;
  const Names names({floats, ints, events, {}, {}, {}}, {}, {});
  Check(BuildDevicePlan(ToSpec(names, windows, dense, ids, {}), &plan));
  return py::bytes(reinterpret_cast<const char*>(plan.data()), plan.size() * sizeof(plan[0]));
}

// A program with the buffers that it reads and writes, checked when they were bound.
class Bound {
 public:
  // Needs the GIL.
  Bound(std::shared_ptr<const NativeProgram> owner, const py::object& columns, const py::object& dense,
        const py::object& ids, const py::object& bags, int threads)
      : owner_(std::move(owner)), slot_(owner_->NewSlot(threads)) {
    Buffers& b = slot_->buffers;
    b.Take(owner_->names(), columns);
    b.TakeOutputs(owner_->names(), dense, ids, owner_->width(), owner_->n_ids());
    owner_->CheckBags(dense, bags);
    if (owner_->n_bags() > 0) {
      b.TakeBags(owner_->names(), bags, owner_->n_bags(), owner_->program().MaxBagIds(b.Input(b.rows())));
    }
  }

  // Needs the GIL; gives it up while a large batch is computed.
  void Run(std::size_t rows) {
    if (rows > slot_->buffers.rows()) {
      Raise(StatusCode::kBadShape, "`rows` must be at most the " + std::to_string(slot_->buffers.rows()) +
                                       " that are bound, got " + std::to_string(rows) +
                                       "; bind larger buffers");
    }
    if (is_running_.exchange(true, std::memory_order_acquire)) {
      Raise(StatusCode::kBusy, "another thread runs these buffers; bind one set for each thread");
    }
    const Done done{&is_running_};
    std::size_t size = 0;
    if (owner_->n_bags() > 0) {
      size = owner_->PrepareBags(slot_.get(), rows);
      NativeProgram::CheckRoom(size, slot_->buffers.bag_capacity());
    }
    owner_->Run(slot_.get(), rows, slot_->workspace.threads(), size);
  }

  std::size_t rows() const { return slot_->buffers.rows(); }
  py::object dense() const { return slot_->buffers.dense(); }
  py::object ids() const { return slot_->buffers.ids(); }
  py::object bags() const {
    if (owner_->n_bags() == 0) return py::none();
    return py::make_tuple(slot_->buffers.bag_values(), slot_->buffers.bag_offsets());
  }

 private:
  struct Done {
    std::atomic<bool>* is_running;
    ~Done() { is_running->store(false, std::memory_order_release); }
  };

  std::shared_ptr<const NativeProgram> owner_;
  std::unique_ptr<Slot> slot_;
  std::atomic<bool> is_running_{false};
};

}  // namespace

FrontProgram FrontProgramOf(const py::handle& object) {
  if (!py::isinstance<NativeProgram>(object)) return {};
  const auto owner = py::cast<std::shared_ptr<NativeProgram>>(object);
  const Names& names = owner->names();
  if (names.n_events + names.n_lists + names.n_string_lists > 0) return {};
  FrontProgram made;
  for (std::size_t i = 0; i < names.n_floats; ++i) made.floats.push_back(names.all[i].text);
  for (std::size_t i = 0; i < names.n_ints; ++i) made.ints.push_back(names.all[names.n_floats + i].text);
  for (const Derived& derived : names.derived) {
    if (derived.kind != Derivation::kVocabulary) return {};
    made.texts.push_back({names.string(derived.string).text, derived.vocabulary});
  }
  made.program = owner->shared_program();
  return made;
}

void BindProgram(py::module_& module) {
  py::class_<NativeProgram, std::shared_ptr<NativeProgram>>(module, "Program", py::is_final(),
                                                            "See mainspring.native.program.")
      .def(
          py::init([](const std::vector<std::string>& floats, const std::vector<std::string>& ints,
                      const std::vector<std::string>& events, const std::vector<std::string>& strings,
                      const std::vector<std::string>& lists, const std::vector<std::string>& string_lists,
                      const std::vector<std::vector<std::string>>& vocabularies,
                      const std::vector<DerivedTuple>& derived,
                      const std::vector<DerivedTuple>& derived_lists, const std::vector<WindowTuple>& windows,
                      const std::vector<DenseTuple>& dense, const std::vector<IdTuple>& ids,
                      const std::vector<IdTuple>& bags, const py::object& target) {
            const Vocabularies built = Build(vocabularies);
            Names names({floats, ints, events, strings, lists, string_lists}, ToDerived(derived, built),
                        ToDerived(derived_lists, built));
            const ProgramSpec spec = ToSpec(names, windows, dense, ids, bags);
            return std::make_shared<NativeProgram>(std::move(names), spec, target);
          }),
          py::arg("floats"), py::arg("ints"), py::arg("events"), py::arg("strings"), py::arg("lists"),
          py::arg("string_lists"), py::arg("vocabularies"), py::arg("derived"), py::arg("derived_lists"),
          py::arg("windows"), py::arg("dense"), py::arg("ids"), py::arg("bags"), py::arg("target"))
      .def_property_readonly("width", &NativeProgram::width)
      .def_property_readonly("n_ids", &NativeProgram::n_ids)
      .def_property_readonly("target", &NativeProgram::target)
      .def_property_readonly("n_bags", &NativeProgram::n_bags)
      .def("derive", &NativeProgram::Derive, py::arg("strings"))
      .def("derive_lists", &NativeProgram::DeriveLists, py::arg("lists"))
      .def("run", &NativeProgram::RunColumns, py::arg("columns"), py::arg("dense"), py::arg("ids"),
           py::arg("bags"), py::arg("threads"))
      .def(
          "bind",
          [](const std::shared_ptr<NativeProgram>& self, const py::object& columns, const py::object& dense,
             const py::object& ids, const py::object& bags,
             int threads) { return std::make_unique<Bound>(self, columns, dense, ids, bags, threads); },
          py::arg("columns"), py::arg("dense"), py::arg("ids"), py::arg("bags"), py::arg("threads"))
      .def(
          "row",
          [](const std::shared_ptr<NativeProgram>& self, std::size_t bag_capacity) {
            return NewRow(self, bag_capacity);
          },
          py::arg("bag_capacity"));
  module.def("device_plan", &DevicePlan, py::arg("floats"), py::arg("ints"), py::arg("events"),
             py::arg("windows"), py::arg("dense"), py::arg("ids"));
  module.attr("Row") = RowClass();
  py::class_<Bound>(module, "Bound", py::is_final(), "See mainspring.native.program.")
      .def("run", &Bound::Run, py::arg("rows"))
      .def_property_readonly("rows", &Bound::rows)
      .def_property_readonly("dense", &Bound::dense)
      .def_property_readonly("ids", &Bound::ids)
      .def_property_readonly("bags", &Bound::bags);
}

}  // namespace mainspring
