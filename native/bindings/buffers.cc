#include "buffers.h"

namespace mainspring {

Names::Names(const std::vector<std::string>& floats, const std::vector<std::string>& ints,
             const std::vector<std::string>& events)
    : n_floats(floats.size()), n_ints(ints.size()), n_events(events.size()) {
  for (const auto* kind : {&floats, &ints, &events}) {
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
std::size_t Buffers::Rows(PyObject* column, bool is_events) {
  PyObject* array = column;
  if (is_events) {
    if (!PyTuple_Check(column) || PyTuple_GET_SIZE(column) == 0) return 0;
    array = PyTuple_GET_ITEM(column, 0);
  }
  if (!IsArray(array) || py::detail::array_proxy(array)->nd != 1) return 0;
  const std::size_t length = LengthOf(array);
  return is_events && length > 0 ? length - 1 : length;
}

template <typename T>
const T* Buffers::TakeColumn(PyObject* column, const Name& name) {
  if (!IsPlainArray(column, Dtype<T>(), rows_)) CheckArray(column, name.text, Dtype<T>(), rows_, -1);
  Hold(column, rows_ * sizeof(T));
  return static_cast<const T*>(DataOf(column));
}

void Buffers::TakeEvents(PyObject* lists, const Name& name) {
  if (!PyTuple_Check(lists) || PyTuple_GET_SIZE(lists) != 3) {
    Raise(StatusCode::kBadDtype, "`" + name.text + "` must be a tuple (offsets, times, values), got `" +
                                     TypeName(lists) + "`; pass three arrays");
  }
  PyObject* const offsets = PyTuple_GET_ITEM(lists, 0);
  PyObject* const times = PyTuple_GET_ITEM(lists, 1);
  PyObject* const values = PyTuple_GET_ITEM(lists, 2);
  const auto& api = py::detail::npy_api::get();
  const bool is_narrow = IsArray(offsets) && api.PyArray_EquivTypes_(py::detail::array_proxy(offsets)->descr,
                                                                     Dtype<std::int32_t>());
  CheckArray(offsets, name.text + ".offsets", is_narrow ? Dtype<std::int32_t>() : Dtype<std::int64_t>(),
             rows_ + 1, -1);
  const std::size_t size = Rows(times, false);
  CheckArray(times, name.text + ".times", Dtype<std::int64_t>(), size, -1);
  CheckArray(values, name.text + ".values", Dtype<float>(), size, -1);
  Hold(offsets, (rows_ + 1) * (is_narrow ? sizeof(std::int32_t) : sizeof(std::int64_t)));
  Hold(times, size * sizeof(std::int64_t));
  Hold(values, size * sizeof(float));
  events_.push_back({DataOf(offsets), !is_narrow, size, static_cast<const std::int64_t*>(DataOf(times)),
                     static_cast<const float*>(DataOf(values))});
}

void Buffers::Take(const Names& names, const py::object& columns) {
  Clear();
  const bool is_dict = PyDict_CheckExact(columns.ptr());
  // All are fetched and held first: a mapping of another type may run Python code.
  for (const Name& name : names.all) {
    PyObject* const found = is_dict ? PyDict_GetItemWithError(columns.ptr(), name.object.ptr())
                                    : PyObject_GetItem(columns.ptr(), name.object.ptr());
    if (found == nullptr) {
      if (PyErr_Occurred() != nullptr && !PyErr_ExceptionMatches(PyExc_KeyError))
        throw py::error_already_set();
      PyErr_Clear();
      names.RaiseMissing(name);
    }
    columns_.push_back(is_dict ? py::reinterpret_borrow<py::object>(found)
                               : py::reinterpret_steal<py::object>(found));
  }
  const std::size_t n_columns = names.n_floats + names.n_ints;
  rows_ = columns_.empty() ? 0 : Rows(columns_[0].ptr(), n_columns == 0);
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    PyObject* const column = columns_[i].ptr();
    if (i < names.n_floats) {
      floats_.push_back(TakeColumn<float>(column, names.all[i]));
    } else if (i < n_columns) {
      ints_.push_back(TakeColumn<std::int64_t>(column, names.all[i]));
    } else {
      TakeEvents(column, names.all[i]);
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
    const std::size_t n_columns = names.n_floats + names.n_ints;
    std::string other = "dense";
    if (i < n_columns) {
      other = names.all[i].text;
    } else if ((i - n_columns) / 3 < names.n_events) {
      other = names.all[n_columns + (i - n_columns) / 3].text + kParts[(i - n_columns) % 3];
    }
    Raise(StatusCode::kOverlap,
          "`" + std::string(name) + "` must not share memory with `" + other + "`; pass another array");
  }
  Hold(out, bytes);
}

void Buffers::Clear() {
  columns_.clear(), floats_.clear(), ints_.clear(), events_.clear(), ranges_.clear();
  dense_ = py::object(), ids_ = py::object();
}

}  // namespace mainspring
