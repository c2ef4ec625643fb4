// log1p for x >= 0, on whatever vector the unit included before (simd/*-inl.h). Compiled per target.
//
//   1 + x = 2^k (1 + f), f in [-1/4, 1/2]:  log1p(x) = k ln 2 + f + f^2 q(f)
//
// With these bounds (not the usual sqrt(1/2) .. sqrt(2)) x 2^-k and 2^-k - 1 lie within a factor of two of
// each other for every k > 0, so f is exact by Sterbenz's lemma and only the polynomial and the last two
// additions round. q is our own minimax fit (src/dense/derive_log1p.py), relative error 2^-27.6.
//
// Largest error, over every float in [0, inf): see native/README.md; src/dense/check_log1p.py measures it.
// Each step is one IEEE operation or one explicit fused multiply-add, so all targets agree to the last bit.

#ifndef MAINSPRING_MATH_LOG1P_INL_H_
#define MAINSPRING_MATH_LOG1P_INL_H_

namespace {

// x >= 0 or -0.0 (gives +0.0) or +inf (gives +inf). Undefined for negative numbers and NaN.
MAINSPRING_INLINE Vec Log1p(Vec x) {
  // k 2^23: how far the exponent of 1 + x lies above that of 3/4. Of the float after 3/4, in truth: x just
  // below 1/2 (1 + x rounds up to 3/2) must keep k = 0, or its f is not exact; that one float cost 1.27 ULP.
  const IVec bits = IAnd(ISub(AsInt(Add(x, Set1(1.0f))), ISet1(0x3F400001)), ISet1(~0x7FFFFF));
  // 4 * 2^-k rather than 2^-k: k reaches 128, and 2^-128 is no normal number.
  const Vec four_scaled = AsFloat(ISub(ISet1(0x40800000), bits));
  const Vec x_scaled = AsFloat(ISub(AsInt(x), bits));
  const Vec f = Add(x_scaled, Sub(Mul(four_scaled, Set1(0.25f)), Set1(1.0f)));

  // Three short chains instead of one long one: at a few rows latency is what is paid.
  const Vec f2 = Mul(f, f);
  const Vec low = MulAdd(MulAdd(Set1(-0x1.000046p-2f), f, Set1(0x1.5555a4p-2f)), f, Set1(-0.5f));
  const Vec middle = MulAdd(MulAdd(Set1(0x1.28848ap-3f), f, Set1(-0x1.54ed86p-3f)), f, Set1(0x1.99695ep-3f));
  const Vec high = MulAdd(MulAdd(Set1(-0x1.71e6a8p-5f), f, Set1(0x1.ad0a08p-4f)), f, Set1(-0x1.0da4eep-3f));
  const Vec f3 = Mul(f2, f);
  const Vec q = MulAdd(MulAdd(high, f3, middle), f3, low);

  const Vec result = MulAdd(ToFloat(bits), Set1(0x1.62e43p-24f), MulAdd(f2, q, f));
  return Select(Equal(x, Set1(__builtin_inff())), x, result);
}

}  // namespace

#endif  // MAINSPRING_MATH_LOG1P_INL_H_
