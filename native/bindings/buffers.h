// The arrays of one batch, taken by name and checked as they lie.

#ifndef MAINSPRING_BINDINGS_BUFFERS_H_
#define MAINSPRING_BINDINGS_BUFFERS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../src/program/program_kernels.h"
#include "arrays.h"
#include "arrow.h"
#include "mainspring/program.h"
#include "mainspring/string_vocabulary.h"

namespace mainspring {

// An input's name, also as the string that dictionaries are asked for.
struct Name {
  std::string text;
  py::object object;
};

// What stands for a string among the ints; as mainspring.native.spec counts them.
enum class Derivation : int { kHash = 0, kCross, kVocabulary };

// An int column of the program made of a string column: `string` counts among those. Kernels hash, cross and
// look it up like any other. kHash: so that what the hash of this seed makes of it is the string's XXH3 of
// this seed. kCross: the XXH3 of seed 0 itself. kVocabulary: its place in `vocabulary`, or -1.
//
// The look-up is here because here the bytes are at hand, and whole strings must be compared: of a packed row
// only the place travels. The kernels then look that up among 0 .. n - 1, which costs a nanosecond and leaves
// them the one check that no int from outside becomes an id beyond the vocabulary.
struct Derived {
  std::size_t string;
  Derivation kind;
  std::uint64_t seed;
  std::shared_ptr<const StringVocabulary> vocabulary;

  std::int64_t Of(const char* bytes, std::size_t size) const;
};

// The inputs: floats, then ints, then event lists, then strings. What is derived follows the ints of the
// program.
struct Names {
  std::vector<Name> all;
  std::size_t n_floats = 0, n_ints = 0, n_events = 0, n_strings = 0;
  std::vector<Derived> derived;
  std::string listed;

  Names(const std::vector<std::string>& floats, const std::vector<std::string>& ints,
        const std::vector<std::string>& events, const std::vector<std::string>& strings,
        std::vector<Derived> derived);

  [[noreturn]] void RaiseMissing(const Name& name) const;
};

struct StringBytes {
  const char* data;
  std::size_t size;
};

// A str as UTF-8, that of None empty; lives as long as the str. Needs the GIL.
StringBytes BytesOf(PyObject* string, const std::string& name);

// Columns and outputs of one batch as pointers, and what keeps them alive. Everything here needs the GIL.
class Buffers {
 public:
  // Takes the inputs of `columns` and checks them. Arrays are never copied; Arrow data is where its type or
  // its holes ask for it.
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

  // One input: a Python object, or a column of Arrow where its `rows` are known.
  struct Taken {
    py::object object;
    bool is_arrow = false;
    ArrowColumn arrow;
  };

  static std::size_t Rows(const Taken& column, bool is_events);
  static std::size_t Rows(PyObject* column, bool is_events);
  void Fetch(const Names& names, const py::object& columns);
  void CheckRows(const Taken& column, const Name& name) const;
  template <typename T>
  const T* TakeColumn(const Taken& column, const Name& name, std::vector<std::vector<T>>* copies);
  void TakeEvents(const Taken& column, const Name& name);
  void TakeStrings(const Names& names, std::size_t string, const Taken& column, const Name& name);
  void Hold(const void* data, std::size_t bytes) {
    const auto begin = reinterpret_cast<std::uintptr_t>(data);
    ranges_.push_back({begin, begin + bytes});
  }
  void CheckOverlap(const Names& names, const char* name, PyObject* out, std::size_t bytes);

  std::size_t rows_ = 0;
  std::vector<Taken> columns_;
  std::vector<std::vector<float>> float_copies_;
  std::vector<std::vector<std::int64_t>> int_copies_;
  std::vector<ArrowColumn::EventCopy> event_copies_;
  std::vector<const float*> floats_;
  std::vector<const std::int64_t*> ints_;
  std::vector<MainspringEvents> events_;
  std::vector<Range> ranges_;  // of the floats, the ints, each list's three arrays, then `dense`
  py::object dense_, ids_;
};

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_BUFFERS_H_
