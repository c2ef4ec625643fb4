#include "mainspring/simd/avx2-inl.h"

namespace {
constexpr size_t kFewRows = 8;  // as in dense_avx2.cc
}  // namespace

#include "program-inl.h"

MAINSPRING_DEFINE_PROGRAM_KERNELS(Avx2)
