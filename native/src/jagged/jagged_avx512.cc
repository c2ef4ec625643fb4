#include "mainspring/simd/avx512-inl.h"

namespace {
// Words of a row up to which every row takes the same number of vectors, whatever its length.
constexpr size_t kShort = 8 * kLanes;
}  // namespace

#include "jagged-inl.h"

extern "C" void MainspringJaggedPadAvx512(const struct MainspringJaggedArgs* args) { Pad(args); }
extern "C" void MainspringJaggedUnpadAvx512(const struct MainspringJaggedArgs* args) { Unpad(args); }
