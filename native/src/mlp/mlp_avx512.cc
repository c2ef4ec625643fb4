#include "mainspring/simd/avx512-inl.h"

namespace {
// A tile of a batch: 24 accumulators and what feeds them fit the registers.
constexpr size_t kTileRows = 6, kTileVectors = 4;
MAINSPRING_INLINE Hex JoinHex(const Vec* v) { return v[0]; }
}  // namespace

#include "mlp-inl.h"

extern "C" void MainspringMlpAvx512(const struct MainspringMlpArgs* args) { Forward(args); }
