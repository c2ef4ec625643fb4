// Point-in-time joins.

#include "mainspring/asof.h"

#include <pybind11/numpy.h>

#include <limits>
#include <vector>

#include "arrays.h"
#include "bindings.h"

namespace mainspring {
namespace {

const std::int64_t* Int64s(const py::object& array, const char* name, std::size_t rows) {
  CheckArray(array.ptr(), name, Dtype<std::int64_t>(), rows, -1);
  return static_cast<const std::int64_t*>(DataOf(array.ptr()));
}

// An int64 array of any length.
std::size_t Rows(const py::object& array, const char* name) {
  if (IsArray(array.ptr()) && py::detail::array_proxy(array.ptr())->nd == 1) return LengthOf(array.ptr());
  CheckArray(array.ptr(), name, Dtype<std::int64_t>(), 0, -1);  // which says what is wrong
  return 0;
}

std::int64_t MaxAge(const py::object& age) {
  if (age.is_none()) return kAnyAge;
  const std::int64_t value = age.cast<std::int64_t>();
  if (value < 0)
    Raise(StatusCode::kOutOfRange, "`max_age` must be 0 or more, or None, got " + std::to_string(value));
  return value;
}

AsofQuestions Questions(const py::object& keys, const py::object& as_of, const char* name) {
  const std::size_t n = Rows(keys, name);
  return {Int64s(keys, name, n), Int64s(as_of, "as_of", n), n};
}

py::array_t<std::int64_t> Search(const py::object& times, const py::object& starts, const py::object& runs,
                                 const py::object& as_of, const py::object& max_age) {
  const std::size_t n_rows = Rows(times, "times"), n_starts = Rows(starts, "starts");
  if (n_starts == 0)
    Raise(StatusCode::kBadShape, "`starts` must have one more value than there are runs, got none");
  const AsofRuns rows{Int64s(times, "times", n_rows), n_rows, Int64s(starts, "starts", n_starts),
                      n_starts - 1};
  const AsofQuestions questions = Questions(runs, as_of, "runs");
  const std::int64_t age = MaxAge(max_age);
  py::array_t<std::int64_t> positions(static_cast<py::ssize_t>(questions.size));
  std::int64_t* const out = positions.mutable_data();
  Status status;
  {
    const py::gil_scoped_release unlocked;
    status = AsofSearch(rows, questions, age, out);
  }
  Check(status);
  return positions;
}

py::array_t<std::int64_t> Newest(const py::object& row_keys, const py::object& events,
                                 const py::object& created, const py::object& numbers, const py::object& keys,
                                 const py::object& as_of, std::size_t n_keys, const py::object& max_age,
                                 bool known_only) {
  const std::size_t n = Rows(row_keys, "row_keys");
  const AsofRows rows{Int64s(row_keys, "row_keys", n), Int64s(events, "events", n),
                      Int64s(created, "created", n), Int64s(numbers, "numbers", n), n};
  const AsofQuestions questions = Questions(keys, as_of, "keys");
  const std::int64_t age = MaxAge(max_age);
  py::array_t<std::int64_t> positions(static_cast<py::ssize_t>(questions.size));
  std::int64_t* const out = positions.mutable_data();
  Status status;
  {
    const py::gil_scoped_release unlocked;
    std::vector<std::int64_t> starts(n_keys + 1), order(questions.size), times(questions.size),
        best(questions.size);
    const AsofScratch scratch{starts.data(), order.data(), times.data(), best.data()};
    status = AsofNewest(rows, questions, n_keys, known_only, age, scratch, out);
  }
  Check(status);
  return positions;
}

}  // namespace

void BindAsof(py::module_& module) {
  module.def("asof_search", &Search, py::arg("times"), py::arg("starts"), py::arg("runs"), py::arg("as_of"),
             py::kw_only(), py::arg("max_age") = py::none());
  module.def("asof_newest", &Newest, py::arg("row_keys"), py::arg("events"), py::arg("created"),
             py::arg("numbers"), py::arg("keys"), py::arg("as_of"), py::kw_only(), py::arg("n_keys"),
             py::arg("max_age") = py::none(), py::arg("known_only") = false);
}

}  // namespace mainspring
