// Trees without a walk, written once and compiled per target. The unit includes a simd/*-inl.h first, then
// says how to strike out leaves: KeepWhereGreater.

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

// kVectors vectors of rows, so that a split's broadcasts are shared.
template <size_t kWords, size_t kVectors>
MAINSPRING_INLINE void BlockOf(const struct MainspringTreesBlock* block, size_t row) {
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
  for (size_t v = 0; v < kVectors; ++v) {
    StoreInts(FirstLeaf<kWords>(left[v]), (int32_t*)block->leaves + row + v * kLanes);
  }
}

template <size_t kWords>
MAINSPRING_INLINE void BlockOfWords(const struct MainspringTreesBlock* block) {
  constexpr size_t kMany = 4;
  size_t row = 0;
  for (; row + (kMany - 1) * kLanes < block->n_rows; row += kMany * kLanes)
    BlockOf<kWords, kMany>(block, row);
  for (; row < block->n_rows; row += kLanes) BlockOf<kWords, 1>(block, row);
}

MAINSPRING_INLINE void Block(const struct MainspringTreesBlock* block) {
  block->words == 1 ? BlockOfWords<1>(block) : BlockOfWords<2>(block);
}

#ifdef MAINSPRING_TREES_HAS_GROUPS
// The unit gives Table, LoadTable(slots) and LookUp(table, places).
template <size_t kWords>
MAINSPRING_INLINE void GroupOf(const struct MainspringTreesGroup* group, const float* slots,
                               uint32_t* leaves) {
  IVec left[kWords];
  for (size_t w = 0; w < kWords; ++w) left[w] = ISet1(-1);
  const float* thresholds = group->thresholds;
  const uint8_t* places = group->places;
  const uint32_t* kept = group->kept;
  const struct MainspringTreesSpan* const end = group->spans + group->n_spans;
  for (const struct MainspringTreesSpan* span = group->spans; span != end; ++span) {
    const Table table = LoadTable(slots + span->first_slot);
    for (uint32_t i = 0; i < span->n; ++i) {
      IVec bits[kWords];
      for (size_t w = 0; w < kWords; ++w) bits[w] = LoadInts((const int32_t*)kept + w * kLanes);
      KeepWhereGreater<kWords>(LookUp(table, places), Load(thresholds), bits, left);
      thresholds += kLanes;
      places += kLanes;
      kept += kWords * kLanes;
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
