// The fast layout.
//
// A split needs no branch for missing values: a NaN is never greater than a threshold and therefore takes the
// first child. A split whose missing values go to its second side is turned round: its children swap and it
// compares -x. So each (feature, treatment of missing values, sign) that a model uses is a slot, filled once
// a row.

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>
#include <utility>

#include "bitvectors.h"
#include "mainspring/trees.h"

namespace mainspring {

static_assert(sizeof(Forest::Narrow) == 8 && sizeof(Forest::Wide) == 16);  // no padding: see Packer

namespace {

constexpr std::size_t kMaxTrees = std::size_t{1} << 24;
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

}  // namespace

ModelError Forest::Make(ForestModel model, Target target, Forest* forest) {
  if (!IsSupported(target)) {
    return {StatusCode::kUnknownTarget,
            "`target` must be one that this CPU supports; take one from `targets.available()`"};
  }
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
  std::vector<std::uint32_t> roots, depths;
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
    roots.push_back(static_cast<std::uint32_t>(root));
    depths.push_back(level.back());
  }

  // Slots by kind, then those of most splits first.
  std::vector<std::size_t> uses(made.slots_.size());
  for (const Laid& l : laid) {
    if (!l.node->is_leaf) ++uses[l.slot];
  }
  std::vector<std::uint32_t> order(made.slots_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::uint32_t>(i);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    const Slot &x = made.slots_[a], &y = made.slots_[b];
    return std::tuple(x.kind, uses[b], x.feature, a) < std::tuple(y.kind, uses[a], y.feature, b);
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

  Packer packer;
  const auto write = [&](auto* layout) {
    using Node = typename std::decay_t<decltype(layout->nodes)>::value_type;
    using Leaf = typename std::decay_t<decltype(layout->values)>::value_type;
    using Value = decltype(Node::threshold);
    using Index = decltype(Node::slot);
    std::vector<Node> nodes;
    std::vector<Leaf> values;
    nodes.reserve(laid.size());
    values.reserve(laid.size());
    for (const Laid& l : laid) {
      const bool is_leaf = l.node->is_leaf;
      const Value threshold = is_leaf ? static_cast<Value>(kInf) : ThresholdOf<Value>(*l.node, l.split);
      nodes.push_back(
          {threshold, static_cast<Index>(is_leaf ? 0 : position[l.slot]), static_cast<Index>(l.step)});
      values.push_back(is_leaf ? static_cast<Leaf>(l.node->value) : Leaf(0));
    }
    if constexpr (std::is_same_v<Node, Narrow>) {
      layout->bits = Bitvectors<Leaf>::Make(nodes, values, roots, depths, target, &packer);
    }
    packer.Add(std::move(nodes), &layout->nodes);
    packer.Add(std::move(values), &layout->values);
  };
  const bool is_narrow = widest_step <= 0xFFFF && made.slots_.size() <= 0x10000;
  if (model.is_xgboost) {
    is_narrow ? write(&made.narrow_float_) : write(&made.wide_float_);
  } else {
    if (is_narrow) write(&made.narrow_);
    write(&made.wide_);  // for doubles
  }
  made.target_ = target;
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
  packer.Add(std::move(roots), &made.root_);
  packer.Add(std::move(depths), &made.depth_);
  packer.Add(std::move(model.output_of), &made.output_of_);
  packer.Add(std::move(model.bits), &made.bits_);
  made.memory_ = packer.Pack();
  *forest = std::move(made);
  return {};
}

Status Forest::Over(int fd, Forest* forest) const {
  if (memory_ == nullptr) return {StatusCode::kBadModel, -1, "the trees must be made first"};
  std::shared_ptr<const PackedMemory> mapped;
  const Status status = memory_->MapSame(fd, &mapped);
  if (!status.ok()) return status;
  Forest made = *this;
  const auto move = [&](auto&... arrays) { (arrays.Move(*memory_, *mapped), ...); };
  const auto move_layout = [&](auto& layout) {
    move(layout.nodes, layout.values);
    if (layout.bits != nullptr) layout.bits = layout.bits->Moved(*memory_, *mapped);
  };
  move(made.root_, made.depth_, made.output_of_, made.bits_);
  move_layout(made.narrow_);
  move_layout(made.wide_);
  move_layout(made.narrow_float_);
  move_layout(made.wide_float_);
  made.memory_ = std::move(mapped);
  *forest = std::move(made);
  return {};
}

}  // namespace mainspring
