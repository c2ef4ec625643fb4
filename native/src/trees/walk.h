// Walks down trees, eight at a time.
//
// A step is one load of a node, one of a value, one comparison and one addition, without branches. The steps
// of one tree depend on one another (some 16 cycles each), those of different trees and rows do not: eight
// are walked at once.
//
// Tried: AVX-512 gathers, 16 trees a step: three gathers are 75 cycles on Zen 4, more than 16 scalar steps
// (an estimate from instruction tables, 2026-11). Looking every three steps, not four, whether all have
// ended: -1 to +2 % (Sapphire Rapids, 2026-11).

#ifndef MAINSPRING_SRC_TREES_WALK_H_
#define MAINSPRING_SRC_TREES_WALK_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace mainspring {

constexpr std::size_t kWalkedTogether = 8;

#define MAINSPRING_UNROLL _Pragma("GCC unroll 8")

// Walks kWalkedTogether nodes down to their leaves; values[i] are those of nodes[i].
template <typename Node, typename Value>
inline __attribute__((always_inline)) void Walk(const Node* (&at)[kWalkedTogether],
                                                const Value* const (&values)[kWalkedTogether],
                                                std::size_t depth) {
  const auto step = [&](std::size_t i) {
    const Node* const node = at[i];
    at[i] = node + node->step + (values[i][node->slot] > node->threshold);
  };
  for (; depth >= 4; depth -= 4) {
    for (int j = 0; j < 3; ++j) {
      MAINSPRING_UNROLL
      for (std::size_t i = 0; i < kWalkedTogether; ++i) step(i);
    }
    bool is_moving = false;
    MAINSPRING_UNROLL
    for (std::size_t i = 0; i < kWalkedTogether; ++i) {
      const Node* const before = at[i];
      step(i);
      is_moving |= at[i] != before;
    }
    if (!is_moving) return;
  }
  for (; depth > 0; --depth) {
    MAINSPRING_UNROLL
    for (std::size_t i = 0; i < kWalkedTogether; ++i) step(i);
  }
}

// Walks at most kWalkedTogether trees of one row: the leaf of tree first + i is at[i].
template <typename Node, typename Value>
void WalkTrees(const Node* nodes, const std::uint32_t* roots, const std::uint32_t* depths, std::size_t n,
               const Value* row, const Node* (&at)[kWalkedTogether]) {
  const Value* same[kWalkedTogether];
  std::size_t depth = 0;
  for (std::size_t i = 0; i < kWalkedTogether; ++i) {
    const std::size_t t = std::min(i, n - 1);  // fewer are filled up with the last
    at[i] = nodes + roots[t];
    same[i] = row;
    depth = std::max<std::size_t>(depth, depths[t]);
  }
  Walk(at, same, depth);
}

#undef MAINSPRING_UNROLL

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TREES_WALK_H_
