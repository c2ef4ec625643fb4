#include "mainspring/simd/avx2-inl.h"
#include "trees_kernels.h"

namespace {
// left[w] &= kept[w] where x > threshold: never for a NaN.
template <size_t kWords>
MAINSPRING_INLINE void KeepWhereGreater(Vec x, Vec threshold, const IVec* kept, IVec* left) {
  const IVec is_not_greater = AsInt(_mm256_cmp_ps(x, threshold, _CMP_NGT_UQ));
  for (size_t w = 0; w < kWords; ++w) left[w] = IAnd(left[w], IOr(kept[w], is_not_greater));
}

constexpr size_t kShare = kMainspringTreesAvx2Share;
typedef Vec Window;
MAINSPRING_INLINE Window LoadWindow(const float* slots) { return Load(slots); }
MAINSPRING_INLINE Vec LookUp(Window window, IVec places) { return _mm256_permutevar8x32_ps(window, places); }
}  // namespace

#define MAINSPRING_TREES_HAS_GROUPS
#include "trees-inl.h"

extern "C" void MainspringTreesGroupAvx2(const struct MainspringTreesGroup* group, const float* slots,
                                         uint32_t* leaves) {
  Group(group, slots, leaves);
}
extern "C" void MainspringTreesBlockAvx2(const struct MainspringTreesBlock* block) { Block(block); }
