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
  // Of a list or tuple of str and None, or of None, in the room of `values`. Needs the GIL.
  void OfList(PyObject* list, const std::string& name, std::vector<std::int64_t>* values) const;
};

// As a spec names its inputs, by type.
struct InputNames {
  std::vector<std::string> floats, ints, events, strings, lists, string_lists;
};

// The inputs: floats, then ints, then event lists, then strings, then lists, then lists of strings. What is
// derived of strings follows the ints of the program; what is derived of lists of strings (whose `string`
// counts among those) follows its lists.
struct Names {
  std::vector<Name> all;
  std::size_t n_floats = 0, n_ints = 0, n_events = 0, n_strings = 0, n_lists = 0, n_string_lists = 0;
  std::vector<Derived> derived, derived_lists;
  std::string listed;

  Names(const InputNames& inputs, std::vector<Derived> derived, std::vector<Derived> derived_lists);

  std::size_t n_numbers() const { return n_floats + n_ints + n_events; }
  const Name& string(std::size_t i) const { return all[n_numbers() + i]; }
  const Name& list(std::size_t i) const { return all[n_numbers() + n_strings + i]; }
  const Name& string_list(std::size_t i) const { return all[n_numbers() + n_strings + n_lists + i]; }
  // Of a list of the program, ours or derived.
  const Name& any_list(std::size_t i) const {
    return i < n_lists ? list(i) : string_list(derived_lists[i - n_lists].string);
  }

  [[noreturn]] void RaiseMissing(const Name& name) const;
};

struct StringBytes {
  const char* data;
  std::size_t size;
};

// A str as UTF-8, that of None empty; lives as long as the str. Needs the GIL.
StringBytes BytesOf(PyObject* string, const std::string& name);

// A list or tuple of str and None, or None for an empty one.
py::object StringListOf(PyObject* object, const std::string& name);

// Columns and outputs of one batch as pointers, and what keeps them alive. Everything here needs the GIL.
class Buffers {
 public:
  // Takes the inputs of `columns` and checks them. Arrays are never copied; Arrow data is where its type or
  // its holes ask for it.
  void Take(const Names& names, const py::object& columns);

  // Checks the outputs, or makes them where they are None.
  void TakeOutputs(const Names& names, const py::object& dense, const py::object& ids, std::size_t width,
                   std::size_t n_ids);

  // The same for bags: None, or a tuple of values and offsets. New ones get room for `size` ids.
  void TakeBags(const Names& names, const py::object& bags, std::size_t n_bags, std::size_t size);

  void Clear();

  ProgramInput Input(std::size_t rows) const {
    ProgramInput input;
    input.floats = floats_.data();
    input.ints = ints_.data();
    input.events = events_.data();
    input.n_rows = rows;
    input.lists = lists_.data();
    return input;
  }
  std::size_t rows() const { return rows_; }
  const py::object& dense() const { return dense_; }
  const py::object& ids() const { return ids_; }
  const py::object& bag_values() const { return bag_values_; }
  const py::object& bag_offsets() const { return bag_offsets_; }
  std::size_t bag_capacity() const { return bag_values_ ? LengthOf(bag_values_.ptr()) : 0; }
  BagOutput bags() const {
    if (!bag_values_) return {};
    return {static_cast<std::int32_t*>(DataOf(bag_values_.ptr())),
            static_cast<std::int32_t*>(DataOf(bag_offsets_.ptr()))};
  }
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

  static std::size_t Rows(const Taken& column, bool is_ragged);
  static std::size_t Rows(PyObject* column, bool is_ragged);
  void CheckRows(std::size_t rows, const Name& name) const;
  void Fetch(const Names& names, const py::object& columns);
  template <typename T>
  const T* TakeColumn(const Taken& column, const Name& name, std::vector<std::vector<T>>* copies);
  void TakeEvents(const Taken& column, const Name& name);
  // Whether they are int32; int64 otherwise.
  bool HoldOffsets(PyObject* offsets, const Name& name);
  void TakeList(const Taken& column, const Name& name);
  void TakeStringLists(const Names& names, std::size_t list, const Taken& column, const Name& name);
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
  std::vector<MainspringList> lists_;
  std::vector<Range>
      ranges_;  // of the floats, the ints, three of each event list, two of each list, the outputs
  py::object dense_, ids_, bag_values_, bag_offsets_;
};

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_BUFFERS_H_
