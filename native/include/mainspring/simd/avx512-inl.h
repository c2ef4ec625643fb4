// Vectors of 16 floats: AVX-512 F, BW, DQ, VL. Same names as simd/generic-inl.h, where they are explained.

#ifndef MAINSPRING_SIMD_AVX512_INL_H_
#define MAINSPRING_SIMD_AVX512_INL_H_

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define MAINSPRING_INLINE static inline __attribute__((always_inline))

namespace {

constexpr size_t kLanes = 16;
typedef __m512 Vec;
typedef __m512i IVec;
typedef __mmask16 Mask;

MAINSPRING_INLINE Mask FirstLanes(size_t n) { return (Mask)((1u << n) - 1); }

MAINSPRING_INLINE Vec Load(const float* p) { return _mm512_loadu_ps(p); }
MAINSPRING_INLINE void Store(Vec v, float* p) { _mm512_storeu_ps(p, v); }
MAINSPRING_INLINE Vec LoadFirst(const float* p, size_t n) { return _mm512_maskz_loadu_ps(FirstLanes(n), p); }
MAINSPRING_INLINE void StoreFirst(Vec v, float* p, size_t n) { _mm512_mask_storeu_ps(p, FirstLanes(n), v); }
MAINSPRING_INLINE Mask LoadMask(const uint32_t* p) { return _mm512_movepi32_mask(_mm512_loadu_si512(p)); }

MAINSPRING_INLINE Vec Set1(float x) { return _mm512_set1_ps(x); }
MAINSPRING_INLINE IVec ISet1(int32_t x) { return _mm512_set1_epi32(x); }
MAINSPRING_INLINE IVec AsInt(Vec v) { return _mm512_castps_si512(v); }
MAINSPRING_INLINE Vec AsFloat(IVec v) { return _mm512_castsi512_ps(v); }
MAINSPRING_INLINE Vec ToFloat(IVec v) { return _mm512_cvtepi32_ps(v); }
MAINSPRING_INLINE IVec ISub(IVec a, IVec b) { return _mm512_sub_epi32(a, b); }
MAINSPRING_INLINE IVec IAnd(IVec a, IVec b) { return _mm512_and_si512(a, b); }
MAINSPRING_INLINE IVec IOr(IVec a, IVec b) { return _mm512_or_si512(a, b); }
MAINSPRING_INLINE int IAny(IVec v) { return _mm512_test_epi32_mask(v, v) != 0; }

MAINSPRING_INLINE Vec Add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
MAINSPRING_INLINE Vec Sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
MAINSPRING_INLINE Vec Mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
MAINSPRING_INLINE Vec Div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
MAINSPRING_INLINE Vec MulAdd(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }

MAINSPRING_INLINE Mask IsNaN(Vec v) { return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q); }
MAINSPRING_INLINE Mask Equal(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ); }
MAINSPRING_INLINE Vec Select(Mask m, Vec yes, Vec no) { return _mm512_mask_blend_ps(m, no, yes); }
MAINSPRING_INLINE Vec Max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
MAINSPRING_INLINE Vec Min(Vec a, Vec b) { return _mm512_min_ps(a, b); }

MAINSPRING_INLINE void Transpose(Vec* v) {
  Vec pair[16];
  for (size_t i = 0; i < 8; ++i) {
    pair[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]);
    pair[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]);
  }
  // four[4 g + j]: in each 128-bit part b, row 4 b + j of columns 4 g .. 4 g + 3.
  Vec four[16];
  for (size_t g = 0; g < 4; ++g) {
    const Vec* p = pair + 4 * g;
    four[4 * g] = _mm512_shuffle_ps(p[0], p[2], 0x44);
    four[4 * g + 1] = _mm512_shuffle_ps(p[0], p[2], 0xEE);
    four[4 * g + 2] = _mm512_shuffle_ps(p[1], p[3], 0x44);
    four[4 * g + 3] = _mm512_shuffle_ps(p[1], p[3], 0xEE);
  }
  // Then the 4 x 4 matrix of 128-bit parts is transposed.
  for (size_t j = 0; j < 4; ++j) {
    const Vec a = _mm512_shuffle_f32x4(four[j], four[4 + j], 0x88);
    const Vec b = _mm512_shuffle_f32x4(four[8 + j], four[12 + j], 0x88);
    const Vec c = _mm512_shuffle_f32x4(four[j], four[4 + j], 0xDD);
    const Vec d = _mm512_shuffle_f32x4(four[8 + j], four[12 + j], 0xDD);
    v[j] = _mm512_shuffle_f32x4(a, b, 0x88);
    v[8 + j] = _mm512_shuffle_f32x4(a, b, 0xDD);
    v[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88);
    v[12 + j] = _mm512_shuffle_f32x4(c, d, 0xDD);
  }
}

MAINSPRING_INLINE void StreamLine(const float* from, float* to) { _mm512_stream_ps(to, Load(from)); }
MAINSPRING_INLINE void StreamInts(IVec v, int32_t* p) { _mm512_stream_si512((__m512i*)p, v); }
MAINSPRING_INLINE void StreamFence() { _mm_sfence(); }

constexpr size_t kWide = 8;
typedef __m512i WVec;

MAINSPRING_INLINE __mmask8 FirstWide(size_t n) { return (__mmask8)((1u << n) - 1); }

MAINSPRING_INLINE WVec WLoad(const int64_t* p) { return _mm512_loadu_si512(p); }
MAINSPRING_INLINE WVec WLoadFirst(const int64_t* p, size_t n) {
  return _mm512_maskz_loadu_epi64(FirstWide(n), p);
}
MAINSPRING_INLINE void WStore(WVec v, uint64_t* p) { _mm512_storeu_si512(p, v); }
MAINSPRING_INLINE WVec WSet1(uint64_t x) { return _mm512_set1_epi64((long long)x); }
MAINSPRING_INLINE WVec WXor(WVec a, WVec b) { return _mm512_xor_si512(a, b); }
MAINSPRING_INLINE WVec WAdd(WVec a, WVec b) { return _mm512_add_epi64(a, b); }
MAINSPRING_INLINE WVec WMul(WVec a, WVec b) { return _mm512_mullo_epi64(a, b); }
MAINSPRING_INLINE WVec WMulLow(WVec a, WVec b) { return _mm512_mul_epu32(a, b); }
MAINSPRING_INLINE WVec WShiftRight(WVec v, int by) { return _mm512_srli_epi64(v, (unsigned)by); }
MAINSPRING_INLINE WVec WShiftLeft(WVec v, int by) { return _mm512_sll_epi64(v, _mm_cvtsi32_si128(by)); }
MAINSPRING_INLINE WVec WWhereEqual(WVec a, WVec b, WVec yes, WVec no) {
  return _mm512_mask_blend_epi64(_mm512_cmpeq_epi64_mask(a, b), no, yes);
}
MAINSPRING_INLINE WVec WWhereBelow(WVec a, WVec b, WVec yes, WVec no) {
  return _mm512_mask_blend_epi64(_mm512_cmplt_epu64_mask(a, b), no, yes);
}
MAINSPRING_INLINE void StoreNarrow(WVec v, int32_t* p) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtepi64_epi32(v));
}
MAINSPRING_INLINE void StoreNarrowFirst(WVec v, int32_t* p, size_t n) {
  _mm256_mask_storeu_epi32(p, FirstWide(n), _mm512_cvtepi64_epi32(v));
}
MAINSPRING_INLINE WVec WSub(WVec a, WVec b) { return _mm512_sub_epi64(a, b); }
MAINSPRING_INLINE IVec LoadInts(const int32_t* p) { return _mm512_loadu_si512(p); }
MAINSPRING_INLINE IVec IXor(IVec a, IVec b) { return _mm512_xor_si512(a, b); }
MAINSPRING_INLINE IVec IMul(IVec a, IVec b) { return _mm512_mullo_epi32(a, b); }
MAINSPRING_INLINE IVec IShiftRight(IVec v, int by) { return _mm512_srli_epi32(v, (unsigned)by); }
MAINSPRING_INLINE IVec IShiftLeft(IVec v, int by) { return _mm512_sll_epi32(v, _mm_cvtsi32_si128(by)); }
MAINSPRING_INLINE IVec IShiftLeftEach(IVec v, IVec by) { return _mm512_sllv_epi32(v, by); }
MAINSPRING_INLINE IVec IWhereAtMost(IVec a, IVec b, IVec yes, IVec no) {
  return _mm512_mask_blend_epi32(_mm512_cmple_epu32_mask(a, b), no, yes);
}
MAINSPRING_INLINE IVec JoinUpper(WVec a, WVec b) {
  const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return _mm512_permutex2var_epi32(a, odd, b);
}
MAINSPRING_INLINE IVec JoinWhereEqual(WVec low, WVec high, WVec b, IVec yes, IVec no) {
  const __mmask16 is_equal =
      _mm512_kunpackb(_mm512_cmpeq_epi64_mask(high, b), _mm512_cmpeq_epi64_mask(low, b));
  return _mm512_mask_blend_epi32(is_equal, no, yes);
}
MAINSPRING_INLINE IVec JoinNarrow(WVec a, WVec b) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi64_epi32(a)), _mm512_cvtepi64_epi32(b), 1);
}
MAINSPRING_INLINE void StoreInts(IVec v, int32_t* p) { _mm512_storeu_si512(p, v); }
MAINSPRING_INLINE void StoreIntsFirst(IVec v, int32_t* p, size_t n) {
  _mm512_mask_storeu_epi32(p, FirstLanes(n), v);
}
MAINSPRING_INLINE IVec IAdd(IVec a, IVec b) { return _mm512_add_epi32(a, b); }
MAINSPRING_INLINE IVec ISelect(Mask m, IVec yes, IVec no) { return _mm512_mask_blend_epi32(m, no, yes); }
// Binary search with the bounds in two registers.
MAINSPRING_INLINE IVec CountBelow32(const float* bounds, size_t n, Vec x) {
  (void)n;
  const Vec low = Load(bounds), high = Load(bounds + 16);
  IVec count = _mm512_setzero_si512();
  for (int step = 16; step > 0; step /= 2) {
    const IVec at = _mm512_add_epi32(count, ISet1(step - 1));
    const Mask m = _mm512_cmp_ps_mask(_mm512_permutex2var_ps(low, at, high), x, _CMP_LT_OQ);
    count = _mm512_mask_add_epi32(count, m, count, ISet1(step));
  }
  const Mask m = _mm512_cmp_ps_mask(_mm512_permutex2var_ps(low, count, high), x, _CMP_LT_OQ);
  return _mm512_mask_add_epi32(count, m, count, ISet1(1));
}
MAINSPRING_INLINE size_t CountBelowOne(const float* bounds, size_t n, float x) {
  size_t count = 0;
  for (size_t i = 0; i < n; i += 32) {
    const Mask low = _mm512_cmp_ps_mask(Load(bounds + i), Set1(x), _CMP_LT_OQ);
    const Mask high = _mm512_cmp_ps_mask(Load(bounds + i + kLanes), Set1(x), _CMP_LT_OQ);
    count += (size_t)__builtin_popcount(_mm512_kunpackw(high, low));
  }
  return count;
}

typedef __m512 Hex;
typedef __mmask16 Bits16;
MAINSPRING_INLINE Hex HexSet1(float x) { return _mm512_set1_ps(x); }
MAINSPRING_INLINE Hex HexLoadBits(const float* p, Bits16 bits) { return _mm512_maskz_loadu_ps(bits, p); }
MAINSPRING_INLINE Bits16 HexOrdered(Hex a) { return _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q); }
MAINSPRING_INLINE Bits16 HexOrderedOf(Bits16 bits, Hex a) {
  return _mm512_mask_cmp_ps_mask(bits, a, a, _CMP_ORD_Q);
}
MAINSPRING_INLINE Hex HexAddWhere(Hex a, Bits16 bits, Hex b) { return _mm512_mask_add_ps(a, bits, a, b); }
MAINSPRING_INLINE Hex HexMaxWhere(Hex a, Bits16 bits, Hex b) { return _mm512_mask_max_ps(a, bits, a, b); }
MAINSPRING_INLINE Hex HexMinWhere(Hex a, Bits16 bits, Hex b) { return _mm512_mask_min_ps(a, bits, a, b); }
MAINSPRING_INLINE float HexSum(Hex a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 0x55)));
}
MAINSPRING_INLINE float HexLargest(Hex a) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 0x55)));
}
MAINSPRING_INLINE float HexSmallest(Hex a) {
  const __m256 eight = _mm256_min_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps(two, two, 0x55)));
}
MAINSPRING_INLINE void HexStore(Hex a, float* p) { _mm512_storeu_ps(p, a); }
MAINSPRING_INLINE Bits16 LoadBits(const uint16_t* p) { return _load_mask16((__mmask16*)p); }
MAINSPRING_INLINE Hex HexLoadBitsElse(float other, const float* p, Bits16 bits) {
  return _mm512_mask_loadu_ps(_mm512_set1_ps(other), bits, p);
}
MAINSPRING_INLINE Hex HexAdd(Hex a, Hex b) { return _mm512_add_ps(a, b); }
MAINSPRING_INLINE Hex HexMax(Hex a, Hex b) { return _mm512_max_ps(a, b); }
MAINSPRING_INLINE Hex HexMin(Hex a, Hex b) { return _mm512_min_ps(a, b); }

// The same of sixteen at once: halves of two are joined, so that each operation folds both. The order of the
// rows is the one that comes out right.
#define MAINSPRING_HEX_EACH(Name, Fold)                                                                    \
  MAINSPRING_INLINE Hex Name(const Hex* rows) {                                                            \
    Hex a[8], b[4], c[2];                                                                                  \
    for (int i = 0; i < 8; ++i) {                                                                          \
      const Hex x = rows[2 * i % 4 * 4 + 2 * i / 4], y = rows[(2 * i + 1) % 4 * 4 + 2 * i / 4];            \
      a[i] = Fold(_mm512_shuffle_f32x4(x, y, 0x44), _mm512_shuffle_f32x4(x, y, 0xEE));                     \
    }                                                                                                      \
    for (int i = 0; i < 4; ++i) {                                                                          \
      b[i] = Fold(_mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0x88),                                      \
                  _mm512_shuffle_f32x4(a[2 * i], a[2 * i + 1], 0xDD));                                     \
    }                                                                                                      \
    for (int i = 0; i < 2; ++i) {                                                                          \
      const __m512d x = _mm512_castps_pd(b[2 * i]), y = _mm512_castps_pd(b[2 * i + 1]);                    \
      c[i] = Fold(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y))); \
    }                                                                                                      \
    return Fold(_mm512_shuffle_ps(c[0], c[1], 0x88), _mm512_shuffle_ps(c[0], c[1], 0xDD));                 \
  }
MAINSPRING_HEX_EACH(HexSumEach, _mm512_add_ps)
MAINSPRING_HEX_EACH(HexLargestEach, _mm512_max_ps)
MAINSPRING_HEX_EACH(HexSmallestEach, _mm512_min_ps)
#undef MAINSPRING_HEX_EACH

typedef struct {
  WVec low, high;
} Ages;
MAINSPRING_INLINE Ages LoadAges(const int64_t* times, Bits16 bits, int64_t as_of) {
  const WVec now = _mm512_set1_epi64(as_of);
  return Ages{_mm512_sub_epi64(now, _mm512_maskz_loadu_epi64((__mmask8)bits, times)),
              _mm512_sub_epi64(now, _mm512_maskz_loadu_epi64((__mmask8)(bits >> 8), times + 8))};
}
MAINSPRING_INLINE Bits16 AgesBelow(const Ages* ages, Bits16 bits, uint64_t width) {
  const WVec limit = WSet1(width);
  const __mmask8 low = _mm512_mask_cmplt_epu64_mask((__mmask8)bits, ages->low, limit);
  const __mmask8 high = _mm512_mask_cmplt_epu64_mask((__mmask8)(bits >> 8), ages->high, limit);
  return _mm512_kunpackb(high, low);
}
// With 32 bits each, an age of 2^32 or more as 2^32 - 1.
typedef __m512i ShortAges;
MAINSPRING_INLINE ShortAges Shorten(const Ages* ages) {
  return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtusepi64_epi32(ages->low)),
                            _mm512_cvtusepi64_epi32(ages->high), 1);
}
MAINSPRING_INLINE Bits16 ShortAgesBelow(const ShortAges* ages, Bits16 bits, uint64_t width) {
  return _mm512_mask_cmplt_epu32_mask(bits, *ages, _mm512_set1_epi32((int32_t)(uint32_t)width));
}
MAINSPRING_INLINE uint32_t JoinBits(Bits16 low, Bits16 high) { return _mm512_kunpackw(high, low); }

}  // namespace

#endif  // MAINSPRING_SIMD_AVX512_INL_H_
