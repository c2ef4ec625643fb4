#include "mainspring/simd/avx512-inl.h"

namespace {
constexpr size_t kFewRows = 12;  // as in dense_avx512.cc
}  // namespace

#include "program-inl.h"

MAINSPRING_DEFINE_PROGRAM_KERNELS(Avx512)
