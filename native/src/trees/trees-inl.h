// Trees without a walk, written once and compiled per target. The unit includes a simd/*-inl.h first, then
// says how to strike out leaves: KeepWhereGreater; and may have a better AddValues: sums[row] +=
// values[leaf].

#ifndef MAINSPRING_SRC_TREES_TREES_INL_H_
#define MAINSPRING_SRC_TREES_TREES_INL_H_

#include <stddef.h>
#include <stdint.h>

#include "trees_kernels.h"

namespace {

// The place of each lane's lowest bit, which is there: a power of two is its own exponent as a float. That of
// bit 31 comes out negative, so the sign is cut off.
MAINSPRING_INLINE IVec LowestBit(IVec v) {
  const IVec lowest = IAnd(v, ISub(ISet1(0), v));
  const IVec exponent = IShiftRight(AsInt(ToFloat(lowest)), 23);
  return ISub(IAnd(exponent, ISet1(0xFF)), ISet1(127));
}

template <size_t kWords>
MAINSPRING_INLINE IVec FirstLeaf(const IVec* left) {
  if (kWords == 1) return LowestBit(left[0]);
  const IVec zero = ISet1(0);
  // Unsigned at most 0: no leaf of the first word is left.
  const IVec word = IWhereAtMost(left[0], zero, left[1], left[0]);
  const IVec first = IWhereAtMost(left[0], zero, ISet1(kMainspringTreesWordLeaves), zero);
  return IAdd(LowestBit(word), first);
}

// What the rows from `row` on reach, kVectors vectors of them: a split's broadcasts are shared.
template <size_t kWords, size_t kVectors>
MAINSPRING_INLINE void Reach(const struct MainspringTreesBlock* block, size_t row, IVec* leaves) {
  IVec left[kVectors][kWords];
  for (size_t v = 0; v < kVectors; ++v) {
    for (size_t w = 0; w < kWords; ++w) left[v][w] = ISet1(-1);
  }
  const struct MainspringTreesSplit* const end = block->splits + block->n_splits;
  for (const struct MainspringTreesSplit* split = block->splits; split != end; ++split) {
    const float* const x = block->columns + split->column + row;
    const Vec threshold = Set1(split->threshold);
    IVec kept[kWords];
    for (size_t w = 0; w < kWords; ++w) kept[w] = ISet1((int32_t)split->kept[w]);
    for (size_t v = 0; v < kVectors; ++v) {
      KeepWhereGreater<kWords>(Load(x + v * kLanes), threshold, kept, left[v]);
    }
  }
  for (size_t v = 0; v < kVectors; ++v) leaves[v] = FirstLeaf<kWords>(left[v]);
}

#ifndef MAINSPRING_TREES_HAS_ADD_VALUES
// Through memory, and after all rows: 8 % faster than after each vector (Sapphire Rapids, 2026-11).
template <typename Value>
MAINSPRING_INLINE void AddEach(const Value* values, const uint32_t* leaves, size_t n, Value* sums) {
  for (size_t i = 0; i < n; ++i) sums[i] += values[leaves[i]];
}

template <size_t kWords>
MAINSPRING_INLINE void BlockOf(const struct MainspringTreesBlock* block) {
  constexpr size_t kMany = 4;
  uint32_t at[kMainspringTreesBlockRows];
  IVec leaves[kMany];
  size_t row = 0;
  for (; row + (kMany - 1) * kLanes < block->n_rows; row += kMany * kLanes) {
    Reach<kWords, kMany>(block, row, leaves);
    for (size_t v = 0; v < kMany; ++v) StoreInts(leaves[v], (int32_t*)at + row + v * kLanes);
  }
  for (; row < block->n_rows; row += kLanes) {
    Reach<kWords, 1>(block, row, leaves);
    StoreInts(leaves[0], (int32_t*)at + row);
  }
  if (block->doubles != 0) {
    AddEach(block->doubles, at, block->n_rows, block->double_sums);
  } else {
    AddEach(block->floats, at, block->n_rows, block->float_sums);
  }
}
#else
template <size_t kWords, size_t kVectors>
MAINSPRING_INLINE void ReachAndAdd(const struct MainspringTreesBlock* block, size_t row) {
  IVec leaves[kVectors];
  Reach<kWords, kVectors>(block, row, leaves);
  if (block->doubles != 0) {
    AddValues<kWords, kVectors>(block->doubles, leaves, block->double_sums + row);
  } else {
    AddValues<kWords, kVectors>(block->floats, leaves, block->float_sums + row);
  }
}

template <size_t kWords>
MAINSPRING_INLINE void BlockOf(const struct MainspringTreesBlock* block) {
  constexpr size_t kMany = 4;
  size_t row = 0;
  for (; row + (kMany - 1) * kLanes < block->n_rows; row += kMany * kLanes)
    ReachAndAdd<kWords, kMany>(block, row);
  for (; row < block->n_rows; row += kLanes) ReachAndAdd<kWords, 1>(block, row);
}
#endif

MAINSPRING_INLINE void Block(const struct MainspringTreesBlock* block) {
  block->words == 1 ? BlockOf<1>(block) : BlockOf<2>(block);
}

#ifdef MAINSPRING_TREES_HAS_GROUPS
// Bound by the second-level cache, which the splits come from: 9 bytes for one word, 13 for two (200 trees of
// 31 leaves: 0.9 ns a split of 16 lanes where they fit the first level, 1.2 where they do not; Sapphire
// Rapids, 2026-11). Tried, without gain: prefetching 1 KiB ahead (3 % slower); a window for each split with
// AVX-512 (40 % slower: two more loads a split); places as bytes, widened by a shuffle (10 % slower).
//
// The unit gives kShare, Window, LoadWindow(slots) and LookUp(window, places), which looks at no more than
// the lowest byte of each place.
template <size_t kWords>
MAINSPRING_INLINE void GroupOf(const struct MainspringTreesGroup* group, const float* slots,
                               uint32_t* leaves) {
  IVec left[kWords];
  for (size_t w = 0; w < kWords; ++w) left[w] = ISet1(-1);
  const float* thresholds = group->thresholds;
  const uint32_t *windows = group->windows, *places = group->places, *kept = group->kept;
  for (const uint32_t* const end = windows + group->n_splits / kShare; windows != end;) {
    IVec at = LoadInts((const int32_t*)places);
    places += kLanes;
    for (size_t i = 0; i < kMainspringTreesTogether; i += kShare) {
      const Window window = LoadWindow(slots + *windows++);
      for (size_t j = 0; j < kShare; ++j) {
        IVec bits[kWords];
        for (size_t w = 0; w < kWords; ++w) bits[w] = LoadInts((const int32_t*)kept + w * kLanes);
        KeepWhereGreater<kWords>(LookUp(window, at), Load(thresholds), bits, left);
        at = IShiftRight(at, 8);
        thresholds += kLanes;
        kept += kWords * kLanes;
      }
    }
  }
  StoreInts(FirstLeaf<kWords>(left), (int32_t*)leaves);
}

MAINSPRING_INLINE void Group(const struct MainspringTreesGroup* group, const float* slots, uint32_t* leaves) {
  group->words == 1 ? GroupOf<1>(group, slots, leaves) : GroupOf<2>(group, slots, leaves);
}
#endif

}  // namespace

#endif  // MAINSPRING_SRC_TREES_TREES_INL_H_
