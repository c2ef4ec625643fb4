// Trailing windows over event lists. Compiled per target; what a window means, its summation tree included,
// is in native/reference.py.

#ifndef MAINSPRING_SRC_PROGRAM_WINDOWS_INL_H_
#define MAINSPRING_SRC_PROGRAM_WINDOWS_INL_H_

#include <stddef.h>
#include <stdint.h>

#include "program_kernels.h"

namespace {

constexpr size_t kMaxMasked = 64;
constexpr size_t kMaxFused = 8;  // windows that share one look at the times

// The latest moment that is too old: as_of - width, or -2^63 where that underflows (no event has that time).
MAINSPRING_INLINE int64_t TooOld(int64_t as_of, int64_t width) {
  int64_t result;
  return __builtin_sub_overflow(as_of, width, &result) ? INT64_MIN : result;
}

MAINSPRING_INLINE float Finish(uint8_t aggregate, size_t count, float value) {
  if (aggregate == kMainspringCount) return (float)count;
  if (count == 0) return aggregate == kMainspringSum ? 0.0f : __builtin_nanf("");
  if (aggregate == kMainspringLast) return value;
  // -0.0 + 0.0 is +0.0
  return (aggregate == kMainspringMean ? value / (float)count : value) + 0.0f;
}

// The definition, word for word: any list, one event at a time.
static float AggregateAny(const struct MainspringEventList* list, int64_t as_of, int64_t width,
                          uint8_t aggregate) {
  const int64_t too_old = TooOld(as_of, width);
  float lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  float largest = -__builtin_inff(), smallest = __builtin_inff(), last = 0;
  size_t count = 0;
  for (size_t i = 0; i < list->size; ++i) {
    const float value = list->values[i];
    if (list->times[i] > as_of || list->times[i] <= too_old || value != value) continue;
    lanes[count % 8] += value;
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
      return Finish(aggregate, count, OctSum(OctLoad(lanes)));
  }
}

// All of `count` values that lie side by side.
MAINSPRING_INLINE float AggregateSlice(const float* values, size_t count, uint8_t aggregate) {
  switch (aggregate) {
    case kMainspringMax: {
      const float rest = -__builtin_inff();
      Oct lanes = OctSet1(rest);
      size_t i = 0;
      for (; i + 8 <= count; i += 8) lanes = OctMax(lanes, OctLoad(values + i));
      if (i < count) lanes = OctMax(lanes, OctLoadFirst(values + i, count - i, rest));
      return Finish(aggregate, count, OctLargest(lanes));
    }
    case kMainspringMin: {
      const float rest = __builtin_inff();
      Oct lanes = OctSet1(rest);
      size_t i = 0;
      for (; i + 8 <= count; i += 8) lanes = OctMin(lanes, OctLoad(values + i));
      if (i < count) lanes = OctMin(lanes, OctLoadFirst(values + i, count - i, rest));
      return Finish(aggregate, count, OctSmallest(lanes));
    }
    case kMainspringLast:
      return Finish(aggregate, count, count == 0 ? 0 : values[count - 1]);
    case kMainspringCount:
      return Finish(aggregate, count, 0);
    default: {
      // An empty lane adds +0.0 to a sum that is never -0.0: nothing.
      Oct lanes = OctSet1(0.0f);
      size_t i = 0;
      for (; i + 8 <= count; i += 8) lanes = OctAdd(lanes, OctLoad(values + i));
      if (i < count) lanes = OctAdd(lanes, OctLoadFirst(values + i, count - i, 0.0f));
      return Finish(aggregate, count, OctSum(lanes));
    }
  }
}

// Every window of the group for one row; result j to out[group->window[j] * stride].
//
// Lists are in the order of time nearly always, so that a window is a slice: its events are found as a bit
// mask, and where the mask is one run of ones the values are added as they lie.
static void WindowRow(const struct MainspringWindows* group, const struct MainspringEventList* list,
                      int64_t as_of, float* out, size_t stride) {
  for (size_t first = 0; first < group->n; first += kMaxFused) {
    const size_t n = group->n - first < kMaxFused ? group->n - first : kMaxFused;
    uint64_t masks[kMaxFused] = {0};
    if (list->size <= kMaxMasked) {
      int64_t too_old[kMaxFused];
      for (size_t j = 0; j < n; ++j) too_old[j] = TooOld(as_of, group->width[first + j]);
      for (size_t i = 0; i < list->size; i += kWide) {
        const size_t left = list->size - i < kWide ? list->size - i : kWide;
        const uint32_t future = WGreater(list->times + i, left, as_of);
        for (size_t j = 0; j < n; ++j) {
          masks[j] |= (uint64_t)(WGreater(list->times + i, left, too_old[j]) & ~future) << i;
        }
      }
      uint64_t absent = 0;
      for (size_t i = 0; i < list->size; i += 8) {
        const size_t left = list->size - i;
        const Oct values = left >= 8 ? OctLoad(list->values + i) : OctLoadFirst(list->values + i, left, 0.0f);
        absent |= (uint64_t)OctIsNaN(values) << i;
      }
      for (size_t j = 0; j < n; ++j) masks[j] &= ~absent;
    }
    for (size_t j = 0; j < n; ++j) {
      const uint8_t aggregate = group->aggregate[first + j];
      float* const to = out + (size_t)group->window[first + j] * stride;
      const uint64_t mask = masks[j];
      const uint64_t run = mask == 0 ? 0 : mask >> __builtin_ctzll(mask);
      if (list->size <= kMaxMasked && (run & (run + 1)) == 0) {
        const float* values = mask == 0 ? list->values : list->values + __builtin_ctzll(mask);
        *to = AggregateSlice(values, (size_t)__builtin_popcountll(mask), aggregate);
      } else {
        *to = AggregateAny(list, as_of, group->width[first + j], aggregate);
      }
    }
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
