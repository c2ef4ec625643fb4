// exp, sigmoid, tanh, SiLU and GELU, on whatever vector the unit included before (simd/*-inl.h). Compiled per
// target. Each step is one IEEE operation or one explicit fused multiply-add, so all targets agree to the
// last bit. NaN in, NaN out. Largest errors: see native/README.md; tests/test_native_mlp.py measures them.

#ifndef MAINSPRING_MATH_ACTIVATION_INL_H_
#define MAINSPRING_MATH_ACTIVATION_INL_H_

namespace {

MAINSPRING_INLINE Vec Abs(Vec x) { return AsFloat(IAnd(AsInt(x), ISet1(0x7FFFFFFF))); }
MAINSPRING_INLINE Mask IsNonNegative(Vec x) { return Equal(Max(x, Set1(0.0f)), x); }

// exp for x <= 0; what lies below -87 counts as -87, so the result is never less than 1.6e-38.
// x = k ln 2 + r, |r| <= ln(2) / 2; the polynomial's coefficients are those of Cephes' expf (Moshier).
MAINSPRING_INLINE Vec ExpNegative(Vec x) {
  const Vec y = Max(Set1(-87.0f), x);   // in this order: a NaN passes
  const Vec shift = Set1(12582912.0f);  // 1.5 2^23: the sum's low bits are the nearest integer
  const Vec t = MulAdd(y, Set1(0x1.715476p+0f), shift);
  const Vec k = Sub(t, shift);
  const Vec r = MulAdd(k, Set1(2.12194440e-4f), MulAdd(k, Set1(-0.693359375f), y));
  Vec p = MulAdd(Set1(1.9875691500e-4f), r, Set1(1.3981999507e-3f));
  p = MulAdd(p, r, Set1(8.3334519073e-3f));
  p = MulAdd(p, r, Set1(4.1665795894e-2f));
  p = MulAdd(p, r, Set1(1.6666665459e-1f));
  p = MulAdd(p, r, Set1(5.0000001201e-1f));
  const Vec power = AsFloat(IMul(IAdd(ISub(AsInt(t), ISet1(0x4B400000)), ISet1(127)), ISet1(1 << 23)));
  return Mul(MulAdd(p, Mul(r, r), Add(r, Set1(1.0f))), power);
}

// 1 / (1 + exp(-x)), both tails by the exponential of -|x|.
MAINSPRING_INLINE Vec Sigmoid(Vec x) {
  const Vec e = ExpNegative(Sub(Set1(0.0f), Abs(x)));
  return Div(Select(IsNonNegative(x), Set1(1.0f), e), Add(Set1(1.0f), e));
}

// Below 5/8 an odd polynomial (Cephes' tanhf), else (1 - e) / (1 + e) with e = exp(-2 |x|).
MAINSPRING_INLINE Vec Tanh(Vec x) {
  const Vec size = Abs(x);
  const Vec e = ExpNegative(Mul(Set1(-2.0f), size));
  const Vec far = Div(Sub(Set1(1.0f), e), Add(Set1(1.0f), e));
  const Vec z = Mul(x, x);
  Vec p = MulAdd(Set1(-5.70498872745e-3f), z, Set1(2.06390887954e-2f));
  p = MulAdd(p, z, Set1(-5.37397155531e-2f));
  p = MulAdd(p, z, Set1(1.33314422036e-1f));
  p = MulAdd(p, z, Set1(-3.33332819422e-1f));
  const Vec near = MulAdd(Mul(p, z), x, x);
  const Vec signed_far = Select(IsNonNegative(x), far, Sub(Set1(0.0f), far));
  return Select(Equal(Min(size, Set1(0.625f)), size), near, signed_far);
}

MAINSPRING_INLINE Vec Silu(Vec x) { return Mul(x, Sigmoid(x)); }

// x Phi(x), the exact GELU. Phi(-|x|) = exp(-x^2 / 2) t P(t) with t = 1 / (1 + 0.3 |x|): our own fit,
// relative error 1.5e-7.
MAINSPRING_INLINE Vec Gelu(Vec x) {
  const Vec near = Max(Set1(-16.0f), Min(Set1(16.0f), x));  // beyond, the tail is nothing; a NaN passes
  const Vec size = Abs(near);
  const Vec t = Div(Set1(1.0f), MulAdd(size, Set1(0x1.333334p-2f), Set1(1.0f)));
  Vec p = MulAdd(Set1(0x1.24454ep-5f), t, Set1(-0x1.41f9dap-3f));
  p = MulAdd(p, t, Set1(0x1.a6a758p-3f));
  p = MulAdd(p, t, Set1(-0x1.b7ee4ep-5f));
  p = MulAdd(p, t, Set1(0x1.075094p-3f));
  p = MulAdd(p, t, Set1(0x1.993bb0p-4f));
  p = MulAdd(p, t, Set1(0x1.ee9c38p-4f));
  p = MulAdd(p, t, Set1(0x1.ea0060p-4f));
  const Vec e = ExpNegative(Mul(Mul(Set1(-0.5f), size), size));
  const Vec tail = Mul(near, Mul(Mul(p, t), e));  // x Phi(-|x|)
  return Select(IsNonNegative(x), Sub(x, tail), tail);
}

}  // namespace

#endif  // MAINSPRING_MATH_ACTIVATION_INL_H_
