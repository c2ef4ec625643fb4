// Jagged rows: arrays checked as they lie, outputs made or taken, the lock given up for large ones.

#include "mainspring/jagged.h"

#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"

namespace mainspring {
namespace {

using Shape = std::vector<py::ssize_t>;

bool HasDtype(PyObject* array, PyObject* dtype) {
  PyObject* const descr = py::detail::array_proxy(array)->descr;
  return descr == dtype || py::detail::npy_api::get().PyArray_EquivTypes_(descr, dtype);
}

Shape ShapeOf(PyObject* array) {
  const auto* const proxy = py::detail::array_proxy(array);
  return Shape(proxy->dimensions, proxy->dimensions + proxy->nd);
}

// CheckArray for any shape: that of the array itself is expected, so only the rest can be wrong.
void CheckLayout(PyObject* object, const std::string& name, PyObject* dtype) {
  const Shape shape = IsArray(object) ? ShapeOf(object) : Shape();
  if (shape.size() == 1 || shape.size() == 2) {
    return CheckArray(object, name, dtype, static_cast<std::size_t>(shape[0]),
                      shape.size() == 2 ? shape[1] : -1);
  }
  CheckArray(object, name, dtype, 0, -1);
}

std::string Text(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + (shape.size() == 1 ? ",)" : ")");
}

struct Range {
  std::uintptr_t begin, end;
};

Range RangeOf(PyObject* array) {
  const auto bytes = static_cast<std::size_t>(py::reinterpret_borrow<py::array>(array).nbytes());
  const auto begin = reinterpret_cast<std::uintptr_t>(DataOf(array));
  return {begin, begin + bytes};
}

struct Named {
  const char* name;
  const py::object& array;
};

void CheckOverlap(const std::string& name, PyObject* out, std::initializer_list<Named> inputs) {
  const Range written = RangeOf(out);
  for (const Named& input : inputs) {
    const Range read = RangeOf(input.array.ptr());
    if (read.begin < written.end && written.begin < read.end) {
      Raise(StatusCode::kOverlap,
            "`" + name + "` must not share memory with `" + input.name + "`; pass another array");
    }
  }
}

// An array of float32, int32 or int64: `dimensions` of shape, then at most one more that a value consists of.
struct Values {
  PyObject* dtype = nullptr;
  std::size_t words = 1;
  Shape shape;

  Values(const py::object& object, const std::string& name, std::size_t dimensions) {
    PyObject* const array = object.ptr();
    dtype = Dtype<float>();
    if (IsArray(array)) {
      if (HasDtype(array, Dtype<std::int32_t>())) dtype = Dtype<std::int32_t>();
      if (HasDtype(array, Dtype<std::int64_t>())) dtype = Dtype<std::int64_t>();
      if (!HasDtype(array, dtype)) {
        Raise(StatusCode::kBadDtype, "`" + name + "` must be an array of float32, int32 or int64, got `" +
                                         std::string(py::str(object.attr("dtype"))) +
                                         "`; convert it with .astype");
      }
      shape = ShapeOf(array);
      if (shape.size() != dimensions && shape.size() != dimensions + 1) {
        Raise(StatusCode::kBadShape, "`" + name + "` must have " + std::to_string(dimensions) + " or " +
                                         std::to_string(dimensions + 1) + " dimensions, got " + Text(shape) +
                                         "; reshape it");
      }
      if (!py::detail::check_flags(array, py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ |
                                              py::detail::npy_api::NPY_ARRAY_ALIGNED_)) {
        Raise(StatusCode::kNotContiguous,
              "`" + name +
                  "` must be C-contiguous and aligned, got a strided or misaligned view; "
                  "copy it with numpy.ascontiguousarray or .copy()");
      }
      words = is_wide() ? 2 : 1;
      if (shape.size() > dimensions) words *= static_cast<std::size_t>(shape[dimensions]);
    } else {
      CheckArray(array, name, dtype, 0, -1);
    }
  }

  bool is_wide() const { return dtype == Dtype<std::int64_t>(); }
  std::size_t rows() const { return static_cast<std::size_t>(shape[0]); }

  // Other leading dimensions, the same values.
  Shape With(std::initializer_list<std::size_t> leading, std::size_t dimensions) const {
    Shape made;
    for (const std::size_t n : leading) made.push_back(static_cast<py::ssize_t>(n));
    made.insert(made.end(), shape.begin() + static_cast<std::ptrdiff_t>(dimensions), shape.end());
    return made;
  }
};

Integers ToIntegers(const py::object& object, const std::string& name) {
  PyObject* const array = object.ptr();
  const bool is_narrow = IsArray(array) && HasDtype(array, Dtype<std::int32_t>());
  const bool is_vector = IsArray(array) && py::detail::array_proxy(array)->nd == 1;
  CheckArray(array, name, is_narrow ? Dtype<std::int32_t>() : Dtype<std::int64_t>(),
             is_vector ? LengthOf(array) : 0, -1);
  return {DataOf(array), !is_narrow, LengthOf(array)};
}

// "`offsets[3]` ...".
void CheckEntry(const Status& status, const std::string& name) {
  if (status.ok()) return;
  std::string message = "`" + name + (status.column < 0 ? "" : "[" + std::to_string(status.column) + "]") +
                        "`: " + status.expected;
  if (status.has_got) message += ", got " + std::to_string(static_cast<std::int64_t>(status.got));
  Raise(status.code, message + "; " + status.next_step);
}

OffsetsSummary Summarise(const Integers& offsets, std::size_t limit, std::size_t max_length,
                         const std::string& name) {
  OffsetsSummary summary;
  CheckEntry(CheckOffsets(offsets, limit, max_length, &summary), name);
  return summary;
}

[[noreturn]] void RaiseLong(const Integers& offsets, std::size_t max_length, const char* next_step) {
  std::size_t row, length;
  FindLongest(offsets, &row, &length);
  Raise(StatusCode::kOutOfRange, "row " + std::to_string(row) + " must have at most " +
                                     std::to_string(max_length) + " values, got " + std::to_string(length) +
                                     "; " + next_step);
}

// Whether it is a np.float32, whose buffer is its four bytes.
bool IsFloat32Scalar(PyObject* value) {
  static PyObject* const type = py::object(py::module_::import("numpy").attr("float32")).release().ptr();
  return PyObject_TypeCheck(value, reinterpret_cast<PyTypeObject*>(type)) != 0;
}

Padding ToPadding(const py::object& value, const Values& like, const std::string& name) {
  Padding padding;
  if (like.dtype == Dtype<float>()) {
    // Bit by bit: through double a signalling NaN would come out quiet.
    if (IsFloat32Scalar(value.ptr())) {
      Py_buffer view;
      if (PyObject_GetBuffer(value.ptr(), &view, PyBUF_SIMPLE) != 0) throw py::error_already_set();
      std::memcpy(padding.bits, view.buf, 4);
      PyBuffer_Release(&view);
      padding.bits[1] = padding.bits[0];
      return padding;
    }
    const double wide = PyFloat_AsDouble(value.ptr());
    if (wide == -1.0 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      Raise(StatusCode::kBadDtype, "`" + name + "` must be a number, got `" + TypeName(value.ptr()) +
                                       "`; pass what stands for no value");
    }
    const float narrow = static_cast<float>(wide);
    std::memcpy(padding.bits, &narrow, 4);
    padding.bits[1] = padding.bits[0];
    return padding;
  }
  const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) {
    PyErr_Clear();
    Raise(StatusCode::kBadDtype, "`" + name + "` must be an integer like the values, got `" +
                                     TypeName(value.ptr()) + "`; pass what stands for no value");
  }
  int overflow = 0;
  const long long wide = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0 || (!like.is_wide() && (wide < INT32_MIN || wide > INT32_MAX))) {
    Raise(StatusCode::kOutOfRange, "`" + name + "` must be within the dtype of the values, got " +
                                       std::string(py::str(index)) + "; pass a smaller one");
  }
  if (like.is_wide()) {
    const auto bits = static_cast<std::uint64_t>(wide);
    padding.bits[0] = static_cast<std::uint32_t>(bits);
    padding.bits[1] = static_cast<std::uint32_t>(bits >> 32);
  } else {
    padding.bits[0] = padding.bits[1] = static_cast<std::uint32_t>(static_cast<std::int32_t>(wide));
  }
  return padding;
}

std::size_t ToLength(const py::object& object) {
  const py::ssize_t length = PyNumber_AsSsize_t(object.ptr(), PyExc_OverflowError);
  if (PyErr_Occurred() == nullptr && length >= 0) return static_cast<std::size_t>(length);
  PyErr_Clear();
  Raise(StatusCode::kBadShape, "`max_length` must be an integer from 0 on, got `" +
                                   std::string(py::repr(object)) + "`; pass the width of the matrix");
}

// `out` if it is right, else a new array, 64-byte aligned.
py::object Output(const py::object& out, const std::string& name, PyObject* dtype, const Shape& shape) {
  if (out.is_none()) {
    std::size_t words = dtype == Dtype<std::int64_t>() ? 2 : 1;
    for (const py::ssize_t n : shape) {
      if (__builtin_mul_overflow(words, static_cast<std::size_t>(n), &words)) throw std::bad_alloc();
    }
    if (words > PTRDIFF_MAX / 8) throw std::bad_alloc();
    const py::object memory = NewMatrix(Dtype<float>(), 1, words);
    return py::array(py::reinterpret_borrow<py::dtype>(dtype), shape, DataOf(memory.ptr()), memory);
  }
  if (IsArray(out.ptr()) && ShapeOf(out.ptr()) != shape) {
    Raise(StatusCode::kBadShape, "`" + name + "` must have shape " + Text(shape) + ", got " +
                                     Text(ShapeOf(out.ptr())) + "; pass one of the right size");
  }
  const bool is_matrix = shape.size() == 2;
  if (shape.size() <= 2) {
    CheckWritable(out.ptr(), name, dtype, static_cast<std::size_t>(shape[0]), is_matrix ? shape[1] : -1);
    return out;
  }
  // The same questions about three dimensions, as a matrix.
  if (!IsArray(out.ptr()) || !HasDtype(out.ptr(), dtype)) CheckLayout(out.ptr(), name, dtype);
  if (!py::detail::check_flags(out.ptr(), py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ |
                                              py::detail::npy_api::NPY_ARRAY_ALIGNED_)) {
    Raise(StatusCode::kNotContiguous, "`" + name +
                                          "` must be C-contiguous and aligned, got a strided or "
                                          "misaligned view; pass an array of its own");
  }
  if (!py::detail::check_flags(out.ptr(), py::detail::npy_api::NPY_ARRAY_WRITEABLE_)) {
    Raise(StatusCode::kNotWritable,
          "`" + name + "` must be writable, got a read-only array; pass another one");
  }
  return out;
}

// Gives the lock up where that is worth it.
template <typename Function>
auto Unlocked(std::size_t words, const Function& function) {
  if (words < kReleaseValues) return function();
  const py::gil_scoped_release released;
  return function();
}

py::object JaggedToPaddedDense(const py::object& values, const py::object& offsets,
                               const py::object& max_length_object, const py::object& padding_value,
                               bool truncate, const py::object& out, const py::object& target) {
  const Values from(values, "values", 1);
  const Integers ends = ToIntegers(offsets, "offsets");
  const std::size_t max_length = ToLength(max_length_object);
  const OffsetsSummary summary = Summarise(ends, from.rows(), max_length, "offsets");
  if (summary.is_long && !truncate) {
    RaiseLong(ends, max_length, "pass truncate=True to keep the first ones");
  }
  const JaggedShape shape{max_length, from.words};
  const Padding padding = ToPadding(padding_value, from, "padding_value");
  const Target chosen = ChosenTarget(target);
  const py::object result = Output(out, "out", from.dtype, from.With({ends.size - 1, max_length}, 1));
  CheckOverlap("out", result.ptr(), {{"values", values}, {"offsets", offsets}});
  Check(Unlocked((ends.size - 1) * max_length * from.words, [&] {
    return PadJagged(DataOf(values.ptr()), from.rows(), ends, shape, padding, chosen, DataOf(result.ptr()));
  }));
  return result;
}

py::object DenseToJagged(const py::object& dense, const py::object& offsets, const py::object& padding_value,
                         const py::object& out, const py::object& target) {
  const Values from(dense, "dense", 2);
  const Integers ends = ToIntegers(offsets, "offsets");
  const std::size_t max_length = static_cast<std::size_t>(from.shape[1]);
  const OffsetsSummary summary = Summarise(ends, PTRDIFF_MAX, max_length, "offsets");
  if (summary.first != 0) {
    Raise(StatusCode::kBadOffsets,
          "`offsets[0]` must be 0, got " + std::to_string(summary.first) + "; subtract it from all of them");
  }
  if (from.rows() + 1 != ends.size) {
    Raise(StatusCode::kBadShape, "`offsets` must have shape (" + std::to_string(from.rows() + 1) +
                                     ",), got (" + std::to_string(ends.size) +
                                     ",); pass one entry more than `dense` has rows");
  }
  if (summary.is_long && padding_value.is_none()) {
    RaiseLong(ends, max_length, "pass a `padding_value` for the rest");
  }
  Padding padding;
  if (!padding_value.is_none()) padding = ToPadding(padding_value, from, "padding_value");
  const JaggedShape shape{max_length, from.words};
  const Target chosen = ChosenTarget(target);
  const py::object result = Output(out, "out", from.dtype, from.With({summary.last}, 2));
  CheckOverlap("out", result.ptr(), {{"dense", dense}, {"offsets", offsets}});
  Check(Unlocked(summary.last * from.words, [&] {
    return UnpadJagged(DataOf(dense.ptr()), ends, shape, padding, chosen, DataOf(result.ptr()));
  }));
  return result;
}

py::tuple JaggedConcat(const py::object& values, const py::object& offsets, const py::object& out) {
  const py::object lists = Sequence(values, StatusCode::kBadDtype, "values");
  const py::object ends = Sequence(offsets, StatusCode::kBadDtype, "offsets");
  // Held as tuples: making the outputs may run Python code that changes a list.
  const py::tuple pieces = py::reinterpret_steal<py::tuple>(PySequence_Tuple(lists.ptr()));
  const py::tuple bounds = py::reinterpret_steal<py::tuple>(PySequence_Tuple(ends.ptr()));
  if (pieces.empty() || pieces.size() != bounds.size()) {
    Raise(StatusCode::kBadShape, "`values` and `offsets` must be of one length of at least 1, got " +
                                     std::to_string(pieces.size()) + " and " + std::to_string(bounds.size()) +
                                     "; pass both of every batch");
  }
  struct Piece {
    Integers offsets;
    OffsetsSummary summary;
    const char* data;
  };
  std::vector<Piece> all;
  all.reserve(pieces.size());
  const Values first(pieces[0], "values[0]", 1);
  std::size_t rows = 0, total = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const std::string at = "[" + std::to_string(i) + "]";
    const Values piece(pieces[i], "values" + at, 1);
    if (piece.dtype != first.dtype) {
      CheckLayout(py::object(pieces[i]).ptr(), "values" + at, first.dtype);
    }
    if (piece.With({0}, 1) != first.With({0}, 1)) {
      Raise(StatusCode::kBadShape, "`values" + at + "` must consist of the same as `values[0]`, got " +
                                       Text(piece.shape) + " after " + Text(first.shape) +
                                       "; pass batches of one kind");
    }
    const Integers own = ToIntegers(bounds[i], "offsets" + at);
    const OffsetsSummary summary = Summarise(own, piece.rows(), PTRDIFF_MAX, "offsets" + at);
    const char* const data = static_cast<const char*>(DataOf(py::object(pieces[i]).ptr()));
    all.push_back({own, summary, data + summary.first * first.words * 4});
    rows += own.size - 1;
    total += summary.last - summary.first;
  }
  py::object out_values = py::none(), out_offsets = py::none();
  if (!out.is_none()) {
    if (!py::isinstance<py::tuple>(out) || py::len(out) != 2) {
      Raise(StatusCode::kBadDtype,
            "`out` must be a tuple (values, offsets), got `" + TypeName(out.ptr()) + "`; pass two arrays");
    }
    out_values = py::reinterpret_borrow<py::tuple>(out)[0];
    out_offsets = py::reinterpret_borrow<py::tuple>(out)[1];
  }
  out_values = Output(out_values, "out[0]", first.dtype, first.With({total}, 1));
  out_offsets = Output(out_offsets, "out[1]", Dtype<std::int64_t>(), {static_cast<py::ssize_t>(rows + 1)});
  CheckOverlap("out[1]", out_offsets.ptr(), {{"out[0]", out_values}});
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const py::object piece = pieces[i], bound = bounds[i];
    for (const auto& [name, made] : {Named{"out[0]", out_values}, Named{"out[1]", out_offsets}}) {
      CheckOverlap(name, made.ptr(), {{"values", piece}, {"offsets", bound}});
    }
  }
  auto* to = static_cast<char*>(DataOf(out_values.ptr()));
  auto* ends_to = static_cast<std::int64_t*>(DataOf(out_offsets.ptr()));
  Unlocked(total * first.words, [&] {
    std::int64_t base = 0;
    *ends_to++ = 0;
    for (const Piece& piece : all) {
      const std::size_t length = piece.summary.last - piece.summary.first;
      if (length != 0) std::memcpy(to, piece.data, length * first.words * 4);
      to += length * first.words * 4;
      AppendOffsets(piece.offsets, base, ends_to);
      ends_to += piece.offsets.size - 1;
      base += static_cast<std::int64_t>(length);
    }
  });
  return py::make_tuple(out_values, out_offsets);
}

py::object Gather(const py::object& table, const py::object& indices, const py::object& fill_value,
                  const py::object& out) {
  const Values from(table, "table", 1);
  const Integers rows = ToIntegers(indices, "indices");
  CheckEntry(CheckIndices(rows, from.rows(), !fill_value.is_none()), "indices");
  Padding padding;
  if (!fill_value.is_none()) padding = ToPadding(fill_value, from, "fill_value");
  const py::object result = Output(out, "out", from.dtype, from.With({rows.size}, 1));
  CheckOverlap("out", result.ptr(), {{"table", table}, {"indices", indices}});
  Unlocked(rows.size * from.words,
           [&] { GatherRows(DataOf(table.ptr()), rows, from.words, padding, DataOf(result.ptr())); });
  return result;
}

void Scatter(const py::object& rows, const py::object& indices, const py::object& out) {
  const Values from(rows, "rows", 1);
  const Integers to = ToIntegers(indices, "indices");
  if (from.rows() != to.size) {
    Raise(StatusCode::kBadShape, "`indices` must have shape (" + std::to_string(from.rows()) + ",), got (" +
                                     std::to_string(to.size) + ",); pass one for each row");
  }
  const Values into(out, "out", 1);
  Output(out, "out", from.dtype, from.With({into.rows()}, 1));
  CheckEntry(CheckIndices(to, into.rows(), false), "indices");
  CheckOverlap("out", out.ptr(), {{"rows", rows}, {"indices", indices}});
  Unlocked(to.size * from.words, [&] { ScatterRows(DataOf(rows.ptr()), to, from.words, DataOf(out.ptr())); });
}

}  // namespace

void BindJagged(py::module_& module) {
  module.def("jagged_to_padded_dense", &JaggedToPaddedDense, py::arg("values"), py::arg("offsets"),
             py::arg("max_length"), py::arg("padding_value") = 0, py::kw_only(), py::arg("truncate") = false,
             py::arg("out") = py::none(), py::arg("target") = py::none());
  module.def("dense_to_jagged", &DenseToJagged, py::arg("dense"), py::arg("offsets"), py::kw_only(),
             py::arg("padding_value") = py::none(), py::arg("out") = py::none(),
             py::arg("target") = py::none());
  module.def("jagged_concat", &JaggedConcat, py::arg("values"), py::arg("offsets"), py::kw_only(),
             py::arg("out") = py::none());
  module.def("gather_rows", &Gather, py::arg("table"), py::arg("indices"), py::kw_only(),
             py::arg("fill_value") = py::none(), py::arg("out") = py::none());
  module.def("scatter_rows", &Scatter, py::arg("rows"), py::arg("indices"), py::arg("out"));
}

}  // namespace mainspring
