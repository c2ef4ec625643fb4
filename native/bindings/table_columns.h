// Keys and columns of a table's batch, from Python's objects. Everything here needs the GIL.

#ifndef MAINSPRING_BINDINGS_TABLE_COLUMNS_H_
#define MAINSPRING_BINDINGS_TABLE_COLUMNS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "arrays.h"
#include "mainspring/table.h"

namespace mainspring {

[[noreturn]] void RaiseTable(const TableStatus& status);
inline void CheckTable(const TableStatus& status) {
  if (!status.ok()) RaiseTable(status);
}

// Texts side by side.
struct Texts {
  std::vector<std::int64_t> offsets;
  std::vector<char> bytes;
  void Clear() {
    offsets.assign(1, 0);
    bytes.clear();
  }
  void Add(const char* data, std::size_t size) {
    bytes.insert(bytes.end(), data, data + size);
    offsets.push_back(static_cast<std::int64_t>(bytes.size()));
  }
};

// The keys of one call: an int64 array, a list of int, str or None, or one int or str; of a key of several
// parts a tuple of such columns. Valid until the next call, and only while the arrays live.
class KeyReader {
 public:
  explicit KeyReader(const TableSchema& schema);

  // `keys`: as above. Texts of lists shorter than `borrowed_below` stay where they are: then the GIL must be
  // held for as long as the keys are used. Longer ones are copied.
  const KeyBatch& Read(PyObject* keys, std::size_t borrowed_below = 0);

 private:
  struct Part {
    std::vector<std::int64_t> ints;
    Texts texts;
    std::vector<Text> borrowed;
  };
  void ReadPart(std::size_t part, PyObject* keys, std::size_t* n);
  void Borrow(std::size_t part, PyObject* keys);
  void AddInt(std::size_t part, PyObject* key);
  void AddText(std::size_t part, PyObject* key);
  bool ReadOne(PyObject* key);
  void MarkNull(std::size_t row);

  const std::vector<TableKey> keys_;
  std::vector<Part> parts_;
  std::vector<KeyColumn> columns_;
  std::vector<std::uint8_t> is_null_;
  std::int64_t one_ = 0;
  Text one_text_{};
  std::size_t borrowed_below_ = 0;
  bool has_null_ = false;
  KeyBatch batch_;
};

// The values of one field: an array, or a list of str, bytes or None; `valid` an array of bool or None.
class ColumnReader {
 public:
  InputColumn Read(const TableField& field, PyObject* values, PyObject* valid, std::size_t n);

 private:
  Texts texts_;
  std::vector<std::uint8_t> valid_;
};

// The dtype of a field that is no string.
PyObject* FieldDtype(FieldType type);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_TABLE_COLUMNS_H_
