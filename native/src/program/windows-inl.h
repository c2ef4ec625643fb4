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

// Rows of a block that go through together, and how many windows of a group at once.
constexpr size_t kStripRows = 64;
constexpr size_t kStripWindows = 4;
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the bits of an EventBits rise");

// Which events of a row lie in a window: bits of the first sixteen, of the next sixteen.
typedef struct {
  uint16_t low, high;
} EventBits;

// What is known of a strip's rows before their windows are folded.
struct WindowStrip {
  const struct MainspringEvents* events;
  const int64_t* as_of;
  size_t n_rows;
  int64_t begin[kStripRows];
  int64_t size[kStripRows];
  EventBits all[kStripRows];       // none where the row must be done alone
  uint8_t longer[kStripRows + 1];  // rows of 17 to 32 events
  size_t n_longer;
  EventBits bits[kStripWindows][kStripRows];
};

// Which of up to sixteen events, those of `first`, lie in each of n windows; n and are_short (all widths are
// below 2^32) are literals at each call.
MAINSPRING_INLINE void FindEvents(const int64_t* times, const float* values, const uint16_t* first,
                                  int64_t as_of, const int64_t* width, size_t n, int are_short,
                                  Bits16* bits) {
  const Bits16 all = LoadBits(first);
  const Bits16 present = HexOrderedOf(all, HexLoadBits(values, all));
  const Ages ages = LoadAges(times, all, as_of);
  const ShortAges shorter = Shorten(&ages);
#pragma GCC unroll 4
  for (size_t j = 0; j < n; ++j) {
    bits[j] = are_short ? ShortAgesBelow(&shorter, present, (uint64_t)width[j])
                        : AgesBelow(&ages, present, (uint64_t)width[j]);
  }
}

MAINSPRING_INLINE void FindInStripOf(struct WindowStrip* strip, const int64_t* width, size_t n,
                                     int are_short) {
  const int64_t* const times = strip->events->times;
  const float* const values = strip->events->values;
  Bits16 bits[kStripWindows];
  for (size_t row = 0; row < strip->n_rows; ++row) {
    const int64_t begin = strip->begin[row];
    FindEvents(times + begin, values + begin, &strip->all[row].low, strip->as_of[row], width, n, are_short,
               bits);
#pragma GCC unroll 4
    for (size_t j = 0; j < n; ++j) {
      const uint32_t low = bits[j];  // stored at once
      memcpy(&strip->bits[j][row], &low, sizeof(low));
    }
  }
  for (size_t i = 0; i < strip->n_longer; ++i) {
    const size_t row = strip->longer[i];
    const int64_t begin = strip->begin[row] + 16;
    FindEvents(times + begin, values + begin, &strip->all[row].high, strip->as_of[row], width, n, are_short,
               bits);
#pragma GCC unroll 4
    for (size_t j = 0; j < n; ++j) strip->bits[j][row].high = (uint16_t)bits[j];
  }
}
static void FindInStrip(struct WindowStrip* strip, const int64_t* width, size_t n) {
  uint64_t widths = 0;
  for (size_t j = 0; j < n; ++j) widths |= (uint64_t)width[j];
  const int are_short = widths >> 32 == 0;
  switch (n * 2 + (size_t)are_short) {
    case 2:
      return FindInStripOf(strip, width, 1, 0);
    case 3:
      return FindInStripOf(strip, width, 1, 1);
    case 4:
      return FindInStripOf(strip, width, 2, 0);
    case 5:
      return FindInStripOf(strip, width, 2, 1);
    case 6:
      return FindInStripOf(strip, width, 3, 0);
    case 7:
      return FindInStripOf(strip, width, 3, 1);
    case 8:
      return FindInStripOf(strip, width, 4, 0);
    default:
      return FindInStripOf(strip, width, 4, 1);
  }
}

// Sixteen rows of one window; `aggregate` is a literal at each call. A lane without an event holds +0.0 here,
// where the definition would leave a -0.0 alone: no other sum sees the difference, and Finish makes +0.0 of a
// -0.0.
MAINSPRING_INLINE Hex FoldRows(uint8_t aggregate, const float* values, const int64_t* begin,
                               const EventBits* bits) {
  const float infinity = __builtin_inff();
  Hex rows[16];
#pragma GCC unroll 16
  for (size_t i = 0; i < 16; ++i) {
    const float* const from = values + begin[i];
    const Bits16 low = LoadBits(&bits[i].low), high = LoadBits(&bits[i].high);
    rows[i] = aggregate == kMainspringMax
                  ? HexMax(HexLoadBitsElse(-infinity, from, low), HexLoadBitsElse(-infinity, from + 16, high))
              : aggregate == kMainspringMin
                  ? HexMin(HexLoadBitsElse(infinity, from, low), HexLoadBitsElse(infinity, from + 16, high))
                  : HexAdd(HexLoadBits(from, low), HexLoadBits(from + 16, high));
  }
  return aggregate == kMainspringMax   ? HexLargestEach(rows)
         : aggregate == kMainspringMin ? HexSmallestEach(rows)
                                       : HexSumEach(rows);
}

// How many bits of each lane are set.
MAINSPRING_INLINE IVec CountBits(IVec x) {
  x = ISub(x, IAnd(IShiftRight(x, 1), ISet1(0x55555555)));
  x = IAdd(IAnd(x, ISet1(0x33333333)), IAnd(IShiftRight(x, 2), ISet1(0x33333333)));
  x = IAnd(IAdd(x, IShiftRight(x, 4)), ISet1(0x0F0F0F0F));
  return IShiftRight(IMul(x, ISet1(0x01010101)), 24);
}

static void CountStrip(const EventBits* bits, size_t n_rows, float* out) {
  for (size_t row = 0; row < n_rows; row += kLanes) {
    Store(ToFloat(CountBits(LoadInts((const int32_t*)(bits + row)))), out + row);
  }
}

static void LastStrip(const struct WindowStrip* strip, const EventBits* bits, float* out) {
  for (size_t row = 0; row < strip->n_rows; ++row) {
    const uint32_t both = bits[row].low | (uint32_t)bits[row].high << 16;
    const float* const from = strip->events->values + strip->begin[row];
    out[row] = both == 0 ? __builtin_nanf("") : from[31 - __builtin_clz(both)];
  }
}

// `aggregate` is a literal at each call.
MAINSPRING_INLINE void FoldStripOf(uint8_t aggregate, const struct WindowStrip* strip, const EventBits* bits,
                                   int64_t width, float* out) {
  for (size_t row = 0; row < strip->n_rows; row += 16) {
    float results[16];
    HexStore(FoldRows(aggregate, strip->events->values, strip->begin + row, bits + row), results);
    IVec gaps = ISet1(0);
    for (size_t i = 0; i < 16; i += kLanes) {
      const IVec both = LoadInts((const int32_t*)(bits + row + i));
      const IVec after = IAdd(both, IAnd(both, ISub(ISet1(0), both)));  // see WindowRow
      gaps = IOr(gaps, IAnd(after, ISub(after, ISet1(1))));
      const Mask is_none = Equal(ToFloat(both), Set1(0.0f));
      Vec result = Load(results + i);
      if (aggregate == kMainspringMean) {
        result = Div(result, Select(is_none, Set1(1.0f), ToFloat(CountBits(both))));
      }
      result = Add(result, Set1(0.0f));
      if (aggregate != kMainspringSum) result = Select(is_none, Set1(__builtin_nanf("")), result);
      Store(result, out + row + i);
    }
    if (aggregate == kMainspringMax || aggregate == kMainspringMin || __builtin_expect(!IAny(gaps), 1))
      continue;
    for (size_t i = row; i < row + 16 && i < strip->n_rows; ++i) {
      const struct MainspringEventList list = {strip->events->times + strip->begin[i],
                                               strip->events->values + strip->begin[i],
                                               (size_t)strip->size[i]};
      out[i] = AggregateAny(&list, strip->as_of[i], width, aggregate);
    }
  }
}

static void FoldStrip(uint8_t aggregate, const struct WindowStrip* strip, const EventBits* bits,
                      int64_t width, float* out) {
  switch (aggregate) {
    case kMainspringCount:
      return CountStrip(bits, strip->n_rows, out);
    case kMainspringLast:
      return LastStrip(strip, bits, out);
    case kMainspringMax:
      return FoldStripOf(kMainspringMax, strip, bits, width, out);
    case kMainspringMin:
      return FoldStripOf(kMainspringMin, strip, bits, width, out);
    case kMainspringMean:
      return FoldStripOf(kMainspringMean, strip, bits, width, out);
    default:
      return FoldStripOf(kMainspringSum, strip, bits, width, out);
  }
}

// The strip's rows: where their events begin, how many there are. 0 where an offset lies outside of the list.
MAINSPRING_INLINE int ReadOffsets(struct WindowStrip* strip, size_t first_row) {
  int are_rising = 1;
  const size_t n = strip->n_rows;
  int64_t first, end;
  if (strip->events->is_wide) {
    const int64_t* const offsets = (const int64_t*)strip->events->offsets + first_row;
    for (size_t row = 0; row < n; ++row) {
      are_rising &= offsets[row] <= offsets[row + 1];
      strip->begin[row] = offsets[row];
      strip->size[row] = (int64_t)((uint64_t)offsets[row + 1] - (uint64_t)offsets[row]);
    }
    first = offsets[0], end = offsets[n];
  } else {
    const int32_t* const offsets = (const int32_t*)strip->events->offsets + first_row;
    for (size_t row = 0; row < n; ++row) {
      are_rising &= offsets[row] <= offsets[row + 1];
      strip->begin[row] = offsets[row];
      strip->size[row] = (int64_t)offsets[row + 1] - offsets[row];
    }
    first = offsets[0], end = offsets[n];
  }
  return are_rising && first >= 0 && (uint64_t)end <= strip->events->size;
}

// Every window of the group for 1 .. kStripRows rows from `first_row` on; result j of row i to
// out[group->window[j] * stride + i], and what follows the last row's, up to a whole vector, is written over.
// -1, or the first row whose offsets lie outside of the list.
//
// What WindowRow does for a row is done here in passes over many: which events lie in which window; the same
// of the longer rows (nearly half have more than sixteen events where that is the mean, and a branch would be
// foreseen wrongly as often); then sixteen rows of a window are folded at once.
static int64_t WindowStripRows(const struct MainspringWindows* group, const struct MainspringEvents* events,
                               const int64_t* as_of, size_t first_row, size_t n_rows, float* out,
                               size_t stride) {
  struct WindowStrip strip;
  strip.events = events;
  strip.as_of = as_of;
  strip.n_rows = n_rows;
  struct MainspringEventList list;
  if (!ReadOffsets(&strip, first_row)) {
    size_t row = first_row;
    while (EventsOf(events, row, &list)) ++row;
    return (int64_t)row;
  }
  uint32_t are_others = 0;
  for (size_t row = 0; row < n_rows; ++row) {
    const uint32_t is_other = (as_of[row] < 0) | (strip.size[row] > 32);
    const uint32_t all = (uint32_t)(((uint64_t)1 << (strip.size[row] & 63)) - 1) & (is_other - 1);
    memcpy(&strip.all[row], &all, sizeof(all));
    are_others |= is_other;
  }
  size_t n_longer = 0;
  for (size_t row = 0; row < n_rows; ++row) {
    strip.longer[n_longer] = (uint8_t)row;
    n_longer += strip.all[row].high != 0;
  }
  strip.n_longer = n_longer;
  for (size_t row = n_rows; row % 16 != 0; ++row) {
    strip.begin[row] = 0;
    for (size_t j = 0; j < kStripWindows; ++j) strip.bits[j][row] = EventBits{0, 0};
  }
  for (size_t first = 0; first < group->n; first += kStripWindows) {
    const size_t n = group->n - first < kStripWindows ? group->n - first : kStripWindows;
    const int64_t* const width = group->width + first;
    FindInStrip(&strip, width, n);
    for (size_t j = 0; j < n; ++j) {
      FoldStrip(group->aggregate[first + j], &strip, strip.bits[j], width[j],
                out + (size_t)group->window[first + j] * stride);
    }
  }
  for (size_t row = 0; are_others && row < n_rows; ++row) {
    if (as_of[row] >= 0 && strip.size[row] <= 32) continue;
    EventsOf(events, first_row + row, &list);
    WindowRowLong(group, &list, as_of[row], out + row, stride);
  }
  return -1;
}

}  // namespace

#endif  // MAINSPRING_SRC_PROGRAM_WINDOWS_INL_H_
