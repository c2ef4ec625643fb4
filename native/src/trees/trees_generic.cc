#include "mainspring/simd/generic-inl.h"

namespace {
// left & kept where x > threshold: never for a NaN.
MAINSPRING_INLINE IVec KeepWhereGreater(Vec x, Vec threshold, IVec kept, IVec left) {
  return left & (kept | ~(x > threshold));
}
}  // namespace

#include "trees-inl.h"

extern "C" void MainspringTreesBlockGeneric(const struct MainspringTreesBlock* block) { Block(block); }
