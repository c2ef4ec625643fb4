// Which side of a split a value takes, said plainly: what the fast layout (forest.cc) must agree with.

#ifndef MAINSPRING_SRC_TREES_DECISION_H_
#define MAINSPRING_SRC_TREES_DECISION_H_

#include <cstdint>

#include "mainspring/trees.h"

namespace mainspring {

inline constexpr double kZeroThreshold = 1e-35f;  // LightGBM's, a float there too

// Whether the category `x` is in a set of bits.
inline bool IsInSet(double x, bool is_xgboost, const std::uint32_t* bits, std::uint32_t words) {
  // XGBoost: below 0 is no category. LightGBM cuts towards zero first, so -0.5 is category 0.
  if (is_xgboost ? !(x >= 0 && x < (1 << 24)) : !(x > -1 && x < 2147483648.0)) return false;
  const auto category = static_cast<std::uint32_t>(static_cast<std::int32_t>(x));
  return category / 32 < words && (bits[category / 32] >> category % 32 & 1) != 0;
}

// Whether `x` goes to the left child of a split. `bits`: the model's sets of categories.
inline bool GoesLeft(const TreeNode& node, double x, const std::uint32_t* bits) {
  const bool is_nan = x != x;
  if (node.is_categorical) {
    const std::uint32_t* const set = bits + node.bits_begin;
    // XGBoost: in the set is right, and NaN takes the default side. LightGBM: in the set is left.
    if (!node.is_strict) return IsInSet(x, false, set, node.bits_words);
    return is_nan ? node.default_left : !IsInSet(x, true, set, node.bits_words);
  }
  if (node.is_strict) return is_nan ? node.default_left : x < node.threshold;
  switch (node.missing) {
    case Missing::kNone:
      return (is_nan ? 0.0 : x) <= node.threshold;
    case Missing::kZero:
      if (is_nan || (x >= -kZeroThreshold && x <= kZeroThreshold)) return node.default_left;
      return x <= node.threshold;
    case Missing::kNaN:
      return is_nan ? node.default_left : x <= node.threshold;
  }
  return false;
}

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TREES_DECISION_H_
