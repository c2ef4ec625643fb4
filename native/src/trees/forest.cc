// The fast layout and its walks.
//
// A step is one load of a node, one of a value, one comparison and one addition, without branches: missing
// values need none, because a NaN is never greater and therefore takes the first child. A split whose missing
// values go to its second side is turned round: its children swap and it compares -x. So each (feature,
// treatment of missing values, sign) that a model uses is a slot, filled once a row.
//
// The steps of one tree depend on one another (some 16 cycles each), those of different trees and rows do
// not: eight are walked at once. A single row takes eight trees, a batch one tree for eight rows.
//
// Tried: AVX-512 gathers, 16 trees a step: three gathers are 75 cycles on Zen 4, more than 16 scalar steps
// (an estimate from instruction tables, 2026-11).

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "mainspring/float_environment.h"
#include "mainspring/trees.h"

namespace mainspring {
namespace {

constexpr std::size_t kTogether = 8;
constexpr std::size_t kBlockRows = 64;
constexpr std::size_t kMaxTrees = std::size_t{1} << 24;
constexpr double kZeroThreshold = 1e-35f;  // LightGBM's, a float there too
constexpr double kInf = std::numeric_limits<double>::infinity();

ModelError Bad(std::size_t tree, const std::string& message) {
  return {StatusCode::kBadModel,
          "tree " + std::to_string(tree) + ": " + message + "; write the model again with its library"};
}

// The largest float that is at most t: for a float x, x <= t and x <= RoundDown(t) are the same.
float RoundDown(double t) {
  const auto rounded = static_cast<float>(t);
  if (rounded <= t) return rounded;
  return std::nextafter(rounded, -std::numeric_limits<float>::infinity());
}

template <typename T>
T Below(T x) {
  return std::nextafter(x, -std::numeric_limits<T>::infinity());
}

// How a split is laid out: which slot, and whether the right child comes first.
struct Split {
  Forest::SlotKind kind;
  bool is_swapped;
};

Split SplitOf(const TreeNode& node, bool is_xgboost) {
  using Kind = Forest::SlotKind;
  if (node.is_categorical) {
    // LightGBM: in the set is left. XGBoost: in the set is right.
    if (!is_xgboost) return {Kind::kInSet, true};
    return {node.default_left ? Kind::kInSetLeft : Kind::kInSetRight, false};
  }
  // Where one side takes every number, no threshold tells numbers from NaN.
  if (node.is_strict ? node.default_left && node.threshold == -kInf
                     : !node.default_left && node.threshold == kInf && node.missing != Missing::kNone) {
    return {node.missing == Missing::kZero ? Kind::kIsNotZero : Kind::kIsNumber, !node.is_strict};
  }
  if (node.missing == Missing::kNone) return {Kind::kNaNAsZero, false};
  if (node.missing == Missing::kZero) {
    return {node.default_left ? Kind::kZeroAsNaN : Kind::kMinusZeroNaN, !node.default_left};
  }
  return {node.default_left ? Kind::kPlain : Kind::kMinus, !node.default_left};
}

// The value that the second child's are greater than.
template <typename T>
T ThresholdOf(const TreeNode& node, const Split& split) {
  using Kind = Forest::SlotKind;
  if (node.is_categorical || split.kind == Kind::kIsNumber || split.kind == Kind::kIsNotZero) return T(0.5);
  if (node.is_strict) {
    // x >= t is the right side, and x < t the left, which is the second where swapped. All are floats.
    const auto t = static_cast<float>(node.threshold);
    return split.is_swapped ? -t : Below(t);
  }
  const T t = sizeof(T) == sizeof(float) ? static_cast<T>(RoundDown(node.threshold)) : T(node.threshold);
  return split.is_swapped ? Below(-t) : t;  // x <= t is -x > the number below -t
}

bool IsInSet(double x, bool is_xgboost, const std::uint32_t* bits, std::uint32_t words) {
  // XGBoost: below 0 is no category. LightGBM cuts towards zero first, so -0.5 is category 0.
  if (is_xgboost ? !(x >= 0 && x < (1 << 24)) : !(x > -1 && x < 2147483648.0)) return false;
  const auto category = static_cast<std::uint32_t>(static_cast<std::int32_t>(x));
  return category / 32 < words && (bits[category / 32] >> category % 32 & 1) != 0;
}

#define MAINSPRING_UNROLL _Pragma("GCC unroll 8")

// Walks kTogether nodes down to their leaves; values[i] are those of nodes[i].
template <typename Node, typename Value>
inline __attribute__((always_inline)) void Walk(const Node* (&at)[kTogether],
                                                const Value* const (&values)[kTogether], std::size_t depth) {
  const auto step = [&](std::size_t i) {
    const Node* const node = at[i];
    at[i] = node + node->step + (values[i][node->slot] > node->threshold);
  };
  for (; depth >= 4; depth -= 4) {
    for (int j = 0; j < 3; ++j) {
      MAINSPRING_UNROLL
      for (std::size_t i = 0; i < kTogether; ++i) step(i);
    }
    bool is_moving = false;
    MAINSPRING_UNROLL
    for (std::size_t i = 0; i < kTogether; ++i) {
      const Node* const before = at[i];
      step(i);
      is_moving |= at[i] != before;
    }
    if (!is_moving) return;
  }
  for (; depth > 0; --depth) {
    MAINSPRING_UNROLL
    for (std::size_t i = 0; i < kTogether; ++i) step(i);
  }
}

template <typename Node, typename Value>
const Node* WalkOne(const Node* at, const Value* values, std::size_t depth) {
  for (; depth > 0; --depth) at += at->step + (values[at->slot] > at->threshold);
  return at;
}

}  // namespace

ModelError Forest::Make(ForestModel model, Forest* forest) {
  if (model.trees.size() > kMaxTrees || model.output_of.size() != model.trees.size()) {
    return {StatusCode::kBadModel, "a model must have at most 16777216 trees, each with an output"};
  }
  Forest made;
  std::map<std::pair<SlotKind, std::uint32_t>, std::uint32_t> numeric;
  struct Laid {
    const TreeNode* node;
    Split split;
    std::uint32_t slot, step;
  };
  std::vector<Laid> laid;
  std::uint32_t widest_step = 0;
  std::vector<std::uint32_t> position;
  std::vector<std::uint32_t> level;
  for (std::size_t t = 0; t < model.trees.size(); ++t) {
    const std::vector<TreeNode>& tree = model.trees[t];
    if (tree.empty() || model.output_of[t] >= model.n_outputs)
      return Bad(t, "it must have nodes and an output");
    if (laid.size() + tree.size() > std::numeric_limits<std::uint32_t>::max()) {
      return Bad(t, "the model has too many nodes");
    }
    const std::size_t root = laid.size();
    std::vector<bool> is_seen(tree.size());
    laid.push_back({&tree[0], {}, 0, 0});
    is_seen[0] = true;
    level.assign(1, 0);
    for (std::size_t at = root; at < laid.size(); ++at) {
      const TreeNode& node = *laid[at].node;
      if (node.is_leaf) {
        if (!std::isfinite(node.value)) return Bad(t, "the value of a leaf must be finite");
        continue;
      }
      if (node.feature >= model.width) {
        return Bad(t, "a split's feature must be below " + std::to_string(model.width) + ", got " +
                          std::to_string(node.feature));
      }
      if (!node.is_categorical && std::isnan(node.threshold)) {
        return Bad(t, "the threshold of a split must not be NaN");
      }
      if (std::uint64_t{node.bits_begin} + node.bits_words > model.bits.size()) {
        return Bad(t, "a set of categories does not exist");
      }
      for (const std::uint32_t child : {node.left, node.right}) {
        if (child >= tree.size()) return Bad(t, "a child does not exist");
        if (is_seen[child]) return Bad(t, "a node is reached twice: the splits are no tree");
        is_seen[child] = true;
      }
      const Split split = SplitOf(node, model.is_xgboost);
      const auto fresh = static_cast<std::uint32_t>(made.slots_.size());
      const std::uint32_t slot =
          node.is_categorical ? fresh
                              : numeric.emplace(std::pair(split.kind, node.feature), fresh).first->second;
      if (slot == fresh) made.slots_.push_back({split.kind, node.feature, node.bits_begin, node.bits_words});
      const auto step = static_cast<std::uint32_t>(laid.size() - at);
      widest_step = std::max(widest_step, step);
      laid[at].split = split;
      laid[at].slot = slot;
      laid[at].step = step;
      const std::uint32_t below = level[at - root] + 1;
      laid.push_back({&tree[split.is_swapped ? node.right : node.left], {}, 0, 0});
      laid.push_back({&tree[split.is_swapped ? node.left : node.right], {}, 0, 0});
      level.push_back(below);
      level.push_back(below);
    }
    made.root_.push_back(static_cast<std::uint32_t>(root));
    made.depth_.push_back(level.back());
  }

  // Slots by kind, then by feature.
  std::vector<std::uint32_t> order(made.slots_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const Slot &x = made.slots_[a], &y = made.slots_[b];
    return std::tuple(x.kind, x.feature, a) < std::tuple(y.kind, y.feature, b);
  });
  position.resize(order.size());
  std::vector<Slot> sorted;
  for (std::size_t i = 0; i < order.size(); ++i) {
    position[order[i]] = static_cast<std::uint32_t>(i);
    sorted.push_back(made.slots_[order[i]]);
  }
  made.slots_ = std::move(sorted);
  for (std::size_t kind = 0; kind < kSlotKinds; ++kind) {
    made.kind_end_[kind] =
        static_cast<std::size_t>(std::count_if(made.slots_.begin(), made.slots_.end(), [kind](const Slot& s) {
          return static_cast<std::size_t>(s.kind) <= kind;
        }));
  }
  // A leaf reads slot 0, even where no split made one.
  if (made.slots_.empty()) {
    made.slots_.push_back({SlotKind::kPlain, 0, 0, 0});
    for (std::size_t& end : made.kind_end_) end = 1;
  }

  const auto write = [&](auto* layout) {
    using Node = typename std::decay_t<decltype(layout->nodes)>::value_type;
    using Leaf = typename std::decay_t<decltype(layout->values)>::value_type;
    using Value = decltype(Node::threshold);
    using Index = decltype(Node::slot);
    layout->nodes.reserve(laid.size());
    layout->values.reserve(laid.size());
    for (const Laid& l : laid) {
      const bool is_leaf = l.node->is_leaf;
      const Value threshold = is_leaf ? static_cast<Value>(kInf) : ThresholdOf<Value>(*l.node, l.split);
      layout->nodes.push_back(
          {threshold, static_cast<Index>(is_leaf ? 0 : position[l.slot]), static_cast<Index>(l.step)});
      layout->values.push_back(is_leaf ? static_cast<Leaf>(l.node->value) : Leaf(0));
    }
  };
  const bool is_narrow = widest_step <= 0xFFFF && made.slots_.size() <= 0x10000;
  if (model.is_xgboost) {
    is_narrow ? write(&made.narrow_float_) : write(&made.wide_float_);
  } else {
    if (is_narrow) write(&made.narrow_);
    write(&made.wide_);  // for doubles
  }
  made.n_nodes_ = laid.size();
  made.is_xgboost_ = model.is_xgboost;
  made.is_average_ = model.is_average;
  made.link_ = model.link;
  made.parameter_ = model.parameter;
  made.width_ = model.width;
  made.n_sums_ = model.n_outputs;
  made.objective_ = std::move(model.objective);
  made.feature_names_ = std::move(model.feature_names);
  made.base_ = std::move(model.base);
  made.base_.resize(made.n_sums_);
  made.output_of_ = std::move(model.output_of);
  made.bits_ = std::move(model.bits);
  *forest = std::move(made);
  return {};
}

ForestWorkspace Forest::MakeWorkspace() const {
  ForestWorkspace workspace;
  workspace.slots_.resize(kBlockRows * slots_.size());
  workspace.sums_.resize(kBlockRows * n_sums_);
  return workspace;
}

template <typename Value, typename Input>
void Forest::Fill(const Input* row, Value* slots) const {
  const Slot* const slot = slots_.data();
  const auto of = [&](std::size_t i) { return static_cast<Value>(row[slot[i].feature]); };
  const auto is_zero = [](Value x) { return x >= -kZeroThreshold && x <= kZeroThreshold; };
  constexpr Value kNaN = std::numeric_limits<Value>::quiet_NaN();
  const auto end = [this](SlotKind kind) { return kind_end_[static_cast<std::size_t>(kind)]; };
  std::size_t i = 0;
  for (; i < end(SlotKind::kPlain); ++i) slots[i] = of(i);
  for (; i < end(SlotKind::kMinus); ++i) slots[i] = -of(i);
  for (; i < end(SlotKind::kNaNAsZero); ++i) {
    const Value x = of(i);
    slots[i] = x == x ? x : Value(0);
  }
  for (; i < end(SlotKind::kZeroAsNaN); ++i) slots[i] = is_zero(of(i)) ? kNaN : of(i);
  for (; i < end(SlotKind::kMinusZeroNaN); ++i) slots[i] = is_zero(of(i)) ? kNaN : -of(i);
  for (; i < end(SlotKind::kIsNumber); ++i) slots[i] = Value(of(i) == of(i));
  for (; i < end(SlotKind::kIsNotZero); ++i) slots[i] = Value(of(i) == of(i) && !is_zero(of(i)));
  for (; i < slots_.size(); ++i) {
    const Value x = of(i);
    const bool is_nan_one = slot[i].kind == SlotKind::kInSetRight && x != x;
    const bool is_in = IsInSet(static_cast<double>(x), slot[i].kind != SlotKind::kInSet,
                               bits_.data() + slot[i].bits_begin, slot[i].bits_words);
    slots[i] = Value(is_in || is_nan_one);
  }
}

template <typename Sum, typename Output>
void Forest::Finish(const Sum* sums, bool raw, Output* out) const {
  const std::size_t n = n_sums_;
  const auto x = [&](std::size_t i) { return sums[i]; };
  if (raw) {
    for (std::size_t i = 0; i < n; ++i) out[i] = x(i);
    return;
  }
  const auto parameter = static_cast<Sum>(parameter_);
  const Sum largest = *std::max_element(sums, sums + n);
  double total = 0;
  switch (link_) {
    case Link::kIdentity:
      for (std::size_t i = 0; i < n; ++i) out[i] = x(i);
      return;
    case Link::kSigmoid:
      for (std::size_t i = 0; i < n; ++i) {
        // XGBoost stops short of exp's overflow.
        const Sum y = is_xgboost_ ? std::min(-x(i), Sum(88.7f)) : -parameter * x(i);
        out[i] = Sum(1) / (Sum(1) + std::exp(y));
      }
      return;
    case Link::kSoftmax:
      for (std::size_t i = 0; i < n; ++i) {
        out[i] = std::exp(x(i) - largest);
        total += out[i];
      }
      for (std::size_t i = 0; i < n; ++i) out[i] /= static_cast<Sum>(total);
      return;
    case Link::kArgmax:
      *out = static_cast<Output>(std::max_element(sums, sums + n) - sums);
      return;
    case Link::kExp:
      for (std::size_t i = 0; i < n; ++i) out[i] = std::exp(x(i));
      return;
    case Link::kSignedSquare:
      for (std::size_t i = 0; i < n; ++i) out[i] = x(i) < 0 ? -x(i) * x(i) : x(i) * x(i);
      return;
    case Link::kLog1pExp:
      for (std::size_t i = 0; i < n; ++i) out[i] = std::log1p(std::exp(x(i)));
      return;
    case Link::kStep:
      for (std::size_t i = 0; i < n; ++i) out[i] = x(i) > 0 ? Output(1) : Output(0);
      return;
  }
}

template <typename Node, typename Leaf, typename Value, typename Input, typename Output>
void Forest::RunWith(const Layout<Node, Leaf>& layout, const Input* features, std::size_t n_rows, bool raw,
                     ForestWorkspace* workspace, Output* out) const {
  const DefaultFloatEnvironment environment;
  const Node* const nodes = layout.nodes.data();
  const Leaf* const values = layout.values.data();
  const std::size_t n_slots = slots_.size(), n_trees = root_.size(), width = n_outputs(raw);
  auto* const slots = reinterpret_cast<Value*>(workspace->slots_.data());
  auto* const sums = reinterpret_cast<Leaf*>(workspace->sums_.data());
  const Leaf rounds = static_cast<Leaf>(n_trees / n_sums_);

  for (std::size_t first = 0; first < n_rows; first += kBlockRows) {
    const std::size_t rows = std::min(n_rows - first, kBlockRows);
    for (std::size_t r = 0; r < rows; ++r) {
      Fill<Value>(features + (first + r) * width_, slots + r * n_slots);
      for (std::size_t i = 0; i < n_sums_; ++i) sums[r * n_sums_ + i] = static_cast<Leaf>(base_[i]);
    }
    // INVARIANT: a row's leaves are added in the order of the trees, as the libraries do.
    const std::size_t whole_rows = rows / kTogether * kTogether;
    if (whole_rows > 0) {
      for (std::size_t t = 0; t < n_trees; ++t) {
        Leaf* const sum = sums + output_of_[t];
        for (std::size_t r = 0; r < whole_rows; r += kTogether) {
          const Node* at[kTogether];
          const Value* row[kTogether];
          for (std::size_t i = 0; i < kTogether; ++i) {
            at[i] = nodes + root_[t];
            row[i] = slots + (r + i) * n_slots;
          }
          Walk(at, row, depth_[t]);
          for (std::size_t i = 0; i < kTogether; ++i) sum[(r + i) * n_sums_] += values[at[i] - nodes];
        }
      }
    }
    for (std::size_t r = whole_rows; r < rows; ++r) {
      const Value* const row = slots + r * n_slots;
      Leaf* const sum = sums + r * n_sums_;
      std::size_t t = 0;
      for (; t + kTogether <= n_trees; t += kTogether) {
        const Node* at[kTogether];
        const Value* same[kTogether];
        std::size_t depth = 0;
        for (std::size_t i = 0; i < kTogether; ++i) {
          at[i] = nodes + root_[t + i];
          same[i] = row;
          depth = std::max<std::size_t>(depth, depth_[t + i]);
        }
        Walk(at, same, depth);
        for (std::size_t i = 0; i < kTogether; ++i) sum[output_of_[t + i]] += values[at[i] - nodes];
      }
      for (; t < n_trees; ++t)
        sum[output_of_[t]] += values[WalkOne(nodes + root_[t], row, depth_[t]) - nodes];
    }
    for (std::size_t r = 0; r < rows; ++r) {
      Leaf* const sum = sums + r * n_sums_;
      if (is_average_ && !raw) {
        for (std::size_t i = 0; i < n_sums_; ++i) sum[i] /= rounds;
      }
      Finish(sum, raw, out + (first + r) * width);
    }
  }
}

void Forest::Run(const float* features, std::size_t n_rows, bool raw, ForestWorkspace* workspace,
                 double* out) const noexcept {
  if (!narrow_.nodes.empty()) {
    RunWith<Narrow, double, float>(narrow_, features, n_rows, raw, workspace, out);
  } else {
    RunWith<Wide, double, double>(wide_, features, n_rows, raw, workspace, out);
  }
}

void Forest::Run(const double* features, std::size_t n_rows, bool raw, ForestWorkspace* workspace,
                 double* out) const noexcept {
  RunWith<Wide, double, double>(wide_, features, n_rows, raw, workspace, out);
}

void Forest::Run(const float* features, std::size_t n_rows, bool raw, ForestWorkspace* workspace,
                 float* out) const noexcept {
  if (!narrow_float_.nodes.empty()) {
    RunWith<Narrow, float, float>(narrow_float_, features, n_rows, raw, workspace, out);
  } else {
    RunWith<Wide, float, double>(wide_float_, features, n_rows, raw, workspace, out);
  }
}

}  // namespace mainspring
