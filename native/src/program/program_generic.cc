#include "mainspring/simd/generic-inl.h"

namespace {
constexpr size_t kFewRows = 4;  // as in dense_generic.cc
}  // namespace

#include "program-inl.h"

MAINSPRING_DEFINE_PROGRAM_KERNELS(Generic)
