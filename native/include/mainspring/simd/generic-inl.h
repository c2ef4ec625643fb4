// Vectors of 4 floats in the compiler's own vector types: any architecture, SSE2 on x86-64.
// The three simd/*-inl.h files offer the same names; a unit includes one of them, before the algorithm.

#ifndef MAINSPRING_SIMD_GENERIC_INL_H_
#define MAINSPRING_SIMD_GENERIC_INL_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MAINSPRING_INLINE static inline __attribute__((always_inline))

namespace {

constexpr size_t kLanes = 4;
typedef float Vec __attribute__((vector_size(16)));
typedef int32_t IVec __attribute__((vector_size(16)));
typedef uint32_t WrappingVec __attribute__((vector_size(16)));
typedef IVec Mask;

MAINSPRING_INLINE Vec Load(const float* p) {
  Vec v;
  memcpy(&v, p, sizeof(v));
  return v;
}
MAINSPRING_INLINE void Store(Vec v, float* p) { memcpy(p, &v, sizeof(v)); }
// The first n < kLanes values, then zeros.
MAINSPRING_INLINE Vec LoadFirst(const float* p, size_t n) {
  Vec v = {0, 0, 0, 0};
  for (size_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
MAINSPRING_INLINE void StoreFirst(Vec v, float* p, size_t n) {
  for (size_t i = 0; i < n; ++i) p[i] = v[i];
}
MAINSPRING_INLINE Mask LoadMask(const uint32_t* p) {
  Mask m;
  memcpy(&m, p, sizeof(m));
  return m;
}

MAINSPRING_INLINE Vec Set1(float x) { return Vec{x, x, x, x}; }
MAINSPRING_INLINE IVec ISet1(int32_t x) { return IVec{x, x, x, x}; }
MAINSPRING_INLINE IVec AsInt(Vec v) { return (IVec)v; }
MAINSPRING_INLINE Vec AsFloat(IVec v) { return (Vec)v; }
MAINSPRING_INLINE Vec ToFloat(IVec v) { return __builtin_convertvector(v, Vec); }
// Wraps, as the CPU's does: lanes whose result is not selected may overflow.
MAINSPRING_INLINE IVec ISub(IVec a, IVec b) { return (IVec)((WrappingVec)a - (WrappingVec)b); }
MAINSPRING_INLINE IVec IAnd(IVec a, IVec b) { return a & b; }
MAINSPRING_INLINE IVec IOr(IVec a, IVec b) { return a | b; }
MAINSPRING_INLINE int IAny(IVec v) { return (v[0] | v[1] | v[2] | v[3]) != 0; }

MAINSPRING_INLINE Vec Add(Vec a, Vec b) { return a + b; }
MAINSPRING_INLINE Vec Sub(Vec a, Vec b) { return a - b; }
MAINSPRING_INLINE Vec Mul(Vec a, Vec b) { return a * b; }
MAINSPRING_INLINE Vec Div(Vec a, Vec b) { return a / b; }

MAINSPRING_INLINE Mask IsNaN(Vec v) { return v != v; }
MAINSPRING_INLINE Mask Equal(Vec a, Vec b) { return a == b; }
MAINSPRING_INLINE Vec Select(Mask m, Vec yes, Vec no) { return (Vec)(((IVec)yes & m) | ((IVec)no & ~m)); }
// a > b ? a : b, so b where they compare equal: what x86's MAXPS does.
MAINSPRING_INLINE Vec Max(Vec a, Vec b) { return Select(a > b, a, b); }
// a < b ? a : b.
MAINSPRING_INLINE Vec Min(Vec a, Vec b) { return Select(a < b, a, b); }

#if defined(__FP_FAST_FMAF)
MAINSPRING_INLINE Vec MulAdd(Vec a, Vec b, Vec c) {
  for (size_t i = 0; i < kLanes; ++i) a[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return a;
}
#else
typedef float Vec2 __attribute__((vector_size(8)));
typedef double DVec __attribute__((vector_size(16)));
typedef int64_t LVec __attribute__((vector_size(16)));
typedef uint64_t UVec __attribute__((vector_size(16)));

// a b + c rounded once, without FMA hardware and without libm's call per lane. The product of two floats
// is exact in double; the sum is rounded to odd (its error is known from Knuth's two-sum), after which
// rounding to float is correct because 53 >= 24 + 2 (Boldo and Melquiond, "Emulation of a FMA", 2008).
MAINSPRING_INLINE DVec MulAddToOdd(DVec a, DVec b, DVec c) {
  const DVec product = a * b;
  const DVec sum = product + c;
  const DVec back = sum - product;
  const DVec error = (product - (sum - back)) + (c - back);
  const DVec zero = {0, 0};
  // False for a NaN error, which is an infinite sum.
  const LVec is_inexact = (error < zero) | (error > zero);
  const UVec bits = (UVec)sum;
  const UVec one = {1, 1};
  const UVec is_even = (bits & one) - one;
  const UVec toward_zero = ((UVec)error ^ bits) >> 63;
  const UVec step = one - (toward_zero + toward_zero);
  return (DVec)(bits + (step & is_even & (UVec)is_inexact));
}
MAINSPRING_INLINE DVec LowToDouble(Vec v) {
  return __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1), DVec);
}
MAINSPRING_INLINE DVec HighToDouble(Vec v) {
  return __builtin_convertvector(__builtin_shufflevector(v, v, 2, 3), DVec);
}
MAINSPRING_INLINE Vec MulAdd(Vec a, Vec b, Vec c) {
  const DVec low = MulAddToOdd(LowToDouble(a), LowToDouble(b), LowToDouble(c));
  const DVec high = MulAddToOdd(HighToDouble(a), HighToDouble(b), HighToDouble(c));
  return __builtin_shufflevector(__builtin_convertvector(low, Vec2), __builtin_convertvector(high, Vec2), 0,
                                 1, 2, 3);
}
#endif

// v[i][j] becomes v[j][i].
MAINSPRING_INLINE void Transpose(Vec* v) {
  const Vec a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
  const Vec b = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
  const Vec c = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
  const Vec d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
  v[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  v[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  v[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  v[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

// No portable way past the cache: an ordinary copy of one cache line.
MAINSPRING_INLINE void StreamLine(const float* from, float* to) { memcpy(to, from, 64); }
MAINSPRING_INLINE void StreamInts(IVec v, int32_t* p) { memcpy(p, &v, sizeof(v)); }
MAINSPRING_INLINE void StreamFence() {}

// 64-bit lanes: the hashes.
constexpr size_t kWide = 2;
typedef uint64_t WVec __attribute__((vector_size(16)));

MAINSPRING_INLINE WVec WLoad(const int64_t* p) {
  WVec v;
  memcpy(&v, p, sizeof(v));
  return v;
}
MAINSPRING_INLINE WVec WLoadFirst(const int64_t* p, size_t n) {
  WVec v = {0, 0};
  for (size_t i = 0; i < n; ++i) v[i] = (uint64_t)p[i];
  return v;
}
MAINSPRING_INLINE void WStore(WVec v, uint64_t* p) { memcpy(p, &v, sizeof(v)); }
MAINSPRING_INLINE WVec WSet1(uint64_t x) { return WVec{x, x}; }
MAINSPRING_INLINE WVec WXor(WVec a, WVec b) { return a ^ b; }
MAINSPRING_INLINE WVec WAdd(WVec a, WVec b) { return a + b; }
MAINSPRING_INLINE WVec WMul(WVec a, WVec b) { return a * b; }
// Of the lower halves, whole.
MAINSPRING_INLINE WVec WMulLow(WVec a, WVec b) {
  const WVec low = {0xFFFFFFFFu, 0xFFFFFFFFu};
  return (a & low) * (b & low);
}
MAINSPRING_INLINE WVec WShiftRight(WVec v, int by) { return v >> (uint64_t)by; }
MAINSPRING_INLINE WVec WShiftLeft(WVec v, int by) { return v << (uint64_t)by; }
MAINSPRING_INLINE WVec WWhereEqual(WVec a, WVec b, WVec yes, WVec no) {
  const WVec m = (WVec)(a == b);
  return (yes & m) | (no & ~m);
}
// Without a sign.
MAINSPRING_INLINE WVec WWhereBelow(WVec a, WVec b, WVec yes, WVec no) {
  const WVec m = (WVec)(a < b);
  return (yes & m) | (no & ~m);
}
// The lower half of each lane.
MAINSPRING_INLINE void StoreNarrowFirst(WVec v, int32_t* p, size_t n) {
  for (size_t i = 0; i < n; ++i) p[i] = (int32_t)v[i];
}
MAINSPRING_INLINE void StoreNarrow(WVec v, int32_t* p) { StoreNarrowFirst(v, p, kWide); }
MAINSPRING_INLINE WVec WSub(WVec a, WVec b) { return a - b; }

MAINSPRING_INLINE IVec LoadInts(const int32_t* p) {
  IVec v;
  memcpy(&v, p, sizeof(v));
  return v;
}
MAINSPRING_INLINE IVec IXor(IVec a, IVec b) { return a ^ b; }
MAINSPRING_INLINE IVec IMul(IVec a, IVec b) { return (IVec)((WrappingVec)a * (WrappingVec)b); }
MAINSPRING_INLINE IVec IShiftRight(IVec v, int by) { return (IVec)((WrappingVec)v >> (uint32_t)by); }
MAINSPRING_INLINE IVec IShiftLeft(IVec v, int by) { return (IVec)((WrappingVec)v << (uint32_t)by); }
// Each by its own.
MAINSPRING_INLINE IVec IShiftLeftEach(IVec v, IVec by) { return (IVec)((WrappingVec)v << (WrappingVec)by); }
// Without a sign.
MAINSPRING_INLINE IVec IWhereAtMost(IVec a, IVec b, IVec yes, IVec no) {
  const IVec m = (IVec)((WrappingVec)a <= (WrappingVec)b);
  return (yes & m) | (no & ~m);
}
// The upper halves of both, in order.
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "halves of a lane are told apart by their order");
MAINSPRING_INLINE IVec JoinUpper(WVec a, WVec b) {
  return __builtin_shufflevector((IVec)a, (IVec)b, 1, 3, 5, 7);
}
// Where low, then high, equal b.
MAINSPRING_INLINE IVec JoinWhereEqual(WVec low, WVec high, WVec b, IVec yes, IVec no) {
  const IVec m = JoinUpper((WVec)(low == b), (WVec)(high == b));
  return (yes & m) | (no & ~m);
}
// The lower halves of both.
MAINSPRING_INLINE IVec JoinNarrow(WVec a, WVec b) {
  return __builtin_shufflevector((IVec)a, (IVec)b, 0, 2, 4, 6);
}
MAINSPRING_INLINE void StoreInts(IVec v, int32_t* p) { memcpy(p, &v, sizeof(v)); }
MAINSPRING_INLINE void StoreIntsFirst(IVec v, int32_t* p, size_t n) {
  for (size_t i = 0; i < n; ++i) p[i] = v[i];
}
MAINSPRING_INLINE IVec IAdd(IVec a, IVec b) { return (IVec)((WrappingVec)a + (WrappingVec)b); }
MAINSPRING_INLINE IVec ISelect(Mask m, IVec yes, IVec no) { return (yes & m) | (no & ~m); }
// How many of n <= 32 rising bounds lie below each x; they are padded to 32 with +inf. NaN: any number.
MAINSPRING_INLINE IVec CountBelow32(const float* bounds, size_t n, Vec x) {
  IVec count = {0, 0, 0, 0};
  for (size_t i = 0; i < n; ++i) count -= (IVec)(Set1(bounds[i]) < x);
  return count;
}
// The same of any n and one x; bounds are padded to a multiple of 32.
MAINSPRING_INLINE size_t CountBelowOne(const float* bounds, size_t n, float x) {
  size_t count = 0;
  for (size_t i = 0; i < n; ++i) count += bounds[i] < x;
  return count;
}

// Always sixteen floats: the lanes of a window's sum. Bit i of Bits16 stands for lane i.
typedef struct {
  Vec four[4];
} Hex;
typedef uint32_t Bits16;
MAINSPRING_INLINE Mask MaskOf(uint32_t bits) {
  const IVec bit = {1, 2, 4, 8};
  return (ISet1((int32_t)bits) & bit) == bit;
}
MAINSPRING_INLINE Hex HexSet1(float x) { return Hex{{Set1(x), Set1(x), Set1(x), Set1(x)}}; }
// p[i] where bit i is set, else 0: nothing else is read.
MAINSPRING_INLINE Hex HexLoadBits(const float* p, Bits16 bits) {
  Hex a = HexSet1(0.0f);
  for (size_t i = 0; i < 16; ++i) {
    if (bits >> i & 1) a.four[i / 4][i % 4] = p[i];
  }
  return a;
}
// Not NaN.
MAINSPRING_INLINE Bits16 HexOrdered(Hex a) {
  uint32_t bits = 0;
  for (size_t i = 0; i < 16; ++i) bits |= (uint32_t)(a.four[i / 4][i % 4] == a.four[i / 4][i % 4]) << i;
  return bits;
}
// Those of `bits` that are not NaN.
MAINSPRING_INLINE Bits16 HexOrderedOf(Bits16 bits, Hex a) { return bits & HexOrdered(a); }
// a + b in the lanes of `bits`, else a.
MAINSPRING_INLINE Hex HexAddWhere(Hex a, Bits16 bits, Hex b) {
  for (int i = 0; i < 4; ++i) a.four[i] = Select(MaskOf(bits >> 4 * i), Add(a.four[i], b.four[i]), a.four[i]);
  return a;
}
MAINSPRING_INLINE Hex HexMaxWhere(Hex a, Bits16 bits, Hex b) {
  for (int i = 0; i < 4; ++i) a.four[i] = Select(MaskOf(bits >> 4 * i), Max(a.four[i], b.four[i]), a.four[i]);
  return a;
}
MAINSPRING_INLINE Hex HexMinWhere(Hex a, Bits16 bits, Hex b) {
  for (int i = 0; i < 4; ++i) a.four[i] = Select(MaskOf(bits >> 4 * i), Min(a.four[i], b.four[i]), a.four[i]);
  return a;
}
// Lanes i and i + 8, then i and i + 4, then i and i + 2, then the last two.
MAINSPRING_INLINE float HexSum(Hex a) {
  const Vec four = Add(Add(a.four[0], a.four[2]), Add(a.four[1], a.four[3]));
  return (four[0] + four[2]) + (four[1] + four[3]);
}
MAINSPRING_INLINE float HexLargest(Hex a) {
  const Vec four = Max(Max(a.four[0], a.four[2]), Max(a.four[1], a.four[3]));
  const float even = four[0] > four[2] ? four[0] : four[2], odd = four[1] > four[3] ? four[1] : four[3];
  return even > odd ? even : odd;
}
MAINSPRING_INLINE float HexSmallest(Hex a) {
  const Vec four = Min(Min(a.four[0], a.four[2]), Min(a.four[1], a.four[3]));
  const float even = four[0] < four[2] ? four[0] : four[2], odd = four[1] < four[3] ? four[1] : four[3];
  return even < odd ? even : odd;
}
MAINSPRING_INLINE void HexStore(Hex a, float* p) { memcpy(p, &a, sizeof(a)); }
MAINSPRING_INLINE Bits16 LoadBits(const uint16_t* p) { return *p; }
// p[i] where bit i is set, else `other`.
MAINSPRING_INLINE Hex HexLoadBitsElse(float other, const float* p, Bits16 bits) {
  Hex a = HexSet1(other);
  for (size_t i = 0; i < 16; ++i) {
    if (bits >> i & 1) a.four[i / 4][i % 4] = p[i];
  }
  return a;
}
// In each lane.
MAINSPRING_INLINE Hex HexAdd(Hex a, Hex b) { return HexAddWhere(a, 0xFFFF, b); }
MAINSPRING_INLINE Hex HexMax(Hex a, Hex b) { return HexMaxWhere(a, 0xFFFF, b); }
MAINSPRING_INLINE Hex HexMin(Hex a, Hex b) { return HexMinWhere(a, 0xFFFF, b); }
// Lane i is what HexSum says of the i-th of sixteen; and so on.
MAINSPRING_INLINE Hex HexSumEach(const Hex* rows) {
  Hex all = HexSet1(0.0f);
  for (size_t i = 0; i < 16; ++i) all.four[i / 4][i % 4] = HexSum(rows[i]);
  return all;
}
MAINSPRING_INLINE Hex HexLargestEach(const Hex* rows) {
  Hex all = HexSet1(0.0f);
  for (size_t i = 0; i < 16; ++i) all.four[i / 4][i % 4] = HexLargest(rows[i]);
  return all;
}
MAINSPRING_INLINE Hex HexSmallestEach(const Hex* rows) {
  Hex all = HexSet1(0.0f);
  for (size_t i = 0; i < 16; ++i) all.four[i / 4][i % 4] = HexSmallest(rows[i]);
  return all;
}

// as_of - time of 16 events, without a sign.
typedef struct {
  uint64_t one[16];
} Ages;
MAINSPRING_INLINE Ages LoadAges(const int64_t* times, Bits16 bits, int64_t as_of) {
  Ages ages;
  for (size_t i = 0; i < 16; ++i) ages.one[i] = (uint64_t)as_of - (bits >> i & 1 ? (uint64_t)times[i] : 0);
  return ages;
}
// Those of `bits` whose age is less than `width`.
MAINSPRING_INLINE Bits16 AgesBelow(const Ages* ages, Bits16 bits, uint64_t width) {
  uint32_t below = 0;
  for (size_t i = 0; i < 16; ++i) below |= (uint32_t)(ages->one[i] < width) << i;
  return below & bits;
}
// The same for widths below 2^32, of what was made once for several of them.
typedef Ages ShortAges;
MAINSPRING_INLINE ShortAges Shorten(const Ages* ages) { return *ages; }
MAINSPRING_INLINE Bits16 ShortAgesBelow(const ShortAges* ages, Bits16 bits, uint64_t width) {
  return AgesBelow(ages, bits, width);
}
MAINSPRING_INLINE uint32_t JoinBits(Bits16 low, Bits16 high) { return low | high << 16; }

}  // namespace

#endif  // MAINSPRING_SIMD_GENERIC_INL_H_
