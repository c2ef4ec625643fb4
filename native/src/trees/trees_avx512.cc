#include "mainspring/simd/avx512-inl.h"

namespace {
// left[w] &= kept[w] where x > threshold: never for a NaN.
template <size_t kWords>
MAINSPRING_INLINE void KeepWhereGreater(Vec x, Vec threshold, const IVec* kept, IVec* left) {
  const Mask is_greater = _mm512_cmp_ps_mask(x, threshold, _CMP_GT_OQ);
  for (size_t w = 0; w < kWords; ++w) {
    left[w] = _mm512_mask_and_epi32(left[w], is_greater, left[w], kept[w]);
  }
}

typedef struct {
  Vec low, high;
} Table;
MAINSPRING_INLINE Table LoadTable(const float* slots) { return Table{Load(slots), Load(slots + kLanes)}; }
MAINSPRING_INLINE Vec LookUp(Table table, const uint8_t* places) {
  const IVec at = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)places));
  return _mm512_permutex2var_ps(table.low, at, table.high);
}
}  // namespace

#define MAINSPRING_TREES_HAS_GROUPS
#include "trees-inl.h"

extern "C" void MainspringTreesGroupAvx512(const struct MainspringTreesGroup* group, const float* slots,
                                           uint32_t* leaves) {
  Group(group, slots, leaves);
}
extern "C" void MainspringTreesBlockAvx512(const struct MainspringTreesBlock* block) { Block(block); }
