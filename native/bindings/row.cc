// Row: one row at a time, through entries of the C API (see fast_object.h): a whole row of 45 inputs is
// computed in less than twice the difference to a call of pybind11.

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <utility>

#include "fast_object.h"
#include "mainspring/float_environment.h"
#include "native_program.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();

// What a row needs besides the program: room for its values, and the outputs, made once.
struct RowState {
  std::shared_ptr<const NativeProgram> owner;
  ProgramWorkspace workspace;
  std::vector<std::int64_t> ints;
  std::vector<float> floats;
  std::vector<MainspringEventList> events;
  std::vector<MainspringList> lists;                 // each a batch of one, with these offsets:
  std::vector<std::array<std::int64_t, 2>> offsets;  // 0 and its size
  std::vector<std::vector<std::int64_t>> made;       // values that came as Python objects
  py::object dense, ids, bag_values, bag_offsets;
  float* dense_data = nullptr;
  std::int32_t* ids_data = nullptr;
  BagOutput bags;
  std::size_t bag_capacity = 0;
  std::size_t fixed_bytes = 0;  // of a packed row, before its events

  void SetList(std::size_t i, const std::int64_t* values, std::size_t size) {
    offsets[i][1] = static_cast<std::int64_t>(size);
    lists[i] = {offsets[i].data(), 1, size, values};
  }

  // First, because only this can be refused: nothing is written then.
  void RunBags() {
    ProgramInput input;
    input.n_rows = 1;
    input.lists = lists.data();
    std::size_t size = 0;
    Check(owner->program().PrepareBags(input, &workspace, &size));
    NativeProgram::CheckRoom(size, bag_capacity);
    Check(owner->program().RunBags(input, &workspace, bags));
  }

  void Run(const std::int64_t* int_values, const float* float_values) {
    if (bags.offsets != nullptr) RunBags();
    owner->program().RunRow({int_values, float_values, events.data()}, &workspace, dense_data, ids_data);
  }
};

using RowObject = FastObject<RowState>;

std::size_t Padded8(std::size_t bytes) { return (bytes + 7) / 8 * 8; }

// The ints, the floats and a count for each event list and each list, as native/program.py writes them; then
// each event list's times and its values, padded to 8 bytes; then each list's values.
void RunBytes(RowState& s, const char* data, std::size_t size) {
  if (size < s.fixed_bytes) {
    Raise(StatusCode::kBadShape, "a packed row must have at least " + std::to_string(s.fixed_bytes) +
                                     " bytes, got " + std::to_string(size) + "; pack it with `Program.pack`");
  }
  if (reinterpret_cast<std::uintptr_t>(data) % 8 != 0) {
    Raise(StatusCode::kNotContiguous,
          "a packed row must begin at a multiple of 8 bytes; copy it to new bytes");
  }
  const std::size_t n_ints = s.ints.size(), n_floats = s.floats.size();
  const auto* const ints = reinterpret_cast<const std::int64_t*>(data);
  const auto* const floats = reinterpret_cast<const float*>(data + 8 * n_ints);
  const char* const counts = data + 8 * n_ints + 4 * n_floats;
  std::size_t at = s.fixed_bytes;
  for (std::size_t i = 0; i < s.events.size(); ++i) {
    std::uint32_t n;
    std::memcpy(&n, counts + 4 * i, sizeof(n));
    const std::size_t times = at, values = at + std::size_t{8} * n;
    at = values + Padded8(std::size_t{4} * n);
    if (at > size) break;
    s.events[i] = {reinterpret_cast<const std::int64_t*>(data + times),
                   reinterpret_cast<const float*>(data + values), n};
  }
  for (std::size_t i = 0; i < s.lists.size() && at <= size; ++i) {
    std::uint32_t n;
    std::memcpy(&n, counts + 4 * (s.events.size() + i), sizeof(n));
    const std::size_t values = at;
    at += std::size_t{8} * n;
    if (at <= size) s.SetList(i, reinterpret_cast<const std::int64_t*>(data + values), n);
  }
  if (at != size) {
    Raise(StatusCode::kBadShape, "a packed row with these counts of events and list values must have " +
                                     std::to_string(at) + " bytes or more, got " + std::to_string(size) +
                                     "; pack it with `Program.pack`");
  }
  s.Run(ints, floats);
}

[[noreturn]] void RaiseField(const Name& name, const char* expected, PyObject* got) {
  if (PyErr_Occurred() != nullptr) PyErr_Clear();
  Raise(StatusCode::kBadDtype,
        "field `" + name.text + "` must be " + expected + ", got `" + TypeName(got) + "`; convert it before");
}

float FloatOf(PyObject* value, const Name& name) {
  if (PyFloat_CheckExact(value)) return static_cast<float>(PyFloat_AS_DOUBLE(value));
  if (value == Py_None) return std::numeric_limits<float>::quiet_NaN();
  const double x = PyFloat_AsDouble(value);
  if (x == -1.0 && PyErr_Occurred() != nullptr) RaiseField(name, "a number or None", value);
  return static_cast<float>(x);
}

std::int64_t IntOf(PyObject* value, const Name& name) {
  if (value == Py_None) return kMissing;
  // Not PyLong_AsLongLong, which goes through bytes for what has more than 30 bits (26 of them: 790 -> 480 ns
  // a row).
  int overflow = 0;
  const long long x = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow != 0 || (x == -1 && PyErr_Occurred() != nullptr)) RaiseField(name, "an int64 or None", value);
  return x;
}

MainspringEventList EventsOf(PyObject* value, const Name& name) {
  if (value == Py_None) return {nullptr, nullptr, 0};
  if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 2) {
    RaiseField(name, "a tuple (times, values) or None", value);
  }
  PyObject* const times = PyTuple_GET_ITEM(value, 0);
  PyObject* const values = PyTuple_GET_ITEM(value, 1);
  const std::size_t n = IsArray(times) && py::detail::array_proxy(times)->nd == 1 ? LengthOf(times) : 0;
  if (!IsPlainArray(times, Dtype<std::int64_t>(), n)) {
    CheckArray(times, name.text + ".times", Dtype<std::int64_t>(), n, -1);
  }
  if (!IsPlainArray(values, Dtype<float>(), n))
    CheckArray(values, name.text + ".values", Dtype<float>(), n, -1);
  return {static_cast<const std::int64_t*>(DataOf(times)), static_cast<const float*>(DataOf(values)), n};
}

// The values lie in the array, or in `made`. No Python code runs: see RunFields.
void TakeList(RowState& s, std::size_t i, PyObject* value, const Name& name) {
  if (value == Py_None) return s.SetList(i, nullptr, 0);
  if (IsArray(value)) {
    const std::size_t n = py::detail::array_proxy(value)->nd == 1 ? LengthOf(value) : 0;
    if (!IsPlainArray(value, Dtype<std::int64_t>(), n))
      CheckArray(value, name.text, Dtype<std::int64_t>(), n, -1);
    return s.SetList(i, static_cast<const std::int64_t*>(DataOf(value)), n);
  }
  static constexpr const char* kExpected = "an int64 array, a list of int64 and None, or None";
  if (!PyList_Check(value) && !PyTuple_Check(value)) RaiseField(name, kExpected, value);
  std::vector<std::int64_t>& made = s.made[i];
  made.clear();
  for (py::ssize_t k = 0; k < PySequence_Fast_GET_SIZE(value); ++k) {
    PyObject* const item = PySequence_Fast_GET_ITEM(value, k);
    if (item != Py_None && !PyLong_Check(item)) RaiseField(name, kExpected, item);
    made.push_back(IntOf(item, name));
  }
  s.SetList(i, made.data(), made.size());
}

// Whether `key` is this name. Where unsure, no: then it is looked up.
bool IsNamed(PyObject* key, const Name& name) {
  if (key == name.object.ptr()) return true;
  return PyUnicode_CheckExact(key) && PyUnicode_IS_COMPACT_ASCII(key) &&
         static_cast<std::size_t>(PyUnicode_GET_LENGTH(key)) == name.text.size() &&
         std::memcmp(PyUnicode_DATA(key), name.text.data(), name.text.size()) == 0;
}

void RunFields(RowState& s, PyObject* fields) {
  if (!PyDict_Check(fields)) {
    Raise(StatusCode::kBadDtype, "`fields` must be a dict, got `" + TypeName(fields) + "`; pass one row");
  }
  const Names& names = s.owner->names();
  const DefaultFloatEnvironment environment;  // rounding to float32 may make denormals
  // A caller that writes the fields in the order of the inputs spares each look-up: 40 fields of parsed
  // JSON are then read in half a microsecond (Zen 4, 2026-11). INVARIANT: events come after the numbers, so
  // that no Python code (a number's __float__) runs while we hold their pointers.
  py::ssize_t position = 0;
  bool is_in_order = true;
  const auto next = [&](const Name& name) {
    PyObject *key = nullptr, *value = nullptr;
    if (is_in_order && PyDict_Next(fields, &position, &key, &value) != 0 && IsNamed(key, name)) {
      return value;
    }
    is_in_order = false;
    value = PyDict_GetItemWithError(fields, name.object.ptr());
    if (value == nullptr) {
      PyErr_Clear();
      names.RaiseMissing(name);
    }
    return value;
  };
  const Name* name = names.all.data();
  for (float& x : s.floats) x = FloatOf(next(*name), *name), ++name;
  for (std::size_t i = 0; i < names.n_ints; ++i, ++name) s.ints[i] = IntOf(next(*name), *name);
  for (MainspringEventList& x : s.events) x = EventsOf(next(*name), *name), ++name;
  for (std::size_t i = 0; i < names.n_strings; ++i, ++name) {
    const StringBytes string = BytesOf(next(*name), name->text);
    for (std::size_t d = 0; d < names.derived.size(); ++d) {
      if (names.derived[d].string == i)
        s.ints[names.n_ints + d] = names.derived[d].Of(string.data, string.size);
    }
  }
  for (std::size_t i = 0; i < names.n_lists; ++i, ++name) TakeList(s, i, next(*name), *name);
  for (std::size_t i = 0; i < names.n_string_lists; ++i, ++name) {
    PyObject* const strings = next(*name);
    for (std::size_t d = 0; d < names.derived_lists.size(); ++d) {
      if (names.derived_lists[d].string != i) continue;
      std::vector<std::int64_t>& made = s.made[names.n_lists + d];
      made.clear();
      names.derived_lists[d].OfList(strings, name->text, &made);
      s.SetList(names.n_lists + d, made.data(), made.size());
    }
  }
  s.Run(s.ints.data(), s.floats.data());
}

PyObject* RunPackedEntry(PyObject* self, PyObject* packed) {
  return Guarded([self, packed] {
    RowState& s = RowObject::Of(self);
    if (PyBytes_CheckExact(packed)) {
      RunBytes(s, PyBytes_AS_STRING(packed), static_cast<std::size_t>(PyBytes_GET_SIZE(packed)));
      return Py_NewRef(Py_None);
    }
    Py_buffer view;
    if (PyObject_GetBuffer(packed, &view, PyBUF_SIMPLE) != 0) {
      PyErr_Clear();
      Raise(StatusCode::kBadDtype, "a packed row must be bytes or another contiguous buffer, got `" +
                                       TypeName(packed) + "`; pack it with `Program.pack`");
    }
    struct Release {
      Py_buffer* view;
      ~Release() { PyBuffer_Release(view); }
    } const release{&view};
    RunBytes(s, static_cast<const char*>(view.buf), static_cast<std::size_t>(view.len));
    return Py_NewRef(Py_None);
  });
}

PyObject* RunFieldsEntry(PyObject* self, PyObject* fields) {
  return Guarded([self, fields] {
    RunFields(RowObject::Of(self), fields);
    return Py_NewRef(Py_None);
  });
}

PyObject* DenseOf(PyObject* self, void*) { return RowObject::Of(self).dense.inc_ref().ptr(); }
PyObject* IdsOf(PyObject* self, void*) { return RowObject::Of(self).ids.inc_ref().ptr(); }
PyObject* BagValuesOf(PyObject* self, void*) { return RowObject::Of(self).bag_values.inc_ref().ptr(); }
PyObject* BagOffsetsOf(PyObject* self, void*) { return RowObject::Of(self).bag_offsets.inc_ref().ptr(); }

PyTypeObject* RowType() {
  static PyMethodDef methods[] = {{"run_packed", RunPackedEntry, METH_O, nullptr},
                                  {"run_fields", RunFieldsEntry, METH_O, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyGetSetDef getters[] = {{"dense", DenseOf, nullptr, nullptr, nullptr},
                                  {"ids", IdsOf, nullptr, nullptr, nullptr},
                                  {"bag_values", BagValuesOf, nullptr, nullptr, nullptr},
                                  {"bag_offsets", BagOffsetsOf, nullptr, nullptr, nullptr},
                                  {nullptr, nullptr, nullptr, nullptr, nullptr}};
  return RowObject::Type("mainspring.native._native.Row", methods, getters);
}

}  // namespace

py::object RowClass() { return py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(RowType())); }

py::object NewRow(std::shared_ptr<const NativeProgram> owner, std::size_t bag_capacity) {
  auto state = std::make_unique<RowState>();
  const Names& names = owner->names();
  state->workspace = owner->program().MakeWorkspace();
  const std::size_t n_ints = names.n_ints + names.derived.size();
  state->ints.resize(n_ints);
  state->floats.resize(names.n_floats);
  state->events.resize(names.n_events);
  const std::size_t n_lists = names.n_lists + names.derived_lists.size();
  state->lists.resize(n_lists);
  state->offsets.resize(n_lists);
  state->made.resize(n_lists);
  for (std::size_t i = 0; i < n_lists; ++i) state->SetList(i, nullptr, 0);
  state->fixed_bytes = Padded8(8 * n_ints + 4 * (names.n_floats + names.n_events + n_lists));
  const std::size_t n_bags = owner->n_bags();
  state->bag_capacity = n_bags > 0 ? bag_capacity : 0;
  state->bag_values = NewVector(Dtype<std::int32_t>(), state->bag_capacity);
  state->bag_offsets = NewVector(Dtype<std::int32_t>(), n_bags + 1);
  auto* const bag_offsets = static_cast<std::int32_t*>(DataOf(state->bag_offsets.ptr()));
  std::fill_n(bag_offsets, n_bags + 1, 0);
  if (n_bags > 0) {
    state->bags = {static_cast<std::int32_t*>(DataOf(state->bag_values.ptr())), bag_offsets};
  }
  state->dense = NewMatrix(Dtype<float>(), 1, owner->width());
  state->ids = NewMatrix(Dtype<std::int32_t>(), owner->n_ids(), 1);
  state->dense_data = static_cast<float*>(DataOf(state->dense.ptr()));
  state->ids_data = static_cast<std::int32_t*>(DataOf(state->ids.ptr()));
  state->owner = std::move(owner);
  return RowObject::New(RowType(), std::move(state));
}

void RunRowInto(PyObject* row, PyObject* given, std::size_t width, std::size_t n_ids, float* dense,
                std::int32_t* ids) {
  if (Py_TYPE(row) != RowType()) {
    Raise(StatusCode::kBadDtype,
          "`row` must be a row of a program, got `" + TypeName(row) + "`; make it with `Program.row`");
  }
  RowState& s = RowObject::Of(row);
  if (s.owner->width() != width || s.owner->n_ids() != n_ids) {
    Raise(StatusCode::kBadShape, "`row` must write " + std::to_string(width) + " floats and " +
                                     std::to_string(n_ids) + " ids, got " + std::to_string(s.owner->width()) +
                                     " and " + std::to_string(s.owner->n_ids()) +
                                     "; give the batcher the program's columns");
  }
  if (s.owner->n_bags() > 0) {
    Raise(StatusCode::kBadShape, "`row` must have no bags, got " + std::to_string(s.owner->n_bags()) +
                                     "; a batcher joins rows of one width, run the bags apart from it");
  }
  struct Restore {
    RowState& s;
    float* dense;
    std::int32_t* ids;
    ~Restore() { s.dense_data = dense, s.ids_data = ids; }
  } const restore{s, s.dense_data, s.ids_data};
  if (dense != nullptr) s.dense_data = dense;
  if (ids != nullptr) s.ids_data = ids;
  PyObject* const done = PyDict_Check(given) ? RunFieldsEntry(row, given) : RunPackedEntry(row, given);
  if (done == nullptr) throw py::error_already_set();
  Py_DECREF(done);
}

}  // namespace mainspring
