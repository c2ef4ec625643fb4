#include "buffers.h"

#include <limits>
#include <type_traits>
#include <utility>

#include "mainspring/hash.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();

}  // namespace

std::int64_t Derived::Of(const char* bytes, std::size_t size) const {
  if (size == 0) return kMissing;
  if (kind == Derivation::kVocabulary) return vocabulary->Find(bytes, size);
  const std::uint64_t hash = HashUtf8(bytes, size, seed);
  const auto undone = [this](std::uint64_t h) {
    return static_cast<std::int64_t>(UnPreMix64(h) ^ HashKey(seed));
  };
  // One hash of 2^64 is taken by the missing value. Of the one kind its neighbour has the same upper half,
  // and so the same id; of the other it stands for its neighbour, and native/reference.py says so.
  if (kind == Derivation::kCross)
    return static_cast<std::int64_t>(hash) == kMissing ? kMissing + 1 : static_cast<std::int64_t>(hash);
  const std::int64_t value = undone(hash);
  return value == kMissing ? undone(hash ^ 1) : value;
}

Names::Names(const InputNames& inputs, std::vector<Derived> of_strings, std::vector<Derived> of_string_lists)
    : n_floats(inputs.floats.size()),
      n_ints(inputs.ints.size()),
      n_events(inputs.events.size()),
      n_strings(inputs.strings.size()),
      n_lists(inputs.lists.size()),
      n_string_lists(inputs.string_lists.size()),
      derived(std::move(of_strings)),
      derived_lists(std::move(of_string_lists)) {
  for (const auto* kind :
       {&inputs.floats, &inputs.ints, &inputs.events, &inputs.strings, &inputs.lists, &inputs.string_lists}) {
    for (const std::string& text : *kind) {
      PyObject* name = PyUnicode_FromStringAndSize(text.data(), static_cast<py::ssize_t>(text.size()));
      if (name == nullptr) throw py::error_already_set();
      PyUnicode_InternInPlace(&name);
      all.push_back({text, py::reinterpret_steal<py::object>(name)});
      listed += (listed.empty() ? "`" : ", `") + text + "`";
    }
  }
}

void Names::RaiseMissing(const Name& name) const {
  Raise(StatusCode::kMissingColumn,
        "column `" + name.text + "` is missing, expected " + listed + "; pass every input of the spec");
}

// What this input says the batch's length is; 0 where it cannot say, which the checks will tell.
std::size_t Buffers::Rows(PyObject* column, bool is_ragged) {
  PyObject* array = column;
  if (is_ragged) {
    if (!PyTuple_Check(column) || PyTuple_GET_SIZE(column) == 0) return 0;
    array = PyTuple_GET_ITEM(column, 0);
  }
  if (!IsArray(array) || py::detail::array_proxy(array)->nd != 1) return 0;
  const std::size_t length = LengthOf(array);
  return is_ragged && length > 0 ? length - 1 : length;
}

std::size_t Buffers::Rows(const Taken& column, bool is_ragged) {
  return column.is_arrow ? column.arrow.rows() : Rows(column.object.ptr(), is_ragged);
}

void Buffers::CheckRows(std::size_t rows, const Name& name) const {
  if (rows == rows_) return;
  Raise(StatusCode::kBadShape, "`" + name.text + "` must have " + std::to_string(rows_) + " rows, got " +
                                   std::to_string(rows) + "; pass columns of one batch");
}

template <typename T>
const T* Buffers::TakeColumn(const Taken& column, const Name& name, std::vector<std::vector<T>>* copies) {
  if (column.is_arrow) {
    CheckRows(column.arrow.rows(), name);
    std::vector<T> copy;
    const T* values;
    if constexpr (std::is_same_v<T, float>) {
      values = column.arrow.Floats(&copy);
    } else {
      values = column.arrow.Ints(&copy);
    }
    Hold(values, copy.empty() ? rows_ * sizeof(T) : 0);
    if (!copy.empty()) copies->push_back(std::move(copy));  // which does not move the values
    return values;
  }
  PyObject* const array = column.object.ptr();
  if (!IsPlainArray(array, Dtype<T>(), rows_)) CheckArray(array, name.text, Dtype<T>(), rows_, -1);
  Hold(DataOf(array), rows_ * sizeof(T));
  return static_cast<const T*>(DataOf(array));
}

bool Buffers::HoldOffsets(PyObject* offsets, const Name& name) {
  const auto& api = py::detail::npy_api::get();
  const bool is_narrow = IsArray(offsets) && api.PyArray_EquivTypes_(py::detail::array_proxy(offsets)->descr,
                                                                     Dtype<std::int32_t>());
  CheckArray(offsets, name.text + ".offsets", is_narrow ? Dtype<std::int32_t>() : Dtype<std::int64_t>(),
             rows_ + 1, -1);
  Hold(DataOf(offsets), (rows_ + 1) * (is_narrow ? sizeof(std::int32_t) : sizeof(std::int64_t)));
  return is_narrow;
}

void Buffers::TakeEvents(const Taken& column, const Name& name) {
  if (column.is_arrow) {
    CheckRows(column.arrow.rows(), name);
    ArrowColumn::EventCopy copy;
    const MainspringEvents events = column.arrow.Events(&copy);
    const bool is_ours = !copy.offsets.empty();
    Hold(events.offsets, is_ours ? 0 : (rows_ + 1) * (events.is_wide != 0 ? 8 : 4));
    Hold(events.times, is_ours ? 0 : events.size * sizeof(std::int64_t));
    Hold(events.values, is_ours ? 0 : events.size * sizeof(float));
    if (is_ours) event_copies_.push_back(std::move(copy));
    events_.push_back(events);
    return;
  }
  PyObject* const lists = column.object.ptr();
  if (!PyTuple_Check(lists) || PyTuple_GET_SIZE(lists) != 3) {
    Raise(StatusCode::kBadDtype, "`" + name.text + "` must be a tuple (offsets, times, values), got `" +
                                     TypeName(lists) + "`; pass three arrays");
  }
  PyObject* const offsets = PyTuple_GET_ITEM(lists, 0);
  PyObject* const times = PyTuple_GET_ITEM(lists, 1);
  PyObject* const values = PyTuple_GET_ITEM(lists, 2);
  const bool is_narrow = HoldOffsets(offsets, name);
  const std::size_t size = Rows(times, false);
  CheckArray(times, name.text + ".times", Dtype<std::int64_t>(), size, -1);
  CheckArray(values, name.text + ".values", Dtype<float>(), size, -1);
  Hold(DataOf(times), size * sizeof(std::int64_t));
  Hold(DataOf(values), size * sizeof(float));
  events_.push_back({DataOf(offsets), !is_narrow, size, static_cast<const std::int64_t*>(DataOf(times)),
                     static_cast<const float*>(DataOf(values))});
}

StringBytes BytesOf(PyObject* string, const std::string& name) {
  if (string == Py_None) return {nullptr, 0};
  py::ssize_t size = 0;
  const char* const bytes = PyUnicode_Check(string) ? PyUnicode_AsUTF8AndSize(string, &size) : nullptr;
  if (bytes == nullptr) {
    PyErr_Clear();  // a lone surrogate
    Raise(StatusCode::kBadDtype, "`" + name + "` must be a str of valid Unicode or None, got `" +
                                     TypeName(string) + "`; mend it before");
  }
  return {bytes, static_cast<std::size_t>(size)};
}

void Buffers::TakeStrings(const Names& names, std::size_t string, const Taken& column, const Name& name) {
  if (column.is_arrow) CheckRows(column.arrow.rows(), name);
  const py::object list =
      column.is_arrow || !(PyList_Check(column.object.ptr()) || PyTuple_Check(column.object.ptr()))
          ? py::object()
          : Sequence(column.object, StatusCode::kBadDtype, name.text);
  if (!column.is_arrow) {
    if (!list) {
      Raise(StatusCode::kBadDtype, "`" + name.text + "` must be a list of str or an Arrow column, got `" +
                                       TypeName(column.object.ptr()) + "`; convert it before");
    }
    CheckRows(static_cast<std::size_t>(PySequence_Fast_GET_SIZE(list.ptr())), name);
  }
  for (std::size_t d = 0; d < names.derived.size(); ++d) {
    const Derived& derived = names.derived[d];
    if (derived.string != string) continue;
    std::vector<std::int64_t> values(rows_ + 1);
    if (column.is_arrow) {
      column.arrow.EachString([&](std::size_t row, const char* bytes, std::size_t size) {
        values[row] = derived.Of(bytes, size);
      });
    } else {
      for (std::size_t row = 0; row < rows_; ++row) {
        const StringBytes s = BytesOf(PySequence_Fast_GET_ITEM(list.ptr(), row), name.text);
        values[row] = derived.Of(s.data, s.size);
      }
    }
    ints_[names.n_ints + d] = values.data();
    int_copies_.push_back(std::move(values));
  }
}

// All inputs are fetched and held first: a mapping of another type, or a producer of Arrow, may run Python
// code.
void Buffers::Fetch(const Names& names, const py::object& columns) {
  const bool is_dict = PyDict_CheckExact(columns.ptr());
  const std::shared_ptr<ArrowData> table = is_dict ? nullptr : ArrowData::From(columns.ptr(), "columns");
  for (const Name& name : names.all) {
    Taken taken;
    if (table != nullptr) {
      taken.is_arrow = ArrowColumn::Find(table, name.text, &taken.arrow);
      if (!taken.is_arrow) names.RaiseMissing(name);
      columns_.push_back(std::move(taken));
      continue;
    }
    PyObject* const found = is_dict ? PyDict_GetItemWithError(columns.ptr(), name.object.ptr())
                                    : PyObject_GetItem(columns.ptr(), name.object.ptr());
    if (found == nullptr) {
      if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_KeyError))
        throw py::error_already_set();
      PyErr_Clear();
      names.RaiseMissing(name);
    }
    taken.object =
        is_dict ? py::reinterpret_borrow<py::object>(found) : py::reinterpret_steal<py::object>(found);
    if (!IsArray(found) && !PyTuple_Check(found) && !PyList_Check(found)) {
      if (const auto data = ArrowData::From(found, name.text); data != nullptr) {
        taken.is_arrow = true;
        taken.arrow = ArrowColumn(data, name.text);
      }
    }
    columns_.push_back(std::move(taken));
  }
}

void Buffers::Take(const Names& names, const py::object& columns) {
  Clear();
  Fetch(names, columns);
  const std::size_t n_columns = names.n_floats + names.n_ints, n_numbers = names.n_numbers();
  const std::size_t n_flat = n_numbers + names.n_strings, n_arrays = n_flat + names.n_lists;
  if (!columns_.empty()) {
    const Taken& first = columns_[0];
    const bool is_of_strings = n_numbers == 0 && (names.n_strings > 0 || names.n_lists == 0);
    const bool is_list = is_of_strings && !first.is_arrow && PySequence_Check(first.object.ptr()) != 0;
    rows_ =
        is_list ? static_cast<std::size_t>(PySequence_Size(first.object.ptr())) : Rows(first, n_columns == 0);
  }
  lists_.reserve(names.n_lists + names.derived_lists.size());
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const Taken& column = columns_[i];
    const Name& name = names.all[i];
    if (i < names.n_floats) {
      floats_.push_back(TakeColumn<float>(column, name, &float_copies_));
    } else if (i < n_columns) {
      ints_.push_back(TakeColumn<std::int64_t>(column, name, &int_copies_));
    } else if (i < n_numbers) {
      TakeEvents(column, name);
    } else if (i >= n_arrays) {
      lists_.resize(names.n_lists + names.derived_lists.size());
      TakeStringLists(names, i - n_arrays, column, name);
    } else if (i >= n_flat) {
      TakeList(column, name);
    } else {
      ints_.resize(names.n_ints + names.derived.size());
      TakeStrings(names, i - n_numbers, column, name);
    }
  }
}

void Buffers::TakeOutputs(const Names& names, const py::object& dense, const py::object& ids,
                          std::size_t width, std::size_t n_ids) {
  dense_ = dense.is_none() ? NewMatrix(Dtype<float>(), rows_, width) : dense;
  ids_ = ids.is_none() ? NewMatrix(Dtype<std::int32_t>(), n_ids, rows_) : ids;
  CheckWritable(dense_.ptr(), "dense", Dtype<float>(), rows_, static_cast<py::ssize_t>(width));
  CheckWritable(ids_.ptr(), "ids", Dtype<std::int32_t>(), n_ids, static_cast<py::ssize_t>(rows_));
  CheckOverlap(names, "dense", dense_.ptr(), rows_ * width * sizeof(float));
  CheckOverlap(names, "ids", ids_.ptr(), rows_ * n_ids * sizeof(std::int32_t));
}

void Buffers::CheckOverlap(const Names& names, const char* name, PyObject* out, std::size_t bytes) {
  const auto begin = reinterpret_cast<std::uintptr_t>(DataOf(out)), end = begin + bytes;
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    if (ranges_[i].begin >= end || begin >= ranges_[i].end) continue;
    static constexpr const char* kParts[] = {".offsets", ".times", ".values"};
    static constexpr const char* kOutputs[] = {"dense", "ids", "bags.values", "bags.offsets"};
    const std::size_t n_columns = names.n_floats + names.n_ints, n_events = 3 * names.n_events;
    std::string other;
    if (i < n_columns) {
      other = names.all[i].text;
    } else if (i - n_columns < n_events) {
      other = names.all[n_columns + (i - n_columns) / 3].text + kParts[(i - n_columns) % 3];
    } else {
      const std::size_t after = i - n_columns - n_events, n_lists = 2 * names.n_lists;
      other =
          after < n_lists ? names.list(after / 2).text + kParts[after % 2 * 2] : kOutputs[after - n_lists];
    }
    Raise(StatusCode::kOverlap,
          "`" + std::string(name) + "` must not share memory with `" + other + "`; pass another array");
  }
  Hold(DataOf(out), bytes);
}

void Buffers::Clear() {
  columns_.clear(), floats_.clear(), ints_.clear(), events_.clear(), lists_.clear(), ranges_.clear();
  float_copies_.clear(), int_copies_.clear(), event_copies_.clear();
  rows_ = 0;
  dense_ = py::object(), ids_ = py::object(), bag_values_ = py::object(), bag_offsets_ = py::object();
}

}  // namespace mainspring
