// OnlineTable, and buffers that rows are read into.

#include "mainspring/table.h"

#include <pybind11/stl.h>
#include <time.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "bindings.h"
#include "fast_object.h"
#include "models.h"
#include "table_columns.h"
#include "table_scan.h"

namespace mainspring {
namespace {

// Keys from which the lock is given up: about half a millisecond of work; see arrays.h.
constexpr std::size_t kReleaseKeys = 8192;

std::int64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

// As mainspring.native.table writes them.
using KeyTuple = std::tuple<std::string, int>;
using FieldTuple = std::tuple<std::string, int, std::uint32_t>;
using SchemaTuple = std::tuple<std::vector<KeyTuple>, std::vector<FieldTuple>, std::int64_t>;

TableSchema ToSchema(const SchemaTuple& from) {
  TableSchema schema;
  for (const auto& [name, type] : std::get<0>(from))
    schema.keys.push_back({name, static_cast<KeyType>(type)});
  for (const auto& [name, type, width] : std::get<1>(from)) {
    schema.fields.push_back({name, static_cast<FieldType>(type), width});
  }
  schema.max_age_us = std::get<2>(from);
  return schema;
}

SchemaTuple FromSchema(const TableSchema& schema) {
  SchemaTuple to;
  for (const TableKey& key : schema.keys) std::get<0>(to).emplace_back(key.name, static_cast<int>(key.type));
  for (const TableField& field : schema.fields) {
    std::get<1>(to).emplace_back(field.name, static_cast<int>(field.type), field.width);
  }
  std::get<2>(to) = schema.max_age_us;
  return to;
}

struct NativeTable {
  OnlineTable table;
  std::atomic<bool> is_closed{false};

  void CheckOpen() const {
    if (is_closed) Raise(StatusCode::kClosed, "a table must be open, got a closed one; open it again");
  }
};

TableOptions ToOptions(const py::dict& from) {
  TableOptions options;
  for (const auto& [key, value] : from) {
    const auto name = key.cast<std::string>();
    if (name == "max_rows") options.max_rows = value.cast<std::uint64_t>();
    if (name == "rows") options.rows = value.cast<std::uint64_t>();
    if (name == "seed") options.seed = value.cast<std::uint64_t>();
    if (name == "is_shared") options.is_shared = value.cast<bool>();
    if (name == "memory_directory") options.memory_directory = value.cast<std::string>();
    if (name == "group_us") options.group_us = value.cast<std::int64_t>();
    if (name == "snapshot_log_bytes") options.snapshot_log_bytes = value.cast<std::uint64_t>();
  }
  return options;
}

// Calls `work` without the GIL, and raises what it returns.
template <typename Work>
void Unlocked(const Work& work) {
  TableStatus status;
  {
    const py::gil_scoped_release release;
    status = work();
  }
  CheckTable(status);
}

using Result = std::tuple<std::size_t, std::size_t, std::uint64_t>;

const std::int64_t* Times(const py::handle& from, const std::string& name, std::size_t n) {
  CheckArray(from.ptr(), name, Dtype<std::int64_t>(), n, -1);
  return static_cast<const std::int64_t*>(DataOf(from.ptr()));
}

Result Upsert(NativeTable& self, const py::object& keys, const py::object& event_us,
              const py::object& created_us, const py::object& ttl_seconds, const py::list& values,
              const py::list& valid) {
  self.CheckOpen();
  const TableSchema& schema = self.table.schema();
  KeyReader key_reader(schema);
  UpsertBatch batch;
  batch.keys = key_reader.Read(keys.ptr());
  const std::size_t n = batch.keys.n;
  batch.event_us = Times(event_us, "event_us", n);
  batch.created_us = Times(created_us, "created_us", n);
  if (!ttl_seconds.is_none()) {
    CheckArray(ttl_seconds.ptr(), "ttl_seconds", Dtype<std::int32_t>(), n, -1);
    batch.ttl_seconds = static_cast<const std::int32_t*>(DataOf(ttl_seconds.ptr()));
  }
  if (values.size() != schema.fields.size() || valid.size() != values.size()) {
    Raise(StatusCode::kMissingColumn, "an upsert must have a column for each field; pass all of them");
  }
  std::vector<ColumnReader> readers(schema.fields.size());
  std::vector<InputColumn> columns;
  for (std::size_t j = 0; j < readers.size(); ++j) {
    columns.push_back(readers[j].Read(schema.fields[j], values[j].ptr(), valid[j].ptr(), n));
  }
  batch.columns = columns.data();
  UpsertResult result;
  Unlocked([&] { return self.table.Upsert(batch, &result); });
  return {result.n_changed, result.n_older, result.ticket};
}

Result Delete(NativeTable& self, const py::object& keys) {
  self.CheckOpen();
  KeyReader key_reader(self.table.schema());
  const KeyBatch batch = key_reader.Read(keys.ptr());
  UpsertResult result;
  Unlocked([&] { return self.table.Delete(batch, &result); });
  return {result.n_changed, result.n_older, result.ticket};
}

// Buffers that rows are read into, checked when they were bound.
struct Reading {
  std::shared_ptr<NativeTable> owner;
  KeyReader keys;
  FieldSelection selection;
  ReadWorkspace workspace;
  std::vector<OutputColumn> columns;
  std::vector<StringColumn> strings;
  std::vector<py::object> kept;
  ReadBatch batch;
  std::size_t rows = 0;
  bool is_running = false;  // changed under the GIL only

  explicit Reading(std::shared_ptr<NativeTable> from) : owner(std::move(from)), keys(owner->table.schema()) {}

  std::size_t Get(PyObject* wanted, std::int64_t now_us) {
    owner->CheckOpen();
    if (is_running)
      Raise(StatusCode::kBusy, "another thread reads into these buffers; bind one set for each thread");
    batch.keys = keys.Read(wanted, kReleaseKeys);
    if (batch.keys.n > rows) {
      Raise(StatusCode::kBadShape, "`keys` must be at most the " + std::to_string(rows) +
                                       " rows that are bound, got " + std::to_string(batch.keys.n) +
                                       "; bind larger buffers");
    }
    batch.now_us = now_us;
    if (batch.keys.n < kReleaseKeys) {
      owner->table.Get(selection, batch, &workspace);
      return batch.keys.n;
    }
    // The keys must outlive the call even if another thread drops them.
    const py::object hold = py::reinterpret_borrow<py::object>(wanted);
    is_running = true;
    {
      const py::gil_scoped_release release;
      owner->table.Get(selection, batch, &workspace);
    }
    is_running = false;
    return batch.keys.n;
  }

  py::list Strings(std::size_t j, bool is_text) const {
    const StringColumn& from = strings[j];
    py::list to;
    for (std::size_t i = 0; i + 1 < from.offsets.size(); ++i) {
      if (columns[j].valid[i] == 0) {
        to.append(py::none());
        continue;
      }
      to.append(ToObject(from, i, is_text));
    }
    return to;
  }
};

// The one hot call goes through the C API.
using ReadingObject = FastObject<Reading>;

PyObject* GetEntry(PyObject* self, PyObject* const* arguments, py::ssize_t n) {
  return Guarded([=]() -> PyObject* {
    if (n != 1 && n != 2) {
      PyErr_SetString(PyExc_TypeError, "get(keys, now_us=None) takes one or two arguments");
      return nullptr;
    }
    std::int64_t now_us;
    if (n == 1 || arguments[1] == Py_None) {
      now_us = NowUs();
    } else {
      now_us = PyLong_AsLongLong(arguments[1]);
      if (now_us == -1 && PyErr_Occurred() != nullptr) return nullptr;
    }
    return PyLong_FromSize_t(ReadingObject::Of(self).Get(arguments[0], now_us));
  });
}

PyObject* StringsEntry(PyObject* self, PyObject* const* arguments, py::ssize_t n) {
  return Guarded([=]() -> PyObject* {
    if (n != 2) {
      PyErr_SetString(PyExc_TypeError, "strings(field, is_text) takes two arguments");
      return nullptr;
    }
    Reading& reading = ReadingObject::Of(self);
    const std::size_t j = PyLong_AsSize_t(arguments[0]);
    if (j >= reading.strings.size()) {
      PyErr_SetString(PyExc_IndexError, "no such field");
      return nullptr;
    }
    return reading.Strings(j, arguments[1] == Py_True).release().ptr();
  });
}

template <typename Entry>
PyCFunction AsMethod(Entry entry) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(entry));
}

PyTypeObject* ReadingType() {
  static PyMethodDef methods[] = {{"get", AsMethod(GetEntry), METH_FASTCALL, nullptr},
                                  {"strings", AsMethod(StringsEntry), METH_FASTCALL, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  return ReadingObject::Type("mainspring.native._native.Reading", methods);
}

// `columns`: for each field its array (None: not wanted), its array of validity or None, and ReadAs.
using OutputTuple = std::tuple<py::object, py::object, int>;

py::object Bind(const std::shared_ptr<NativeTable>& self, std::size_t rows,
                const std::vector<std::uint32_t>& fields, const std::vector<OutputTuple>& columns,
                const py::object& matrix, const py::object& status, const py::object& event_us,
                std::int64_t max_age_us) {
  self->CheckOpen();
  const TableSchema& schema = self->table.schema();
  auto state = std::make_unique<Reading>(self);
  Check(self->table.Select(fields, &state->selection));
  state->rows = rows;
  state->strings.resize(fields.size());
  ReadBatch& batch = state->batch;
  for (std::size_t j = 0; j < columns.size(); ++j) {
    const auto& [values, valid, as] = columns[j];
    const TableField& field = schema.fields[fields[j]];
    OutputColumn out;
    out.as = static_cast<ReadAs>(as);
    if (!valid.is_none()) {
      CheckWritable(valid.ptr(), field.name + ".valid", Dtype<bool>(), rows, -1);
      out.valid = static_cast<std::uint8_t*>(DataOf(valid.ptr()));
    }
    if (IsVariable(field.type)) {
      out.strings = &state->strings[j];
    } else if (!values.is_none()) {
      PyObject* const dtype = out.as == ReadAs::kItself    ? FieldDtype(field.type)
                              : out.as == ReadAs::kFloat32 ? Dtype<float>()
                              : out.as == ReadAs::kFloat64 ? Dtype<double>()
                                                           : Dtype<std::int64_t>();
      const bool is_vector = field.type == FieldType::kFloat32Vector;
      CheckWritable(values.ptr(), field.name, dtype, rows,
                    is_vector ? static_cast<py::ssize_t>(field.width) : -1);
      out.values = DataOf(values.ptr());
    }
    state->columns.push_back(out);
    state->kept.push_back(values);
    state->kept.push_back(valid);
  }
  if (!state->columns.empty()) batch.columns = state->columns.data();
  if (!matrix.is_none()) {
    if (state->selection.width() == 0) {
      Raise(StatusCode::kBadSpec, "a matrix needs fields that are all float32; bind columns instead");
    }
    CheckWritable(matrix.ptr(), "matrix", Dtype<float>(), rows,
                  static_cast<py::ssize_t>(state->selection.width()));
    batch.matrix = static_cast<float*>(DataOf(matrix.ptr()));
  }
  CheckWritable(status.ptr(), "status", Dtype<std::uint8_t>(), rows, -1);
  CheckWritable(event_us.ptr(), "event_us", Dtype<std::int64_t>(), rows, -1);
  batch.status = static_cast<std::uint8_t*>(DataOf(status.ptr()));
  batch.event_us = static_cast<std::int64_t*>(DataOf(event_us.ptr()));
  batch.max_age_us = max_age_us;
  for (const py::object& one : {matrix, status, event_us}) state->kept.push_back(one);
  return ReadingObject::New(ReadingType(), std::move(state));
}

// A scan and the table that it must not outlive.
struct Scanning {
  std::shared_ptr<NativeTable> owner;
  TableScan scan;
};

Scanning Scan(const std::shared_ptr<NativeTable>& self) {
  self->CheckOpen();
  Scanning made{self, {}};
  CheckTable(self->table.Scan(&made.scan));
  return made;
}

py::dict Stats(const NativeTable& self) {
  const TableStats stats = self.table.Stats();
  py::dict to;
  to["rows"] = stats.rows;
  to["row_bytes"] = stats.row_bytes;
  to["rows_bytes"] = stats.rows_bytes;
  to["index_bytes"] = stats.index_bytes;
  to["heap_bytes"] = stats.heap_bytes;
  to["replaced_rows"] = stats.replaced_rows;
  to["older_rows"] = stats.older_rows;
  to["log_bytes"] = stats.log_bytes;
  to["snapshots"] = stats.snapshots;
  return to;
}

}  // namespace

TableParts TableOf(const py::handle& object) {
  if (!py::isinstance<NativeTable>(object)) return {};
  const auto owner = py::cast<std::shared_ptr<NativeTable>>(object);
  return {{owner, &owner->table}, {owner, &owner->is_closed}};
}

void BindTable(py::module_& module) {
  using Pointer = std::shared_ptr<NativeTable>;
  py::class_<NativeTable, Pointer>(module, "OnlineTable", py::is_final(), "See mainspring.native.table.")
      .def_static(
          "create",
          [](const SchemaTuple& schema, const py::dict& options) {
            auto made = std::make_shared<NativeTable>();
            CheckTable(OnlineTable::Create(ToSchema(schema), ToOptions(options), &made->table));
            return made;
          },
          py::arg("schema"), py::arg("options"))
      .def_static(
          "open",
          [](const std::string& directory, const std::optional<SchemaTuple>& from, const py::dict& dict) {
            auto made = std::make_shared<NativeTable>();
            const TableSchema schema = from ? ToSchema(*from) : TableSchema();
            const TableOptions options = ToOptions(dict);
            Unlocked([&] {
              return OnlineTable::Open(directory, from ? &schema : nullptr, options, &made->table);
            });
            return made;
          },
          py::arg("directory"), py::arg("schema"), py::arg("options"))
      .def_static(
          "open_reader",
          [](const std::string& directory) {
            auto made = std::make_shared<NativeTable>();
            Unlocked([&] { return OnlineTable::OpenReader(directory, &made->table); });
            return made;
          },
          py::arg("directory"))
      .def_property_readonly("schema",
                             [](const NativeTable& self) { return FromSchema(self.table.schema()); })
      .def("upsert", &Upsert, py::arg("keys"), py::arg("event_us"), py::arg("created_us"),
           py::arg("ttl_seconds"), py::arg("values"), py::arg("valid"))
      .def("delete", &Delete, py::arg("keys"))
      .def(
          "wait",
          [](NativeTable& self, std::uint64_t ticket) { Unlocked([&] { return self.table.Wait(ticket); }); },
          py::arg("ticket"))
      .def("flush", [](NativeTable& self) { Unlocked([&] { return self.table.Flush(); }); })
      .def("snapshot",
           [](NativeTable& self) {
             self.CheckOpen();
             Unlocked([&] { return self.table.Snapshot(); });
           })
      .def("close",
           [](NativeTable& self) {
             if (self.is_closed.exchange(true)) return;
             Unlocked([&] { return self.table.Close(); });
           })
      .def("scan", &Scan)
      .def("stats", &Stats)
      .def("bind", &Bind, py::arg("rows"), py::arg("fields"), py::arg("columns"), py::arg("matrix"),
           py::arg("status"), py::arg("event_us"), py::arg("max_age_us"));
  py::class_<Scanning>(module, "Scan", py::is_final(), "See mainspring.native.table.")
      .def(
          "next",
          [](Scanning& self, std::size_t n) { return NextRows(&self.scan, self.owner->table.schema(), n); },
          py::arg("rows"));
  module.attr("Reading") = py::reinterpret_borrow<py::object>(reinterpret_cast<PyObject*>(ReadingType()));
}

}  // namespace mainspring
