// Rows: their slots, the walks or the kernels that need none, the sums, and what is made of them.
//
// A walk takes eight trees for a single row, and a tree for eight rows of a batch. Small trees are not walked
// at all (trees_kernels.h): a single row takes a tree in each lane, a batch a row in each lane.
//
// Tried: adding the leaves of one row after all groups, not after each: 2 % faster, not worth the memory
// (Sapphire Rapids, 2026-11).

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "bitvectors.h"
#include "decision.h"
#include "mainspring/float_environment.h"
#include "mainspring/trees.h"
#include "walk.h"

namespace mainspring {
namespace {

constexpr std::size_t kBlockRows = kMainspringTreesBlockRows;

// Whether each value is a float, or NaN.
bool AreFloats(const double* rows, std::size_t n_rows, std::size_t width) {
  for (std::size_t r = 0; r < n_rows; ++r) {
    bool are = true;
    for (std::size_t i = 0; i < width; ++i) {
      const double x = rows[r * width + i];
      are &= (x != x) | (static_cast<double>(static_cast<float>(x)) == x);
    }
    if (!are) return false;
  }
  return true;
}

// Of fewer rows each is taken for itself.
template <typename Layout>
std::size_t FewRows(const Layout& layout) {
  return layout.bits ? layout.bits->few_rows : kWalkedTogether;
}

void RunGroup(Target target, const MainspringTreesPart* parts, std::size_t words, const float* slots,
              std::uint32_t* leaves) {
  switch (target) {
#if defined(__x86_64__)
    case Target::kAvx2:
      return MainspringTreesGroupAvx2(parts, words, slots, leaves);
    case Target::kAvx512:
      return MainspringTreesGroupAvx512(parts, words, slots, leaves);
#endif
    default:
      return;  // INVARIANT: Bitvectors makes groups only for targets that have a kernel for them.
  }
}

void RunBlock(Target target, const MainspringTreesBlock& block) {
  switch (target) {
#if defined(__x86_64__)
    case Target::kAvx2:
      return MainspringTreesBlockAvx2(&block);
    case Target::kAvx512:
      return MainspringTreesBlockAvx512(&block);
#endif
    default:
      return MainspringTreesBlockGeneric(&block);
  }
}

}  // namespace

ForestWorkspace Forest::MakeWorkspace() const {
  ForestWorkspace workspace;
  workspace.slots_.resize(kBlockRows * slots_.size());
  workspace.sums_.resize((kBlockRows + 1) * n_sums_);
  workspace.leaves_.resize(kBlockRows / TreesLine::kLength);
  workspace.columns_.resize(kBlockRows / TreesLine::kLength * slots_.size());
  return workspace;
}

// Slot i of row r is slots[i * kStride + r].
template <std::size_t kStride, typename Value, typename Input>
void Forest::Fill(const Input* rows, std::size_t n_rows, Value* slots) const {
  const Slot* const slot = slots_.data();
  const std::size_t n = kStride == 1 ? 1 : n_rows;
  const auto is_zero = [](Value x) { return x >= -kZeroThreshold && x <= kZeroThreshold; };
  constexpr Value kNaN = std::numeric_limits<Value>::quiet_NaN();
  std::size_t i = 0;
  const auto fill = [&](SlotKind kind, const auto& value_of) {
    for (const std::size_t end = kind_end_[static_cast<std::size_t>(kind)]; i < end; ++i) {
      const Input* const x = rows + slot[i].feature;
      for (std::size_t r = 0; r < n; ++r)
        slots[i * kStride + r] = value_of(static_cast<Value>(x[r * width_]));
    }
  };
  fill(SlotKind::kPlain, [](Value x) { return x; });
  fill(SlotKind::kMinus, [](Value x) { return -x; });
  fill(SlotKind::kNaNAsZero, [](Value x) { return x == x ? x : Value(0); });
  fill(SlotKind::kZeroAsNaN, [&](Value x) { return is_zero(x) ? kNaN : x; });
  fill(SlotKind::kMinusZeroNaN, [&](Value x) { return is_zero(x) ? kNaN : -x; });
  fill(SlotKind::kIsNumber, [](Value x) { return Value(x == x); });
  fill(SlotKind::kIsNotZero, [&](Value x) { return Value(x == x && !is_zero(x)); });
  const auto in_set = [&](Value x) {
    const bool is_nan_one = slot[i].kind == SlotKind::kInSetRight && x != x;
    const bool is_in = IsInSet(static_cast<double>(x), slot[i].kind != SlotKind::kInSet,
                               bits_.data() + slot[i].bits_begin, slot[i].bits_words);
    return Value(is_in || is_nan_one);
  };
  for (const SlotKind kind : {SlotKind::kInSet, SlotKind::kInSetLeft, SlotKind::kInSetRight})
    fill(kind, in_set);
}

// Adds leaf_of(i) of the trees first + i to one row's sums, in their order.
template <typename Leaf, typename LeafOf>
inline void Forest::Add(std::size_t first, std::size_t n, const LeafOf& leaf_of, Leaf* sums) const {
  if (n_sums_ == 1) {
    Leaf sum = *sums;  // in a register: through memory an addition is three times as slow
    for (std::size_t i = 0; i < n; ++i) sum += leaf_of(i);
    *sums = sum;
  } else {
    for (std::size_t i = 0; i < n; ++i) sums[output_of_[first + i]] += leaf_of(i);
  }
}

template <typename Node, typename Leaf, typename Value>
void Forest::SumRow(const Layout<Node, Leaf>& layout, const Value* slots, ForestWorkspace* workspace,
                    Leaf* sums) const {
  const Node* const nodes = layout.nodes.data();
  const auto walk = [&](std::size_t first, std::size_t n) {
    const Node* at[kWalkedTogether];
    WalkTrees(nodes, root_.data() + first, depth_.data() + first, n, slots, at);
    Add(
        first, n, [&](std::size_t i) { return layout.values[static_cast<std::size_t>(at[i] - nodes)]; },
        sums);
  };
  if constexpr (std::is_same_v<Node, Narrow>) {
    const Bitvectors<Leaf>& bits = *layout.bits;
    std::uint32_t* const leaves = workspace->leaves_[0].value;
    for (const auto& job : bits.jobs) {
      if (job.words == 0) {
        walk(job.first_tree, job.n_trees);
        continue;
      }
      RunGroup(bits.target, bits.parts.data() + job.first_part, job.words, slots, leaves);
      const std::uint32_t* const begin = bits.first_values.data() + job.first_tree;
      const Leaf* const values = bits.values.data();
      Add(job.first_tree, job.n_trees, [=](std::size_t i) { return values[begin[i] + leaves[i]]; }, sums);
    }
  } else {
    for (std::size_t t = 0; t < root_.size(); t += kWalkedTogether)
      walk(t, std::min(kWalkedTogether, root_.size() - t));
  }
}

// sums[output * kBlockRows + row]; slots[row * slots + slot].
template <typename Node, typename Leaf, typename Value>
void Forest::SumTree(const Layout<Node, Leaf>& layout, std::size_t tree, const Value* slots,
                     std::size_t n_rows, Leaf* sums) const {
  const Node* const nodes = layout.nodes.data();
  for (std::size_t r = 0; r < n_rows; r += kWalkedTogether) {
    const Node* at[kWalkedTogether];
    const Value* row[kWalkedTogether];
    for (std::size_t i = 0; i < kWalkedTogether; ++i) {
      at[i] = nodes + root_[tree];
      row[i] = slots + std::min(r + i, n_rows - 1) * slots_.size();
    }
    Walk(at, row, depth_[tree]);
    for (std::size_t i = 0; i < kWalkedTogether; ++i)
      sums[r + i] += layout.values[static_cast<std::size_t>(at[i] - nodes)];
  }
}

// As SumTree, without a walk; columns[slot * kBlockRows + row].
template <typename Leaf>
void Forest::SumSmallTree(const Bitvectors<Leaf>& bits, std::size_t tree, const float* columns,
                          std::size_t n_rows, Leaf* sums) const {
  const auto& held = bits.trees[tree];
  MainspringTreesBlock block = {};
  block.words = held.words;
  block.splits = bits.splits.data() + held.first_split;
  block.n_splits = held.n_splits;
  block.columns = columns;
  block.n_rows = n_rows;
  const Leaf* const values = bits.values.data() + bits.first_values[tree];
  if constexpr (std::is_same_v<Leaf, double>) {
    block.doubles = values;
    block.double_sums = sums;
  } else {
    block.floats = values;
    block.float_sums = sums;
  }
  RunBlock(bits.target, block);
}

template <typename Node, typename Leaf, typename Value, typename Input>
void Forest::SumBlock(const Layout<Node, Leaf>& layout, const Input* features, std::size_t n_rows,
                      ForestWorkspace* workspace, Leaf* sums) const {
  auto* const slots = reinterpret_cast<Value*>(workspace->slots_.data());
  constexpr bool kHasBits = std::is_same_v<Node, Narrow>;
  bool is_any_walked = true;
  float* const columns = reinterpret_cast<float*>(workspace->columns_[0].value);
  if constexpr (kHasBits) {
    is_any_walked = layout.bits->has_walked_tree;
    Fill<kBlockRows>(features, n_rows, columns);
  }
  for (std::size_t r = 0; is_any_walked && r < n_rows; ++r) {
    Fill<1>(features + r * width_, 1, slots + r * slots_.size());
  }
  // INVARIANT: a row's leaves are added in the order of the trees, as the libraries do.
  for (std::size_t t = 0; t < root_.size(); ++t) {
    Leaf* const sum = sums + output_of_[t] * kBlockRows;
    if constexpr (kHasBits) {
      if (layout.bits->trees[t].words != 0) {
        SumSmallTree(*layout.bits, t, columns, n_rows, sum);
        continue;
      }
    }
    SumTree(layout, t, slots, n_rows, sum);
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
  auto* const sums = reinterpret_cast<Leaf*>(workspace->sums_.data());
  Leaf* const row_sums = sums + kBlockRows * n_sums_;
  const std::size_t width = n_outputs(raw);
  const Leaf rounds = static_cast<Leaf>(root_.size() / n_sums_);
  const auto finish = [&](std::size_t row) {
    if (is_average_ && !raw) {
      for (std::size_t i = 0; i < n_sums_; ++i) row_sums[i] /= rounds;
    }
    Finish(row_sums, raw, out + row * width);
  };

  std::size_t first = 0;
  while (first < n_rows) {
    const std::size_t rows = std::min(n_rows - first, kBlockRows);
    if (rows < FewRows(layout)) {
      auto* const slots = reinterpret_cast<Value*>(workspace->columns_[0].value);
      Fill<1>(features + first * width_, 1, slots);
      for (std::size_t i = 0; i < n_sums_; ++i) row_sums[i] = static_cast<Leaf>(base_[i]);
      SumRow(layout, slots, workspace, row_sums);
      finish(first);
      ++first;
      continue;
    }
    for (std::size_t i = 0; i < n_sums_; ++i) {
      std::fill_n(sums + i * kBlockRows, kBlockRows, static_cast<Leaf>(base_[i]));
    }
    SumBlock<Node, Leaf, Value>(layout, features + first * width_, rows, workspace, sums);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < n_sums_; ++i) row_sums[i] = sums[i * kBlockRows + r];
      finish(first + r);
    }
    first += rows;
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

// Rows whose values all are floats, as they were before somebody widened them, are decided as floats:
// LightGBM compares floats as the doubles they are. Others are a walk of doubles.
void Forest::Run(const double* features, std::size_t n_rows, bool raw, ForestWorkspace* workspace,
                 double* out) const noexcept {
  const DefaultFloatEnvironment environment;  // or a denormal might pass for 0
  for (std::size_t first = 0; first < n_rows; first += kBlockRows) {
    const std::size_t rows = std::min(n_rows - first, kBlockRows);
    const double* const block = features + first * width_;
    double* const to = out + first * n_outputs(raw);
    if (!narrow_.nodes.empty() && AreFloats(block, rows, width_)) {
      RunWith<Narrow, double, float>(narrow_, block, rows, raw, workspace, to);
    } else {
      RunWith<Wide, double, double>(wide_, block, rows, raw, workspace, to);
    }
  }
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
