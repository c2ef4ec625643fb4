#include "mainspring/mlp.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>

#include "mainspring/float_environment.h"
#include "mlp_kernels.h"

namespace mainspring {
namespace {

constexpr std::size_t kPack = 16;
// Rows whose values of two layers stay in the second-level cache at any width that we meet.
constexpr std::size_t kBlockRows = 48;
constexpr std::size_t kNarrowOutputs = 8;

std::size_t Padded(std::size_t n) { return (n + kPack - 1) / kPack * kPack; }

// Part of the definition of the numbers, not of a target: enough sums for one row to hide an addition's
// latency.
std::size_t SegmentsOf(std::size_t inputs, std::size_t outputs) {
  if (inputs < 32) return 1;
  return outputs <= 32 ? 4 : outputs <= 64 ? 2 : 1;
}

Status Refuse(std::size_t place, const char* expected, double got, const char* next_step) {
  return {StatusCode::kBadSpec, static_cast<std::int32_t>(place), expected, true, got, next_step};
}

bool AreFinite(const float* values, std::size_t n) {
  return std::all_of(values, values + n, [](float x) { return std::isfinite(x); });
}

// Into zeros; the layouts are those of mlp_kernels.h.
void PackLayer(const MlpLayer& l, bool is_narrow, float* weights, float* bias) {
  if (l.bias != nullptr) std::memcpy(bias, l.bias, l.outputs * sizeof(float));
  if (l.inputs == 0) return;
  for (std::size_t j = 0; j < l.outputs; ++j) {
    const float* const from = l.weights + j * l.inputs;
    if (is_narrow) {
      std::memcpy(weights + j * Padded(l.inputs), from, l.inputs * sizeof(float));
    } else {
      float* const panel = weights + j / kPack * l.inputs * kPack + j % kPack;
      for (std::size_t i = 0; i < l.inputs; ++i) panel[i * kPack] = from[i];
    }
  }
}

Status CheckLayers(const MlpSpec& spec, std::size_t width) {
  if (spec.layers.empty() || spec.layers.size() > kMaxMlpLayers) {
    return {StatusCode::kBadSpec,
            -1,
            "a network must have 1 to 64 layers",
            true,
            static_cast<double>(spec.layers.size()),
            "split it"};
  }
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    const MlpLayer& l = spec.layers[i];
    if (l.inputs != width) {
      return Refuse(i, "a layer's weights must have a column for each value of the layer before",
                    static_cast<double>(l.inputs), "compare them with the network that was trained");
    }
    if (l.outputs == 0 || l.outputs > kMaxMlpWidth || l.inputs > kMaxMlpWidth) {
      return Refuse(i, "a layer must have 1 to 16384 outputs, and at most as many inputs",
                    static_cast<double>(l.outputs), "use another runtime for networks of this size");
    }
    if (static_cast<std::int32_t>(l.activation) < 0 ||
        static_cast<std::int32_t>(l.activation) >= kActivations) {
      return Refuse(i, "`activation` must be known", static_cast<double>(l.activation),
                    "see mlp.ACTIVATIONS");
    }
    if (!AreFinite(l.weights, l.inputs * l.outputs) || (l.bias != nullptr && !AreFinite(l.bias, l.outputs))) {
      return {StatusCode::kBadSpec,
              static_cast<std::int32_t>(i),
              "weights must be finite",
              false,
              0,
              "train again with a lower learning rate"};
    }
    width = l.outputs;
  }
  return {};
}

Status CheckTables(const MlpSpec& spec) {
  const std::size_t n = spec.layers.size();
  if (spec.tables.size() > kMaxMlpTables || spec.n_ids > kMaxMlpTables) {
    return {StatusCode::kBadSpec, -1, "a network must have at most 4096 tables and ids"};
  }
  for (std::size_t i = 0; i < spec.tables.size(); ++i) {
    const MlpTable& t = spec.tables[i];
    if (t.id_index >= spec.n_ids) {
      return Refuse(n + i, "a table's id must be one of the ids", static_cast<double>(t.id_index),
                    "name one that is below `n_ids`");
    }
    if (t.rows == 0 || t.rows > INT32_MAX || t.dimensions == 0 || t.dimensions > kMaxMlpWidth) {
      return Refuse(n + i, "a table must have rows, and 1 to 16384 dimensions",
                    static_cast<double>(t.dimensions), "compare it with the network that was trained");
    }
    if (t.is_added && t.dimensions != spec.layers.back().outputs) {
      return Refuse(n + i, "a table that is added must have a dimension for each output",
                    static_cast<double>(t.dimensions), "compare it with the network that was trained");
    }
    if (!AreFinite(t.weights, t.rows * t.dimensions)) {
      return {StatusCode::kBadSpec,
              static_cast<std::int32_t>(n + i),
              "weights must be finite",
              false,
              0,
              "train again with a lower learning rate"};
    }
  }
  return {};
}

}  // namespace

Status Mlp::Compile(const MlpSpec& spec, Target target, Mlp* mlp) {
  std::size_t width = spec.dense_width;
  for (const MlpTable& table : spec.tables) width += table.is_added ? 0 : table.dimensions;
  if (const Status status = CheckLayers(spec, width); !status.ok()) return status;
  if (const Status status = CheckTables(spec); !status.ok()) return status;
  if (!IsSupported(target)) {
    return {StatusCode::kUnknownTarget,           -1, "`target` must be one that this CPU supports", false, 0,
            "take one from `targets.available()`"};
  }
  Mlp made;
  made.target_ = target;
  made.dense_width_ = spec.dense_width;
  made.n_ids_ = spec.n_ids;
  made.stride_ = std::max(kPack, Padded(width));
  std::size_t floats = 0;
  const auto place = [&floats](std::size_t n) {
    const std::size_t at = floats;
    floats += Padded(n);
    return at;
  };
  for (const MlpLayer& l : spec.layers) {
    const bool is_narrow = l.outputs < kNarrowOutputs;
    const std::size_t n = is_narrow ? l.outputs * Padded(l.inputs) : Padded(l.outputs) * l.inputs;
    made.layers_.push_back({l.inputs, l.outputs, SegmentsOf(l.inputs, l.outputs), is_narrow, l.activation,
                            place(n), place(l.outputs)});
    made.n_weights_ += l.inputs * l.outputs;
    made.stride_ = std::max(made.stride_, Padded(l.outputs));
  }
  for (const MlpTable& t : spec.tables) {
    made.has_addend_ |= t.is_added;
    made.tables_.push_back({t.id_index, t.rows, t.dimensions, t.is_added, place(t.rows * t.dimensions)});
  }
  const auto memory = std::make_shared<PackedMemory>(floats * sizeof(float));
  auto* const base = reinterpret_cast<float*>(memory->own());
  for (std::size_t i = 0; i < spec.layers.size(); ++i) {
    PackLayer(spec.layers[i], made.layers_[i].is_narrow, base + made.layers_[i].weights_at,
              base + made.layers_[i].bias_at);
  }
  for (std::size_t i = 0; i < spec.tables.size(); ++i) {
    const MlpTable& t = spec.tables[i];
    std::memcpy(base + made.tables_[i].weights_at, t.weights, t.rows * t.dimensions * sizeof(float));
  }
  made.memory_ = memory;
  *mlp = std::move(made);
  return {};
}

Status Mlp::Over(int fd, Mlp* mlp) const {
  if (layers_.empty()) return {StatusCode::kBadSpec, -1, "the network must be compiled first"};
  std::shared_ptr<const PackedMemory> mapped;
  const Status status = memory_->MapSame(fd, &mapped);
  if (!status.ok()) return status;
  *mlp = *this;
  mlp->memory_ = std::move(mapped);
  return {};
}

MlpWorkspace Mlp::MakeWorkspace() const {
  MlpWorkspace workspace;
  workspace.input.resize(kBlockRows * stride_ / kPack);
  workspace.other.resize(kBlockRows * stride_ / kPack);
  workspace.addend.resize(has_addend_ ? kBlockRows * n_outputs() : 0);
  return workspace;
}

Status Mlp::Run(const float* dense, const std::int32_t* ids, std::size_t n_rows, MlpWorkspace* workspace,
                float* out) const noexcept {
  if (layers_.empty()) return {StatusCode::kBadSpec, -1, "the network must be compiled first"};
  for (const Table& table : tables_) {
    const std::int32_t* const column = ids + table.id_index * n_rows;
    for (std::size_t r = 0; r < n_rows; ++r) {
      if (static_cast<std::uint32_t>(column[r]) >= table.rows) {
        return {StatusCode::kBadSpec,
                static_cast<std::int32_t>(&table - tables_.data()),
                "an id must lie within its table",
                true,
                static_cast<double>(r),
                "run the plan that the network was trained with"};
      }
    }
  }
  const DefaultFloatEnvironment environment;
  const float* const packed = Packed();
  MainspringMlpLayer layers[kMaxMlpLayers];
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& l = layers_[i];
    layers[i] = {l.inputs,
                 l.outputs,
                 l.is_narrow,
                 l.segments,
                 static_cast<int>(l.activation),
                 packed + l.weights_at,
                 packed + l.bias_at};
  }
  MainspringMlpArgs args;
  args.layers = layers;
  args.n_layers = layers_.size();
  args.stride = stride_;
  args.input = workspace->input[0].value;
  args.other = workspace->other[0].value;
  args.addend = has_addend_ ? workspace->addend.data() : nullptr;
  const std::size_t width = n_outputs();
  for (std::size_t first = 0; first < n_rows; first += kBlockRows) {
    args.n_rows = std::min(kBlockRows, n_rows - first);
    if (has_addend_) std::fill(workspace->addend.begin(), workspace->addend.end(), 0.0f);
    for (std::size_t r = 0; r < args.n_rows; ++r) {
      float* const row = args.input + r * stride_;
      if (dense_width_ > 0) {
        std::memcpy(row, dense + (first + r) * dense_width_, dense_width_ * sizeof(float));
      }
      std::size_t at = dense_width_;
      for (const Table& table : tables_) {
        const auto id = static_cast<std::size_t>(ids[table.id_index * n_rows + first + r]);
        const float* const values = packed + table.weights_at + id * table.dimensions;
        if (table.is_added) {
          for (std::size_t j = 0; j < width; ++j) workspace->addend[r * width + j] += values[j];
        } else {
          std::memcpy(row + at, values, table.dimensions * sizeof(float));
          at += table.dimensions;
        }
      }
      for (const std::size_t end = Padded(at); at < end; ++at) row[at] = 0;
    }
    args.out = out + first * width;
    switch (target_) {
      case Target::kGeneric:
        MainspringMlpGeneric(&args);
        break;
#if defined(__x86_64__)
      case Target::kAvx2:
        MainspringMlpAvx2(&args);
        break;
      case Target::kAvx512:
        MainspringMlpAvx512(&args);
        break;
#else
      default:
        return {StatusCode::kUnknownTarget, -1, "this build has no such target"};
#endif
    }
  }
  return {};
}

}  // namespace mainspring
