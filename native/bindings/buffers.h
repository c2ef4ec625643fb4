// The arrays of one batch, taken by name and checked as they lie.

#ifndef MAINSPRING_BINDINGS_BUFFERS_H_
#define MAINSPRING_BINDINGS_BUFFERS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../src/program/program_kernels.h"
#include "arrays.h"
#include "mainspring/program.h"

namespace mainspring {

// An input's name, also as the string that dictionaries are asked for.
struct Name {
  std::string text;
  py::object object;
};

// The inputs: floats, then ints, then event lists.
struct Names {
  std::vector<Name> all;
  std::size_t n_floats = 0, n_ints = 0, n_events = 0;
  std::string listed;

  Names(const std::vector<std::string>& floats, const std::vector<std::string>& ints,
        const std::vector<std::string>& events);

  [[noreturn]] void RaiseMissing(const Name& name) const;
};

// Columns and outputs of one batch as pointers, and what keeps them alive. Everything here needs the GIL.
class Buffers {
 public:
  // Takes the inputs of `columns` and checks them; nothing is copied.
  void Take(const Names& names, const py::object& columns);

  // Checks the outputs, or makes them where they are None.
  void TakeOutputs(const Names& names, const py::object& dense, const py::object& ids, std::size_t width,
                   std::size_t n_ids);

  void Clear();

  ProgramInput Input(std::size_t rows) const {
    ProgramInput input;
    input.floats = floats_.data();
    input.ints = ints_.data();
    input.events = events_.data();
    input.n_rows = rows;
    return input;
  }
  std::size_t rows() const { return rows_; }
  const py::object& dense() const { return dense_; }
  const py::object& ids() const { return ids_; }
  float* dense_data() const { return static_cast<float*>(DataOf(dense_.ptr())); }
  std::int32_t* ids_data() const { return static_cast<std::int32_t*>(DataOf(ids_.ptr())); }

 private:
  struct Range {
    std::uintptr_t begin, end;
  };

  static std::size_t Rows(PyObject* column, bool is_events);
  template <typename T>
  const T* TakeColumn(PyObject* column, const Name& name);
  void TakeEvents(PyObject* lists, const Name& name);
  void Hold(PyObject* array, std::size_t bytes) {
    const auto begin = reinterpret_cast<std::uintptr_t>(DataOf(array));
    ranges_.push_back({begin, begin + bytes});
  }
  void CheckOverlap(const Names& names, const char* name, PyObject* out, std::size_t bytes);

  std::size_t rows_ = 0;
  std::vector<py::object> columns_;
  std::vector<const float*> floats_;
  std::vector<const std::int64_t*> ints_;
  std::vector<MainspringEvents> events_;
  std::vector<Range> ranges_;  // of the floats, the ints, each list's three arrays, then `dense`
  py::object dense_, ids_;
};

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_BUFFERS_H_
