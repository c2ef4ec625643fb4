#include "served.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "infer_envelope.h"
#include "json_number.h"

namespace mainspring::front {
namespace {

// Work of about kLoopSeconds, as in bindings/mlp.cc and bindings/trees.cc. What is larger goes to the app,
// which has threads for it.
constexpr std::size_t kMlpWork = std::size_t{1} << 24;
constexpr std::size_t kMlpWorkGeneric = std::size_t{1} << 19;
constexpr std::size_t kTreeRows = std::size_t{1} << 17;

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

Served::Served(FrontModel model, std::shared_ptr<ModelBook> book, double seconds)
    : Answering({FrontScope::kPredict, model.name}, std::move(book)),
      model_(std::move(model)),
      workspaces_(n_loops()) {
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
  max_rows_here_ = static_cast<std::size_t>(static_cast<double>(rows) * (seconds / kLoopSeconds));
}

bool Served::Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
                    MadeAnswer* answer) const {
  const std::int64_t began = NowNanos();
  std::string_view json, binary;
  if (!SplitInferBody(head, body, &json, &binary)) return false;
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
  if (head.may_compress && scratch->body.size() >= kCompressBytes) return false;  // a long id
  Told(call.rows, loop, {began, read, ran}, answer);
  return true;
}

void Served::Told(std::size_t rows, std::size_t loop, const Times& times, MadeAnswer* answer) const {
  answer->rows = rows;
  answer->model = model_.name;
  answer->parts[0] = {"infer", times.read, times.ran};
  answer->n_parts = 1;
  const auto span = [](std::int64_t from, std::int64_t to) { return static_cast<std::uint64_t>(to - from); };
  counts(loop).Answered(rows, span(times.began, times.read), span(times.read, times.ran),
                        span(times.ran, NowNanos()));
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

bool Served::Write(Scratch* scratch, MadeAnswer* answer) const {
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
  if (call.wants_binary) out.append(Bytes(*scratch, call.rows));
  return true;
}

std::string_view Served::Bytes(const Scratch& scratch, std::size_t rows) const {
  const std::size_t n = rows * n_outputs_;
  if (gives_double_) return {reinterpret_cast<const char*>(scratch.doubles.data()), n * sizeof(double)};
  return {reinterpret_cast<const char*>(scratch.floats.data()), n * sizeof(float)};
}

bool Served::Fits(const GrpcInfer& infer) const {
  const std::size_t size = names_.takes_double ? sizeof(double) : sizeof(float);
  return infer.model == model_.name && infer.input == names_.input &&
         infer.datatype == (names_.takes_double ? "FP64" : "FP32") && infer.rows >= 1 &&
         infer.rows <= std::min(names_.max_rows, max_rows_here_) && infer.width == names_.width &&
         infer.elements.size() == infer.rows * names_.width * size &&
         (infer.element_size == 0 || infer.element_size == size) &&
         (!infer.names_output || infer.output == names_.output);
}

bool Served::AnswerGrpc(const GrpcInfer& infer, std::size_t loop, Scratch* scratch,
                        MadeAnswer* answer) const {
  const std::int64_t began = NowNanos();
  if (!Fits(infer)) return false;
  scratch->call.is_binary = true;
  const void* const input = Input(infer.elements, scratch);
  const std::int64_t read = NowNanos();
  if (!Run(input, infer.rows, loop, scratch)) return false;
  const std::int64_t ran = NowNanos();
  AppendGrpcAnswer({model_.name, model_.version, infer.id, model_.output, gives_double_ ? "FP64" : "FP32",
                    infer.rows, n_outputs_, Bytes(*scratch, infer.rows)},
                   &scratch->body);
  Told(infer.rows, loop, {began, read, ran}, answer);
  return true;
}

void AddPaths(const std::shared_ptr<const Served>& served, std::vector<PathTable::Entry>* by_path) {
  const std::string path = "/v2/models/" + served->model().name;
  by_path->emplace_back(path + "/versions/" + served->model().version + "/infer", served);
  if (served->model().is_default) by_path->emplace_back(path + "/infer", served);
}

}  // namespace mainspring::front
