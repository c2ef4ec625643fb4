#include "mainspring/simd/avx2-inl.h"
#include "trees_kernels.h"

namespace {
// left & kept where x > threshold: never for a NaN.
MAINSPRING_INLINE IVec KeepWhereGreater(Vec x, Vec threshold, IVec kept, IVec left) {
  return IAnd(left, IOr(kept, AsInt(_mm256_cmp_ps(x, threshold, _CMP_NGT_UQ))));
}

constexpr size_t kShare = kMainspringTreesAvx2Share;
typedef Vec Window;
MAINSPRING_INLINE Window LoadWindow(const float* slots) { return Load(slots); }
MAINSPRING_INLINE Vec LookUp(Window window, IVec places) { return _mm256_permutevar8x32_ps(window, places); }
}  // namespace

#define MAINSPRING_TREES_HAS_GROUPS
#include "trees-inl.h"

extern "C" void MainspringTreesGroupAvx2(const struct MainspringTreesPart* parts, size_t words,
                                         const float* slots, uint32_t* leaves) {
  Group(parts, words, slots, leaves);
}
extern "C" void MainspringTreesBlockAvx2(const struct MainspringTreesBlock* block) { Block(block); }
