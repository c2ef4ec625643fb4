#include "mainspring/simd/generic-inl.h"

namespace {
// Words of a row up to which every row takes the same number of vectors, whatever its length.
constexpr size_t kShort = 8 * kLanes;
}  // namespace

#include "jagged-inl.h"

extern "C" void MainspringJaggedPadGeneric(const struct MainspringJaggedArgs* args) { Pad(args); }
extern "C" void MainspringJaggedUnpadGeneric(const struct MainspringJaggedArgs* args) { Unpad(args); }
