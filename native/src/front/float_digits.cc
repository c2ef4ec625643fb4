#include "float_digits.h"

#include <cstring>

namespace mainspring::front {
namespace {

constexpr int kMinPower = -31, kMaxPower = 45;

// 10^k / 2^(floor(log2 10^k) - 63), rounded up, for k from kMinPower on.
constexpr std::uint64_t kPowers[] = {
    0x81CEB32C4B43FCF5, 0xA2425FF75E14FC32, 0xCAD2F7F5359A3B3F, 0xFD87B5F28300CA0E, 0x9E74D1B791E07E49,
    0xC612062576589DDB, 0xF79687AED3EEC552, 0x9ABE14CD44753B53, 0xC16D9A0095928A28, 0xF1C90080BAF72CB2,
    0x971DA05074DA7BEF, 0xBCE5086492111AEB, 0xEC1E4A7DB69561A6, 0x9392EE8E921D5D08, 0xB877AA3236A4B44A,
    0xE69594BEC44DE15C, 0x901D7CF73AB0ACDA, 0xB424DC35095CD810, 0xE12E13424BB40E14, 0x8CBCCC096F5088CC,
    0xAFEBFF0BCB24AAFF, 0xDBE6FECEBDEDD5BF, 0x89705F4136B4A598, 0xABCC77118461CEFD, 0xD6BF94D5E57A42BD,
    0x8637BD05AF6C69B6, 0xA7C5AC471B478424, 0xD1B71758E219652C, 0x83126E978D4FDF3C, 0xA3D70A3D70A3D70B,
    0xCCCCCCCCCCCCCCCD, 0x8000000000000000, 0xA000000000000000, 0xC800000000000000, 0xFA00000000000000,
    0x9C40000000000000, 0xC350000000000000, 0xF424000000000000, 0x9896800000000000, 0xBEBC200000000000,
    0xEE6B280000000000, 0x9502F90000000000, 0xBA43B74000000000, 0xE8D4A51000000000, 0x9184E72A00000000,
    0xB5E620F480000000, 0xE35FA931A0000000, 0x8E1BC9BF04000000, 0xB1A2BC2EC5000000, 0xDE0B6B3A76400000,
    0x8AC7230489E80000, 0xAD78EBC5AC620000, 0xD8D726B7177A8000, 0x878678326EAC9000, 0xA968163F0A57B400,
    0xD3C21BCECCEDA100, 0x84595161401484A0, 0xA56FA5B99019A5C8, 0xCECB8F27F4200F3A, 0x813F3978F8940985,
    0xA18F07D736B90BE6, 0xC9F2C9CD04674EDF, 0xFC6F7C4045812297, 0x9DC5ADA82B70B59E, 0xC5371912364CE306,
    0xF684DF56C3E01BC7, 0x9A130B963A6C115D, 0xC097CE7BC90715B4, 0xF0BDC21ABB48DB21, 0x96769950B50D88F5,
    0xBC143FA4E250EB32, 0xEB194F8E1AE525FE, 0x92EFD1B8D0CF37BF, 0xB7ABC627050305AE, 0xE596B7B0C643C71A,
    0x8F7E32CE7BEA5C70, 0xB35DBF821AE4F38C,
};
static_assert(sizeof kPowers / sizeof *kPowers == kMaxPower - kMinPower + 1);

// floor(log10(2^e)), of three quarters of it where `is_narrow`; and floor(log2(10^e)). Exact for these small
// e.
int Log10OfPow2(int e, bool is_narrow) { return (e * 1'262'611 - (is_narrow ? 524'031 : 0)) >> 22; }
int Log2OfPow10(int e) { return (e * 1'741'647) >> 19; }

// The upper 32 of the 96 bits of g * c, with a last bit that says whether anything is behind them.
std::uint32_t RoundedToOdd(std::uint64_t g, std::uint32_t c) {
  const std::uint64_t low = (g & 0xFFFF'FFFF) * c;
  const std::uint64_t high = (g >> 32) * c + (low >> 32);
  return static_cast<std::uint32_t>(high >> 32) | (static_cast<std::uint32_t>(high) > 1 ? 1U : 0U);
}

Decimal WithoutZeros(Decimal decimal) {
  while (decimal.digits % 10 == 0) {
    decimal.digits /= 10;
    ++decimal.exponent;
  }
  return decimal;
}

// value = c * 2^q, c != 0. `is_narrow`: the float below is half as far away as the one above.
Decimal Shortest(std::uint32_t c, int q, bool is_narrow) {
  const int k = Log10OfPow2(q, is_narrow);
  const int h = q + Log2OfPow10(-k) + 1;
  const std::uint64_t power = kPowers[-k - kMinPower];
  // Four times the value, and the bounds of what reads back as it, in units of 10^k. Bounds belong to even
  // ones.
  const std::uint32_t odd = c % 2;
  const std::uint32_t lower = RoundedToOdd(power, (4 * c - 2 + (is_narrow ? 1 : 0)) << h) + odd;
  const std::uint32_t middle = RoundedToOdd(power, 4 * c << h);
  const std::uint32_t upper = RoundedToOdd(power, (4 * c + 2) << h) - odd;
  const std::uint32_t s = middle / 4;
  if (s >= 10) {
    const std::uint32_t tens = s / 10;
    const bool is_below_in = lower <= 40 * tens, is_above_in = 40 * tens + 40 <= upper;
    if (is_below_in != is_above_in) return WithoutZeros({tens + (is_above_in ? 1 : 0), k + 1});
  }
  const bool is_below_in = lower <= 4 * s, is_above_in = 4 * s + 4 <= upper;
  if (is_below_in != is_above_in) return WithoutZeros({s + (is_above_in ? 1 : 0), k});
  const std::uint32_t half = 4 * s + 2;
  const bool goes_up = middle > half || (middle == half && s % 2 != 0);
  return WithoutZeros({s + (goes_up ? 1 : 0), k});
}

}  // namespace

Decimal ShortestDecimal(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t fraction = bits & 0x7F'FFFF;
  const auto exponent = static_cast<int>(bits >> 23);
  if (exponent == 0) return Shortest(fraction, -149, false);
  return Shortest(fraction | 0x80'0000, exponent - 150, fraction == 0 && exponent > 1);
}

}  // namespace mainspring::front
