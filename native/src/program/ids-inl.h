// Columns to ids: hash, cross, vocabulary, bucketise. Compiled per target; what each means is in
// native/reference.py. Two shapes: a column of a block (lanes are rows), and one row (lanes are operations).

#ifndef MAINSPRING_SRC_PROGRAM_IDS_INL_H_
#define MAINSPRING_SRC_PROGRAM_IDS_INL_H_

#include <stddef.h>
#include <stdint.h>

#include "program_kernels.h"

namespace {

constexpr uint64_t kMissingInt = (uint64_t)1 << 63;

// All but the last step of mix64, which does not touch the upper half; constants as in mainspring/hash.h.
MAINSPRING_INLINE WVec PreMix(WVec x) {
  x = WMul(WXor(x, WShiftRight(x, 32)), WSet1(0xBF58476D1CE4E5B9u));
  return WMul(WXor(x, WShiftRight(x, 29)), WSet1(0x94D049BB133111EBu));
}
MAINSPRING_INLINE uint64_t PreMixOne(uint64_t x) {
  x = (x ^ (x >> 32)) * 0xBF58476D1CE4E5B9u;
  return (x ^ (x >> 29)) * 0x94D049BB133111EBu;
}

// offset + 1 + (upper half of h * range >> 32)
MAINSPRING_INLINE WVec BucketOf(WVec h, WVec range, WVec offset) {
  const WVec id = WShiftRight(WMulLow(WShiftRight(h, 32), range), 32);
  return WAdd(WAdd(id, WSet1(1)), offset);
}

MAINSPRING_INLINE WVec HashOne(WVec value, WVec key, WVec range, WVec offset) {
  const WVec id = BucketOf(PreMix(WXor(value, key)), range, offset);
  return WWhereEqual(value, WSet1(kMissingInt), offset, id);
}

MAINSPRING_INLINE void HashColumn(const int64_t* values, size_t n_rows, uint64_t key, uint64_t range,
                                  uint64_t offset, int32_t* ids) {
  const WVec keys = WSet1(key), ranges = WSet1(range), offsets = WSet1(offset);
  size_t row = 0;
  for (; row + kWide <= n_rows; row += kWide) {
    StoreNarrow(HashOne(WLoad(values + row), keys, ranges, offsets), ids + row);
  }
  if (row < n_rows) {
    const size_t left = n_rows - row;
    StoreNarrowFirst(HashOne(WLoadFirst(values + row, left), keys, ranges, offsets), ids + row, left);
  }
}

static void CrossColumn(const struct MainspringCross* c, const int64_t* const* ints, size_t first_row,
                        size_t n_rows, int32_t* ids) {
  const WVec range = WSet1(c->range), offset = WSet1((uint64_t)(uint32_t)c->offset);
  const WVec missing = WSet1(kMissingInt), key = WSet1(c->key);
  for (size_t row = 0; row < n_rows; row += kWide) {
    const size_t left = n_rows - row < kWide ? n_rows - row : kWide;
    WVec h = key, seen = WSet1(0);
    for (size_t i = 0; i < c->n_sources; ++i) {
      const int64_t* from = ints[c->sources[i]] + first_row + row;
      const WVec value = left == kWide ? WLoad(from) : WLoadFirst(from, left);
      seen = WWhereEqual(value, missing, missing, seen);
      h = PreMix(WXor(h, value));
      h = WXor(h, WShiftRight(h, 32));
    }
    const WVec id = WWhereEqual(seen, missing, offset, BucketOf(h, range, offset));
    if (left == kWide) {
      StoreNarrow(id, ids + row);
    } else {
      StoreNarrowFirst(id, ids + row, left);
    }
  }
}

// The table's own word for `h`, or 1 for "unknown". -2^63 is in the table, with id 0.
MAINSPRING_INLINE int32_t Probe(const struct MainspringTable* t, uint64_t h) {
  const uint64_t at = (h >> (64 - t->bits)) ^ t->pilots[h & t->bucket_mask];
  const uint64_t id = t->slots[at] ^ (h << t->bits);
  return (int32_t)(id >> t->bits == 0 ? id : 1) + t->offset;
}

static void VocabularyColumn(const struct MainspringTable* table, uint64_t key, const int64_t* values,
                             size_t n_rows, int32_t* ids) {
  const WVec keys = WSet1(key);
  const struct MainspringTable t = *table;
  // Scattered by vectors, then looked up one by one: a gather is no faster on the CPUs we meet.
  uint64_t scattered[64] __attribute__((aligned(64)));
  for (size_t row = 0; row < n_rows; row += 64) {
    const size_t left = n_rows - row < 64 ? n_rows - row : 64;
    size_t i = 0;
    for (; i + kWide <= left; i += kWide) WStore(PreMix(WXor(WLoad(values + row + i), keys)), scattered + i);
    if (i < left) WStore(PreMix(WXor(WLoadFirst(values + row + i, left - i), keys)), scattered + i);
    for (i = 0; i < left; ++i) ids[row + i] = Probe(&t, scattered[i]);
  }
}

// Branchless, any number of bounds.
MAINSPRING_INLINE size_t CountBelowMany(const float* bounds, size_t n, float x) {
  const float* base = bounds;
  while (n > 1) {
    const size_t half = n / 2;
    base += base[half - 1] < x ? half : 0;
    n -= half;
  }
  return (size_t)(base - bounds) + (n == 1 && *base < x ? 1 : 0);
}

static void BucketColumn(const struct MainspringBuckets* b, const float* values, size_t n_rows,
                         int32_t* ids) {
  const int32_t nan_id = b->offset + (int32_t)b->n + 1;
  if (b->n > 32) {
    for (size_t row = 0; row < n_rows; ++row) {
      const float x = values[row];
      ids[row] = x != x ? nan_id : b->offset + (int32_t)CountBelowMany(b->bounds, b->n, x);
    }
    return;
  }
  const IVec offset = ISet1(b->offset), nan = ISet1(nan_id);
  size_t row = 0;
  for (; row + kLanes <= n_rows; row += kLanes) {
    const Vec x = Load(values + row);
    StoreInts(ISelect(IsNaN(x), nan, IAdd(CountBelow32(b->bounds, b->n, x), offset)), ids + row);
  }
  if (row < n_rows) {
    const Vec x = LoadFirst(values + row, n_rows - row);
    const IVec id = ISelect(IsNaN(x), nan, IAdd(CountBelow32(b->bounds, b->n, x), offset));
    StoreIntsFirst(id, ids + row, n_rows - row);
  }
}

// kWide sources of one row, from operation i on.
MAINSPRING_INLINE WVec GatherRow(const struct MainspringKeyed* k, size_t i, size_t n, const int64_t* ints) {
  if (k->source_run[i] >= (int32_t)n) return WLoadFirst(ints + k->source[i], n);
  int64_t gathered[kWide];
  for (size_t j = 0; j < kWide; ++j) gathered[j] = ints[k->source[i + j]];  // padding reads column 0
  return WLoad(gathered);
}

static void HashRow(const struct MainspringHashes* h, const int64_t* ints, int32_t* ids) {
  const struct MainspringKeyed* k = &h->keyed;
  for (size_t i = 0; i < k->n; i += kWide) {
    const size_t n = k->n - i < kWide ? k->n - i : kWide;
    const WVec value = GatherRow(k, i, n, ints);
    const WVec id = HashOne(value, WLoad((const int64_t*)k->key + i), WLoad((const int64_t*)h->range + i),
                            WLoad((const int64_t*)h->offset + i));
    if (k->id_run[i] >= (int32_t)n) {
      StoreNarrowFirst(id, ids + k->id[i], n);
    } else {
      int32_t scattered[kWide];
      StoreNarrow(id, scattered);
      for (size_t j = 0; j < n; ++j) ids[k->id[i + j]] = scattered[j];
    }
  }
}

static void VocabularyRow(const struct MainspringVocabularies* v, const int64_t* ints, int32_t* ids) {
  const struct MainspringKeyed* k = &v->keyed;
  for (size_t i = 0; i < k->n; i += kWide) {
    const size_t n = k->n - i < kWide ? k->n - i : kWide;
    uint64_t scattered[kWide];
    WStore(PreMix(WXor(GatherRow(k, i, n, ints), WLoad((const int64_t*)k->key + i))), scattered);
    for (size_t j = 0; j < n; ++j) ids[k->id[i + j]] = Probe(v->table + i + j, scattered[j]);
  }
}

static void BucketRow(const struct MainspringBuckets* b, const float* floats, int32_t* ids) {
  const float x = floats[b->source];
  const size_t below = b->n <= 64 ? CountBelowOne(b->bounds, b->n, x) : CountBelowMany(b->bounds, b->n, x);
  ids[b->id] = b->offset + (int32_t)(x != x ? b->n + 1 : below);
}

static void CrossRow(const struct MainspringCross* c, const int64_t* ints, int32_t* ids) {
  uint64_t h = c->key;
  int is_missing = 0;
  for (size_t i = 0; i < c->n_sources; ++i) {
    const uint64_t value = (uint64_t)ints[c->sources[i]];
    is_missing |= value == kMissingInt;
    h = PreMixOne(h ^ value);
    h ^= h >> 32;
  }
  const uint64_t id = 1 + ((h >> 32) * c->range >> 32);
  ids[c->id] = c->offset + (int32_t)(is_missing ? 0 : id);
}

}  // namespace

#endif  // MAINSPRING_SRC_PROGRAM_IDS_INL_H_
