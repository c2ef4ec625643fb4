// A compiled program as Python holds it, with names for its inputs.

#ifndef MAINSPRING_BINDINGS_NATIVE_PROGRAM_H_
#define MAINSPRING_BINDINGS_NATIVE_PROGRAM_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "buffers.h"
#include "mainspring/pool.h"

namespace mainspring {

// Buffers and the room to run them.
struct Slot {
  Buffers buffers;
  ProgramWorkspace workspace;
};

// A compiled program.
class NativeProgram {
 public:
  // Of a spec whose inputs are those of `names`.
  NativeProgram(Names names, const ProgramSpec& spec, const py::object& target) : names_(std::move(names)) {
    auto program = std::make_shared<Program>();
    const Status status = Program::Compile(spec, ChosenTarget(target), program.get());
    if (!status.ok()) Raise(status.code, Message(status, Place(spec, status.column)));
    program_ = std::move(program);
  }

  const Program& program() const { return *program_; }
  // For who runs it without Python; without this object, whose names are Python's.
  std::shared_ptr<const Program> shared_program() const { return program_; }
  const Names& names() const { return names_; }

  std::size_t width() const { return program_->width(); }
  std::size_t n_ids() const { return program_->n_ids(); }
  std::size_t n_bags() const { return program_->n_bags(); }
  const char* target() const { return TargetName(program_->target()); }

  std::unique_ptr<Slot> NewSlot(int threads) const {
    CheckThreads(threads);
    auto slot = std::make_unique<Slot>();
    slot->workspace = program_->MakeWorkspace(threads);
    return slot;
  }

  // Needs the GIL; how many ids the bags of these rows hold. Before Run, if there are bags.
  std::size_t PrepareBags(Slot* slot, std::size_t rows) const {
    std::size_t size = 0;
    Status status = program_->PrepareBags(slot->buffers.Input(rows), &slot->workspace, &size);
    if (status.ok()) return size;
    if (status.column < 0) Raise(status.code, Message(status, ""));
    const std::string row = std::to_string(static_cast<std::int64_t>(status.got));
    status.has_got = false;
    Raise(status.code,
          Message(status, "row " + row + " of `" +
                              names_.any_list(static_cast<std::size_t>(status.column)).text + "`"));
  }

  static void CheckRoom(std::size_t size, std::size_t capacity) {
    if (size <= capacity) return;
    RaiseNoRoom("`bags.values` must have room for " + std::to_string(size) + " ids, got " +
                    std::to_string(capacity) + "; pass a larger one",
                size);
  }

  // Needs the GIL; gives it up while a large batch is computed.
  void Run(Slot* slot, std::size_t rows, int threads, std::size_t bag_ids = 0) const {
    const Buffers& b = slot->buffers;
    const ProgramInput input = b.Input(rows);
    const BagOutput bags = b.bags();
    Status status;
    if (IsLong(rows, bag_ids)) {
      const py::gil_scoped_release released;
      status = program_->Run(input, &slot->workspace, b.dense_data(), b.ids_data(), b.rows(), threads, bags);
    } else {
      status = program_->Run(input, &slot->workspace, b.dense_data(), b.ids_data(), b.rows(), threads, bags);
    }
    if (status.ok()) return;
    const std::string row = std::to_string(static_cast<std::int64_t>(status.got));
    status.has_got = false;
    Raise(status.code, Message(status, "row " + row));
  }

  // Needs the GIL; (dense, ids), or (dense, ids, (values, offsets)). Slots are used again: their vectors keep
  // their room.
  py::tuple RunColumns(const py::object& columns, const py::object& dense, const py::object& ids,
                       const py::object& bags, int threads) {
    CheckThreads(threads);
    std::unique_ptr<Slot> slot;
    if (!idle_.empty()) {
      slot = std::move(idle_.back());
      idle_.pop_back();
    }
    if (slot == nullptr || slot->workspace.threads() < threads) slot = NewSlot(threads);
    const Return back{&idle_, &slot};
    slot->buffers.Take(names_, columns);
    Buffers& b = slot->buffers;
    b.TakeOutputs(names_, dense, ids, width(), n_ids());
    CheckBags(dense, bags);
    if (n_bags() == 0) {
      Run(slot.get(), b.rows(), threads);
      return py::make_tuple(b.dense(), b.ids());
    }
    const std::size_t size = PrepareBags(slot.get(), b.rows());
    b.TakeBags(names_, bags, n_bags(), size);
    CheckRoom(size, b.bag_capacity());
    Run(slot.get(), b.rows(), threads, size);
    return py::make_tuple(b.dense(), b.ids(), py::make_tuple(b.bag_values(), b.bag_offsets()));
  }

  // Who brings outputs brings all of them.
  void CheckBags(const py::object& dense, const py::object& bags) const {
    if (n_bags() == 0 && !bags.is_none()) {
      Raise(StatusCode::kBadShape, "`out` must have no bags, because the spec has none; leave them out");
    }
    if (n_bags() > 0 && bags.is_none() && !dense.is_none()) {
      Raise(StatusCode::kBadShape, "`out` must have bags, because the spec has; pass `program.Bags`, too");
    }
  }

  // Needs the GIL; the ints that a packed row holds in the place of these strings, one for each string input.
  std::vector<std::int64_t> Derive(const std::vector<py::object>& strings) const {
    std::vector<std::int64_t> values;
    for (const Derived& d : names_.derived) {
      const StringBytes s = BytesOf(strings.at(d.string).ptr(), names_.string(d.string).text);
      values.push_back(d.Of(s.data, s.size));
    }
    return values;
  }

  // The same of lists of strings: a list of ints for each use.
  std::vector<std::vector<std::int64_t>> DeriveLists(const std::vector<py::object>& lists) const {
    std::vector<std::vector<std::int64_t>> made;
    for (const Derived& d : names_.derived_lists) {
      made.emplace_back();
      d.OfList(lists.at(d.string).ptr(), names_.string_list(d.string).text, &made.back());
    }
    return made;
  }

 private:
  // Whatever happens, the slot goes back, and lets go of the caller's arrays.
  struct Return {
    std::vector<std::unique_ptr<Slot>>* idle;
    std::unique_ptr<Slot>* slot;
    ~Return() {
      (*slot)->buffers.Clear();
      idle->push_back(std::move(*slot));
    }
  };

  static void CheckThreads(int threads) {
    if (threads >= 1 && threads <= kMaxThreads) return;
    Raise(StatusCode::kBadSpec, "`threads` must be 1 to " + std::to_string(kMaxThreads) + ", got " +
                                    std::to_string(threads) + "; pass the number of cores at most");
  }

  // Whether a run is long enough to let others have the lock.
  bool IsLong(std::size_t rows, std::size_t bag_ids) const {
    return program_->Work(rows) + 2 * bag_ids >=
           (program_->target() == Target::kGeneric ? kReleaseValuesGeneric : kReleaseValues);
  }

  static std::string Place(const ProgramSpec& spec, std::int32_t column) {
    if (column < 0) return "";
    std::size_t i = static_cast<std::size_t>(column);
    if (i < spec.dense.size()) return "`dense[" + std::to_string(i) + "]`";
    i -= spec.dense.size();
    if (i < spec.ids.size()) return "`ids[" + std::to_string(i) + "]`";
    i -= spec.ids.size();
    if (i < spec.windows.size()) return "window " + std::to_string(i);
    return "`bags[" + std::to_string(i - spec.windows.size()) + "]`";
  }

  Names names_;
  std::shared_ptr<const Program> program_;
  std::vector<std::unique_ptr<Slot>> idle_;  // taken and given back under the GIL
};

// The class of single rows, and one of it: see row.cc.
py::object RowClass();
py::object NewRow(std::shared_ptr<const NativeProgram> owner, std::size_t bag_capacity);

// Runs `row` on a dict or a packed row, once, into these outputs instead of its own: dense[width],
// ids[n_ids]. The sizes are those of `width` and `n_ids`, or it refuses.
void RunRowInto(PyObject* row, PyObject* given, std::size_t width, std::size_t n_ids, float* dense,
                std::int32_t* ids);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_NATIVE_PROGRAM_H_
