// A tree is walked once a row, down both sides of every split. On the way the walk keeps, for each number of
// known features, how much of all orders in which features become known has just those known (`weight`); a
// feature that is split on again is taken off the path first, so that the path has each feature once.

#include "mainspring/contributions.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "decision.h"

namespace mainspring {
namespace {

ModelError Bad(std::size_t tree, const std::string& message) {
  return {StatusCode::kBadModel,
          "tree " + std::to_string(tree) + ": " + message + "; write the model again with its library"};
}

// 1 / k: a division takes as long as a dozen products, and there would be two for each feature known at each
// leaf.
struct Reciprocals {
  double of[Contributions::kMaxDepth + 3] = {};
  constexpr Reciprocals() {
    for (std::size_t k = 1; k < sizeof of / sizeof *of; ++k) of[k] = 1.0 / static_cast<double>(k);
  }
};
constexpr Reciprocals kOver;

// INVARIANT: `one` of a step is 0 or 1, so nothing is divided by it.

// Puts one more feature at the end of `path`, which has `n` before it.
void Extend(PathStep* path, std::size_t n, double zero, double one, std::int64_t feature) {
  path[n] = {feature, zero, one, n == 0 ? 1.0 : 0.0};
  const double over = kOver.of[n + 1];
  for (std::size_t i = n; i-- > 0;) {
    path[i + 1].weight += one * path[i].weight * static_cast<double>(i + 1) * over;
    path[i].weight = zero * path[i].weight * static_cast<double>(n - i) * over;
  }
}

// Takes feature `at` off a path of `n` + 1, as if it never had been put there.
void Unwind(PathStep* path, std::size_t n, std::size_t at) {
  const double one = path[at].one, zero = path[at].zero, over = kOver.of[n + 1];
  const auto size = static_cast<double>(n + 1);
  double next = path[n].weight;
  if (one != 0) {
    for (std::size_t i = n; i-- > 0;) {
      const double before = path[i].weight;
      path[i].weight = next * size * kOver.of[i + 1];
      next = before - path[i].weight * zero * static_cast<double>(n - i) * over;
    }
  } else {
    const double scale = size / zero;
    for (std::size_t i = n; i-- > 0;) path[i].weight *= scale * kOver.of[n - i];
  }
  for (std::size_t i = at; i < n; ++i) {
    path[i].feature = path[i + 1].feature;
    path[i].zero = path[i + 1].zero;
    path[i].one = path[i + 1].one;
  }
}

// The sum of the weights that Unwind would leave.
double UnwoundSum(const PathStep* path, std::size_t n, std::size_t at) {
  const double one = path[at].one, zero = path[at].zero, over = kOver.of[n + 1];
  const auto size = static_cast<double>(n + 1);
  double total = 0;
  if (one != 0) {
    double next = path[n].weight;
    for (std::size_t i = n; i-- > 0;) {
      const double weight = next * size * kOver.of[i + 1];
      total += weight;
      next = path[i].weight - weight * zero * static_cast<double>(n - i) * over;
    }
    return total;
  }
  for (std::size_t i = n; i-- > 0;) total += path[i].weight * kOver.of[n - i];
  return total * (size / zero);
}

}  // namespace

ModelError Contributions::Make(const ForestModel& model, Contributions* contributions) {
  if (model.output_of.size() != model.trees.size()) {
    return {StatusCode::kBadModel, "a model must have an output for each tree"};
  }
  Contributions made;
  made.base_.assign(model.base.begin(), model.base.end());
  made.base_.resize(model.n_outputs);
  struct Waiting {
    std::uint32_t node;  // in the model's tree
    std::size_t parent;  // in nodes_
    bool is_left;
    std::size_t depth;
    double cover, reach;  // the parent's rows; the share of all rows that are expected here
  };
  std::vector<Waiting> waiting;
  for (std::size_t t = 0; t < model.trees.size(); ++t) {
    const std::vector<TreeNode>& tree = model.trees[t];
    if (tree.empty()) return Bad(t, "there must be nodes, got none");
    if (model.output_of[t] >= model.n_outputs) return Bad(t, "its output does not exist");
    std::vector<bool> seen(tree.size());
    made.root_.push_back(static_cast<std::uint32_t>(made.nodes_.size()));
    waiting.assign(1, {0, 0, false, 0, tree[0].cover, 1.0});
    while (!waiting.empty()) {
      const Waiting at = waiting.back();
      waiting.pop_back();
      if (at.node >= tree.size()) return Bad(t, "a child does not exist");
      if (seen[at.node]) return Bad(t, "node " + std::to_string(at.node) + " is reached twice");
      seen[at.node] = true;
      TreeNode node = tree[at.node];
      const double cover = node.cover;
      if (!std::isfinite(cover) || cover < 0)
        return Bad(t, "a number of training rows is negative or no number");
      // Where no training row came, none is expected to go on.
      node.cover = at.cover > 0 ? cover / at.cover : 0;
      const double reach = at.depth == 0 ? 1.0 : at.reach * node.cover;
      const std::size_t index = made.nodes_.size();
      if (at.depth > 0) {
        TreeNode& parent = made.nodes_[at.parent];
        (at.is_left ? parent.left : parent.right) = static_cast<std::uint32_t>(index);
      }
      made.nodes_.push_back(node);
      if (node.is_leaf) {
        made.base_[model.output_of[t]] += reach * node.value;
        continue;
      }
      if (at.depth == 0 && cover <= 0) {
        return {StatusCode::kUnsupportedModel,
                "tree " + std::to_string(t) +
                    ": the model does not say how many training rows went where; write it again with its "
                    "library, without leaving statistics out"};
      }
      if (at.depth == kMaxDepth) {
        return {StatusCode::kUnsupportedModel, "tree " + std::to_string(t) + ": it is deeper than " +
                                                   std::to_string(kMaxDepth) +
                                                   " splits; train with a limit of depth"};
      }
      if (node.feature >= model.width) return Bad(t, "a split's feature does not exist");
      if (node.bits_words > 0 && std::size_t{node.bits_begin} + node.bits_words > model.bits.size()) {
        return Bad(t, "a set of categories does not exist");
      }
      made.depth_ = std::max(made.depth_, at.depth + 1);
      waiting.push_back({node.right, index, false, at.depth + 1, cover, reach});
      waiting.push_back({node.left, index, true, at.depth + 1, cover, reach});
    }
  }
  made.is_xgboost_ = model.is_xgboost;
  made.width_ = model.width;
  made.output_of_ = model.output_of;
  made.bits_ = model.bits;
  // A path has the root's place and each feature once; each level of the walk has a copy of it.
  const std::size_t longest = std::min(made.depth_, made.width_) + 2;
  made.workspace_size_ = (made.depth_ + 1) * longest;
  *contributions = std::move(made);
  return {};
}

template <typename Input>
struct Contributions::Walk {
  const Contributions& model;
  const Input* row;
  double* phi;

  // `path` has `n` features, and room for those below. The last split's shares and feature become its next
  // one.
  void Down(std::uint32_t index, PathStep* path, std::size_t n, double zero, double one,
            std::int64_t feature) const {
    Extend(path, n, zero, one, feature);
    const TreeNode& node = model.nodes_[index];
    if (node.is_leaf) {
      for (std::size_t i = 1; i <= n; ++i) {
        phi[path[i].feature] += UnwoundSum(path, n, i) * (path[i].one - path[i].zero) * node.value;
      }
      return;
    }
    double zero_before = 1, one_before = 1;
    const auto asked = static_cast<std::int64_t>(node.feature);
    for (std::size_t i = 1; i <= n; ++i) {
      if (path[i].feature != asked) continue;
      zero_before = path[i].zero;
      one_before = path[i].one;
      Unwind(path, n, i);
      --n;
      break;
    }
    const bool is_left = GoesLeft(node, static_cast<double>(row[node.feature]), model.bits_.data());
    for (const bool left : {true, false}) {
      const std::uint32_t child = left ? node.left : node.right;
      const double child_zero = zero_before * model.nodes_[child].cover;
      const double child_one = left == is_left ? one_before : 0;
      // Neither this row nor any training row comes there.
      if (child_zero == 0 && child_one == 0) continue;
      PathStep* const copy = path + n + 1;
      std::copy(path, path + n + 1, copy);
      Down(child, copy, n + 1, child_zero, child_one, asked);
    }
  }
};

template <typename Input>
void Contributions::Run(const Input* features, std::size_t n_rows, std::size_t output, PathStep* workspace,
                        double* out) const noexcept {
  for (std::size_t r = 0; r < n_rows; ++r, features += width_, out += width_ + 1) {
    std::fill(out, out + width_, 0.0);
    out[width_] = base_[output];
    const Walk<Input> walk{*this, features, out};
    for (std::size_t t = 0; t < root_.size(); ++t) {
      if (output_of_[t] == output) walk.Down(root_[t], workspace, 0, 1, 1, -1);
    }
  }
}

template void Contributions::Run(const float*, std::size_t, std::size_t, PathStep*, double*) const noexcept;
template void Contributions::Run(const double*, std::size_t, std::size_t, PathStep*, double*) const noexcept;

}  // namespace mainspring
