// What CUDA threads do with one element. Also plain C++: tests/cuda_emulation_test.cc runs the same lines on
// the CPU, block by block, and compares them with the program there.

#ifndef MAINSPRING_CUDA_ELEMENTS_H_
#define MAINSPRING_CUDA_ELEMENTS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "mainspring/device_plan.h"

#ifdef __CUDACC__
#define MAINSPRING_HD __host__ __device__ __forceinline__
#define MAINSPRING_UNROLL _Pragma("unroll")
#else
#include <cmath>
#define MAINSPRING_HD inline
#define MAINSPRING_UNROLL
#endif

namespace mainspring {
namespace cuda {

// Each is one IEEE operation, never fused with another (the intrinsics by definition, the host's by
// -ffp-contract=off) and never flushed.
#ifdef __CUDA_ARCH__
MAINSPRING_HD float Add(float a, float b) { return __fadd_rn(a, b); }
MAINSPRING_HD float Sub(float a, float b) { return __fsub_rn(a, b); }
MAINSPRING_HD float Mul(float a, float b) { return __fmul_rn(a, b); }
MAINSPRING_HD float Div(float a, float b) { return __fdiv_rn(a, b); }
MAINSPRING_HD float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
MAINSPRING_HD std::int32_t AsInt(float x) { return __float_as_int(x); }
MAINSPRING_HD float AsFloat(std::int32_t x) { return __int_as_float(x); }
MAINSPRING_HD float ToFloat(std::int32_t x) { return __int2float_rn(x); }
#else
MAINSPRING_HD float Add(float a, float b) { return a + b; }
MAINSPRING_HD float Sub(float a, float b) { return a - b; }
MAINSPRING_HD float Mul(float a, float b) { return a * b; }
MAINSPRING_HD float Div(float a, float b) { return a / b; }
MAINSPRING_HD float Fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
MAINSPRING_HD std::int32_t AsInt(float x) {
  std::int32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}
MAINSPRING_HD float AsFloat(std::int32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}
MAINSPRING_HD float ToFloat(std::int32_t x) { return static_cast<float>(x); }
#endif

// Wraps: a damaged plan may ask for the logarithm of a negative number, and gets nonsense, not worse.
MAINSPRING_HD std::int32_t Minus(std::int32_t a, std::int32_t b) {
  return static_cast<std::int32_t>(static_cast<std::uint32_t>(a) - static_cast<std::uint32_t>(b));
}

constexpr std::uint64_t kMissingInt = std::uint64_t{1} << 63;
constexpr std::int32_t kInfinityBits = 0x7F800000, kNaNBits = 0x7FC00000;

// mainspring/math/log1p-inl.h, step by step.
MAINSPRING_HD float Log1p(float x) {
  const std::int32_t bits = Minus(AsInt(Add(x, 1.0f)), 0x3F400001) & ~0x7FFFFF;
  const float four_scaled = AsFloat(Minus(0x40800000, bits));
  const float x_scaled = AsFloat(Minus(AsInt(x), bits));
  const float f = Add(x_scaled, Sub(Mul(four_scaled, 0.25f), 1.0f));
  const float f2 = Mul(f, f);
  const float low = Fma(Fma(-0x1.000046p-2f, f, 0x1.5555a4p-2f), f, -0.5f);
  const float middle = Fma(Fma(0x1.28848ap-3f, f, -0x1.54ed86p-3f), f, 0x1.99695ep-3f);
  const float high = Fma(Fma(-0x1.71e6a8p-5f, f, 0x1.ad0a08p-4f), f, -0x1.0da4eep-3f);
  const float f3 = Mul(f2, f);
  const float q = Fma(Fma(high, f3, middle), f3, low);
  const float result = Fma(ToFloat(bits), 0x1.62e43p-24f, Fma(f2, q, f));
  return x == AsFloat(kInfinityBits) ? x : result;
}

MAINSPRING_HD float TransformOne(float x, const DeviceDense& c) {
  const bool is_missing = x != x;
  if (c.kind == kDeviceIndicator) return is_missing ? 1.0f : 0.0f;
  float y = is_missing ? c.fill : x;
  y = c.lower > y ? c.lower : y;  // not fmaxf: a value equal to a bound, -0.0 included, stays itself
  y = c.upper < y ? c.upper : y;
  if (c.kind == kDeviceLog1p) y = Log1p(y);
  return Mul(Sub(Sub(y, c.mean_high), c.mean_low), c.inverse_scale);
}

// All but the last step of mix64, which leaves the upper half alone.
MAINSPRING_HD std::uint64_t PreMix(std::uint64_t x) {
  x = (x ^ (x >> 32)) * 0xBF58476D1CE4E5B9u;
  return (x ^ (x >> 29)) * 0x94D049BB133111EBu;
}

MAINSPRING_HD std::int32_t BucketOf(std::uint64_t hash, const DeviceId& id, bool is_missing) {
  const std::uint64_t bucket = 1 + ((hash >> 32) * id.range >> 32);
  return static_cast<std::int32_t>(id.offset + static_cast<std::int64_t>(is_missing ? 0 : bucket));
}

MAINSPRING_HD std::int32_t HashOne(std::uint64_t value, const DeviceId& id) {
  return BucketOf(PreMix(value ^ id.key), id, value == kMissingInt);
}

// The value of source i is ints[sources[i] * stride].
MAINSPRING_HD std::int32_t CrossOne(const std::int64_t* ints, std::size_t stride, const std::int64_t* sources,
                                    const DeviceId& id) {
  std::uint64_t h = id.key;
  bool is_missing = false;
  for (std::int64_t i = 0; i < id.n; ++i) {
    const std::uint64_t value =
        static_cast<std::uint64_t>(ints[static_cast<std::size_t>(sources[i]) * stride]);
    is_missing |= value == kMissingInt;
    h = PreMix(h ^ value);
    h ^= h >> 32;
  }
  return BucketOf(h, id, is_missing);
}

MAINSPRING_HD std::int32_t NarrowOne(std::uint64_t value, const std::uint32_t* slots,
                                     const std::uint16_t* pilots, const DeviceId& id) {
  const std::uint32_t bits = static_cast<std::uint32_t>(id.bits);
  const std::uint64_t distance = value - static_cast<std::uint64_t>(id.base);
  std::uint64_t word = distance <= id.span ? distance : id.span + 1;
  word = value == kMissingInt ? id.span + 2 : word;
  std::uint32_t h = static_cast<std::uint32_t>(word) ^ static_cast<std::uint32_t>(id.key);
  h = (h ^ (h >> 16)) * 0x7FEB352Du;
  h = (h ^ (h >> 15)) * 0x846CA68Bu;
  const std::uint32_t at = (h >> (32 - bits)) ^ pilots[h & id.bucket_mask];
  const std::uint32_t found = slots[at] ^ (h << bits);
  return static_cast<std::int32_t>(id.offset + (found < (1u << bits) ? found : 1u));
}

MAINSPRING_HD std::int32_t WideOne(std::uint64_t value, const std::uint64_t* slots,
                                   const std::uint16_t* pilots, const DeviceId& id) {
  const std::uint32_t bits = static_cast<std::uint32_t>(id.bits);
  const std::uint64_t h = PreMix(value ^ id.key);
  const std::uint64_t at = (h >> (64 - bits)) ^ pilots[h & id.bucket_mask];
  const std::uint64_t found = slots[at] ^ (h << bits);
  return static_cast<std::int32_t>(id.offset +
                                   static_cast<std::int64_t>(found < (std::uint64_t{1} << bits) ? found : 1));
}

// How many bounds lie below x: a search whose steps do not depend on x. There is one bound more than n.
MAINSPRING_HD std::int32_t BucketiseOne(float x, const float* bounds, const DeviceId& id) {
  std::int64_t left = id.n, at = 0;
  while (left > 1) {
    const std::int64_t half = left / 2;
    at += bounds[at + half - 1] < x ? half : 0;
    left -= half;
  }
  at += left == 1 && bounds[at] < x ? 1 : 0;
  return static_cast<std::int32_t>(id.offset + (x != x ? id.n + 1 : at));
}

// One window of one row's events, the definition of native/reference.py word for word. A thread does a row
// alone: the lanes of the sum are its registers, so the lane is chosen by comparing, not by indexing.
MAINSPRING_HD float WindowOne(const std::int64_t* times, const float* values, std::size_t size,
                              std::int64_t as_of, const DeviceWindow& w) {
  constexpr int kLanes = 16;
  // as_of - width, or -2^63 where that underflows: no event has that time.
  const std::int64_t lowest = static_cast<std::int64_t>(kMissingInt);
  const std::int64_t too_old = as_of < lowest + w.width ? lowest : as_of - w.width;
  float lanes[kLanes] = {};
  float largest = AsFloat(-0x00800000), smallest = AsFloat(kInfinityBits), last = AsFloat(kNaNBits);
  std::uint32_t lane = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < size; ++i) {
    const std::int64_t time = times[i];
    const float value = values[i];
    if (time > as_of || time <= too_old || value != value) continue;
    MAINSPRING_UNROLL
    for (std::uint32_t k = 0; k < kLanes; ++k) lanes[k] = k == lane ? Add(lanes[k], value) : lanes[k];
    lane = (lane + 1) % kLanes;
    largest = value > largest ? value : largest;
    smallest = value < smallest ? value : smallest;
    last = value;
    ++count;
  }
  const float n = static_cast<float>(count);
  if (w.aggregate == 1) return n;
  if (w.aggregate == 5 || (count == 0 && w.aggregate != 0)) return last;
  if (w.aggregate == 3) return Add(largest, 0.0f);  // -0.0 + 0.0 is +0.0
  if (w.aggregate == 4) return Add(smallest, 0.0f);
  // Written out: only then do the lanes stay in registers.
  MAINSPRING_UNROLL
  for (int k = 0; k < 8; ++k) lanes[k] = Add(lanes[k], lanes[k + 8]);
  MAINSPRING_UNROLL
  for (int k = 0; k < 4; ++k) lanes[k] = Add(lanes[k], lanes[k + 4]);
  const float sum = Add(Add(lanes[0], lanes[2]), Add(lanes[1], lanes[3]));
  return Add(w.aggregate == 0 ? sum : Div(sum, n), 0.0f);
}

}  // namespace cuda
}  // namespace mainspring

#endif  // MAINSPRING_CUDA_ELEMENTS_H_
