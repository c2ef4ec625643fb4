// Columns to ids: hash, cross, vocabulary, bucketise. Compiled per target; what each means is in
// native/reference.py. Two shapes: a column of a block (lanes are rows), and one row (lanes are operations).

#ifndef MAINSPRING_SRC_PROGRAM_IDS_INL_H_
#define MAINSPRING_SRC_PROGRAM_IDS_INL_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

// What BucketOf says of kLanes hashes, before the missing ones are put right; `next` is the offset + 1.
MAINSPRING_INLINE IVec BucketsOf(WVec low, WVec high, WVec range, IVec next) {
  return IAdd(JoinUpper(WMulLow(WShiftRight(low, 32), range), WMulLow(WShiftRight(high, 32), range)), next);
}

// No prefetching in what follows: of the same column 1 to 4 KiB ahead it changed 1 M rows of CTR-48 by -3 to
// +3 %, of the events it cost 3 to 5 % (Zen 4, 2026-11); long blocks are what helps.

// kLanes values, of which `left` are there; the rest, where fewer, is what they are copied to.
MAINSPRING_INLINE const int64_t* WholeVectors(const int64_t* values, size_t left, int64_t* rest) {
  if (left >= kLanes) return values;
  memset(rest, 0, kLanes * sizeof(rest[0]));
  memcpy(rest, values, left * sizeof(rest[0]));
  return rest;
}
// To ids that begin on a whole vector where they are streamed.
MAINSPRING_INLINE void StoreIds(IVec id, int32_t* ids, size_t left, int is_streaming) {
  if (left < kLanes) {
    StoreIntsFirst(id, ids, left);
  } else if (is_streaming) {
    StreamInts(id, ids);
  } else {
    StoreInts(id, ids);
  }
}
// column(first row, rows, where to) for all rows; for the first few alone where streaming has to begin later.
template <typename Column>
MAINSPRING_INLINE void InParts(int32_t* ids, size_t n_rows, int is_streaming, const Column& column) {
  const size_t beyond = (uintptr_t)ids / sizeof(*ids) % kLanes, first = kLanes - beyond;
  if (!is_streaming || beyond == 0 || first >= n_rows) return column(0, n_rows, ids);
  column(0, first, ids);
  column(first, n_rows - first, ids + first);
}

MAINSPRING_INLINE void HashColumn(const int64_t* values, size_t n_rows, uint64_t key, uint64_t range,
                                  uint64_t offset, int32_t* ids, int is_streaming) {
  const WVec keys = WSet1(key), ranges = WSet1(range), missing = WSet1(kMissingInt);
  const IVec offsets = ISet1((int32_t)offset), next = ISet1((int32_t)offset + 1);
  int64_t rest[kLanes];
  for (size_t row = 0; row < n_rows; row += kLanes) {
    const int64_t* const from = WholeVectors(values + row, n_rows - row, rest);
    const WVec low = WLoad(from), high = WLoad(from + kWide);
    const IVec id = BucketsOf(PreMix(WXor(low, keys)), PreMix(WXor(high, keys)), ranges, next);
    StoreIds(JoinWhereEqual(low, high, missing, offsets, id), ids + row, n_rows - row, is_streaming);
  }
}

static void CrossColumn(const struct MainspringCross* c, const int64_t* const* ints, size_t first_row,
                        size_t n_rows, int32_t* ids, int is_streaming) {
  const WVec range = WSet1(c->range), missing = WSet1(kMissingInt), key = WSet1(c->key);
  const IVec offsets = ISet1(c->offset), next = ISet1(c->offset + 1);
  int64_t rest[kLanes];
  for (size_t row = 0; row < n_rows; row += kLanes) {
    WVec low = key, high = key, seen_low = WSet1(0), seen_high = WSet1(0);
    for (size_t i = 0; i < c->n_sources; ++i) {
      const int64_t* const from = WholeVectors(ints[c->sources[i]] + first_row + row, n_rows - row, rest);
      const WVec a = WLoad(from), b = WLoad(from + kWide);
      seen_low = WWhereEqual(a, missing, missing, seen_low);
      seen_high = WWhereEqual(b, missing, missing, seen_high);
      low = PreMix(WXor(low, a)), high = PreMix(WXor(high, b));
      low = WXor(low, WShiftRight(low, 32)), high = WXor(high, WShiftRight(high, 32));
    }
    const IVec id = BucketsOf(low, high, range, next);
    StoreIds(JoinWhereEqual(seen_low, seen_high, missing, offsets, id), ids + row, n_rows - row,
             is_streaming);
  }
}

// The slots of n scattered words. Only the two loads are done one by one: a gather is slower, and so is all
// else that they would have to wait for (Zen 4, 10,000 values: 1.36 ns a word with the comparison, 1.46 with
// two gathers, 0.74 so; 2026-11). On their own, with their few variables in registers.
static void __attribute__((noinline)) ProbeNarrow(const struct MainspringVocabulary* v,
                                                  const uint32_t* scattered, size_t n, uint32_t* found) {
  const uint32_t* slots = (const uint32_t*)v->slots;
  const uint16_t* pilots = v->pilots;
  const uint32_t mask = (uint32_t)v->bucket_mask, top = 32 - v->bits;
#pragma GCC unroll 4
  for (size_t i = 0; i < n; ++i) {
    const uint32_t h = scattered[i];
    found[i] = slots[(h >> top) ^ pilots[h & mask]];
  }
}
static void __attribute__((noinline)) ProbeWide(const struct MainspringVocabulary* v,
                                                const uint64_t* scattered, size_t n, uint64_t* found) {
  const uint64_t* slots = (const uint64_t*)v->slots;
  const uint16_t* pilots = v->pilots;
  const uint64_t mask = v->bucket_mask;
  const uint32_t top = 64 - v->bits;
  for (size_t i = 0; i < n; ++i) {
    const uint64_t h = scattered[i];
    found[i] = slots[(h >> top) ^ pilots[h & mask]];
  }
}

// The word of a narrow vocabulary, in the lower half of each lane.
MAINSPRING_INLINE WVec NarrowWord(const struct MainspringVocabulary* v, WVec value) {
  const WVec distance = WSub(value, WSet1((uint64_t)v->base));
  const WVec word = WWhereBelow(distance, WSet1(v->span + 1), distance, WSet1(v->span + 1));
  return WWhereEqual(value, WSet1(kMissingInt), WSet1(v->span + 2), word);
}

MAINSPRING_INLINE IVec PreMixNarrow(IVec x) {
  x = IMul(IXor(x, IShiftRight(x, 16)), ISet1(0x7FEB352D));
  return IMul(IXor(x, IShiftRight(x, 15)), ISet1((int32_t)0x846CA68Bu));
}

constexpr size_t kProbed = 256;  // words at once

static void NarrowColumn(const struct MainspringVocabulary* v, const int64_t* values, size_t n, int32_t* ids,
                         int is_streaming) {
  int32_t words[kProbed] __attribute__((aligned(64)));
  int32_t found[kProbed] __attribute__((aligned(64)));
  const IVec key = ISet1((int32_t)(uint32_t)v->key);
  int64_t rest[kLanes];
  for (size_t i = 0; i < n; i += kLanes) {
    const int64_t* const from = WholeVectors(values + i, n - i, rest);
    const WVec low = NarrowWord(v, WLoad(from)), high = NarrowWord(v, WLoad(from + kWide));
    StoreInts(PreMixNarrow(IXor(JoinNarrow(low, high), key)), words + i);
  }
  ProbeNarrow(v, (const uint32_t*)words, n, (uint32_t*)found);
  const IVec largest = ISet1((int32_t)((1u << v->bits) - 1)), one = ISet1(1), offset = ISet1(v->offset);
  for (size_t i = 0; i < n; i += kLanes) {
    const IVec id = IXor(LoadInts(found + i), IShiftLeft(LoadInts(words + i), (int)v->bits));
    StoreIds(IAdd(IWhereAtMost(id, largest, id, one), offset), ids + i, n - i, is_streaming);
  }
}

static void WideColumn(const struct MainspringVocabulary* v, const int64_t* values, size_t n, int32_t* ids,
                       int is_streaming) {
  uint64_t words[kProbed] __attribute__((aligned(64)));
  uint64_t found[kProbed] __attribute__((aligned(64)));
  const WVec key = WSet1(v->key);
  size_t i = 0;
  for (; i + kWide <= n; i += kWide) WStore(PreMix(WXor(WLoad(values + i), key)), words + i);
  if (i < n) WStore(PreMix(WXor(WLoadFirst(values + i, n - i), key)), words + i);
  ProbeWide(v, words, n, found);
  const WVec limit = WSet1((uint64_t)1 << v->bits), one = WSet1(1), offset = WSet1((uint64_t)v->offset);
  for (i = 0; i < n; i += kLanes) {
    WVec half[2];
    for (size_t j = 0; j < 2; ++j) {
      const size_t at = i + j * kWide;
      const WVec h = WLoad((const int64_t*)words + at), slot = WLoad((const int64_t*)found + at);
      const WVec id = WXor(slot, WShiftLeft(h, (int)v->bits));
      half[j] = WAdd(WWhereBelow(id, limit, id, one), offset);
    }
    StoreIds(JoinNarrow(half[0], half[1]), ids + i, n - i, is_streaming);
  }
}

static void VocabularyColumn(const struct MainspringVocabulary* v, const int64_t* values, size_t n_rows,
                             int32_t* ids, int is_streaming) {
  for (size_t row = 0; row < n_rows; row += kProbed) {
    const size_t n = n_rows - row < kProbed ? n_rows - row : kProbed;
    if (v->is_narrow) {
      NarrowColumn(v, values + row, n, ids + row, is_streaming);
    } else {
      WideColumn(v, values + row, n, ids + row, is_streaming);
    }
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

static void BucketColumn(const struct MainspringBuckets* b, const float* values, size_t n_rows, int32_t* ids,
                         int is_streaming) {
  const int32_t nan_id = b->offset + (int32_t)b->n + 1;
  if (b->n > 32) {
    for (size_t row = 0; row < n_rows; ++row) {
      const float x = values[row];
      ids[row] = x != x ? nan_id : b->offset + (int32_t)CountBelowMany(b->bounds, b->n, x);
    }
    return;
  }
  const IVec offset = ISet1(b->offset), nan = ISet1(nan_id);
  for (size_t row = 0; row < n_rows; row += kLanes) {
    const size_t left = n_rows - row;
    const Vec x = left >= kLanes ? Load(values + row) : LoadFirst(values + row, left);
    const IVec id = ISelect(IsNaN(x), nan, IAdd(CountBelow32(b->bounds, b->n, x), offset));
    StoreIds(id, ids + row, left, is_streaming);
  }
}

// kWide sources of one row, from operation i on.
MAINSPRING_INLINE WVec GatherRow(const struct MainspringKeyed* k, size_t i, size_t n, const int64_t* ints) {
  if (k->source_run[i] >= (int32_t)n) return WLoadFirst(ints + k->source[i], n);
  int64_t gathered[kWide];
  for (size_t j = 0; j < kWide; ++j) gathered[j] = ints[k->source[i + j]];  // padding reads column 0
  return WLoad(gathered);
}

static void WideRow(const struct MainspringVocabulary* v, const int64_t* ints, int32_t* ids) {
  const uint64_t h = PreMixOne((uint64_t)ints[v->source] ^ v->key);
  const uint64_t at = (h >> (64 - v->bits)) ^ v->pilots[h & v->bucket_mask];
  const uint64_t id = ((const uint64_t*)v->slots)[at] ^ (h << v->bits);
  ids[v->id] = (int32_t)(id >> v->bits == 0 ? id : 1) + v->offset;
}

// Up to kLanes narrow vocabularies of one row, from operation i on: as for a column, but each lane has its
// own. In three steps, so that what lies between them need not wait for memory.
typedef struct {
  int32_t words[kLanes] __attribute__((aligned(64)));
  int32_t found[kLanes] __attribute__((aligned(64)));
  const int32_t* slots[kLanes];
} NarrowProbe;

MAINSPRING_INLINE void NarrowBegin(const struct MainspringNarrowRow* r, size_t i, const int64_t* ints,
                                   NarrowProbe* probe) {
  const struct MainspringKeyed* k = &r->keyed;
  const size_t n = k->n - i < kLanes ? k->n - i : kLanes;
  WVec half[2] = {WSet1(0), WSet1(0)};
  for (size_t j = 0; j < 2 && j * kWide < n; ++j) {
    const size_t at = i + j * kWide, left = n - j * kWide;
    const WVec value = GatherRow(k, at, left < kWide ? left : kWide, ints);
    const WVec beyond = WLoad((const int64_t*)r->beyond + at);
    const WVec distance = WSub(value, WLoad((const int64_t*)r->base + at));
    const WVec word = WWhereBelow(distance, beyond, distance, beyond);
    half[j] = WWhereEqual(value, WSet1(kMissingInt), WAdd(beyond, WSet1(1)), word);
  }
  StoreInts(PreMixNarrow(IXor(JoinNarrow(half[0], half[1]), LoadInts(r->key + i))), probe->words);
  StoreInts(ISet1(0), probe->found);
  for (size_t j = 0; j < n; ++j) {
    const struct MainspringVocabulary* const v = r->tables[i + j];
    const uint32_t word = (uint32_t)probe->words[j];
    const uint32_t at = (word >> (32 - v->bits)) ^ v->pilots[word & (uint32_t)v->bucket_mask];
    probe->slots[j] = (const int32_t*)v->slots + at;
    __builtin_prefetch(probe->slots[j]);
  }
}

MAINSPRING_INLINE void NarrowFetch(const struct MainspringNarrowRow* r, size_t i, NarrowProbe* probe) {
  const size_t n = r->keyed.n - i < kLanes ? r->keyed.n - i : kLanes;
  for (size_t j = 0; j < n; ++j) probe->found[j] = *probe->slots[j];
}

MAINSPRING_INLINE void NarrowEnd(const struct MainspringNarrowRow* r, size_t i, const NarrowProbe* probe,
                                 int32_t* ids) {
  const struct MainspringKeyed* k = &r->keyed;
  const size_t n = k->n - i < kLanes ? k->n - i : kLanes;
  const IVec id = IXor(LoadInts(probe->found), IShiftLeftEach(LoadInts(probe->words), LoadInts(r->bits + i)));
  const IVec result = IAdd(IWhereAtMost(id, LoadInts(r->largest + i), id, ISet1(1)), LoadInts(r->offset + i));
  if (k->id_run[i] >= (int32_t)n) {
    StoreIds(result, ids + k->id[i], n, 0);
  } else {
    int32_t scattered[kLanes];
    StoreInts(result, scattered);
    for (size_t j = 0; j < n; ++j) ids[k->id[i + j]] = scattered[j];
  }
}

static void HashRow(const struct MainspringHashes* hashes, const int64_t* ints, int32_t* ids) {
  // A copy: a store to `ids` might change the plan, for all that the compiler knows (4 % of a packed row of
  // CTR-48). Tried beside it: no branch that gcc 12 makes of a missing value, here and for crosses (3 %
  // slower); the dense columns before the hashes (4 % slower) or before the crosses (no change). Sapphire
  // Rapids, 2026-11.
  const struct MainspringHashes copy = *hashes;
  const struct MainspringHashes* const h = &copy;
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

static void BucketRow(const struct MainspringBuckets* b, const float* floats, int32_t* ids) {
  const float x = floats[b->source];
  const size_t below = b->n <= 64 ? CountBelowOne(b->bounds, b->n, x) : CountBelowMany(b->bounds, b->n, x);
  const size_t is_nan = 0 - (size_t)(x != x);  // no branch: which values are missing is hard to foresee
  ids[b->id] = b->offset + (int32_t)((below & ~is_nan) | ((b->n + 1) & is_nan));
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
