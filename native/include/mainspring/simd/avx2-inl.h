// Vectors of 8 floats: AVX2 and FMA. Same names as simd/generic-inl.h, where they are explained.

#ifndef MAINSPRING_SIMD_AVX2_INL_H_
#define MAINSPRING_SIMD_AVX2_INL_H_

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define MAINSPRING_INLINE static inline __attribute__((always_inline))

namespace {

constexpr size_t kLanes = 8;
typedef __m256 Vec;
typedef __m256i IVec;
typedef __m256 Mask;

MAINSPRING_INLINE Vec Load(const float* p) { return _mm256_loadu_ps(p); }
MAINSPRING_INLINE void Store(Vec v, float* p) { _mm256_storeu_ps(p, v); }
MAINSPRING_INLINE Vec LoadFirst(const float* p, size_t n) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane));
}
// By halves: AMD runs VMASKMOVPS stores as slow microcode.
MAINSPRING_INLINE void StoreFirst(Vec v, float* p, size_t n) {
  __m128 part = _mm256_castps256_ps128(v);
  if (n & 8) {
    _mm256_storeu_ps(p, v);
    return;
  }
  if (n & 4) {
    _mm_storeu_ps(p, part);
    part = _mm256_extractf128_ps(v, 1);
    p += 4;
  }
  if (n & 2) {
    _mm_storel_pi((__m64*)p, part);
    part = _mm_movehl_ps(part, part);
    p += 2;
  }
  if (n & 1) _mm_store_ss(p, part);
}
MAINSPRING_INLINE Mask LoadMask(const uint32_t* p) { return _mm256_loadu_ps((const float*)p); }

MAINSPRING_INLINE Vec Set1(float x) { return _mm256_set1_ps(x); }
MAINSPRING_INLINE IVec ISet1(int32_t x) { return _mm256_set1_epi32(x); }
MAINSPRING_INLINE IVec AsInt(Vec v) { return _mm256_castps_si256(v); }
MAINSPRING_INLINE Vec AsFloat(IVec v) { return _mm256_castsi256_ps(v); }
MAINSPRING_INLINE Vec ToFloat(IVec v) { return _mm256_cvtepi32_ps(v); }
MAINSPRING_INLINE IVec ISub(IVec a, IVec b) { return _mm256_sub_epi32(a, b); }
MAINSPRING_INLINE IVec IAnd(IVec a, IVec b) { return _mm256_and_si256(a, b); }

MAINSPRING_INLINE Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
MAINSPRING_INLINE Vec Sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
MAINSPRING_INLINE Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
MAINSPRING_INLINE Vec MulAdd(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }

MAINSPRING_INLINE Mask IsNaN(Vec v) { return _mm256_cmp_ps(v, v, _CMP_UNORD_Q); }
MAINSPRING_INLINE Mask Equal(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_EQ_OQ); }
MAINSPRING_INLINE Vec Select(Mask m, Vec yes, Vec no) { return _mm256_blendv_ps(no, yes, m); }
MAINSPRING_INLINE Vec Max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
MAINSPRING_INLINE Vec Min(Vec a, Vec b) { return _mm256_min_ps(a, b); }

MAINSPRING_INLINE void Transpose(Vec* v) {
  Vec pair[8];
  for (size_t i = 0; i < 4; ++i) {
    pair[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
    pair[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
  }
  Vec four[8];
  for (size_t i = 0; i < 2; ++i) {
    const Vec* p = pair + 4 * i;
    four[4 * i] = _mm256_shuffle_ps(p[0], p[2], 0x44);
    four[4 * i + 1] = _mm256_shuffle_ps(p[0], p[2], 0xEE);
    four[4 * i + 2] = _mm256_shuffle_ps(p[1], p[3], 0x44);
    four[4 * i + 3] = _mm256_shuffle_ps(p[1], p[3], 0xEE);
  }
  for (size_t i = 0; i < 4; ++i) {
    v[i] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
    v[i + 4] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
  }
}

// One cache line past the cache; `to` must be 64-byte aligned or the CPU faults.
MAINSPRING_INLINE void StreamLine(const float* from, float* to) {
  _mm256_stream_ps(to, Load(from));
  _mm256_stream_ps(to + 8, Load(from + 8));
}
MAINSPRING_INLINE void StreamFence() { _mm_sfence(); }

}  // namespace

#endif  // MAINSPRING_SIMD_AVX2_INL_H_
