#include "table_columns.h"

namespace mainspring {
namespace {

bool TextOf(PyObject* object, const char** data, py::ssize_t* size) {
  if (PyUnicode_Check(object)) {
    if (PyUnicode_IS_COMPACT_ASCII(object)) {
      *data = static_cast<const char*>(PyUnicode_DATA(object));
      *size = PyUnicode_GET_LENGTH(object);
      return true;
    }
    *data = PyUnicode_AsUTF8AndSize(object, size);
    if (*data == nullptr) throw py::error_already_set();
    return true;
  }
  return false;
}

[[noreturn]] void RaiseKey(const std::string& name, const char* expected, PyObject* got) {
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  Raise(StatusCode::kBadDtype,
        "key `" + name + "` must be " + expected + ", got `" + TypeName(got) + "`; convert it before");
}

}  // namespace

void RaiseTable(const TableStatus& status) {
  std::string message = status.status.expected;
  if (status.status.has_got) message += ", got " + std::string(py::repr(py::float_(status.status.got)));
  if (!status.detail.empty()) message += ": " + status.detail;
  if (*status.status.next_step != '\0') message += std::string("; ") + status.status.next_step;
  Raise(status.status.code, message);
}

KeyReader::KeyReader(const TableSchema& schema)
    : keys_(schema.keys), parts_(schema.keys.size()), columns_(schema.keys.size()) {}

const KeyBatch& KeyReader::Read(PyObject* keys, std::size_t borrowed_below) {
  has_null_ = false;
  borrowed_below_ = borrowed_below;
  batch_ = {columns_.data(), nullptr, 0};
  if (keys_.size() == 1) {
    if (!ReadOne(keys)) ReadPart(0, keys, &batch_.n);
  } else {
    const bool is_tuple =
        PyTuple_Check(keys) && PyTuple_GET_SIZE(keys) == static_cast<py::ssize_t>(keys_.size());
    if (!is_tuple) {
      Raise(StatusCode::kBadShape, "`keys` must be a tuple of " + std::to_string(keys_.size()) +
                                       " columns, one a key part, got `" + TypeName(keys) +
                                       "`; pass one of each");
    }
    for (std::size_t part = 0; part < keys_.size(); ++part) {
      std::size_t n = 0;
      ReadPart(part, PyTuple_GET_ITEM(keys, static_cast<py::ssize_t>(part)), &n);
      if (part > 0 && n != batch_.n) {
        Raise(StatusCode::kBadShape, "key `" + keys_[part].name + "` must have " + std::to_string(batch_.n) +
                                         " values, got " + std::to_string(n) + "; pass columns of one batch");
      }
      batch_.n = n;
    }
  }
  if (has_null_) {
    is_null_.resize(batch_.n, 0);
    batch_.is_null = is_null_.data();
  }
  return batch_;
}

bool KeyReader::ReadOne(PyObject* key) {
  if (keys_[0].type == KeyType::kInt64) {
    if (!PyLong_CheckExact(key)) return false;
    int overflow = 0;
    one_ = PyLong_AsLongLongAndOverflow(key, &overflow);
    if (overflow != 0) RaiseKey(keys_[0].name, "an int64", key);
    columns_[0].ints = &one_;
  } else {
    py::ssize_t size;
    if (!TextOf(key, &one_text_.data, &size)) return false;
    one_text_.size = static_cast<std::uint32_t>(size);
    columns_[0] = {nullptr, nullptr, nullptr, &one_text_};
  }
  batch_.n = 1;
  return true;
}

void KeyReader::MarkNull(std::size_t row) {
  if (!has_null_) is_null_.clear();
  has_null_ = true;
  // An earlier part of the key may have marked rows behind this one.
  if (is_null_.size() <= row) is_null_.resize(row + 1, 0);
  is_null_[row] = 1;
}

void KeyReader::AddInt(std::size_t part, PyObject* key) {
  std::vector<std::int64_t>& to = parts_[part].ints;
  if (key == Py_None) {
    MarkNull(to.size());
    to.push_back(0);
    return;
  }
  if (!PyLong_Check(key)) RaiseKey(keys_[part].name, "an int64 or None", key);
  int overflow = 0;
  to.push_back(PyLong_AsLongLongAndOverflow(key, &overflow));
  if (overflow != 0) RaiseKey(keys_[part].name, "an int64 or None", key);
}

void KeyReader::AddText(std::size_t part, PyObject* key) {
  Texts& to = parts_[part].texts;
  if (key == Py_None) {
    MarkNull(to.offsets.size() - 1);
    to.Add(nullptr, 0);
    return;
  }
  const char* data;
  py::ssize_t size;
  if (!TextOf(key, &data, &size)) RaiseKey(keys_[part].name, "a str or None", key);
  to.Add(data, static_cast<std::size_t>(size));
}

// Strings keep their UTF-8 for as long as they live, so that their places do.
void KeyReader::Borrow(std::size_t part, PyObject* keys) {
  const auto n = static_cast<std::size_t>(PyList_GET_SIZE(keys));
  std::vector<Text>& to = parts_[part].borrowed;
  if (to.size() < n) to.resize(n);
  PyObject* const* const items = reinterpret_cast<PyListObject*>(keys)->ob_item;
  constexpr std::size_t kAhead = 16;
  for (std::size_t i = 0; i < n; ++i) {
    if (i + kAhead < n) {
      const char* const next = reinterpret_cast<const char*>(items[i + kAhead]);
      __builtin_prefetch(next);
      __builtin_prefetch(next + sizeof(PyASCIIObject));
    }
    py::ssize_t size = 0;
    to[i] = {};
    if (items[i] == Py_None) {
      MarkNull(i);
    } else if (!TextOf(items[i], &to[i].data, &size)) {
      RaiseKey(keys_[part].name, "a str or None", items[i]);
    }
    to[i].size = static_cast<std::uint32_t>(size);
  }
  columns_[part] = {nullptr, nullptr, nullptr, to.data()};
}

void KeyReader::ReadPart(std::size_t part, PyObject* keys, std::size_t* n) {
  const bool is_int = keys_[part].type == KeyType::kInt64;
  if (is_int && IsArray(keys)) {
    *n = py::detail::array_proxy(keys)->nd == 1 ? LengthOf(keys) : 0;
    if (!IsPlainArray(keys, Dtype<std::int64_t>(), *n)) {
      CheckArray(keys, keys_[part].name, Dtype<std::int64_t>(), *n, -1);
    }
    columns_[part].ints = static_cast<const std::int64_t*>(DataOf(keys));
    return;
  }
  if (!PyList_Check(keys)) {
    RaiseKey(keys_[part].name, is_int ? "an int64 array or a list of int" : "a list of str", keys);
  }
  const auto size = static_cast<std::size_t>(PyList_GET_SIZE(keys));
  *n = size;
  if (!is_int && size < borrowed_below_) {
    Borrow(part, keys);
    return;
  }
  Part& to = parts_[part];
  to.ints.clear();
  to.texts.Clear();
  for (std::size_t i = 0; i < size; ++i) {
    PyObject* const key = PyList_GET_ITEM(keys, static_cast<py::ssize_t>(i));
    if (is_int) {
      AddInt(part, key);
    } else {
      AddText(part, key);
    }
  }
  columns_[part] = {to.ints.data(), to.texts.offsets.data(), to.texts.bytes.data()};
}

PyObject* FieldDtype(FieldType type) {
  switch (type) {
    case FieldType::kBool:
      return Dtype<bool>();
    case FieldType::kInt32:
      return Dtype<std::int32_t>();
    case FieldType::kInt64:
    case FieldType::kTimestampUs:
      return Dtype<std::int64_t>();
    case FieldType::kFloat64:
      return Dtype<double>();
    default:
      return Dtype<float>();
  }
}

InputColumn ColumnReader::Read(const TableField& field, PyObject* values, PyObject* valid, std::size_t n) {
  InputColumn column;
  if (valid != Py_None) {
    CheckArray(valid, field.name + ".valid", Dtype<bool>(), n, -1);
    column.valid = static_cast<const std::uint8_t*>(DataOf(valid));
  }
  if (!IsVariable(field.type)) {
    const bool is_vector = field.type == FieldType::kFloat32Vector;
    CheckArray(values, field.name, FieldDtype(field.type), n,
               is_vector ? static_cast<py::ssize_t>(field.width) : -1);
    column.values = DataOf(values);
    return column;
  }
  const bool is_text = field.type == FieldType::kString;
  if (!PyList_Check(values) || static_cast<std::size_t>(PyList_GET_SIZE(values)) != n) {
    Raise(StatusCode::kBadShape, "`" + field.name + "` must be a list of " + std::to_string(n) +
                                     " values, got `" + TypeName(values) + "`; pass a list of one batch");
  }
  texts_.Clear();
  valid_.assign(n, 1);
  for (std::size_t i = 0; i < n; ++i) {
    PyObject* const value = PyList_GET_ITEM(values, static_cast<py::ssize_t>(i));
    const char* data = nullptr;
    py::ssize_t size = 0;
    if (value == Py_None) {
      valid_[i] = 0;
    } else if (is_text ? !TextOf(value, &data, &size) : !PyBytes_Check(value)) {
      Raise(StatusCode::kBadDtype, "`" + field.name + "` must hold " + (is_text ? "str" : "bytes") +
                                       " or None, got `" + TypeName(value) + "`; convert it before");
    } else if (!is_text) {
      data = PyBytes_AS_STRING(value);
      size = PyBytes_GET_SIZE(value);
    }
    if (column.valid != nullptr && column.valid[i] == 0) valid_[i] = 0;
    texts_.Add(data, static_cast<std::size_t>(size));
  }
  column.values = texts_.bytes.data();
  column.offsets = texts_.offsets.data();
  column.valid = valid_.data();
  return column;
}

}  // namespace mainspring
