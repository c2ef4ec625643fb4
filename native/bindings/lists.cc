// Ragged lists of a batch, and the bags that become of them.

#include <utility>

#include "buffers.h"

namespace mainspring {

py::object StringListOf(PyObject* object, const std::string& name) {
  if (object == Py_None) return py::tuple();
  if (!PyList_Check(object) && !PyTuple_Check(object)) {
    Raise(StatusCode::kBadDtype,
          "`" + name + "` must be a list of str or None, got `" + TypeName(object) + "`; convert it before");
  }
  return py::reinterpret_borrow<py::object>(object);
}

void Derived::OfList(PyObject* list, const std::string& name, std::vector<std::int64_t>* values) const {
  const py::object held = StringListOf(list, name);
  for (py::ssize_t i = 0; i < PySequence_Fast_GET_SIZE(held.ptr()); ++i) {
    const StringBytes s = BytesOf(PySequence_Fast_GET_ITEM(held.ptr(), i), name);
    values->push_back(Of(s.data, s.size));
  }
}

void Buffers::TakeList(const Taken& column, const Name& name) {
  if (column.is_arrow) {
    CheckRows(column.arrow.rows(), name);
    std::vector<std::int64_t> offsets, values;
    const MainspringList list = column.arrow.List(&offsets, &values);
    Hold(list.offsets, offsets.empty() ? (rows_ + 1) * (list.is_wide != 0 ? 8 : 4) : 0);
    Hold(list.values, values.empty() ? list.size * sizeof(std::int64_t) : 0);
    lists_.push_back(list);
    int_copies_.push_back(std::move(offsets));  // which does not move the values
    int_copies_.push_back(std::move(values));
    return;
  }
  PyObject* const list = column.object.ptr();
  if (!PyTuple_Check(list) || PyTuple_GET_SIZE(list) != 2) {
    Raise(StatusCode::kBadDtype, "`" + name.text +
                                     "` must be a tuple (offsets, values) or an Arrow column, got `" +
                                     TypeName(list) + "`; pass two arrays");
  }
  PyObject* const offsets = PyTuple_GET_ITEM(list, 0);
  PyObject* const values = PyTuple_GET_ITEM(list, 1);
  const bool is_narrow = HoldOffsets(offsets, name);
  const std::size_t size = Rows(values, false);
  CheckArray(values, name.text + ".values", Dtype<std::int64_t>(), size, -1);
  Hold(DataOf(values), size * sizeof(std::int64_t));
  lists_.push_back({DataOf(offsets), !is_narrow, size, static_cast<const std::int64_t*>(DataOf(values))});
}

void Buffers::TakeStringLists(const Names& names, std::size_t list, const Taken& column, const Name& name) {
  std::vector<std::int64_t> offsets;
  ArrowColumn elements;
  std::vector<py::object> rows;
  if (column.is_arrow) {
    CheckRows(column.arrow.rows(), name);
    elements = column.arrow.Elements("list or large_list of utf8, large_utf8 or string_view", &offsets);
  } else {
    PyObject* const object = column.object.ptr();
    if (!PyList_Check(object) && !PyTuple_Check(object)) {
      Raise(StatusCode::kBadDtype, "`" + name.text +
                                       "` must be a list of lists of str or an Arrow column, got `" +
                                       TypeName(object) + "`; convert it before");
    }
    CheckRows(static_cast<std::size_t>(PySequence_Fast_GET_SIZE(object)), name);
    offsets.push_back(0);
    for (std::size_t row = 0; row < rows_; ++row) {
      rows.push_back(
          StringListOf(PySequence_Fast_GET_ITEM(object, static_cast<py::ssize_t>(row)), name.text));
      offsets.push_back(offsets.back() + PySequence_Fast_GET_SIZE(rows.back().ptr()));
    }
  }
  const std::size_t size = static_cast<std::size_t>(offsets.back());
  for (std::size_t d = 0; d < names.derived_lists.size(); ++d) {
    const Derived& derived = names.derived_lists[d];
    if (derived.string != list) continue;
    std::vector<std::int64_t> values(size + 1);
    if (column.is_arrow) {
      elements.EachString([&](std::size_t i, const char* bytes, std::size_t length) {
        values[i] = derived.Of(bytes, length);
      });
    } else {
      values.clear();
      for (const py::object& row : rows) derived.OfList(row.ptr(), name.text, &values);
    }
    lists_[names.n_lists + d] = {offsets.data(), 1, size, values.data()};
    int_copies_.push_back(std::move(values));
  }
  int_copies_.push_back(std::move(offsets));
}

void Buffers::TakeBags(const Names& names, const py::object& bags, std::size_t n_bags, std::size_t size) {
  const std::size_t n_offsets = n_bags * rows_ + 1;
  if (bags.is_none()) {
    bag_values_ = NewVector(Dtype<std::int32_t>(), size);
    bag_offsets_ = NewVector(Dtype<std::int32_t>(), n_offsets);
    return;
  }
  PyObject* const given = bags.ptr();
  if (!PyTuple_Check(given) || PyTuple_GET_SIZE(given) != 2) {
    Raise(StatusCode::kBadDtype, "`bags` must be a tuple (values, offsets), got `" + TypeName(given) +
                                     "`; pass two arrays, as `program.Bags`");
  }
  bag_values_ = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(given, 0));
  bag_offsets_ = py::reinterpret_borrow<py::object>(PyTuple_GET_ITEM(given, 1));
  const std::size_t capacity = Rows(bag_values_.ptr(), false);
  CheckWritable(bag_values_.ptr(), "bags.values", Dtype<std::int32_t>(), capacity, -1);
  CheckWritable(bag_offsets_.ptr(), "bags.offsets", Dtype<std::int32_t>(), n_offsets, -1);
  CheckOverlap(names, "bags.values", bag_values_.ptr(), capacity * sizeof(std::int32_t));
  CheckOverlap(names, "bags.offsets", bag_offsets_.ptr(), n_offsets * sizeof(std::int32_t));
}

}  // namespace mainspring
