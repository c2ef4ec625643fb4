// Scans of an OnlineTable: rows as arrays and lists, a batch a call.

#include "table_scan.h"

#include <cstring>
#include <tuple>
#include <vector>

#include "table_columns.h"

namespace mainspring {
namespace {

template <typename T>
py::object ToArray(const std::vector<T>& from) {
  py::array_t<T> to(static_cast<py::ssize_t>(from.size()));
  if (!from.empty()) std::memcpy(to.mutable_data(), from.data(), from.size() * sizeof(T));
  return to;
}

py::object ToArray(const TableField& field, const std::vector<char>& from, std::size_t n) {
  std::vector<py::ssize_t> shape = {static_cast<py::ssize_t>(n)};
  if (field.type == FieldType::kFloat32Vector) shape.push_back(static_cast<py::ssize_t>(field.width));
  const py::dtype dtype = py::reinterpret_borrow<py::dtype>(FieldDtype(field.type));
  py::array to(dtype, shape);
  if (!from.empty()) std::memcpy(to.mutable_data(), from.data(), from.size());
  return to;
}

py::list ToList(const StringColumn& from, const std::uint8_t* valid, bool is_text) {
  py::list to;
  for (std::size_t i = 0; i + 1 < from.offsets.size(); ++i) {
    if (valid != nullptr && valid[i] == 0) {
      to.append(py::none());
      continue;
    }
    to.append(ToObject(from, i, is_text));
  }
  return to;
}

}  // namespace

py::object ToObject(const StringColumn& from, std::size_t i, bool is_text) {
  const char* const data = from.bytes.data() + from.offsets[i];
  const auto size = static_cast<py::ssize_t>(from.offsets[i + 1] - from.offsets[i]);
  PyObject* const made =
      is_text ? PyUnicode_DecodeUTF8(data, size, "strict") : PyBytes_FromStringAndSize(data, size);
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(made);
}

py::object NextRows(TableScan* scan, const TableSchema& schema, std::size_t n) {
  ScannedRows rows;
  bool is_more;
  {
    const py::gil_scoped_release release;
    is_more = scan->Next(n, &rows);
  }
  if (!is_more) return py::none();
  py::list keys, values, valid;
  for (std::size_t part = 0; part < schema.keys.size(); ++part) {
    const ScannedKey& key = rows.keys[part];
    keys.append(schema.keys[part].type == KeyType::kInt64 ? ToArray(key.ints)
                                                          : ToList(key.strings, nullptr, true));
  }
  for (std::size_t j = 0; j < schema.fields.size(); ++j) {
    const TableField& field = schema.fields[j];
    const ScannedColumn& column = rows.columns[j];
    const bool is_text = field.type == FieldType::kString;
    values.append(IsVariable(field.type) ? ToList(column.strings, column.valid.data(), is_text)
                                         : ToArray(field, column.values, rows.n));
    py::array_t<bool> there(static_cast<py::ssize_t>(rows.n));
    std::memcpy(there.mutable_data(), column.valid.data(), rows.n);
    valid.append(there);
  }
  return py::make_tuple(keys, ToArray(rows.event_us), ToArray(rows.created_us), ToArray(rows.ttl_seconds),
                        values, valid);
}

}  // namespace mainspring
