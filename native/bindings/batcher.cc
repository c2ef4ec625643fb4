// The batcher for Python: columns as arrays of the arena, answers as row ranges of the model's output.
//
// What is Python's (outputs, who waits) lies beside the core's rounds and is touched under the GIL only.
// Take and Wait give it up.

#include "mainspring/batcher.h"

#include <pybind11/stl.h>

#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "native_program.h"

namespace mainspring {
namespace {

struct BatchColumn {
  std::string name;
  PyObject* dtype;
  std::size_t width;
  std::size_t item_bytes;
};

std::int64_t UntilNs(const py::object& timeout_seconds) {
  if (timeout_seconds.is_none()) return 0;
  const double seconds = timeout_seconds.cast<double>();
  return MonotonicNs() + static_cast<std::int64_t>(std::max(0.0, seconds) * 1e9) + 1;
}

class PyRequest;

class PyBatcher : public std::enable_shared_from_this<PyBatcher> {
 public:
  PyBatcher(const std::vector<std::tuple<std::string, std::string, std::size_t>>& columns,
            std::size_t max_rows, double max_delay_seconds, std::size_t depth, std::size_t priorities,
            double aging_seconds, bool is_adaptive, bool sheds_infeasible) {
    BatcherOptions options;
    for (const auto& [name, dtype, width] : columns) {
      PyObject* held = nullptr;
      std::size_t bytes = 4;
      if (dtype == "float32") held = Dtype<float>();
      if (dtype == "int32") held = Dtype<std::int32_t>();
      if (dtype == "int64") held = Dtype<std::int64_t>(), bytes = 8;
      if (held == nullptr) {
        Raise(StatusCode::kBadSpec, "column `" + name + "` must be float32, int32 or int64, got `" + dtype +
                                        "`; choose one of them");
      }
      if (width < 1 || width > (std::size_t{1} << 24)) {
        Raise(StatusCode::kBadSpec, "column `" + name + "` must have 1 to 16777216 values a row, got " +
                                        std::to_string(width) + "; choose another width");
      }
      for (const BatchColumn& other : columns_) {
        if (other.name == name) {
          Raise(StatusCode::kBadSpec, "column `" + name + "` must be named once; rename one of them");
        }
      }
      columns_.push_back({name, held, width, bytes});
      options.row_bytes.push_back(width * bytes);
    }
    const auto ns = [](double seconds) {
      return seconds >= 0 && seconds < 1e6 ? static_cast<std::int64_t>(seconds * 1e9) : std::int64_t{-1};
    };
    options.max_rows = max_rows;
    options.max_delay_ns = ns(max_delay_seconds);
    options.depth = depth;
    options.priorities = priorities;
    options.aging_ns = ns(aging_seconds);
    options.is_adaptive = is_adaptive;
    options.sheds_infeasible = sheds_infeasible;
    Check(Batcher::Create(options, &core_));
  }

  Batcher& core() { return *core_; }
  const std::vector<BatchColumn>& columns() const { return columns_; }

  // The output of a batch, or the exception of its failed run.
  py::object& Output(const batching::Round& round) { return OfRound(round).output; }

  // A collected ticket, and its output with the last of its batch.
  void Collect(const Ticket& ticket) {
    if (!core_->Collect(ticket)) return;
    const py::object freed = std::move(Output(*ticket.round));
  }

  py::dict Views(char* (*at)(PyBatcher&, const void*, std::size_t), const void* what, std::size_t rows,
                 const py::handle& base) {
    py::dict views;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      const BatchColumn& column = columns_[c];
      views[py::str(column.name)] = py::array(py::reinterpret_borrow<py::dtype>(column.dtype),
                                              {rows, column.width}, at(*this, what, c), base);
    }
    return views;
  }

  Ticket Reserve(std::size_t rows, std::size_t priority, const py::object& deadline_ns,
                 std::int64_t arrival_ns, std::uint16_t mailbox) {
    RequestOptions options;
    options.rows = rows;
    options.priority = priority;
    options.deadline_ns =
        deadline_ns.is_none() ? 0 : std::max<std::int64_t>(1, deadline_ns.cast<std::int64_t>());
    options.arrival_ns = arrival_ns;
    options.mailbox = mailbox;
    Ticket ticket;
    const Status status = core_->Reserve(options, &ticket);
    if (status.ok()) return ticket;
    if (status.code == StatusCode::kBusy) {
      static PyObject* const busy =
          py::object(py::module_::import("mainspring.native.status").attr("Busy")).release().ptr();
      const py::object error = py::reinterpret_borrow<py::object>(busy)(Message(status, ""), status.got);
      PyErr_SetObject(busy, error.ptr());
      throw py::error_already_set();
    }
    Raise(status.code, Message(status, ""));
  }

  // Who is told of a mailbox's answer, until then.
  void Post(const Ticket& ticket, std::shared_ptr<PyRequest> request) {
    auto& posted = OfRound(*ticket.round).posted;
    if (posted.size() <= ticket.index) posted.resize(ticket.index + 1u);
    posted[ticket.index] = std::move(request);
  }
  std::shared_ptr<PyRequest> Posted(const Ticket& ticket) {
    return std::move(OfRound(*ticket.round).posted[ticket.index]);
  }

 private:
  struct PyRound {
    py::object output;
    std::vector<std::shared_ptr<PyRequest>> posted;  // by the tickets' index
  };

  PyRound& OfRound(const batching::Round& round) {
    if (rounds_.size() <= round.id) rounds_.resize(round.id + 1u);
    return rounds_[round.id];
  }

  std::vector<BatchColumn> columns_;
  std::unique_ptr<Batcher> core_;
  std::deque<PyRound> rounds_;  // by the rounds' ids; what is there stays where it is
};

py::object RowsOf(const py::object& output, std::size_t first, std::size_t rows) {
  if (PyTuple_Check(output.ptr())) {
    py::tuple parts(py::len(output));
    for (std::size_t i = 0; i < parts.size(); ++i) {
      parts[i] = RowsOf(py::reinterpret_borrow<py::tuple>(output)[i], first, rows);
    }
    return std::move(parts);
  }
  PyObject* const view = PySequence_GetSlice(output.ptr(), static_cast<py::ssize_t>(first),
                                             static_cast<py::ssize_t>(first + rows));
  if (view == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(view);
}

class PyRequest : public std::enable_shared_from_this<PyRequest> {
 public:
  PyRequest(std::shared_ptr<PyBatcher> owner, const Ticket& ticket, std::uint16_t mailbox, py::object waiter)
      : waiter(std::move(waiter)), owner_(std::move(owner)), ticket_(ticket), mailbox_(mailbox) {}

  // Whoever lets go of a request does not want it any more.
  ~PyRequest() {
    if (phase_ == Phase::kWriting) owner_->core().Abandon(ticket_);
    if (phase_ == Phase::kSent && mailbox_ == 0) {
      owner_->core().Cancel(ticket_);
      owner_->Collect(ticket_);
    }
  }

  py::dict Columns() {
    NeedWriting();
    return owner_->Views([](PyBatcher& b, const void* t,
                            std::size_t c) { return b.core().Rows(*static_cast<const Ticket*>(t), c); },
                         &ticket_, ticket_.rows, py::cast(owner_));
  }

  void WriteRow(const py::object& row, const py::object& given, std::size_t dense, std::size_t ids) {
    const auto& columns = owner_->columns();
    const auto width = [&](std::size_t c) { return c < columns.size() ? columns[c].width : 0; };
    const auto at = [&](std::size_t c) {
      return c < columns.size() ? owner_->core().Rows(ticket_, c) : nullptr;
    };
    RunRowInto(row.ptr(), given.ptr(), width(dense), width(ids), reinterpret_cast<float*>(at(dense)),
               reinterpret_cast<std::int32_t*>(at(ids)));
  }

  void Commit() {
    NeedWriting();
    phase_ = Phase::kSent;
    if (mailbox_ != 0) owner_->Post(ticket_, shared_from_this());
    owner_->core().Commit(ticket_);
  }

  void Abandon() {
    NeedWriting();
    phase_ = Phase::kOver;
    owner_->core().Abandon(ticket_);
  }

  bool Cancel() {
    if (phase_ == Phase::kWriting) {
      Abandon();
      return true;
    }
    return phase_ == Phase::kSent && owner_->core().Cancel(ticket_);
  }

  bool IsDone() const {
    return phase_ == Phase::kOver || (phase_ == Phase::kSent && IsFinal(owner_->core().Peek(ticket_)));
  }

  // The output's rows. Needs the GIL; gives it up while waiting. None of it where the time is over: raises.
  py::object Result(const py::object& timeout_seconds) {
    if (phase_ == Phase::kSent && mailbox_ == 0) {
      const std::int64_t until_ns = UntilNs(timeout_seconds);
      const auto self = shared_from_this();
      Answer answer = owner_->core().Peek(ticket_);
      // Another thread that waits for the same request may be faster: then the ticket is nobody's.
      while (phase_ == Phase::kSent && !IsFinal(answer)) {
        const py::gil_scoped_release released;
        // In slices, so that a signal (Ctrl-C) is heard.
        const std::int64_t slice = MonotonicNs() + 100000000;
        const bool is_last = until_ns != 0 && until_ns <= slice;
        answer = owner_->core().Wait(ticket_, is_last ? until_ns : slice);
        if (!IsFinal(answer)) {
          const py::gil_scoped_acquire acquired;
          if (PyErr_CheckSignals() != 0) throw py::error_already_set();
          if (is_last) {
            PyErr_SetString(PyExc_TimeoutError, "the request has no answer yet; wait longer or cancel it");
            throw py::error_already_set();
          }
        }
      }
      if (phase_ == Phase::kSent) Take(answer);
    }
    if (!value_) Raise(StatusCode::kClosed, "the request must have been committed, for `result`; commit it");
    if (is_error_) {
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(value_.ptr())), value_.ptr());
      throw py::error_already_set();
    }
    return value_;
  }

  // The final answer, collected: `value_` is the rows or the exception.
  void Take(Answer answer) {
    phase_ = Phase::kOver;
    is_error_ = answer != Answer::kDone;
    struct Release {
      PyRequest* self;
      ~Release() { self->owner_->Collect(self->ticket_); }
    } const release{this};
    const py::object& output = owner_->Output(*ticket_.round);
    if (answer == Answer::kDone) {
      std::size_t first, rows;
      owner_->core().Range(ticket_, &first, &rows);
      value_ = RowsOf(output, first, rows);
    } else if (answer == Answer::kFailed) {
      value_ = output;
    } else {
      value_ = Error(answer);
    }
  }

  std::size_t rows() const { return ticket_.rows; }
  bool is_error() const { return is_error_; }
  const py::object& value() const { return value_; }

  py::object waiter;

 private:
  enum class Phase { kWriting, kSent, kOver };

  void NeedWriting() const {
    if (phase_ == Phase::kWriting) return;
    Raise(StatusCode::kClosed, "the request must not have been sent; reserve another one");
  }

  static py::object Error(Answer answer) {
    const auto make = [](StatusCode code, const char* message) {
      return py::module_::import("mainspring.native.status").attr("NativeError")(CodeName(code), message);
    };
    if (answer == Answer::kExpired) {
      return make(
          StatusCode::kDeadlineExceeded,
          "the deadline passed before the request was computed; send it earlier or allow it more time");
    }
    if (answer == Answer::kCancelled) {
      return make(StatusCode::kCancelled, "the request was cancelled; send it again if it is wanted");
    }
    return make(StatusCode::kClosed,
                "the batcher was closed before it came to the request; send it elsewhere");
  }

  std::shared_ptr<PyBatcher> owner_;
  Ticket ticket_;
  std::uint16_t mailbox_;
  Phase phase_ = Phase::kWriting;
  bool is_error_ = false;
  py::object value_;
};

// A batch's rows. They are written over only when nothing in Python looks at them any more: the model's
// output may be a view of its input.
class PyPlace {
 public:
  PyPlace(std::shared_ptr<PyBatcher> owner, const Batch& batch) : owner_(std::move(owner)), batch_(batch) {}
  ~PyPlace() { Release(); }

  void Release() {
    if (!std::exchange(is_released_, true)) owner_->core().Release(batch_);
  }

 private:
  std::shared_ptr<PyBatcher> owner_;
  Batch batch_;
  bool is_released_ = false;
};

class PyBatch {
 public:
  PyBatch(std::shared_ptr<PyBatcher> owner, const Batch& batch)
      : owner_(std::move(owner)), batch_(batch), place_(std::make_shared<PyPlace>(owner_, batch)) {}

  ~PyBatch() {
    if (!is_open_) return;
    py::object error = py::none();
    try {
      error = py::module_::import("mainspring.native.status")
                  .attr("NativeError")("cancelled", "the batch was dropped without an answer; send it again");
    } catch (const py::error_already_set&) {
      // The interpreter ends: there are no modules any more, and nobody who would read it.
    }
    Answer_(error, true);
  }

  py::dict Columns() {
    NeedOpen();
    return owner_->Views([](PyBatcher& b, const void* t,
                            std::size_t c) { return b.core().Column(*static_cast<const Batch*>(t), c); },
                         &batch_, batch_.rows, py::cast(place_));
  }

  void Complete(const py::object& output) {
    NeedOpen();
    CheckRows(output, "output");
    Answer_(output, false);
  }

  void Fail(const py::object& error) {
    NeedOpen();
    if (!PyExceptionInstance_Check(error.ptr())) {
      Raise(StatusCode::kBadDtype,
            "`error` must be an exception, got `" + TypeName(error.ptr()) + "`; raise it");
    }
    Answer_(error, true);
  }

  std::size_t rows() const { return batch_.rows; }
  std::size_t priority() const { return batch_.priority; }

 private:
  void NeedOpen() const {
    if (!is_open_) Raise(StatusCode::kClosed, "the batch must not have been answered; take another one");
  }

  void CheckRows(const py::object& output, const std::string& name) {
    if (PyTuple_Check(output.ptr())) {
      const auto parts = py::reinterpret_borrow<py::tuple>(output);
      for (std::size_t i = 0; i < parts.size(); ++i)
        CheckRows(parts[i], name + "[" + std::to_string(i) + "]");
      return;
    }
    const py::ssize_t length = PySequence_Check(output.ptr()) ? PySequence_Size(output.ptr()) : -1;
    if (PyErr_Occurred() != nullptr) PyErr_Clear();
    if (length == static_cast<py::ssize_t>(batch_.rows)) return;
    Raise(StatusCode::kBadShape,
          "`" + name + "` must have " + std::to_string(batch_.rows) + " rows, got " +
              (length < 0 ? "`" + TypeName(output.ptr()) + "`" : std::to_string(length)) +
              "; return one for each row of the batch");
  }

  void Answer_(const py::object& output, bool is_failed) {
    is_open_ = false;
    Batcher& core = owner_->core();
    owner_->Output(*batch_.round) = output;
    if (core.Settle(batch_, is_failed)) {
      const py::object freed = std::move(owner_->Output(*batch_.round));
    }
    // An exception's frames look at the rows for as long as it lives: nobody reads them there.
    if (is_failed) place_->Release();
    place_.reset();
    core.Wake(batch_);
  }

  std::shared_ptr<PyBatcher> owner_;
  Batch batch_;
  std::shared_ptr<PyPlace> place_;
  bool is_open_ = true;
};

using RequestPtr = std::shared_ptr<PyRequest>;

RequestPtr Reserve(PyBatcher& b, std::size_t rows, std::size_t priority, const py::object& deadline_ns,
                   std::int64_t arrival_ns, std::uint16_t mailbox, const py::object& waiter) {
  const Ticket ticket = b.Reserve(rows, priority, deadline_ns, arrival_ns, mailbox);
  return std::make_shared<PyRequest>(b.shared_from_this(), ticket, mailbox, waiter);
}

RequestPtr Add(PyBatcher& b, const py::dict& columns, std::size_t priority, const py::object& deadline_ns,
               std::int64_t arrival_ns, std::uint16_t mailbox, const py::object& waiter) {
  std::size_t rows = 0;
  std::vector<const void*> data;
  data.reserve(b.columns().size());
  for (const BatchColumn& column : b.columns()) {
    PyObject* const array = PyDict_GetItemString(columns.ptr(), column.name.c_str());
    if (array == nullptr) {
      Raise(StatusCode::kMissingColumn,
            "column `" + column.name + "` is missing; pass every column of the batcher");
    }
    if (data.empty() && IsArray(array) && py::detail::array_proxy(array)->nd > 0) rows = LengthOf(array);
    CheckArray(array, column.name, column.dtype, rows, static_cast<py::ssize_t>(column.width));
    data.push_back(DataOf(array));
  }
  const Ticket ticket = b.Reserve(rows, priority, deadline_ns, arrival_ns, mailbox);
  for (std::size_t c = 0; c < data.size(); ++c) {
    std::memcpy(b.core().Rows(ticket, c), data[c], rows * b.core().options().row_bytes[c]);
  }
  auto request = std::make_shared<PyRequest>(b.shared_from_this(), ticket, mailbox, waiter);
  request->Commit();
  return request;
}

// A row of a program, written by it into the arena: the columns are its dense output, its ids, or both.
RequestPtr AddRow(PyBatcher& b, const py::object& row, const py::object& given, std::size_t priority,
                  const py::object& deadline_ns, std::int64_t arrival_ns, std::uint16_t mailbox,
                  const py::object& waiter) {
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::size_t dense = kNone, ids = kNone;
  for (std::size_t c = 0; c < b.columns().size(); ++c) {
    std::size_t* const which = b.columns()[c].dtype == Dtype<float>() ? &dense : &ids;
    if (*which != kNone || b.columns()[c].dtype == Dtype<std::int64_t>()) {
      Raise(StatusCode::kBadSpec,
            "a batcher of program rows must have at most one float32 and one int32 column; make another one");
    }
    *which = c;
  }
  const auto request = std::make_shared<PyRequest>(
      b.shared_from_this(), b.Reserve(1, priority, deadline_ns, arrival_ns, mailbox), mailbox, waiter);
  const py::object guard = py::cast(request);
  request->WriteRow(row, given, dense, ids);
  request->Commit();
  return request;
}

// What is due already is taken without giving up the GIL: getting it back from the threads that were woken by
// the batch before took the worker 10 to 15 us at the median (two cores, Xeon, 2026-11).
py::object Take(PyBatcher& b, const py::object& timeout_seconds, bool is_polling) {
  const std::int64_t until_ns = UntilNs(timeout_seconds);
  Batch batch;
  TakeResult result = b.core().Take(MonotonicNs(), is_polling, &batch);
  bool is_last = is_polling;
  while (result == TakeResult::kNothing && !is_last) {
    {
      const py::gil_scoped_release released;
      const std::int64_t slice = MonotonicNs() + 100000000;  // so that a signal (Ctrl-C) is heard
      is_last = until_ns != 0 && until_ns <= slice;
      result = b.core().Take(is_last ? until_ns : slice, false, &batch);
    }
    // What was taken is given back first, as a batch.
    if (result != TakeResult::kTaken && PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
  if (result != TakeResult::kTaken) return py::none();
  return py::cast(std::make_shared<PyBatch>(b.shared_from_this(), batch));
}

std::uint16_t OpenMailbox(PyBatcher& b) {
  const std::uint16_t mailbox = b.core().OpenMailbox();
  if (mailbox == 0) {
    Raise(StatusCode::kOutOfRange,
          "a batcher must have at most 1024 mailboxes; keep one for each event loop");
  }
  return mailbox;
}

// [(waiter, value or exception, whether it is an exception)], in the order of the answers.
py::list Drain(PyBatcher& b, std::uint16_t mailbox) {
  std::vector<Delivery> deliveries;
  b.core().Drain(mailbox, &deliveries);
  py::list answers(deliveries.size());
  for (std::size_t i = 0; i < deliveries.size(); ++i) {
    const RequestPtr request = b.Posted(deliveries[i].ticket);
    request->Take(deliveries[i].answer);
    // Let go of: the waiter holds the request too.
    const py::object waiter = std::move(request->waiter);
    answers[i] = py::make_tuple(waiter, request->value(), request->is_error());
  }
  return answers;
}

py::dict Stats(PyBatcher& b) {
  const BatcherStats s = b.core().Stats();
  py::dict stats;
  stats["batches"] = s.batches;
  stats["rows"] = s.rows;
  stats["moved_rows"] = s.moved_rows;
  stats["done"] = s.done;
  stats["failed"] = s.failed;
  stats["expired"] = s.expired;
  stats["cancelled"] = s.cancelled;
  stats["rejected"] = s.rejected;
  stats["abandoned"] = s.abandoned;
  stats["busy"] = s.busy;
  stats["gap_seconds"] = s.gap_ns * 1e-9;
  stats["fixed_cost_seconds"] = s.fixed_cost_ns * 1e-9;
  stats["row_cost_seconds"] = s.row_cost_ns * 1e-9;
  return stats;
}

// Nanoseconds until `rows` requests of one row each are reserved, `at_once` of them in a call, committed and
// taken as one batch; for bench/.
std::int64_t TimeSingleRows(PyBatcher& b, std::size_t rows, std::size_t at_once) {
  std::vector<Ticket> tickets(rows);
  RequestOptions options;
  options.arrival_ns = MonotonicNs();  // an event loop reads its clock once a round
  Batch batch;
  const std::int64_t start = MonotonicNs();
  for (std::size_t i = 0, reserved = 0; i < rows; i += reserved) {
    const std::size_t count = std::min(std::max<std::size_t>(1, at_once), rows - i);
    if (b.core().TryReserve(options, count, &tickets[i], &reserved) != StatusCode::kOk) return -1;
    for (std::size_t k = i; k < i + reserved; ++k) b.core().Commit(tickets[k]);
  }
  const TakeResult result = b.core().Take(0, true, &batch);
  const std::int64_t took = MonotonicNs() - start;
  const bool is_whole = result == TakeResult::kTaken && batch.rows == rows;
  if (result == TakeResult::kTaken) b.core().Complete(batch, false);
  for (const Ticket& ticket : tickets) b.core().Collect(ticket);
  return is_whole ? took : -1;
}

}  // namespace

void BindBatcher(py::module_& module) {
  const auto priority = py::arg("priority") = 0;
  const auto deadline_ns = py::arg("deadline_ns") = py::none();
  const auto arrival_ns = py::arg("arrival_ns") = 0;
  const auto mailbox = py::arg("mailbox") = 0;
  const auto waiter = py::arg("waiter") = py::none();
  py::class_<PyRequest, RequestPtr>(module, "Request")
      .def_property_readonly("columns", &PyRequest::Columns)
      .def_property_readonly("rows", &PyRequest::rows)
      .def_property_readonly("done", &PyRequest::IsDone)
      .def("commit", &PyRequest::Commit)
      .def("abandon", &PyRequest::Abandon)
      .def("cancel", &PyRequest::Cancel)
      .def("result", &PyRequest::Result, py::arg("timeout_seconds") = py::none())
      .def("__enter__", [](const py::object& self) { return self; })
      .def("__exit__", [](PyRequest& self, const py::object& type, const py::object&, const py::object&) {
        if (type.is_none()) {
          self.Commit();
        } else {
          self.Abandon();
        }
      });
  py::class_<PyPlace, std::shared_ptr<PyPlace>>(module, "_BatchPlace");
  py::class_<PyBatch, std::shared_ptr<PyBatch>>(module, "Batch")
      .def_property_readonly("columns", &PyBatch::Columns)
      .def_property_readonly("rows", &PyBatch::rows)
      .def_property_readonly("priority", &PyBatch::priority)
      .def("complete", &PyBatch::Complete, py::arg("output"))
      .def("fail", &PyBatch::Fail, py::arg("error"));
  py::class_<PyBatcher, std::shared_ptr<PyBatcher>>(module, "Batcher")
      .def(py::init<const std::vector<std::tuple<std::string, std::string, std::size_t>>&, std::size_t,
                    double, std::size_t, std::size_t, double, bool, bool>(),
           py::arg("columns"), py::kw_only(), py::arg("max_rows") = 256, py::arg("max_delay_seconds") = 0.002,
           py::arg("depth") = 64, py::arg("priorities") = 1, py::arg("aging_seconds") = 0.01,
           py::arg("adaptive") = true, py::arg("sheds_infeasible") = false)
      .def("reserve", &Reserve, py::arg("rows") = 1, py::kw_only(), priority, deadline_ns, arrival_ns,
           mailbox, waiter)
      .def("add", &Add, py::arg("columns"), py::kw_only(), priority, deadline_ns, arrival_ns, mailbox, waiter)
      .def("add_row", &AddRow, py::arg("row"), py::arg("given"), py::kw_only(), priority, deadline_ns,
           arrival_ns, mailbox, waiter)
      .def(
          "take", [](PyBatcher& b, const py::object& t) { return Take(b, t, false); },
          py::arg("timeout_seconds") = py::none())
      .def("poll", [](PyBatcher& b) { return Take(b, py::none(), true); })
      .def(
          "close", [](PyBatcher& b, bool drain) { b.core().Close(drain); }, py::arg("drain") = true)
      .def_property_readonly("closed", [](PyBatcher& b) { return b.core().is_closed(); })
      .def_property_readonly("max_rows", [](PyBatcher& b) { return b.core().options().max_rows; })
      .def("stats", &Stats)
      .def("open_mailbox", &OpenMailbox)
      .def("mailbox_fd", [](PyBatcher& b, std::uint16_t m) { return b.core().MailboxFd(m); })
      .def("drain", &Drain, py::arg("mailbox"))
      .def("_time_single_rows", &TimeSingleRows, py::arg("rows"), py::arg("at_once"));
}

}  // namespace mainspring
