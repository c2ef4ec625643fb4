#include "arrow.h"

#include <cstring>
#include <limits>
#include <type_traits>

#include "mainspring/float_environment.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();

// Where the loop over one type's values is chosen: read(i) for value i of the array.
template <typename T, typename From>
void Fill(const ArrowColumn::Piece& p, const From* values, T missing, T* out) {
  if (p.length == 0) return;
  const ArrowArray& a = *p.array;
  const bool has_nulls = a.null_count != 0 && a.n_buffers > 0 && a.buffers[0] != nullptr;
  for (std::int64_t i = 0; i < p.length; ++i) {
    out[i] = has_nulls && !IsValid(a, p.begin + i) ? missing : static_cast<T>(values[p.begin + i]);
  }
}

template <typename T>
void FillBits(const ArrowColumn::Piece& p, T missing, T* out) {
  if (p.length == 0) return;
  const auto* const bits = static_cast<const std::uint8_t*>(p.array->buffers[1]);
  for (std::int64_t i = 0; i < p.length; ++i) {
    const std::int64_t at = p.begin + i;
    out[i] = IsValid(*p.array, at) ? static_cast<T>(bits[at >> 3] >> (at & 7) & 1) : missing;
  }
}

bool IsMoment(const std::string& format) {
  return format.rfind("ts", 0) == 0 || format.rfind("tD", 0) == 0 || format == "tdm";
}

// Whether values of this format are T already.
template <typename T>
bool IsExact(const std::string& format) {
  return std::is_same_v<T, float> ? format == "f" : format == "l" || IsMoment(format);
}

// False where T would not hold every value of the format (but float64, which is rounded).
template <typename T>
bool Convert(const std::string& format, const ArrowColumn::Piece& p, T* out) {
  constexpr bool kIsFloat = std::is_same_v<T, float>;
  const T missing = kIsFloat ? std::numeric_limits<T>::quiet_NaN() : static_cast<T>(kMissing);
  const void* const values = p.length > 0 && p.array->n_buffers > 1 ? p.array->buffers[1] : nullptr;
  const auto fill = [&](auto type) {
    Fill(p, static_cast<const decltype(type)*>(values), missing, out);
    return true;
  };
  if (format == "b") return FillBits(p, missing, out), true;
  if (format == "c") return fill(std::int8_t{});
  if (format == "C") return fill(std::uint8_t{});
  if (format == "s") return fill(std::int16_t{});
  if (format == "S") return fill(std::uint16_t{});
  if constexpr (kIsFloat) {
    if (format == "f") return fill(float{});
    if (format == "g") return fill(double{});
  } else {
    if (format == "i" || format == "tdD") return fill(std::int32_t{});
    if (format == "I") return fill(std::uint32_t{});
    if (format == "l" || IsMoment(format)) return fill(std::int64_t{});
  }
  return false;
}

template <typename T>
std::string Expected() {
  return std::is_same_v<T, float>
             ? "float32, float64, bool, or an integer of at most 16 bits"
             : "int64, int32, uint32, a shorter integer, bool, timestamp, date or duration";
}

bool HasNulls(const ArrowColumn::Piece& p) {
  if (p.array->null_count == 0) return false;
  for (std::int64_t i = p.begin; i < p.begin + p.length; ++i) {
    if (!IsValid(*p.array, i)) return true;
  }
  return false;
}

// The values where they lie, or null: another type, holes, or an odd address.
template <typename T>
const T* InPlace(const ArrowSchema& schema, const ArrowColumn::Piece& p) {
  if (!IsExact<T>(schema.format) || schema.dictionary != nullptr || p.array->n_buffers < 2 || HasNulls(p)) {
    return nullptr;
  }
  const T* const values = static_cast<const T*>(p.array->buffers[1]) + p.begin;
  return reinterpret_cast<std::uintptr_t>(values) % sizeof(T) == 0 ? values : nullptr;
}

py::object Export(PyObject* object, const char* method) {
  PyObject* const capsule = PyObject_CallMethod(object, method, nullptr);
  if (capsule == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(capsule);
}

template <typename T>
T* Pointer(PyObject* capsule, const char* name) {
  void* const pointer = PyCapsule_GetPointer(capsule, name);
  if (pointer == nullptr) throw py::error_already_set();
  return static_cast<T*>(pointer);
}

// The structure is ours from here on: the capsule finds it released.
template <typename T>
T Moved(T* from) {
  T to = *from;
  from->release = nullptr;
  return to;
}

}  // namespace

void RaiseArrowType(const std::string& name, const ArrowSchema& schema, const std::string& expected) {
  const std::string dictionary = schema.dictionary != nullptr ? ", dictionary-encoded" : "";
  Raise(StatusCode::kBadDtype, "column `" + name + "` must be Arrow " + expected + ", got format `" +
                                   std::string(schema.format) + "`" + dictionary + "; cast it before");
}

std::shared_ptr<ArrowData> ArrowData::From(PyObject* object, const std::string& name) {
  const bool is_stream = PyObject_HasAttrString(object, "__arrow_c_stream__") != 0;
  if (!is_stream && PyObject_HasAttrString(object, "__arrow_c_array__") == 0) return nullptr;
  auto data = std::make_shared<ArrowData>();
  if (!is_stream) {
    const py::object pair = Export(object, "__arrow_c_array__");
    if (!PyTuple_Check(pair.ptr()) || PyTuple_GET_SIZE(pair.ptr()) != 2) {
      Raise(StatusCode::kBadDtype, "`" + name + "`: `__arrow_c_array__` must give two capsules; mend it");
    }
    auto* const schema = Pointer<ArrowSchema>(PyTuple_GET_ITEM(pair.ptr(), 0), "arrow_schema");
    auto* const array = Pointer<ArrowArray>(PyTuple_GET_ITEM(pair.ptr(), 1), "arrow_array");
    data->chunks_.reserve(1);
    data->schema_ = Moved(schema);
    data->chunks_.push_back(Moved(array));
    return data;
  }
  // The capsule releases the stream, on every path.
  const py::object capsule = Export(object, "__arrow_c_stream__");
  auto* const stream = Pointer<ArrowArrayStream>(capsule.ptr(), "arrow_array_stream");
  const auto check = [&](int code) {
    if (code == 0) return;
    const char* const words = stream->get_last_error(stream);
    Raise(StatusCode::kBadDtype, "`" + name + "`: its Arrow stream failed with " + std::to_string(code) +
                                     " (" + (words != nullptr ? words : "no reason given") +
                                     "); see its producer");
  };
  check(stream->get_schema(stream, &data->schema_));
  for (;;) {
    data->chunks_.push_back({});
    check(stream->get_next(stream, &data->chunks_.back()));
    if (data->chunks_.back().release == nullptr) break;
  }
  data->chunks_.pop_back();
  return data;
}

ArrowData::~ArrowData() {
  for (ArrowArray& chunk : chunks_) {
    if (chunk.release != nullptr) chunk.release(&chunk);
  }
  if (schema_.release != nullptr) schema_.release(&schema_);
}

ArrowColumn::ArrowColumn(std::shared_ptr<ArrowData> data, const std::string& name)
    : data_(std::move(data)), name_(name), schema_(&data_->schema_) {
  for (const ArrowArray& chunk : data_->chunks_) Add(&chunk, chunk.offset, chunk.length);
}

bool ArrowColumn::Find(const std::shared_ptr<ArrowData>& table, const std::string& name,
                       ArrowColumn* column) {
  const ArrowSchema& schema = table->schema_;
  if (std::strcmp(schema.format, "+s") != 0) RaiseArrowType("columns", schema, "struct (a table)");
  std::int64_t child = 0;
  while (child < schema.n_children && name != schema.children[child]->name) ++child;
  if (child == schema.n_children) return false;
  *column = ArrowColumn();
  column->data_ = table;
  column->name_ = name;
  column->schema_ = schema.children[child];
  for (const ArrowArray& chunk : table->chunks_) {
    if (HasNulls({&chunk, chunk.offset, chunk.length})) {
      Raise(StatusCode::kBadDtype, "`columns` must not hold rows that are null as a whole; drop them before");
    }
    const ArrowArray* const values = chunk.children[child];
    column->Add(values, values->offset + chunk.offset, chunk.length);
  }
  return true;
}

void ArrowColumn::Add(const ArrowArray* array, std::int64_t begin, std::int64_t length) {
  if (length == 0) return;
  pieces_.push_back({array, begin, length});
  rows_ += static_cast<std::size_t>(length);
}

template <typename T>
const T* ArrowColumn::Values(std::vector<T>* copy) const {
  copy->clear();
  if (pieces_.size() == 1) {
    if (const T* const values = InPlace<T>(*schema_, pieces_[0]); values != nullptr) return values;
  }
  const DefaultFloatEnvironment environment;  // rounding to float32 may make denormals
  copy->resize(rows_ + 1);                    // not empty, so that no rows are told from no copy
  std::size_t at = 0;
  if (schema_->dictionary != nullptr) RaiseArrowType(name_, *schema_, Expected<T>());
  if (pieces_.empty() && !Convert<T>(schema_->format, {nullptr, 0, 0}, copy->data())) {
    RaiseArrowType(name_, *schema_, Expected<T>());
  }
  for (const Piece& p : pieces_) {
    if (!Convert<T>(schema_->format, p, copy->data() + at)) RaiseArrowType(name_, *schema_, Expected<T>());
    at += static_cast<std::size_t>(p.length);
  }
  return copy->data();
}

const float* ArrowColumn::Floats(std::vector<float>* copy) const { return Values<float>(copy); }
const std::int64_t* ArrowColumn::Ints(std::vector<std::int64_t>* copy) const {
  return Values<std::int64_t>(copy);
}

MainspringEvents ArrowColumn::Events(EventCopy* copy) const {
  const std::string format = schema_->format;
  const bool is_wide = format == "+L";
  if (!(is_wide || format == "+l") || std::strcmp(schema_->children[0]->format, "+s") != 0 ||
      schema_->children[0]->n_children != 2) {
    RaiseArrowType(name_, *schema_, "list or large_list of a struct of two fields, time and value");
  }
  const ArrowSchema& time_schema = *schema_->children[0]->children[0];
  const ArrowSchema& value_schema = *schema_->children[0]->children[1];
  const auto at = [&](const ArrowArray& a, std::int64_t i) {
    return is_wide ? static_cast<const std::int64_t*>(a.buffers[1])[i]
                   : std::int64_t{static_cast<const std::int32_t*>(a.buffers[1])[i]};
  };
  // Where field `child` of the events [begin, begin + n) of a chunk lies.
  const auto part = [](const ArrowArray& list, int child, std::int64_t begin, std::int64_t n) {
    const ArrowArray& events = *list.children[0];
    const ArrowArray* const values = events.children[child];
    return Piece{values, values->offset + events.offset + begin, n};
  };
  if (pieces_.size() == 1 && !HasNulls(pieces_[0])) {
    const Piece& p = pieces_[0];
    const ArrowArray& list = *p.array;
    const std::int64_t size = list.children[0]->length;
    const auto all = Piece{list.children[0], list.children[0]->offset, size};
    const auto* const times = InPlace<std::int64_t>(time_schema, part(list, 0, 0, size));
    const auto* const values = InPlace<float>(value_schema, part(list, 1, 0, size));
    if (times != nullptr && values != nullptr && !HasNulls(all)) {
      const auto* const offsets = static_cast<const char*>(list.buffers[1]) + p.begin * (is_wide ? 8 : 4);
      return {offsets, is_wide, static_cast<std::size_t>(size), times, values};
    }
  }
  copy->offsets.assign(1, 0);
  copy->times.clear(), copy->values.clear();
  const DefaultFloatEnvironment environment;
  const auto convert = [&](const Piece& times, const Piece& values, std::size_t to) {
    if (time_schema.dictionary != nullptr ||
        !Convert<std::int64_t>(time_schema.format, times, copy->times.data() + to)) {
      RaiseArrowType(name_ + ".time", time_schema, Expected<std::int64_t>());
    }
    if (value_schema.dictionary != nullptr ||
        !Convert<float>(value_schema.format, values, copy->values.data() + to)) {
      RaiseArrowType(name_ + ".value", value_schema, Expected<float>());
    }
  };
  convert({nullptr, 0, 0}, {nullptr, 0, 0}, 0);
  for (const Piece& p : pieces_) {
    const ArrowArray& list = *p.array;
    for (std::int64_t i = p.begin; i < p.begin + p.length; ++i) {
      const std::int64_t begin = at(list, i), n = IsValid(list, i) ? at(list, i + 1) - begin : 0;
      const std::size_t to = copy->times.size();
      copy->times.resize(to + static_cast<std::size_t>(n));
      copy->values.resize(to + static_cast<std::size_t>(n));
      if (n > 0) convert(part(list, 0, begin, n), part(list, 1, begin, n), to);
      for (std::int64_t k = 0; k < n; ++k) {  // an event that is null as a whole does not count
        if (!IsValid(*list.children[0], list.children[0]->offset + begin + k)) {
          copy->times[to + static_cast<std::size_t>(k)] = kMissing;
        }
      }
      copy->offsets.push_back(static_cast<std::int64_t>(copy->times.size()));
    }
  }
  return {copy->offsets.data(), 1, copy->times.size(), copy->times.data(), copy->values.data()};
}

bool ArrowColumn::IsList() const {
  const std::string format = schema_->format;
  return schema_->dictionary == nullptr && (format == "+l" || format == "+L");
}

const void* ArrowColumn::OffsetsOf(const ArrowArray& list, std::int64_t row) const {
  return static_cast<const char*>(list.buffers[1]) + row * (schema_->format[1] == 'L' ? 8 : 4);
}

MainspringList ArrowColumn::List(std::vector<std::int64_t>* offsets,
                                 std::vector<std::int64_t>* values) const {
  static constexpr const char* kExpected = "list or large_list of integers";
  offsets->clear(), values->clear();
  if (!IsList()) RaiseArrowType(name_, *schema_, kExpected);
  if (pieces_.size() == 1 && !HasNulls(pieces_[0])) {
    const Piece& p = pieces_[0];
    const ArrowArray& elements = *p.array->children[0];
    const auto* const lie =
        InPlace<std::int64_t>(*schema_->children[0], {&elements, elements.offset, elements.length});
    if (lie != nullptr) {
      return {OffsetsOf(*p.array, p.begin), schema_->format[1] == 'L',
              static_cast<std::size_t>(elements.length), lie};
    }
  }
  const ArrowColumn column = Elements(kExpected, offsets);
  const std::int64_t* const data = column.Ints(values);
  return {offsets->data(), 1, column.rows(), data};
}

ArrowColumn ArrowColumn::Elements(const char* expected, std::vector<std::int64_t>* offsets) const {
  if (!IsList()) RaiseArrowType(name_, *schema_, expected);
  ArrowColumn column;
  column.data_ = data_;
  column.name_ = name_ + ".values";
  column.schema_ = schema_->children[0];
  offsets->assign(1, 0);
  for (const Piece& p : pieces_) {
    const ArrowArray& elements = *p.array->children[0];
    const auto at = [&](std::int64_t i) {
      const void* const offset = OffsetsOf(*p.array, i);
      return schema_->format[1] == 'L' ? *static_cast<const std::int64_t*>(offset)
                                       : std::int64_t{*static_cast<const std::int32_t*>(offset)};
    };
    for (std::int64_t i = p.begin; i < p.begin + p.length; ++i) {
      const std::int64_t begin = at(i), end = at(i + 1), n = end - begin;
      if (!IsValid(*p.array, i)) {
        offsets->push_back(offsets->back());
        continue;
      }
      if (begin < 0 || end < begin || end > elements.length) {
        Raise(StatusCode::kBadShape, "row " + std::to_string(offsets->size() - 1) + " of `" + name_ +
                                         "`: `offsets` must rise and stay within their list; "
                                         "give n_rows + 1 rising offsets");
      }
      offsets->push_back(offsets->back() + n);
      Piece* const last = column.pieces_.empty() ? nullptr : &column.pieces_.back();
      if (last != nullptr && last->array == &elements &&
          last->begin + last->length == elements.offset + begin) {
        last->length += n;
        column.rows_ += static_cast<std::size_t>(n);
      } else {
        column.Add(&elements, elements.offset + begin, n);
      }
    }
  }
  return column;
}

}  // namespace mainspring
