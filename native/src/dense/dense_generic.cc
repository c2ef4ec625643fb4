#include "mainspring/simd/generic-inl.h"

namespace {
// Below this many rows lanes are columns: about where the two shapes cross at 13 to 40 columns (2026-11).
constexpr size_t kFewRows = 4;
}  // namespace

#include "dense-inl.h"

extern "C" void MainspringDenseGeneric(const struct MainspringDenseArgs* args) { Transform(args); }
