// Arrow data as others hand it over, through the C data interface: columns taken as they lie where they can
// be, and converted into memory of ours where they cannot. No Arrow library is needed for either.

#ifndef MAINSPRING_BINDINGS_ARROW_H_
#define MAINSPRING_BINDINGS_ARROW_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../src/program/program_kernels.h"
#include "arrays.h"

// The ABI of https://arrow.apache.org/docs/format/CDataInterface.html, word for word.
struct ArrowSchema {
  const char* format;
  const char* name;
  const char* metadata;
  std::int64_t flags;
  std::int64_t n_children;
  struct ArrowSchema** children;
  struct ArrowSchema* dictionary;
  void (*release)(struct ArrowSchema*);
  void* private_data;
};

struct ArrowArray {
  std::int64_t length;
  std::int64_t null_count;
  std::int64_t offset;
  std::int64_t n_buffers;
  std::int64_t n_children;
  const void** buffers;
  struct ArrowArray** children;
  struct ArrowArray* dictionary;
  void (*release)(struct ArrowArray*);
  void* private_data;
};

struct ArrowArrayStream {
  int (*get_schema)(struct ArrowArrayStream*, struct ArrowSchema* out);
  int (*get_next)(struct ArrowArrayStream*, struct ArrowArray* out);
  const char* (*get_last_error)(struct ArrowArrayStream*);
  void (*release)(struct ArrowArrayStream*);
  void* private_data;
};

namespace mainspring {

// Everything here needs the GIL: a producer's release may run Python.

// What one object exported, released exactly once.
class ArrowData {
 public:
  // Null where `object` speaks no Arrow. `name` is for refusals.
  static std::shared_ptr<ArrowData> From(PyObject* object, const std::string& name);

  ArrowData() : schema_{} {}
  ~ArrowData();
  ArrowData(const ArrowData&) = delete;
  ArrowData& operator=(const ArrowData&) = delete;

 private:
  friend class ArrowColumn;
  ArrowSchema schema_;
  std::vector<ArrowArray> chunks_;
};

// A column within ArrowData, maybe in chunks. Values are converted as native/reference.py widens them: no
// number changes but float64, which is rounded.
class ArrowColumn {
 public:
  ArrowColumn() = default;
  ArrowColumn(std::shared_ptr<ArrowData> data, const std::string& name);  // all of it

  // The column of that name in a table; false where it has none. Refuses what is no table.
  static bool Find(const std::shared_ptr<ArrowData>& table, const std::string& name, ArrowColumn* column);

  std::size_t rows() const { return rows_; }

  // Pointers into the producer's memory where `copy` stays empty.
  const float* Floats(std::vector<float>* copy) const;
  const std::int64_t* Ints(std::vector<std::int64_t>* copy) const;

  struct EventCopy {
    std::vector<std::int64_t> offsets, times;
    std::vector<float> values;
  };
  // Of a list of structs of two fields, the time and the value. A null list is empty.
  MainspringEvents Events(EventCopy* copy) const;

  // Of a list of integers; a null one is empty, a null in it missing. Pointers into the producer's memory
  // where both copies stay empty.
  MainspringList List(std::vector<std::int64_t>* offsets, std::vector<std::int64_t>* values) const;

  // Of a list of anything: all its values as one column, and where each row's begin, from 0. Refuses rows
  // that do not lie within their list. `expected` is what a list of it is called.
  ArrowColumn Elements(const char* expected, std::vector<std::int64_t>* offsets) const;

  // take(row, bytes, size) for each string; null bytes where there is none.
  template <typename Take>
  void EachString(const Take& take) const;

  // One array, and which of its values are meant.
  struct Piece {
    const ArrowArray* array;
    std::int64_t begin, length;  // begin counts array->offset in
  };

 private:
  void Add(const ArrowArray* array, std::int64_t begin, std::int64_t length);
  template <typename T>
  const T* Values(std::vector<T>* copy) const;
  bool IsList() const;
  const void* OffsetsOf(const ArrowArray& list, std::int64_t row) const;

  std::shared_ptr<ArrowData> data_;
  std::string name_;
  const ArrowSchema* schema_ = nullptr;
  std::vector<Piece> pieces_;
  std::size_t rows_ = 0;
};

// Whether bit i of a validity bitmap is set; no bitmap: all are.
inline bool IsValid(const ArrowArray& array, std::int64_t i) {
  const auto* const bits = array.n_buffers > 0 ? static_cast<const std::uint8_t*>(array.buffers[0]) : nullptr;
  return bits == nullptr || (bits[i >> 3] >> (i & 7) & 1) != 0;
}

[[noreturn]] void RaiseArrowType(const std::string& name, const ArrowSchema& schema,
                                 const std::string& expected);

template <typename Take>
void ArrowColumn::EachString(const Take& take) const {
  const std::string format = schema_->format;
  const bool is_view = format == "vu" || format == "vz", is_wide = format == "U" || format == "Z";
  if (schema_->dictionary != nullptr || !(is_view || is_wide || format == "u" || format == "z")) {
    RaiseArrowType(name_, *schema_, "utf8, large_utf8 or string_view");
  }
  std::size_t row = 0;
  for (const Piece& p : pieces_) {
    const ArrowArray& a = *p.array;
    for (std::int64_t i = p.begin; i < p.begin + p.length; ++i, ++row) {
      if (!IsValid(a, i)) {
        take(row, nullptr, std::size_t{0});
      } else if (is_view) {
        struct View {
          std::int32_t size, prefix, buffer, offset;
        };
        const View* const view = static_cast<const View*>(a.buffers[1]) + i;
        const char* const bytes = view->size <= 12
                                      ? reinterpret_cast<const char*>(&view->prefix)
                                      : static_cast<const char*>(a.buffers[2 + view->buffer]) + view->offset;
        take(row, bytes, static_cast<std::size_t>(view->size));
      } else {
        const auto at = [&](std::int64_t k) {
          return is_wide ? static_cast<const std::int64_t*>(a.buffers[1])[k]
                         : static_cast<const std::int32_t*>(a.buffers[1])[k];
        };
        const std::int64_t begin = at(i);
        take(row, static_cast<const char*>(a.buffers[2]) + begin,
             static_cast<std::size_t>(at(i + 1) - begin));
      }
    }
  }
}

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_ARROW_H_
