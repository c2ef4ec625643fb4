// How much each feature adds to a prediction of boosted trees: path-dependent TreeSHAP.

#ifndef MAINSPRING_CONTRIBUTIONS_H_
#define MAINSPRING_CONTRIBUTIONS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mainspring/trees.h"

namespace mainspring {

// One feature on the way to a node: the share of training rows that go on where the feature is not known, 1
// or 0 where it is, and the weight of the sets of features that have so many members.
struct PathStep {
  std::int64_t feature;
  double zero, one, weight;
};

// Shapley values of the game in which a feature that is not known takes both sides of its splits, by the
// shares of the training rows that took them (Lundberg, Erion, Lee: "Consistent individualized feature
// attribution for tree ensembles", 2018, algorithm 2). LightGBM's `pred_contrib` and XGBoost's
// `pred_contribs` are the same numbers.
//
// Of margins, as Forest::Run gives them `raw`: a row's contributions and its base value sum to its margin.
// Immutable: Run may be called from many threads, each with a workspace of its own.
class Contributions {
 public:
  // Deeper trees are refused: a row costs the square of a tree's depth, and so does the workspace.
  static constexpr std::size_t kMaxDepth = 1024;

  Contributions() = default;

  // Checks every node as Forest::Make does. kUnsupportedModel for a model that does not say how many training
  // rows went where, or is too deep.
  static ModelError Make(const ForestModel& model, Contributions* contributions);

  // features: n_rows x width, row-major. out: n_rows x (width + 1): contributions to `output`, then the base
  // value, what the margin is expected to be where nothing is known. `workspace` has WorkspaceSize() steps.
  // INVARIANT: output < n_outputs(). Neither allocates nor throws.
  template <typename Input>
  void Run(const Input* features, std::size_t n_rows, std::size_t output, PathStep* workspace,
           double* out) const noexcept;

  std::size_t WorkspaceSize() const { return workspace_size_; }
  bool is_xgboost() const { return is_xgboost_; }
  std::size_t width() const { return width_; }
  std::size_t n_outputs() const { return base_.size(); }
  std::size_t n_trees() const { return root_.size(); }
  std::size_t depth() const { return depth_; }

 private:
  template <typename Input>
  struct Walk;

  bool is_xgboost_ = false;
  std::size_t width_ = 0, depth_ = 0, workspace_size_ = 0;
  std::vector<TreeNode> nodes_;  // `cover` is the share of the parent's rows
  std::vector<std::uint32_t> root_, output_of_, bits_;
  std::vector<double> base_;  // one an output
};

}  // namespace mainspring

#endif  // MAINSPRING_CONTRIBUTIONS_H_
