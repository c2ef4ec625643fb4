#include "mainspring/simd/generic-inl.h"

namespace {
// A tile of a batch: 4 accumulators.
constexpr size_t kTileRows = 1, kTileVectors = 4;
MAINSPRING_INLINE Hex JoinHex(const Vec* v) { return Hex{{v[0], v[1], v[2], v[3]}}; }
}  // namespace

#include "mlp-inl.h"

extern "C" void MainspringMlpGeneric(const struct MainspringMlpArgs* args) { Forward(args); }
