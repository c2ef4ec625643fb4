// The dense transform, written once and compiled per target. The unit includes a simd/*-inl.h first.
//
// Three shapes of the same arithmetic, bit-equal by construction (each value sees the same operations):
//   few rows    lanes are output columns: a row is gathered, transformed and stored, no transposition;
//   blocks      lanes are rows: each column of a block goes to a scratch that stays in L1, then tiles of
//               kLanes x kLanes are transposed in registers into row-major order;
//   streaming   blocks into a staging buffer, copied past the cache line by line.

#ifndef MAINSPRING_SRC_DENSE_DENSE_INL_H_
#define MAINSPRING_SRC_DENSE_DENSE_INL_H_

#include <stddef.h>
#include <stdint.h>

#include "dense_kernels.h"
#include "mainspring/math/log1p-inl.h"

namespace {

typedef struct MainspringDenseArgs Args;

// Rows of a block: 16 columns of scratch are 16 KiB, half of the smallest L1 we meet.
constexpr size_t kBlockRows = 256;
// One line more than a power of two, or all columns of a tile would fall into the same few cache sets.
constexpr size_t kScratchStride = kBlockRows + 16;
constexpr size_t kStageFloats = 8192;
constexpr size_t kLineFloats = 16;

// The whole definition, on one vector. Parameters are vectors so that lanes may be rows or columns.
struct Parameters {
  Vec fill, lower, upper, mean_high, mean_low, inverse_scale;
};

MAINSPRING_INLINE Vec Impute(Vec x, Vec fill) { return Select(IsNaN(x), fill, x); }
// Written so that a value equal to a bound, -0.0 included, stays itself.
MAINSPRING_INLINE Vec Clip(Vec y, Vec lower, Vec upper) { return Min(upper, Max(lower, y)); }
// mean is a sum of two floats: near the mean the first difference is exact, so the second still counts.
MAINSPRING_INLINE Vec Standardise(Vec y, const Parameters& p) {
  return Mul(Sub(Sub(y, p.mean_high), p.mean_low), p.inverse_scale);
}

MAINSPRING_INLINE Parameters Broadcast(const Args* args, size_t column) {
  return Parameters{Set1(args->fill[column]),     Set1(args->lower[column]),
                    Set1(args->upper[column]),    Set1(args->mean_high[column]),
                    Set1(args->mean_low[column]), Set1(args->inverse_scale[column])};
}

MAINSPRING_INLINE Parameters LoadParameters(const Args* args, size_t column) {
  return Parameters{Load(args->fill + column),     Load(args->lower + column),
                    Load(args->upper + column),    Load(args->mean_high + column),
                    Load(args->mean_low + column), Load(args->inverse_scale + column)};
}

MAINSPRING_INLINE Vec TransformOne(Vec x, uint8_t kind, const Parameters& p) {
  if (kind == kMainspringDenseIndicator) return Select(IsNaN(x), Set1(1.0f), Set1(0.0f));
  const Vec y = Clip(Impute(x, p.fill), p.lower, p.upper);
  return Standardise(kind == kMainspringDenseLog1p ? Log1p(y) : y, p);
}

// The same rows of the next block: a column is read in short pieces, too short for the CPU to foresee the
// next. 1 M rows x 13 columns, Zen 4, AVX-512: 11.2 -> 8.2 ns/row; two blocks ahead: no further gain
// (2026-11). An address beyond the column is harmless: prefetching never faults.
MAINSPRING_INLINE void Prefetch(const float* x) {
  __builtin_prefetch((const void*)((uintptr_t)x + kBlockRows * sizeof(float)));
}

// One input column's rows into one column of scratch; `kind` is a literal at each call, so each loop is
// compiled without branches. Writes whole vectors: up to kLanes - 1 values beyond n_rows.
MAINSPRING_INLINE void TransformRun(const float* x, size_t n_rows, uint8_t kind, const Parameters& p,
                                    float* out) {
  size_t row = 0;
  for (; row + kLanes <= n_rows; row += kLanes) {
    Prefetch(x + row);
    Store(TransformOne(Load(x + row), kind, p), out + row);
  }
  if (row < n_rows) Store(TransformOne(LoadFirst(x + row, n_rows - row), kind, p), out + row);
}

static void TransformColumn(const Args* args, size_t column, size_t first_row, size_t n_rows, float* out) {
  const float* x = args->columns[args->source[column]] + first_row;
  const Parameters p = Broadcast(args, column);
  switch (args->kind[column]) {
    case kMainspringDenseAffine:
      return TransformRun(x, n_rows, kMainspringDenseAffine, p, out);
    case kMainspringDenseLog1p:
      return TransformRun(x, n_rows, kMainspringDenseLog1p, p, out);
    default:
      return TransformRun(x, n_rows, kMainspringDenseIndicator, p, out);
  }
}

// `n_columns` <= kLanes columns of scratch into rows of `out` (at its first column there).
//
// A row is stored as one whole vector even where fewer columns are left: what spills into the beginning of
// the next rows is written over by them, because rows go up and groups of columns go down (the leftmost,
// which takes the spill, comes last). INVARIANT: nothing is written at or after `end`.
static void ScatterRows(const float* scratch, size_t n_rows, size_t n_columns, size_t width, float* out,
                        const float* end) {
  for (size_t row = 0; row < n_rows; row += kLanes) {
    Vec tile[kLanes];
    // Lanes without a column repeat the last one: valid memory, and never seen in the result.
    for (size_t i = 0; i < kLanes; ++i) {
      tile[i] = Load(scratch + (i < n_columns ? i : n_columns - 1) * kScratchStride + row);
    }
    Transpose(tile);
    float* to = out + row * width;
    const size_t rows = n_rows - row < kLanes ? n_rows - row : kLanes;
    if (rows == kLanes && (size_t)(end - to) >= (kLanes - 1) * width + kLanes) {
      for (size_t i = 0; i < kLanes; ++i) Store(tile[i], to + i * width);
    } else {
      float spare[kLanes * kLanes];
      for (size_t i = 0; i < kLanes; ++i) Store(tile[i], spare + i * kLanes);
      for (size_t i = 0; i < rows; ++i, to += width) {
        const Vec values = Load(spare + i * kLanes);
        if ((size_t)(end - to) >= kLanes) {
          Store(values, to);
        } else {
          StoreFirst(values, to, n_columns);
        }
      }
    }
  }
}

static void TransformBlock(const Args* args, size_t first_row, size_t n_rows, float* out, const float* end) {
  float scratch[kLanes * kScratchStride] __attribute__((aligned(64)));
  size_t group = (args->width - 1) / kLanes * kLanes;
  for (;; group -= kLanes) {
    const size_t n_columns = args->width - group < kLanes ? args->width - group : kLanes;
    for (size_t i = 0; i < n_columns; ++i) {
      TransformColumn(args, group + i, first_row, n_rows, scratch + i * kScratchStride);
    }
    ScatterRows(scratch, n_rows, n_columns, args->width, out + group, end);
    if (group == 0) return;
  }
}

// Up to kLanes columns of one row, from column `group` on.
MAINSPRING_INLINE Vec TransformLanes(const Args* args, size_t group, Vec x) {
  const Parameters p = LoadParameters(args, group);
  const Mask is_missing = IsNaN(x);
  Vec y = Clip(Select(is_missing, p.fill, x), p.lower, p.upper);
  // Lanes that are no log1p column may hold negative numbers here; their result is not selected.
  if (args->any_log1p) y = Select(LoadMask(args->is_log1p + group), Log1p(y), y);
  return Select(LoadMask(args->is_indicator + group), Select(is_missing, Set1(1.0f), Set1(0.0f)),
                Standardise(y, p));
}

static void TransformRows(const Args* args) {
  float* to = args->out;
  const float* const end = to + args->n_rows * args->width;
  for (size_t row = 0; row < args->n_rows; ++row) {
    for (size_t group = 0; group < args->width; group += kLanes) {
      float gathered[kLanes];
      for (size_t i = 0; i < kLanes; ++i) gathered[i] = args->columns[args->source[group + i]][row];
      const Vec result = TransformLanes(args, group, Load(gathered));
      const size_t n_columns = args->width - group < kLanes ? args->width - group : kLanes;
      if ((size_t)(end - to) >= kLanes) {
        Store(result, to);  // a spill is written over by the next row
      } else {
        StoreFirst(result, to, n_columns);
      }
      to += n_columns;
    }
  }
}

// floats of `from` to `to`, the whole lines among them past the cache.
static void StreamOut(const float* from, size_t floats, float* to) {
  while (floats > 0 && ((uintptr_t)to & 63) != 0) {
    *to++ = *from++;
    --floats;
  }
  for (; floats >= kLineFloats; floats -= kLineFloats, from += kLineFloats, to += kLineFloats) {
    StreamLine(from, to);
  }
  while (floats-- > 0) *to++ = *from++;
}

MAINSPRING_INLINE void Transform(const Args* args) {
  if (args->n_rows == 0) return;
  if (args->n_rows < kFewRows) return TransformRows(args);

  float* out = args->out;
  const float* const end = out + args->n_rows * args->width;
  size_t block_rows = kBlockRows;
  int is_streaming = args->use_streaming_stores;
  if (is_streaming && args->width * block_rows > kStageFloats) {
    block_rows = kStageFloats / args->width / 16 * 16;
    if (block_rows == 0) {  // too wide to stage
      block_rows = kBlockRows;
      is_streaming = 0;
    }
  }
  float stage[kStageFloats] __attribute__((aligned(64)));
  for (size_t row = 0; row < args->n_rows; row += block_rows) {
    const size_t n_rows = args->n_rows - row < block_rows ? args->n_rows - row : block_rows;
    float* to = out + row * args->width;
    if (is_streaming) {
      TransformBlock(args, row, n_rows, stage, stage + n_rows * args->width);
      StreamOut(stage, n_rows * args->width, to);
    } else {
      TransformBlock(args, row, n_rows, to, end);
    }
  }
  if (is_streaming) StreamFence();
}

}  // namespace

#endif  // MAINSPRING_SRC_DENSE_DENSE_INL_H_
