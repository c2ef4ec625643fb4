// Trees without a walk, written once and compiled per target. The unit includes a simd/*-inl.h first, then
// says how to strike out leaves: KeepWhereGreater; and may have AddValues for few words: sums[row] +=
// values[leaf], in registers.

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

// The first leaf of `word` where one is left, else what came before: words go from the last to the first.
MAINSPRING_INLINE IVec FirstLeaf(size_t word, IVec left, IVec before) {
  const IVec first = ISet1((int32_t)(word * kMainspringTreesWordLeaves));
  return IWhereAtMost(left, ISet1(0), before, IAdd(LowestBit(left), first));  // unsigned
}

// What the rows from `row` on reach, kVectors vectors of them: a split's broadcasts are shared.
template <size_t kVectors>
MAINSPRING_INLINE void Reach(const struct MainspringTreesBlock* block, size_t row, IVec* leaves) {
  for (size_t v = 0; v < kVectors; ++v) leaves[v] = ISet1(0);
  const struct MainspringTreesSplit* begin = block->splits;
  for (size_t word = 0; word < block->words; ++word) begin += block->n_splits[word];
  for (size_t word = block->words; word-- > 0;) {
    IVec left[kVectors];
    for (size_t v = 0; v < kVectors; ++v) left[v] = ISet1(-1);
    const struct MainspringTreesSplit* const end = begin;
    begin -= block->n_splits[word];
    for (const struct MainspringTreesSplit* split = begin; split != end; ++split) {
      const float* const x = block->columns + split->column + row;
      const Vec threshold = Set1(split->threshold);
      const IVec kept = ISet1((int32_t)split->kept);
      for (size_t v = 0; v < kVectors; ++v) {
        left[v] = KeepWhereGreater(Load(x + v * kLanes), threshold, kept, left[v]);
      }
    }
    for (size_t v = 0; v < kVectors; ++v) leaves[v] = FirstLeaf(word, left[v], leaves[v]);
  }
}

// Through memory, and after all rows: 8 % faster than after each vector (Sapphire Rapids, 2026-11).
template <typename Value>
MAINSPRING_INLINE void AddEach(const Value* values, const uint32_t* leaves, size_t n, Value* sums) {
  for (size_t i = 0; i < n; ++i) sums[i] += values[leaves[i]];
}

template <size_t kVectors>
MAINSPRING_INLINE void ReachAndStore(const struct MainspringTreesBlock* block, size_t row, uint32_t* at) {
  IVec leaves[kVectors];
  Reach<kVectors>(block, row, leaves);
  for (size_t v = 0; v < kVectors; ++v) StoreInts(leaves[v], (int32_t*)at + row + v * kLanes);
}

// All rows, four vectors at a time while there are more than three, then two, then one.
#define MAINSPRING_TREES_EACH_ROW(row, n_rows, Four, Two, One) \
  for (; row + 3 * kLanes < (n_rows); row += 4 * kLanes) {     \
    Four;                                                      \
  }                                                            \
  for (; row + kLanes < (n_rows); row += 2 * kLanes) {         \
    Two;                                                       \
  }                                                            \
  if (row < (n_rows)) {                                        \
    One;                                                       \
  }

MAINSPRING_INLINE void BlockByMemory(const struct MainspringTreesBlock* block) {
  uint32_t at[kMainspringTreesBlockRows];
  size_t row = 0;
  MAINSPRING_TREES_EACH_ROW(row, block->n_rows, ReachAndStore<4>(block, row, at),
                            ReachAndStore<2>(block, row, at), ReachAndStore<1>(block, row, at))
  if (block->doubles != 0) {
    AddEach(block->doubles, at, block->n_rows, block->double_sums);
  } else {
    AddEach(block->floats, at, block->n_rows, block->float_sums);
  }
}

#ifdef MAINSPRING_TREES_HAS_ADD_VALUES
template <size_t kWords, size_t kVectors>
MAINSPRING_INLINE void ReachAndAdd(const struct MainspringTreesBlock* block, size_t row) {
  IVec leaves[kVectors];
  Reach<kVectors>(block, row, leaves);
  if (block->doubles != 0) {
    AddValues<kWords, kVectors>(block->doubles, leaves, block->double_sums + row);
  } else {
    AddValues<kWords, kVectors>(block->floats, leaves, block->float_sums + row);
  }
}

template <size_t kWords>
MAINSPRING_INLINE void BlockByRegisters(const struct MainspringTreesBlock* block) {
  size_t row = 0;
  MAINSPRING_TREES_EACH_ROW(row, block->n_rows, (ReachAndAdd<kWords, 4>(block, row)),
                            (ReachAndAdd<kWords, 2>(block, row)), (ReachAndAdd<kWords, 1>(block, row)))
}
#endif

#undef MAINSPRING_TREES_EACH_ROW

MAINSPRING_INLINE void Block(const struct MainspringTreesBlock* block) {
#ifdef MAINSPRING_TREES_HAS_ADD_VALUES
  if (block->words == 1) return BlockByRegisters<1>(block);
  if (block->words == 2) return BlockByRegisters<2>(block);
#endif
  BlockByMemory(block);
}

#ifdef MAINSPRING_TREES_HAS_GROUPS
// Bound by the second-level cache, which the splits come from, 9 bytes each (200 trees of 31 leaves: 0.9 ns a
// split of 16 lanes where they fit the first level, 1.2 where they do not; Sapphire Rapids, 2026-11). Tried,
// without gain: prefetching 1 KiB ahead (3 % slower); a window for each split with AVX-512 (40 % slower: two
// more loads a split); places as bytes, widened by a shuffle (10 % slower); 13 bytes a split, with two words
// of leaves, for larger trees (20 % slower than a pass for each word).
//
// The unit gives kShare, Window, LoadWindow(slots) and LookUp(window, places), which looks at no more than
// the lowest byte of each place.
MAINSPRING_INLINE IVec PartOf(const struct MainspringTreesPart* part, const float* slots) {
  IVec left = ISet1(-1);
  const float* thresholds = part->thresholds;
  const uint32_t *windows = part->windows, *places = part->places, *kept = part->kept;
  for (const uint32_t* const end = windows + part->n_splits / kShare; windows != end;) {
    IVec at = LoadInts((const int32_t*)places);
    places += kLanes;
    for (size_t i = 0; i < kMainspringTreesTogether; i += kShare) {
      const Window window = LoadWindow(slots + *windows++);
      for (size_t j = 0; j < kShare; ++j) {
        left = KeepWhereGreater(LookUp(window, at), Load(thresholds), LoadInts((const int32_t*)kept), left);
        at = IShiftRight(at, 8);
        thresholds += kLanes;
        kept += kLanes;
      }
    }
  }
  return left;
}

MAINSPRING_INLINE void Group(const struct MainspringTreesPart* parts, size_t words, const float* slots,
                             uint32_t* leaves) {
  // In the last word some leaf is left where none is before.
  size_t word = words - 1;
  IVec leaf = LowestBit(PartOf(parts + word, slots));
  if (word > 0) {
    leaf = IAdd(leaf, ISet1((int32_t)(word * kMainspringTreesWordLeaves)));
    while (word-- > 0) leaf = FirstLeaf(word, PartOf(parts + word, slots), leaf);
  }
  StoreInts(leaf, (int32_t*)leaves);
}
#endif

}  // namespace

#endif  // MAINSPRING_SRC_TREES_TREES_INL_H_
