#include "mainspring/simd/avx2-inl.h"

namespace {
// left[w] &= kept[w] where x > threshold: never for a NaN.
template <size_t kWords>
MAINSPRING_INLINE void KeepWhereGreater(Vec x, Vec threshold, const IVec* kept, IVec* left) {
  const IVec is_not_greater = AsInt(_mm256_cmp_ps(x, threshold, _CMP_NGT_UQ));
  for (size_t w = 0; w < kWords; ++w) left[w] = IAnd(left[w], IOr(kept[w], is_not_greater));
}

typedef Vec Table;
MAINSPRING_INLINE Table LoadTable(const float* slots) { return Load(slots); }
MAINSPRING_INLINE Vec LookUp(Table table, const uint8_t* places) {
  return _mm256_permutevar8x32_ps(table, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)places)));
}
}  // namespace

#define MAINSPRING_TREES_HAS_GROUPS
#include "trees-inl.h"

extern "C" void MainspringTreesGroupAvx2(const struct MainspringTreesGroup* group, const float* slots,
                                         uint32_t* leaves) {
  Group(group, slots, leaves);
}
extern "C" void MainspringTreesBlockAvx2(const struct MainspringTreesBlock* block) { Block(block); }
