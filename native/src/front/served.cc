#include "served.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <iterator>

#include "json_number.h"

namespace mainspring::front {
namespace {

// Work on a loop holds up every other connection of it: about half a millisecond, as in bindings/mlp.cc and
// bindings/trees.cc. What is larger goes to the app, which has threads for it.
constexpr std::size_t kMlpWork = std::size_t{1} << 24;
constexpr std::size_t kMlpWorkGeneric = std::size_t{1} << 19;
constexpr std::size_t kTreeRows = std::size_t{1} << 17;
constexpr std::size_t kMaxJsonBytes = std::size_t{128} << 10;

// Answers below this are not compressed by the app.
constexpr std::size_t kCompressBytes = 1024;

// The longest deadline that the app takes, a day.
constexpr double kMaxDeadlineMs = 86'400'000.0;

constexpr std::size_t kKeptBytes = std::size_t{1} << 20;

std::int64_t NowNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The value of a field that may be there once. False: it is there more often.
bool AtMostOnce(const RequestHead& head, std::string_view name, bool* is_there, std::string_view* value) {
  int times = 0;
  *value = head.Only(name, &times);
  *is_there = times > 0;
  return times < 2;
}

// Plain decimals only: what else Python's float takes is left to the app.
bool ReadDeadline(std::string_view text, double* millis) {
  for (char c : text) {
    if ((c < '0' || c > '9') && c != '.') return false;
  }
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *millis);
  return error == std::errc{} && stop == end && *millis > 0 && *millis <= kMaxDeadlineMs;
}

template <std::size_t kN>
std::size_t BucketOf(const std::uint64_t (&edges)[kN], std::uint64_t value) {
  return static_cast<std::size_t>(std::lower_bound(edges, edges + kN, value) - edges);
}

template <typename Value>
bool AllFinite(const std::vector<Value>& values, std::size_t n) {
  return std::all_of(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n),
                     [](Value value) { return std::isfinite(value); });
}

template <typename Value>
void AppendList(const std::vector<Value>& values, std::size_t n, std::string* out) {
  for (std::size_t i = 0; i < n; ++i) {
    if (i > 0) out->push_back(',');
    AppendJsonNumber(values[i], out);
  }
}

}  // namespace

void LoopModelCounts::Answered(std::uint64_t n_rows, std::uint64_t input, std::uint64_t infer,
                               std::uint64_t output) {
  requests.Add(1);
  rows.Add(n_rows);
  input_nanos.Add(input);
  infer_nanos.Add(infer);
  output_nanos.Add(output);
  latency[BucketOf(kFrontEdgesNanos, input + infer + output)].Add(1);
  row_sizes[BucketOf(kFrontRowEdges, n_rows)].Add(1);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  last_ms.Set(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()));
}

FrontModelCounts ModelBook::Sum() const {
  static_assert(std::size(kFrontEdgesNanos) + 1 == kFrontLatencyBuckets);
  static_assert(std::size(kFrontRowEdges) + 1 == kFrontRowBuckets);
  FrontModelCounts sum;
  sum.name = name;
  sum.version = version;
  for (const LoopModelCounts& loop : loops) {
    sum.requests += loop.requests.Get();
    sum.rows += loop.rows.Get();
    sum.passed_on += loop.passed_on.Get();
    sum.last_ms = std::max(sum.last_ms, loop.last_ms.Get());
    sum.input_nanos += loop.input_nanos.Get();
    sum.infer_nanos += loop.infer_nanos.Get();
    sum.output_nanos += loop.output_nanos.Get();
    for (std::size_t i = 0; i < kFrontLatencyBuckets; ++i) sum.latency[i] += loop.latency[i].Get();
    for (std::size_t i = 0; i < kFrontRowBuckets; ++i) sum.row_sizes[i] += loop.row_sizes[i].Get();
  }
  return sum;
}

bool IsRequestId(std::string_view id) {
  if (id.empty() || id.size() > 128) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == ':' || c == '-';
  });
}

bool ReadInferHead(const RequestHead& head, InferHead* infer) {
  *infer = {};
  bool is_there = false;
  std::string_view value;
  if (!AtMostOnce(head, "content-encoding", &is_there, &value) || is_there) return false;
  if (!AtMostOnce(head, "inference-header-content-length", &infer->has_json_length, &value)) return false;
  if (infer->has_json_length && (!ReadDigits(value, &infer->json_length) || infer->json_length == 0)) {
    return false;
  }
  if (!AtMostOnce(head, "accept-encoding", &is_there, &value)) return false;
  // A quality of 0 would say no: the app knows.
  infer->may_compress = is_there && !value.empty() && !EqualsIgnoringCase(value, "identity");
  if (!AtMostOnce(head, "x-deadline-ms", &is_there, &value)) return false;
  if (is_there && !ReadDeadline(value, &infer->deadline_ms)) return false;
  if (!AtMostOnce(head, "x-request-id", &is_there, &value)) return false;
  if (is_there && IsRequestId(value)) infer->request_id = value;
  return true;
}

void Scratch::Trim() {
  if (call.numbers.capacity() * sizeof(double) > kKeptBytes) std::vector<double>().swap(call.numbers);
  if (input.capacity() * sizeof(float) > kKeptBytes) std::vector<float>().swap(input);
  if (floats.capacity() * sizeof(float) > kKeptBytes) std::vector<float>().swap(floats);
  if (doubles.capacity() * sizeof(double) > kKeptBytes) std::vector<double>().swap(doubles);
  if (body.capacity() > kKeptBytes) std::string().swap(body);
}

Served::Served(FrontModel model, std::shared_ptr<ModelBook> book)
    : model_(std::move(model)), book_(std::move(book)), workspaces_(book_->loops.size()) {
  std::size_t rows = 0;
  if (model_.mlp != nullptr) {
    const Mlp& mlp = *model_.mlp;
    names_.width = mlp.dense_width();
    n_outputs_ = mlp.n_outputs();
    const std::size_t work = mlp.target() == Target::kGeneric ? kMlpWorkGeneric : kMlpWork;
    rows = work / std::max<std::size_t>(1, mlp.n_weights());
    for (Workspace& workspace : workspaces_) workspace.mlp = mlp.MakeWorkspace();
  } else {
    const Forest& forest = *model_.forest;
    names_.width = forest.width();
    n_outputs_ = forest.n_outputs(false);
    gives_double_ = !forest.is_xgboost();
    names_.takes_double = gives_double_;
    rows = kTreeRows / std::max<std::size_t>(1, forest.n_trees());
    for (Workspace& workspace : workspaces_) workspace.forest = forest.MakeWorkspace();
  }
  names_.input = model_.input;
  names_.output = model_.output;
  names_.max_rows = model_.max_rows;
  max_rows_here_ = rows;
}

bool Served::Answer(const InferHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
                    InferAnswer* answer) const {
  const std::int64_t began = NowNanos();
  if (head.has_json_length && head.json_length > body.size()) return false;
  const std::string_view json =
      head.has_json_length ? body.substr(0, static_cast<std::size_t>(head.json_length)) : body;
  if (json.size() > kMaxJsonBytes) return false;
  const std::string_view binary = body.substr(json.size());
  InferCall& call = scratch->call;
  if (!ReadInferCall(json, binary.size(), names_, &call) || call.rows > max_rows_here_) return false;
  // No number has more than 25 characters, and what surrounds them is below 512 and the names.
  if (head.may_compress && call.rows * n_outputs_ * 26 + 512 >= kCompressBytes) return false;
  const void* const input = Input(binary, scratch);
  if (input == nullptr) return false;
  const std::int64_t read = NowNanos();
  if (!Run(input, call.rows, loop, scratch)) return false;
  const std::int64_t ran = NowNanos();
  if (!Write(scratch, answer)) return false;
  const auto span = [](std::int64_t from, std::int64_t to) { return static_cast<std::uint64_t>(to - from); };
  counts(loop).Answered(call.rows, span(began, read), span(read, ran), span(ran, NowNanos()));
  return true;
}

// The matrix as the model reads it: where it lies, if that is a place for its elements. nullptr: a number is
// too large.
const void* Served::Input(std::string_view binary, Scratch* scratch) const {
  std::vector<double>& numbers = scratch->call.numbers;
  if (scratch->call.is_binary) {
    const std::size_t size = names_.takes_double ? sizeof(double) : sizeof(float);
    if (reinterpret_cast<std::uintptr_t>(binary.data()) % size == 0) return binary.data();
    numbers.resize((binary.size() + sizeof(double) - 1) / sizeof(double));
    return std::memcpy(numbers.data(), binary.data(), binary.size());
  }
  if (names_.takes_double) return numbers.data();
  scratch->input.resize(numbers.size());
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    // Rounded twice, as NumPy does with the doubles that JSON gave.
    scratch->input[i] = static_cast<float>(numbers[i]);
    if (std::isinf(scratch->input[i])) return nullptr;
  }
  return scratch->input.data();
}

bool Served::Run(const void* input, std::size_t rows, std::size_t loop, Scratch* scratch) const {
  Workspace& workspace = workspaces_[loop];
  if (gives_double_) {
    scratch->doubles.resize(rows * n_outputs_);
    model_.forest->Run(static_cast<const double*>(input), rows, false, &workspace.forest,
                       scratch->doubles.data());
    return true;
  }
  scratch->floats.resize(rows * n_outputs_);
  const auto* const from = static_cast<const float*>(input);
  if (model_.mlp != nullptr) {
    return model_.mlp->Run(from, nullptr, rows, &workspace.mlp, scratch->floats.data()).ok();
  }
  model_.forest->Run(from, rows, false, &workspace.forest, scratch->floats.data());
  return true;
}

bool Served::Write(Scratch* scratch, InferAnswer* answer) const {
  const InferCall& call = scratch->call;
  const std::size_t n = call.rows * n_outputs_;
  const std::size_t n_bytes = n * (gives_double_ ? sizeof(double) : sizeof(float));
  // JSON has neither NaN nor infinities: the app says so.
  if (!call.wants_binary &&
      !(gives_double_ ? AllFinite(scratch->doubles, n) : AllFinite(scratch->floats, n))) {
    return false;
  }
  std::string& out = scratch->body;
  out.assign(R"({"model_name":")")
      .append(model_.name)
      .append(R"(","model_version":")")
      .append(model_.version);
  out.append(R"(","outputs":[{"name":")").append(model_.output).append(R"(","datatype":")");
  out.append(gives_double_ ? "FP64" : "FP32").append(R"(","shape":[)");
  out.append(std::to_string(call.rows)).append(",").append(std::to_string(n_outputs_)).append("],");
  if (call.wants_binary) {
    out.append(R"("parameters":{"binary_data_size":)").append(std::to_string(n_bytes)).append("}");
  } else {
    out.append(R"("data":[)");
    gives_double_ ? AppendList(scratch->doubles, n, &out) : AppendList(scratch->floats, n, &out);
    out.append("]");
  }
  out.append("}]");
  if (!call.id.empty()) out.append(R"(,"id":")").append(call.id).append("\"");
  out.append("}");
  answer->is_binary = call.wants_binary;
  answer->json_length = out.size();
  if (call.wants_binary) {
    const void* const from = gives_double_ ? static_cast<const void*>(scratch->doubles.data())
                                           : static_cast<const void*>(scratch->floats.data());
    out.append(static_cast<const char*>(from), n_bytes);
  }
  return true;
}

ModelTable::ModelTable(const std::vector<std::shared_ptr<const Served>>& models) {
  for (const std::shared_ptr<const Served>& served : models) {
    const std::string path = "/v2/models/" + served->model().name;
    by_path_.emplace_back(path + "/versions/" + served->model().version + "/infer", served);
    if (served->model().is_default) by_path_.emplace_back(path + "/infer", served);
  }
  std::sort(by_path_.begin(), by_path_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
}

const std::shared_ptr<const Served>* ModelTable::Find(std::string_view target) const {
  const auto found =
      std::lower_bound(by_path_.begin(), by_path_.end(), target,
                       [](const auto& entry, std::string_view path) { return entry.first < path; });
  return found != by_path_.end() && found->first == target ? &found->second : nullptr;
}

}  // namespace mainspring::front
