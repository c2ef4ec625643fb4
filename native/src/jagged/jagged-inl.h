// Padding and its inverse, written once and compiled per target. The unit includes a simd/*-inl.h first, and
// says kShort.
//
// Both write whole vectors and let the next row write over what was too much: where a row ends then costs no
// branch, which is what short rows of unforeseeable length are paid for elsewhere. Rows whose vectors would
// leave the memory that is ours, the last few as a rule, take their exact number of words.

#ifndef MAINSPRING_SRC_JAGGED_JAGGED_INL_H_
#define MAINSPRING_SRC_JAGGED_JAGGED_INL_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "jagged_kernels.h"

namespace {

typedef struct MainspringJaggedArgs Args;
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef int32_t Lanes __attribute__((vector_size(4 * kLanes)));

// What goes past the cache is made up here first.
constexpr size_t kStageWords = 8192;

MAINSPRING_INLINE Words LoadWords(const uint32_t* p) {
  Words v;
  memcpy(&v, p, sizeof(v));
  return v;
}
MAINSPRING_INLINE void StoreWords(Words v, uint32_t* p) { memcpy(p, &v, sizeof(v)); }
MAINSPRING_INLINE size_t RoundUp(size_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

MAINSPRING_INLINE Words Padding(const uint32_t* padding) {
  Words v;
  for (size_t i = 0; i < kLanes; ++i) v[i] = padding[i & 1];
  return v;
}
MAINSPRING_INLINE Lanes Counting() {
  Lanes v;
  for (size_t i = 0; i < kLanes; ++i) v[i] = (int32_t)i;
  return v;
}
// The first n lanes of v, then padding. n may be beyond both ends.
MAINSPRING_INLINE Words PadAfter(Words v, int32_t n, Words padding) { return Counting() < n ? v : padding; }

// Words of `from` to `to`, whole lines among them past the cache.
static void StreamOut(const uint32_t* from, size_t words, uint32_t* to) {
  while (words > 0 && ((uintptr_t)to & 63) != 0) {
    *to++ = *from++;
    --words;
  }
  for (; words >= 16; words -= 16, from += 16, to += 16) StreamLine((const float*)from, (float*)to);
  while (words-- > 0) *to++ = *from++;
}

static void PadExactly(const uint32_t* from, size_t n, const Args* args, uint32_t* to) {
  if (n != 0) memcpy(to, from, n * 4);
  for (size_t i = n; i < args->width; ++i) to[i] = args->padding[i & 1];
}

// kVectors of a row, or 0: as many as it takes. A literal at each call, so that short rows take no loop.
template <typename Offset, size_t kVectors, int kIsStreaming>
MAINSPRING_INLINE void PadRows(const Args* args) {
  const Offset* const offsets = (const Offset*)args->offsets;
  const size_t width = args->width, words = args->words;
  const size_t whole = kVectors != 0 ? kVectors * kLanes : RoundUp(width);
  const Words padding = Padding(args->padding);
  uint32_t* out = args->dense;
  const uint32_t* const out_end = out + args->n_rows * width;
  for (size_t row = 0; row < args->n_rows; ++row, out += width) {
    const size_t begin = (size_t)offsets[row] * words;
    size_t n = (size_t)offsets[row + 1] * words - begin;
    if (n > width) n = width;
    const uint32_t* const from = args->values + begin;
    if (args->n_words - begin < whole || (size_t)(out_end - out) < whole) {
      PadExactly(from, n, args, out);
    } else if (kIsStreaming) {
      size_t i = 0;
      for (; i + 16 <= n; i += 16) StreamLine((const float*)(from + i), (float*)(out + i));
      uint32_t line[16];
      for (; i < width; i += 16) {
        for (size_t j = 0; j < 16; j += kLanes) {
          StoreWords(PadAfter(LoadWords(from + i + j), (int32_t)(n - i) - (int32_t)j, padding), line + j);
        }
        StreamLine((const float*)line, (float*)(out + i));
        if (n < i + 16) n = i + 16;
      }
    } else if (kVectors != 0 || width <= kShort) {
      for (size_t i = 0; i < whole; i += kLanes) {
        StoreWords(PadAfter(LoadWords(from + i), (int32_t)n - (int32_t)i, padding), out + i);
      }
    } else {
      size_t i = 0;
      for (; i + kLanes <= n; i += kLanes) StoreWords(LoadWords(from + i), out + i);
      if (i < width) StoreWords(PadAfter(LoadWords(from + i), (int32_t)(n - i), padding), out + i);
      for (i += kLanes; i < width; i += kLanes) StoreWords(padding, out + i);
    }
  }
  if (kIsStreaming) StreamFence();
}

template <typename Offset>
MAINSPRING_INLINE void PadAll(const Args* args) {
  const size_t width = args->width;
  if (args->use_streaming_stores && width % 16 == 0 && ((uintptr_t)args->dense & 63) == 0) {
    return PadRows<Offset, 0, 1>(args);
  }
  if (width <= kLanes) return PadRows<Offset, 1, 0>(args);
  if (width <= 2 * kLanes) return PadRows<Offset, 2, 0>(args);
  PadRows<Offset, 0, 0>(args);
}

static void UnpadExactly(const uint32_t* from, size_t n, const Args* args, uint32_t* to) {
  const size_t copied = n < args->width ? n : args->width;
  if (copied != 0) memcpy(to, from, copied * 4);
  for (size_t i = copied; i < n; ++i) to[i] = args->padding[i & 1];
}

// Rows [first, end) to `to`, which has room until `to_end`.
template <typename Offset>
MAINSPRING_INLINE void UnpadRows(const Args* args, size_t first, size_t end, uint32_t* to,
                                 const uint32_t* to_end) {
  const Offset* const offsets = (const Offset*)args->offsets;
  const size_t width = args->width, words = args->words, whole = RoundUp(width);
  const uint32_t* const dense_end = args->dense + args->n_rows * width;
  const uint32_t* from = args->dense + first * width;
  for (size_t row = first; row < end; ++row, from += width) {
    const size_t n = (size_t)(offsets[row + 1] - offsets[row]) * words;
    if (n > width || (size_t)(to_end - to) < whole || (size_t)(dense_end - from) < whole) {
      UnpadExactly(from, n, args, to);
    } else if (width <= kShort) {
      for (size_t i = 0; i < whole; i += kLanes) StoreWords(LoadWords(from + i), to + i);
    } else {
      for (size_t i = 0; i < n; i += kLanes) StoreWords(LoadWords(from + i), to + i);
    }
    to += n;
  }
}

template <typename Offset>
MAINSPRING_INLINE void UnpadAll(const Args* args) {
  const Offset* const offsets = (const Offset*)args->offsets;
  if (!args->use_streaming_stores || args->width > kStageWords) {
    return UnpadRows<Offset>(args, 0, args->n_rows, args->values, args->values + args->n_words);
  }
  uint32_t stage[kStageWords + kLanes] __attribute__((aligned(64)));
  for (size_t row = 0; row < args->n_rows;) {
    const size_t begin = (size_t)offsets[row] * args->words;
    size_t end = row + 1;
    while (end < args->n_rows && (size_t)offsets[end + 1] * args->words - begin <= kStageWords) ++end;
    const size_t n = (size_t)offsets[end] * args->words - begin;
    if (n <= kStageWords) {
      UnpadRows<Offset>(args, row, end, stage, stage + kStageWords + kLanes);
      StreamOut(stage, n, args->values + begin);
    } else {  // one row, longer than the matrix is wide
      UnpadExactly(args->dense + row * args->width, n, args, args->values + begin);
    }
    row = end;
  }
  StreamFence();
}

MAINSPRING_INLINE void Pad(const Args* args) {
  if (args->n_rows == 0 || args->width == 0) return;
  if (args->has_wide_offsets) return PadAll<int64_t>(args);
  PadAll<int32_t>(args);
}

MAINSPRING_INLINE void Unpad(const Args* args) {
  if (args->n_rows == 0) return;
  if (args->has_wide_offsets) return UnpadAll<int64_t>(args);
  UnpadAll<int32_t>(args);
}

}  // namespace

#endif  // MAINSPRING_SRC_JAGGED_JAGGED_INL_H_
