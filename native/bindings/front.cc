// Front: converts, checks names, releases the GIL.

#include "mainspring/front.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "front_endpoints.h"
#include "front_model.h"
#include "models.h"

namespace mainspring {
namespace {

template <std::size_t kN>
std::vector<std::uint64_t> ListOf(const std::uint64_t (&counts)[kN]) {
  return {counts, counts + kN};
}

}  // namespace

FrontModel ToModel(ModelTuple from) {
  auto& [name, version, input, output, is_default, max_rows, object] = from;
  CheckPath(name, "name");
  CheckPath(version, "version");
  CheckPlain(input, "input");
  CheckPlain(output, "output");
  FrontModel model;
  model.mlp = MlpOf(object);
  model.forest = ForestOf(object);
  if (model.mlp == nullptr && model.forest == nullptr) {
    Raise(StatusCode::kBadDtype, "`model` of `" + name + "` must be a native Mlp or Trees, got `" +
                                     TypeName(object.ptr()) + "`; leave it to the app");
  }
  if (model.mlp != nullptr && (model.mlp->n_ids() > 0 || model.mlp->dense_width() == 0)) {
    Raise(
        StatusCode::kBadSpec,
        "`model` of `" + name + "` takes ids; the front has models of one matrix only, leave it to the app");
  }
  if (max_rows == 0) Raise(StatusCode::kBadSpec, "`max_rows` of `" + name + "` is 0; allow at least 1");
  model.name = std::move(name);
  model.version = std::move(version);
  model.input = std::move(input);
  model.output = std::move(output);
  model.is_default = is_default;
  model.max_rows = max_rows;
  return model;
}

py::tuple ToTuple(const FrontModelCounts& counts) {
  return py::make_tuple(counts.name, counts.version, counts.requests, counts.rows, counts.passed_on,
                        counts.last_ms, counts.input_nanos, counts.infer_nanos, counts.output_nanos,
                        ListOf(counts.latency), ListOf(counts.row_sizes));
}

namespace {

// As mainspring.native.front writes it: name, table.
using ViewTuple = std::tuple<std::string, py::object>;

// Name, features as (view, field).
using ServiceTuple = std::tuple<std::string, std::vector<std::pair<std::string, std::string>>>;

FrontView ToView(const ViewTuple& from) {
  const auto& [name, object] = from;
  TableParts parts = TableOf(object);
  if (parts.table == nullptr) {
    Raise(StatusCode::kBadDtype, "`table` of view `" + name + "` must be a native OnlineTable, got `" +
                                     TypeName(object.ptr()) + "`; leave it to the app");
  }
  return {name, std::move(parts.table), std::move(parts.is_closed)};
}

// As mainspring.native.front writes it: id, caller, secret_sha256, may_predict, may_read, expires_us,
// project.
using KeyTuple = std::tuple<std::string, std::string, py::bytes, bool, bool, std::int64_t, std::string>;

FrontKey ToKey(const KeyTuple& from) {
  const auto& [id, caller, digest, may_predict, may_read, expires_us, project] = from;
  FrontKey key{id, caller, {}, may_predict, may_read, expires_us, project};
  const auto bytes = static_cast<std::string_view>(digest);
  if (bytes.size() != key.secret_sha256.size()) {
    Raise(StatusCode::kBadSpec, "`secret_sha256` of key `" + id + "` has " + std::to_string(bytes.size()) +
                                    " bytes; give all 32 of the digest");
  }
  if (caller.empty()) Raise(StatusCode::kBadSpec, "key `" + id + "` has no caller; name one");
  std::copy(bytes.begin(), bytes.end(), key.secret_sha256.begin());
  return key;
}

FrontOptions ToOptions(const py::dict& from) {
  FrontOptions options;
  for (const auto& [key, value] : from) {
    const auto name = key.cast<std::string>();
    if (name == "upstream") options.upstream = value.cast<std::string>();
    if (name == "request_id") options.request_id = value.cast<std::string>();
    if (name == "max_connections") options.max_connections = value.cast<std::size_t>();
    if (name == "max_pipelined") options.max_pipelined = value.cast<std::size_t>();
    if (name == "max_head_bytes") options.max_head_bytes = value.cast<std::size_t>();
    if (name == "max_body_bytes") options.max_body_bytes = value.cast<std::size_t>();
    if (name == "max_held_bytes") options.max_held_bytes = value.cast<std::size_t>();
    if (name == "idle_seconds") options.idle_seconds = value.cast<double>();
    if (name == "head_seconds") options.head_seconds = value.cast<double>();
    if (name == "body_seconds") options.body_seconds = value.cast<double>();
    if (name == "write_seconds") options.write_seconds = value.cast<double>();
    if (name == "answer_seconds") options.answer_seconds = value.cast<double>();
    if (name == "grpc_upstream") options.grpc_upstream = value.cast<std::string>();
    if (name == "max_calls") options.max_calls = value.cast<std::size_t>();
    if (name == "grpc_idle_seconds") options.grpc_idle_seconds = value.cast<double>();
  }
  return options;
}

py::tuple ToTuple(const FrontSpan& span) {
  py::list parts;
  for (const FrontSpan::Part& part : span.parts) {
    parts.append(py::make_tuple(part.name, part.span_id, part.start_ns, part.end_ns));
  }
  return py::make_tuple(span.trace_id, span.parent_id, span.span_id, span.path, span.request_id, span.caller,
                        span.start_ns, span.end_ns, span.model, span.bundle, span.rows, parts);
}

class NativeFront {
 public:
  // Needs the GIL; gives it up while the threads start.
  NativeFront(const std::vector<int>& listeners, const py::dict& options,
              const std::vector<int>& grpc_listeners) {
    const FrontOptions chosen = ToOptions(options);
    Status status;
    {
      const py::gil_scoped_release released;
      status = Front::Start(chosen, listeners, &front_, grpc_listeners);
    }
    Check(status);
  }

  // Gives the GIL up: it may wait for what runs.
  ~NativeFront() {
    const py::gil_scoped_release released;
    front_.reset();
  }

  // Needs the GIL: it looks into Python objects.
  void SetModels(std::vector<ModelTuple> models) {
    std::vector<FrontModel> made;
    made.reserve(models.size());
    for (ModelTuple& model : models) made.push_back(ToModel(std::move(model)));
    const py::gil_scoped_release released;
    front_->SetModels(std::move(made));
  }

  // Needs the GIL: it looks into Python objects.
  void SetViews(const std::vector<ViewTuple>& views, const std::vector<ServiceTuple>& services,
                std::size_t max_rows) {
    if (max_rows == 0) Raise(StatusCode::kBadSpec, "`max_rows` is 0; allow at least 1");
    std::vector<FrontView> made;
    made.reserve(views.size());
    for (const ViewTuple& view : views) made.push_back(ToView(view));
    std::vector<FrontService> named;
    for (const auto& [name, features] : services) named.push_back({name, features});
    const py::gil_scoped_release released;
    front_->SetViews(std::move(made), std::move(named), max_rows);
  }

  // Needs the GIL: it looks into Python objects. `limits` may be None.
  void SetGuard(const std::vector<KeyTuple>& keys, std::shared_ptr<Limits> limits, bool needs_key) {
    FrontGuard guard;
    guard.needs_key = needs_key;
    guard.limits = std::move(limits);
    for (const KeyTuple& key : keys) guard.keys.push_back(ToKey(key));
    const py::gil_scoped_release released;
    front_->SetGuard(std::move(guard));
  }

  // Needs the GIL: it looks into Python objects. What is wrong with those that are the app's.
  std::vector<std::string> SetEndpoints(const std::vector<py::dict>& endpoints) {
    std::vector<FrontEndpoint> made;
    made.reserve(endpoints.size());
    for (const py::dict& endpoint : endpoints) made.push_back(ToEndpoint(endpoint));
    std::vector<std::string> refused;
    const py::gil_scoped_release released;
    front_->SetEndpoints(std::move(made), &refused);
    return refused;
  }

  py::list DrainPredictions() {
    std::vector<FrontPredictions> drained;
    {
      const py::gil_scoped_release released;
      drained = front_->DrainPredictions();
    }
    py::list list;
    for (const FrontPredictions& sums : drained) {
      py::list used;
      for (const FrontUse& one : sums.used) {
        used.append(py::make_tuple(one.caller, one.project, one.requests, one.rows, one.cpu_nanos));
      }
      list.append(py::make_tuple(sums.endpoint, sums.version, sums.digest, sums.role, sums.requests,
                                 sums.rows, sums.scores_sum, used, sums.latency_seconds));
    }
    return list;
  }

  // Gives the GIL up: who answers may hold the snapshot's lock.
  void SetTraces(double share, std::size_t max_waiting) {
    const py::gil_scoped_release released;
    front_->SetTraces(share, max_waiting);
  }

  // Needs the GIL to make objects; gives it up while it takes spans. Spans as tuples, and how many were
  // dropped.
  py::tuple DrainSpans() {
    std::uint64_t dropped = 0;
    std::vector<FrontSpan> spans;
    {
      const py::gil_scoped_release released;
      spans = front_->DrainSpans(&dropped);
    }
    py::list list(spans.size());
    for (std::size_t i = 0; i < spans.size(); ++i) list[i] = ToTuple(spans[i]);
    return py::make_tuple(list, dropped);
  }

  // Gives the GIL up while requests end.
  void Stop(double drain_seconds) {
    const py::gil_scoped_release released;
    front_->Stop(drain_seconds);
  }

  py::list ModelCounts() const {
    py::list list;
    for (const FrontModelCounts& counts : front_->ModelCounts()) list.append(ToTuple(counts));
    return list;
  }

  py::tuple ReadCounts() const { return ToTuple(front_->ReadCounts()); }

  py::list PredictCounts() const {
    py::list list;
    for (const FrontModelCounts& counts : front_->PredictCounts()) list.append(ToTuple(counts));
    return list;
  }

  py::dict Counts() const {
    const FrontCounts counts = front_->Counts();
    py::dict dict;
    dict["accepted"] = counts.accepted;
    dict["answered"] = counts.answered;
    dict["passed"] = counts.passed;
    dict["refused"] = counts.refused;
    dict["timed_out"] = counts.timed_out;
    dict["upstream_failures"] = counts.upstream_failures;
    dict["connections"] = counts.connections;
    dict["held_bytes"] = counts.held_bytes;
    return dict;
  }

 private:
  std::unique_ptr<Front> front_;
};

}  // namespace

void BindFront(py::module_& module) {
  py::options options;
  options.disable_function_signatures();
  py::class_<NativeFront>(module, "Front", py::is_final(), "An HTTP server. See mainspring.native.front.")
      .def(py::init<const std::vector<int>&, const py::dict&, const std::vector<int>&>(),
           py::arg("listeners"), py::arg("options"), py::arg("grpc_listeners"))
      .def_static("why_no_grpc", &Front::WhyNoGrpc)
      .def("set_models", &NativeFront::SetModels, py::arg("models"))
      .def("set_views", &NativeFront::SetViews, py::arg("views"), py::arg("services"), py::arg("max_rows"))
      .def("set_guard", &NativeFront::SetGuard, py::arg("keys"), py::arg("limits"), py::arg("needs_key"))
      .def_static("goes_to_canary", &GoesToCanary, py::arg("endpoint"), py::arg("key"), py::arg("percent"))
      .def("set_endpoints", &NativeFront::SetEndpoints, py::arg("endpoints"))
      .def("drain_predictions", &NativeFront::DrainPredictions)
      .def("predict_counts", &NativeFront::PredictCounts)
      .def("set_traces", &NativeFront::SetTraces, py::arg("share"), py::arg("max_waiting"))
      .def("drain_spans", &NativeFront::DrainSpans)
      .def("stop", &NativeFront::Stop, py::arg("drain_seconds"))
      .def("model_counts", &NativeFront::ModelCounts)
      .def("read_counts", &NativeFront::ReadCounts)
      .def("counts", &NativeFront::Counts);
}

}  // namespace mainspring
