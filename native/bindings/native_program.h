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
    const Status status = Program::Compile(spec, ChosenTarget(target), &program_);
    if (!status.ok()) Raise(status.code, Message(status, Place(spec, status.column)));
  }

  const Program& program() const { return program_; }
  const Names& names() const { return names_; }

  std::size_t width() const { return program_.width(); }
  std::size_t n_ids() const { return program_.n_ids(); }
  const char* target() const { return TargetName(program_.target()); }

  std::unique_ptr<Slot> NewSlot(int threads) const {
    CheckThreads(threads);
    auto slot = std::make_unique<Slot>();
    slot->workspace = program_.MakeWorkspace(threads);
    return slot;
  }

  // Needs the GIL; gives it up while a large batch is computed.
  void Run(Slot* slot, std::size_t rows, int threads) const {
    const Buffers& b = slot->buffers;
    const ProgramInput input = b.Input(rows);
    Status status;
    if (IsLong(rows)) {
      const py::gil_scoped_release released;
      status = program_.Run(input, &slot->workspace, b.dense_data(), b.ids_data(), b.rows(), threads);
    } else {
      status = program_.Run(input, &slot->workspace, b.dense_data(), b.ids_data(), b.rows(), threads);
    }
    if (status.ok()) return;
    const std::string row = std::to_string(static_cast<std::int64_t>(status.got));
    status.has_got = false;
    Raise(status.code, Message(status, "row " + row));
  }

  // Needs the GIL; (dense, ids). Slots are used again: their vectors keep their room.
  py::tuple RunColumns(const py::object& columns, const py::object& dense, const py::object& ids,
                       int threads) {
    CheckThreads(threads);
    std::unique_ptr<Slot> slot;
    if (!idle_.empty()) {
      slot = std::move(idle_.back());
      idle_.pop_back();
    }
    if (slot == nullptr || slot->workspace.threads() < threads) slot = NewSlot(threads);
    const Return back{&idle_, &slot};
    slot->buffers.Take(names_, columns);
    slot->buffers.TakeOutputs(names_, dense, ids, width(), n_ids());
    Run(slot.get(), slot->buffers.rows(), threads);
    return py::make_tuple(slot->buffers.dense(), slot->buffers.ids());
  }

  // Needs the GIL; the ints that a packed row holds in the place of these strings, one for each string input.
  std::vector<std::int64_t> Derive(const std::vector<py::object>& strings) const {
    std::vector<std::int64_t> values;
    const std::size_t first = names_.all.size() - names_.n_strings;
    for (const Derived& d : names_.derived) {
      const StringBytes s = BytesOf(strings.at(d.string).ptr(), names_.all[first + d.string].text);
      values.push_back(d.Of(s.data, s.size));
    }
    return values;
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
  bool IsLong(std::size_t rows) const {
    return program_.Work(rows) >=
           (program_.target() == Target::kGeneric ? kReleaseValuesGeneric : kReleaseValues);
  }

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
  std::vector<std::unique_ptr<Slot>> idle_;  // taken and given back under the GIL
};

// The class of single rows, and one of it: see row.cc.
py::object RowClass();
py::object NewRow(std::shared_ptr<const NativeProgram> owner);

// Runs `row` on a dict or a packed row, once, into these outputs instead of its own: dense[width],
// ids[n_ids]. The sizes are those of `width` and `n_ids`, or it refuses.
void RunRowInto(PyObject* row, PyObject* given, std::size_t width, std::size_t n_ids, float* dense,
                std::int32_t* ids);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_NATIVE_PROGRAM_H_
