#include "mainspring/simd/generic-inl.h"

namespace {
// left[w] &= kept[w] where x > threshold: never for a NaN.
template <size_t kWords>
MAINSPRING_INLINE void KeepWhereGreater(Vec x, Vec threshold, const IVec* kept, IVec* left) {
  const IVec is_not_greater = ~(x > threshold);
  for (size_t w = 0; w < kWords; ++w) left[w] &= kept[w] | is_not_greater;
}
}  // namespace

#include "trees-inl.h"

extern "C" void MainspringTreesBlockGeneric(const struct MainspringTreesBlock* block) { Block(block); }
