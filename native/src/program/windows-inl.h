// Trailing windows over event lists. Compiled per target; what a window means, its summation tree included,
// is in native/reference.py.

#ifndef MAINSPRING_SRC_PROGRAM_WINDOWS_INL_H_
#define MAINSPRING_SRC_PROGRAM_WINDOWS_INL_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "program_kernels.h"

namespace {

// The latest moment that is too old: as_of - width, or -2^63 where that underflows (no event has that time).
MAINSPRING_INLINE int64_t TooOld(int64_t as_of, int64_t width) {
  int64_t result;
  return __builtin_sub_overflow(as_of, width, &result) ? INT64_MIN : result;
}

// x, or missing where there are no events. No branch: whether there are any is hard to foresee.
MAINSPRING_INLINE float UnlessNone(size_t count, float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  const uint32_t keep = 0 - (uint32_t)(count != 0);
  bits = (bits & keep) | (0x7FC00000u & ~keep);
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// `value` is 0 for a sum of no events.
MAINSPRING_INLINE float Finish(uint8_t aggregate, size_t count, float value) {
  switch (aggregate) {
    case kMainspringCount:
      return (float)count;
    case kMainspringLast:
      return UnlessNone(count, value);
    case kMainspringSum:
      return value + 0.0f;  // -0.0 + 0.0 is +0.0
    case kMainspringMean:
      return UnlessNone(count, value / (float)(count + (count == 0)) + 0.0f);
    default:
      return UnlessNone(count, value + 0.0f);
  }
}

// The definition, word for word: any list, one event at a time.
static float AggregateAny(const struct MainspringEventList* list, int64_t as_of, int64_t width,
                          uint8_t aggregate) {
  const int64_t too_old = TooOld(as_of, width);
  float lanes[16] = {0};
  float largest = -__builtin_inff(), smallest = __builtin_inff(), last = 0;
  size_t count = 0;
  for (size_t i = 0; i < list->size; ++i) {
    const float value = list->values[i];
    if (list->times[i] > as_of || list->times[i] <= too_old || value != value) continue;
    lanes[count % 16] += value;
    largest = value > largest ? value : largest;
    smallest = value < smallest ? value : smallest;
    last = value;
    ++count;
  }
  switch (aggregate) {
    case kMainspringMax:
      return Finish(aggregate, count, largest);
    case kMainspringMin:
      return Finish(aggregate, count, smallest);
    case kMainspringLast:
      return Finish(aggregate, count, last);
    default:
      return Finish(aggregate, count, HexSum(HexLoadBits(lanes, 0xFFFF)));
  }
}

// The first n bits.
MAINSPRING_INLINE uint32_t FirstBits(size_t n) { return n >= 32 ? ~0u : (1u << n) - 1; }

MAINSPRING_INLINE Hex FoldWhere(uint8_t aggregate, Hex lanes, Bits16 bits, Hex values) {
  return aggregate == kMainspringMax   ? HexMaxWhere(lanes, bits, values)
         : aggregate == kMainspringMin ? HexMinWhere(lanes, bits, values)
                                       : HexAddWhere(lanes, bits, values);
}
MAINSPRING_INLINE Hex NoLanes(uint8_t aggregate) {
  return HexSet1(aggregate == kMainspringMax   ? -__builtin_inff()
                 : aggregate == kMainspringMin ? __builtin_inff()
                                               : 0.0f);
}
MAINSPRING_INLINE float FinishLanes(uint8_t aggregate, size_t count, Hex lanes) {
  return Finish(aggregate, count,
                aggregate == kMainspringMax   ? HexLargest(lanes)
                : aggregate == kMainspringMin ? HexSmallest(lanes)
                                              : HexSum(lanes));
}

// One window of a list of at most 32 events, whose bits in the window are known.
MAINSPRING_INLINE float FoldShort(uint8_t aggregate, uint32_t bits, Bits16 low_bits, Bits16 high_bits,
                                  Hex low, Hex high) {
  const Hex lanes =
      FoldWhere(aggregate, FoldWhere(aggregate, NoLanes(aggregate), low_bits, low), high_bits, high);
  return FinishLanes(aggregate, (size_t)__builtin_popcount(bits), lanes);
}

// Events of a longer list, sixteen at a time; `is_slice` says whether those of the window lie side by side.
MAINSPRING_INLINE float FoldLong(uint8_t aggregate, const struct MainspringEventList* list, int64_t as_of,
                                 uint64_t width, int* is_slice) {
  Hex lanes = NoLanes(aggregate);
  size_t count = 0, begin = 0, end = 0;
  for (size_t base = 0; base < list->size; base += 16) {
    const Bits16 first = (Bits16)(FirstBits(list->size - base) & 0xFFFF);
    const Hex values = HexLoadBits(list->values + base, first);
    const Ages ages = LoadAges(list->times + base, first, as_of);
    const Bits16 bits = AgesBelow(&ages, first & HexOrdered(values), width);
    lanes = FoldWhere(aggregate, lanes, bits, values);
    if (bits == 0) continue;
    if (count == 0) begin = base + (size_t)__builtin_ctz(bits);
    end = base + 32 - (size_t)__builtin_clz(bits);
    count += (size_t)__builtin_popcount(bits);
  }
  *is_slice = count == end - begin;
  if (aggregate == kMainspringLast) return Finish(aggregate, count, count == 0 ? 0 : list->values[end - 1]);
  return FinishLanes(aggregate, count, lanes);
}

static void __attribute__((noinline)) WindowRowLong(const struct MainspringWindows* group,
                                                    const struct MainspringEventList* list, int64_t as_of,
                                                    float* out, size_t stride) {
  for (size_t j = 0; j < group->n; ++j) {
    const uint8_t aggregate = group->aggregate[j];
    int is_slice = 0;
    float result = 0;
    if (as_of >= 0) {
      const uint64_t width = (uint64_t)group->width[j];
      result = aggregate == kMainspringMax   ? FoldLong(kMainspringMax, list, as_of, width, &is_slice)
               : aggregate == kMainspringMin ? FoldLong(kMainspringMin, list, as_of, width, &is_slice)
                                             : FoldLong(aggregate, list, as_of, width, &is_slice);
    }
    if (!is_slice) result = AggregateAny(list, as_of, group->width[j], aggregate);
    out[(size_t)group->window[j] * stride] = result;
  }
}

// Every window of the group for one row; result j to out[group->window[j] * stride].
//
// The tree of the specification is a cycle of lanes, folded in halves: it gives the same bits wherever the
// first value falls on it. So the values of a window that lie side by side, as they do in a list in order of
// time, are added to the lanes they lie on. Where they do not, the definition itself is run; also where as_of
// is missing or negative: otherwise a time in the future, and a missing one, have an age of 2^63 or more, so
// that one comparison without a sign tells all. A list of up to 32 events takes no branch that depends on
// its length: foreseen wrongly, that cost more than the work it saved.
MAINSPRING_INLINE void WindowRow(const struct MainspringWindows* group,
                                 const struct MainspringEventList* list, int64_t as_of, float* out,
                                 size_t stride) {
  if (as_of < 0 || list->size > 32) return WindowRowLong(group, list, as_of, out, stride);
  const uint32_t first = FirstBits(list->size);
  const Bits16 low_first = (Bits16)(first & 0xFFFF), high_first = (Bits16)(first >> 16);
  const Hex low = HexLoadBits(list->values, low_first), high = HexLoadBits(list->values + 16, high_first);
  const Bits16 low_present = low_first & HexOrdered(low), high_present = high_first & HexOrdered(high);
  const Ages low_ages = LoadAges(list->times, low_first, as_of);
  const Ages high_ages = LoadAges(list->times + 16, high_first, as_of);
  for (size_t j = 0; j < group->n; ++j) {
    const uint64_t width = (uint64_t)group->width[j];
    const uint8_t aggregate = group->aggregate[j];
    const Bits16 low_bits = AgesBelow(&low_ages, low_present, width);
    const Bits16 high_bits = AgesBelow(&high_ages, high_present, width);
    const uint32_t bits = JoinBits(low_bits, high_bits);
    const uint32_t after = bits + (bits & (0 - bits));  // one bit, or none, where the bits are one run
    float result;
    if (__builtin_expect((after & (after - 1)) != 0, 0)) {
      result = AggregateAny(list, as_of, group->width[j], aggregate);
    } else {
      switch (aggregate) {
        case kMainspringCount:
          result = (float)__builtin_popcount(bits);
          break;
        case kMainspringLast:
          result = bits == 0 ? __builtin_nanf("") : list->values[31 - __builtin_clz(bits)];
          break;
        case kMainspringMax:
          result = FoldShort(kMainspringMax, bits, low_bits, high_bits, low, high);
          break;
        case kMainspringMin:
          result = FoldShort(kMainspringMin, bits, low_bits, high_bits, low, high);
          break;
        case kMainspringMean:
          result = FoldShort(kMainspringMean, bits, low_bits, high_bits, low, high);
          break;
        default:
          result = FoldShort(kMainspringSum, bits, low_bits, high_bits, low, high);
          break;
      }
    }
    out[(size_t)group->window[j] * stride] = result;
  }
}

// Row `row`'s events; 0 where its offsets lie outside of the list.
MAINSPRING_INLINE int EventsOf(const struct MainspringEvents* events, size_t row,
                               struct MainspringEventList* list) {
  int64_t begin, end;
  if (events->is_wide) {
    begin = ((const int64_t*)events->offsets)[row];
    end = ((const int64_t*)events->offsets)[row + 1];
  } else {
    begin = ((const int32_t*)events->offsets)[row];
    end = ((const int32_t*)events->offsets)[row + 1];
  }
  if (begin < 0 || end < begin || (uint64_t)end > events->size) return 0;
  list->times = events->times + begin;
  list->values = events->values + begin;
  list->size = (size_t)(end - begin);
  return 1;
}

}  // namespace

#endif  // MAINSPRING_SRC_PROGRAM_WINDOWS_INL_H_
