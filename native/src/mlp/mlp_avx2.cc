#include "mainspring/simd/avx2-inl.h"

namespace {
// A tile of a batch: 12 accumulators and what feeds them fit the registers.
constexpr size_t kTileRows = 6, kTileVectors = 2;
MAINSPRING_INLINE Hex JoinHex(const Vec* v) { return Hex{v[0], v[1]}; }
}  // namespace

#include "mlp-inl.h"

extern "C" void MainspringMlpAvx2(const struct MainspringMlpArgs* args) { Forward(args); }
