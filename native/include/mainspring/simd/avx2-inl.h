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
MAINSPRING_INLINE IVec IOr(IVec a, IVec b) { return _mm256_or_si256(a, b); }
MAINSPRING_INLINE int IAny(IVec v) { return !_mm256_testz_si256(v, v); }

MAINSPRING_INLINE Vec Add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
MAINSPRING_INLINE Vec Sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
MAINSPRING_INLINE Vec Mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
MAINSPRING_INLINE Vec Div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
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
// One vector, at a multiple of its size.
MAINSPRING_INLINE void StreamInts(IVec v, int32_t* p) { _mm256_stream_si256((__m256i*)p, v); }
MAINSPRING_INLINE void StreamFence() { _mm_sfence(); }

constexpr size_t kWide = 4;
typedef __m256i WVec;

MAINSPRING_INLINE __m256i FirstWide(size_t n) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x((long long)n), _mm256_setr_epi64x(0, 1, 2, 3));
}

MAINSPRING_INLINE WVec WLoad(const int64_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
MAINSPRING_INLINE WVec WLoadFirst(const int64_t* p, size_t n) {
  return _mm256_maskload_epi64((const long long*)p, FirstWide(n));
}
MAINSPRING_INLINE void WStore(WVec v, uint64_t* p) { _mm256_storeu_si256((__m256i*)p, v); }
MAINSPRING_INLINE WVec WSet1(uint64_t x) { return _mm256_set1_epi64x((long long)x); }
MAINSPRING_INLINE WVec WXor(WVec a, WVec b) { return _mm256_xor_si256(a, b); }
MAINSPRING_INLINE WVec WAdd(WVec a, WVec b) { return _mm256_add_epi64(a, b); }
// From three products of 32 bits: AVX2 has no larger one.
MAINSPRING_INLINE WVec WMul(WVec a, WVec b) {
  const __m256i cross = _mm256_mullo_epi32(a, _mm256_shuffle_epi32(b, 0xB1));
  const __m256i high = _mm256_add_epi32(cross, _mm256_shuffle_epi32(cross, 0xB1));
  return _mm256_add_epi64(_mm256_mul_epu32(a, b), _mm256_slli_epi64(high, 32));
}
MAINSPRING_INLINE WVec WMulLow(WVec a, WVec b) { return _mm256_mul_epu32(a, b); }
MAINSPRING_INLINE WVec WShiftRight(WVec v, int by) { return _mm256_srli_epi64(v, by); }
MAINSPRING_INLINE WVec WShiftLeft(WVec v, int by) { return _mm256_sll_epi64(v, _mm_cvtsi32_si128(by)); }
MAINSPRING_INLINE WVec WWhereEqual(WVec a, WVec b, WVec yes, WVec no) {
  return _mm256_blendv_epi8(no, yes, _mm256_cmpeq_epi64(a, b));
}
MAINSPRING_INLINE WVec WWhereBelow(WVec a, WVec b, WVec yes, WVec no) {
  const __m256i sign = _mm256_set1_epi64x(INT64_MIN);
  return _mm256_blendv_epi8(no, yes,
                            _mm256_cmpgt_epi64(_mm256_xor_si256(b, sign), _mm256_xor_si256(a, sign)));
}
MAINSPRING_INLINE __m128i Narrow(WVec v) {
  return _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(v, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6)));
}
MAINSPRING_INLINE void StoreNarrow(WVec v, int32_t* p) { _mm_storeu_si128((__m128i*)p, Narrow(v)); }
MAINSPRING_INLINE void StoreNarrowFirst(WVec v, int32_t* p, size_t n) {
  int32_t all[4];
  _mm_storeu_si128((__m128i*)all, Narrow(v));
  for (size_t i = 0; i < n; ++i) p[i] = all[i];
}
MAINSPRING_INLINE WVec WSub(WVec a, WVec b) { return _mm256_sub_epi64(a, b); }
MAINSPRING_INLINE IVec LoadInts(const int32_t* p) { return _mm256_loadu_si256((const __m256i*)p); }
MAINSPRING_INLINE IVec IXor(IVec a, IVec b) { return _mm256_xor_si256(a, b); }
MAINSPRING_INLINE IVec IMul(IVec a, IVec b) { return _mm256_mullo_epi32(a, b); }
MAINSPRING_INLINE IVec IShiftRight(IVec v, int by) { return _mm256_srli_epi32(v, by); }
MAINSPRING_INLINE IVec IShiftLeft(IVec v, int by) { return _mm256_sll_epi32(v, _mm_cvtsi32_si128(by)); }
MAINSPRING_INLINE IVec IShiftLeftEach(IVec v, IVec by) { return _mm256_sllv_epi32(v, by); }
MAINSPRING_INLINE IVec IWhereAtMost(IVec a, IVec b, IVec yes, IVec no) {
  return _mm256_blendv_epi8(no, yes, _mm256_cmpeq_epi32(_mm256_min_epu32(a, b), a));
}
MAINSPRING_INLINE IVec JoinUpper(WVec a, WVec b) {
  const __m256 both = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xDD);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(both), 0xD8);
}
MAINSPRING_INLINE IVec JoinWhereEqual(WVec low, WVec high, WVec b, IVec yes, IVec no) {
  return _mm256_blendv_epi8(no, yes, JoinUpper(_mm256_cmpeq_epi64(low, b), _mm256_cmpeq_epi64(high, b)));
}
MAINSPRING_INLINE IVec JoinNarrow(WVec a, WVec b) {
  const __m256 both = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(both), 0xD8);
}
MAINSPRING_INLINE void StoreInts(IVec v, int32_t* p) { _mm256_storeu_si256((__m256i*)p, v); }
MAINSPRING_INLINE void StoreIntsFirst(IVec v, int32_t* p, size_t n) { StoreFirst(AsFloat(v), (float*)p, n); }
MAINSPRING_INLINE IVec IAdd(IVec a, IVec b) { return _mm256_add_epi32(a, b); }
MAINSPRING_INLINE IVec ISelect(Mask m, IVec yes, IVec no) {
  return AsInt(Select(m, AsFloat(yes), AsFloat(no)));
}
MAINSPRING_INLINE IVec CountBelow32(const float* bounds, size_t n, Vec x) {
  IVec count = _mm256_setzero_si256();
  for (size_t i = 0; i < n; ++i) {
    count = ISub(count, AsInt(_mm256_cmp_ps(_mm256_broadcast_ss(bounds + i), x, _CMP_LT_OQ)));
  }
  return count;
}
MAINSPRING_INLINE size_t CountBelowOne(const float* bounds, size_t n, float x) {
  size_t count = 0;
  for (size_t i = 0; i < n; i += kLanes) {
    const Vec is_below = _mm256_cmp_ps(Load(bounds + i), Set1(x), _CMP_LT_OQ);
    count += (size_t)__builtin_popcount((unsigned)_mm256_movemask_ps(is_below));
  }
  return count;
}

typedef struct {
  Vec low, high;
} Hex;
typedef uint32_t Bits16;
MAINSPRING_INLINE Vec MaskOf(uint32_t bits) {
  const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return AsFloat(_mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), bit), bit));
}
MAINSPRING_INLINE Hex HexSet1(float x) { return Hex{Set1(x), Set1(x)}; }
MAINSPRING_INLINE Hex HexLoadBits(const float* p, Bits16 bits) {
  return Hex{_mm256_maskload_ps(p, AsInt(MaskOf(bits))), _mm256_maskload_ps(p + 8, AsInt(MaskOf(bits >> 8)))};
}
MAINSPRING_INLINE Bits16 HexOrdered(Hex a) {
  const uint32_t low = (uint32_t)_mm256_movemask_ps(IsNaN(a.low));
  const uint32_t high = (uint32_t)_mm256_movemask_ps(IsNaN(a.high));
  return 0xFFFF & ~(low | high << 8);
}
MAINSPRING_INLINE Bits16 HexOrderedOf(Bits16 bits, Hex a) { return bits & HexOrdered(a); }
MAINSPRING_INLINE Hex HexAddWhere(Hex a, Bits16 bits, Hex b) {
  return Hex{Select(MaskOf(bits), Add(a.low, b.low), a.low),
             Select(MaskOf(bits >> 8), Add(a.high, b.high), a.high)};
}
MAINSPRING_INLINE Hex HexMaxWhere(Hex a, Bits16 bits, Hex b) {
  return Hex{Select(MaskOf(bits), Max(a.low, b.low), a.low),
             Select(MaskOf(bits >> 8), Max(a.high, b.high), a.high)};
}
MAINSPRING_INLINE Hex HexMinWhere(Hex a, Bits16 bits, Hex b) {
  return Hex{Select(MaskOf(bits), Min(a.low, b.low), a.low),
             Select(MaskOf(bits >> 8), Min(a.high, b.high), a.high)};
}
MAINSPRING_INLINE float HexSum(Hex a) {
  const __m256 eight = _mm256_add_ps(a.low, a.high);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 0x55)));
}
MAINSPRING_INLINE float HexLargest(Hex a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 0x55)));
}
MAINSPRING_INLINE float HexSmallest(Hex a) {
  const __m256 eight = _mm256_min_ps(a.low, a.high);
  const __m128 four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_min_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps(two, two, 0x55)));
}
MAINSPRING_INLINE void HexStore(Hex a, float* p) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}
MAINSPRING_INLINE Bits16 LoadBits(const uint16_t* p) { return *p; }
MAINSPRING_INLINE Hex HexLoadBitsElse(float other, const float* p, Bits16 bits) {
  const Vec low = MaskOf(bits), high = MaskOf(bits >> 8);
  return Hex{Select(low, _mm256_maskload_ps(p, AsInt(low)), Set1(other)),
             Select(high, _mm256_maskload_ps(p + 8, AsInt(high)), Set1(other))};
}
MAINSPRING_INLINE Hex HexAdd(Hex a, Hex b) { return Hex{Add(a.low, b.low), Add(a.high, b.high)}; }
MAINSPRING_INLINE Hex HexMax(Hex a, Hex b) { return Hex{Max(a.low, b.low), Max(a.high, b.high)}; }
MAINSPRING_INLINE Hex HexMin(Hex a, Hex b) { return Hex{Min(a.low, b.low), Min(a.high, b.high)}; }

// The same of sixteen at once: halves of two are joined, so that each operation folds both. The order of the
// rows is the one that comes out right.
#define MAINSPRING_HEX_EACH(Name, Fold)                                                                    \
  MAINSPRING_INLINE __m256 Name##Of8(const Hex* rows) {                                                    \
    __m256 a[4], b[2];                                                                                     \
    for (int i = 0; i < 4; ++i) {                                                                          \
      const __m256 x = Fold(rows[i].low, rows[i].high), y = Fold(rows[i + 4].low, rows[i + 4].high);       \
      a[i] = Fold(_mm256_permute2f128_ps(x, y, 0x20), _mm256_permute2f128_ps(x, y, 0x31));                 \
    }                                                                                                      \
    for (int i = 0; i < 2; ++i) {                                                                          \
      const __m256d x = _mm256_castps_pd(a[2 * i]), y = _mm256_castps_pd(a[2 * i + 1]);                    \
      b[i] = Fold(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), _mm256_castpd_ps(_mm256_unpackhi_pd(x, y))); \
    }                                                                                                      \
    return Fold(_mm256_shuffle_ps(b[0], b[1], 0x88), _mm256_shuffle_ps(b[0], b[1], 0xDD));                 \
  }                                                                                                        \
  MAINSPRING_INLINE Hex Name(const Hex* rows) { return Hex{Name##Of8(rows), Name##Of8(rows + 8)}; }
MAINSPRING_HEX_EACH(HexSumEach, _mm256_add_ps)
MAINSPRING_HEX_EACH(HexLargestEach, _mm256_max_ps)
MAINSPRING_HEX_EACH(HexSmallestEach, _mm256_min_ps)
#undef MAINSPRING_HEX_EACH

// With the sign turned, so that comparisons with a sign, the only ones there are, do without.
typedef struct {
  WVec four[4];
} Ages;
MAINSPRING_INLINE Ages LoadAges(const int64_t* times, Bits16 bits, int64_t as_of) {
  const __m256i now = _mm256_set1_epi64x(as_of ^ INT64_MIN), bit = _mm256_setr_epi64x(1, 2, 4, 8);
  Ages ages;
  for (int i = 0; i < 4; ++i) {
    const __m256i all = _mm256_and_si256(_mm256_set1_epi64x((long long)(bits >> 4 * i)), bit);
    const __m256i loaded =
        _mm256_maskload_epi64((const long long*)times + 4 * i, _mm256_cmpeq_epi64(all, bit));
    ages.four[i] = _mm256_sub_epi64(now, loaded);
  }
  return ages;
}
MAINSPRING_INLINE Bits16 AgesBelow(const Ages* ages, Bits16 bits, uint64_t width) {
  const __m256i limit = _mm256_set1_epi64x((long long)(width ^ (uint64_t)INT64_MIN));
  uint32_t below = 0;
  for (int i = 0; i < 4; ++i) {
    const __m256i is_below = _mm256_cmpgt_epi64(limit, ages->four[i]);
    below |= (uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(is_below)) << 4 * i;
  }
  return below & bits;
}
typedef Ages ShortAges;
MAINSPRING_INLINE ShortAges Shorten(const Ages* ages) { return *ages; }
MAINSPRING_INLINE Bits16 ShortAgesBelow(const ShortAges* ages, Bits16 bits, uint64_t width) {
  return AgesBelow(ages, bits, width);
}
MAINSPRING_INLINE uint32_t JoinBits(Bits16 low, Bits16 high) { return low | high << 16; }

}  // namespace

#endif  // MAINSPRING_SIMD_AVX2_INL_H_
