// A whole program, written once and compiled per target. The unit includes a simd/*-inl.h first.
//
// Rows go through in blocks that stay in cache: all ids of a block, its windows, then its dense matrix. A few
// rows, and a row alone, go through one by one with operations as lanes; the bits are the same.

#ifndef MAINSPRING_SRC_PROGRAM_PROGRAM_INL_H_
#define MAINSPRING_SRC_PROGRAM_PROGRAM_INL_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "../dense/dense-inl.h"
#include "bags-inl.h"
#include "ids-inl.h"
#include "program_kernels.h"
#include "windows-inl.h"

namespace {

typedef struct MainspringPlan Plan;
typedef struct MainspringBatch Batch;
typedef struct MainspringWorkspace Workspace;

// One row of the dense matrix from values that lie side by side.
static void DenseRow(const Plan* plan, const float* values, float* out) {
  const Args* args = &plan->dense;
  for (size_t group = 0; group < args->width; group += kLanes) {
    const size_t n = args->width - group < kLanes ? args->width - group : kLanes;
    Vec x;
    if (plan->dense_run[group] >= (int32_t)n) {
      const float* from = values + args->source[group];
      x = n == kLanes ? Load(from) : LoadFirst(from, n);
    } else {
      float gathered[kLanes];
      for (size_t i = 0; i < kLanes; ++i) gathered[i] = values[args->source[group + i]];
      x = Load(gathered);
    }
    const Vec result = TransformLanes(args, group, x);
    if (n == kLanes) {
      Store(result, out + group);
    } else {
      StoreFirst(result, out + group, n);
    }
  }
}

static void RunRow(const Plan* plan, const struct MainspringRow* row, const Workspace* workspace,
                   float* dense, int32_t* ids) {
  const float* values = row->floats;
  const struct MainspringNarrowRow* const narrow = &plan->narrow_row;
  NarrowProbe probe;
  if (narrow->keyed.n > 0) NarrowBegin(narrow, 0, row->ints, &probe);
  if (plan->n_groups > 0) {
    float* const together = workspace->row_floats;
    for (size_t i = 0; together != values && i < plan->n_floats; i += kLanes) {  // no call for a few floats
      const size_t left = plan->n_floats - i;
      Store(left < kLanes ? LoadFirst(values + i, left) : Load(values + i), together + i);
    }
    for (size_t i = 0; i < plan->n_groups; ++i) {
      const struct MainspringWindows* group = plan->groups + i;
      WindowRow(group, row->events + group->events, row->ints[group->as_of], together + plan->n_floats, 1);
    }
    values = together;
  }
  HashRow(&plan->hashes, row->ints, ids);
  if (narrow->keyed.n > 0) NarrowFetch(narrow, 0, &probe);
  for (size_t i = 0, n = plan->n_wide; n > 0; ++i) {
    if (plan->vocabularies[i].is_narrow) continue;
    WideRow(plan->vocabularies + i, row->ints, ids);
    --n;
  }
  for (size_t i = 0; i < plan->n_buckets; ++i) BucketRow(plan->buckets + i, row->floats, ids);
  for (size_t i = 0; i < plan->n_crosses; ++i) CrossRow(plan->crosses + i, row->ints, ids);
  if (narrow->keyed.n > 0) NarrowEnd(narrow, 0, &probe, ids);
  for (size_t i = kLanes; i < narrow->keyed.n; i += kLanes) {
    NarrowBegin(narrow, i, row->ints, &probe);
    NarrowFetch(narrow, i, &probe);
    NarrowEnd(narrow, i, &probe, ids);
  }
  DenseRow(plan, values, dense);
}

static int64_t RunFew(const Plan* plan, const Batch* batch, const Workspace* workspace) {
  const size_t n_ids = plan->hashes.keyed.n + plan->n_vocabularies + plan->n_buckets + plan->n_crosses;
  const struct MainspringRow row = {workspace->row_ints, workspace->row_floats, workspace->events};
  for (size_t r = batch->first_row; r < batch->first_row + batch->n_rows; ++r) {
    for (size_t i = 0; i < plan->n_ints; ++i) workspace->row_ints[i] = batch->ints[i][r];
    for (size_t i = 0; i < plan->n_floats; ++i) workspace->row_floats[i] = batch->floats[i][r];
    for (size_t i = 0; i < plan->n_events; ++i) {
      if (!EventsOf(batch->events + i, r, workspace->events + i)) return (int64_t)r;
    }
    float* const dense = batch->dense + r * plan->dense.width;
    if (batch->ids_stride == 1) {
      RunRow(plan, &row, workspace, dense, batch->ids + r);
    } else {
      RunRow(plan, &row, workspace, dense, workspace->row_ids);
      for (size_t i = 0; i < n_ids; ++i) batch->ids[i * batch->ids_stride + r] = workspace->row_ids[i];
    }
  }
  return -1;
}

static int64_t WindowBlock(const Plan* plan, const Batch* batch, size_t first_row, size_t n_rows,
                           float* windows) {
  for (size_t i = 0; i < plan->n_groups; ++i) {
    const struct MainspringWindows* group = plan->groups + i;
    const struct MainspringEvents* events = batch->events + group->events;
    const int64_t* as_of = batch->ints[group->as_of] + first_row;
    if (kLanes < 8) {  // four lanes fold no faster together than one row after another
      for (size_t row = 0; row < n_rows; ++row) {
        struct MainspringEventList list;
        if (!EventsOf(events, first_row + row, &list)) return (int64_t)(first_row + row);
        WindowRow(group, &list, as_of[row], windows + row, plan->block_rows);
      }
      continue;
    }
    for (size_t row = 0; row < n_rows; row += kStripRows) {
      const int64_t bad_row = WindowStripRows(group, events, as_of + row, first_row + row,
                                              n_rows - row < kStripRows ? n_rows - row : kStripRows,
                                              windows + row, plan->block_rows);
      if (bad_row >= 0) return bad_row;
    }
  }
  return -1;
}

static void IdBlock(const Plan* plan, const Batch* batch, size_t row, size_t n_rows) {
  const int is_streaming = batch->use_streaming_stores;
  const auto to = [=](int32_t id) { return batch->ids + row + (size_t)id * batch->ids_stride; };
  const struct MainspringHashes* h = &plan->hashes;
  for (size_t i = 0; i < h->keyed.n; ++i) {
    const int64_t* const from = batch->ints[h->keyed.source[i]] + row;
    InParts(to(h->keyed.id[i]), n_rows, is_streaming, [=](size_t at, size_t n, int32_t* ids) {
      HashColumn(from + at, n, h->keyed.key[i], h->range[i], h->offset[i], ids, is_streaming);
    });
  }
  for (size_t i = 0; i < plan->n_vocabularies; ++i) {
    const struct MainspringVocabulary* v = plan->vocabularies + i;
    const int64_t* const from = batch->ints[v->source] + row;
    InParts(to(v->id), n_rows, is_streaming,
            [=](size_t at, size_t n, int32_t* ids) { VocabularyColumn(v, from + at, n, ids, is_streaming); });
  }
  for (size_t i = 0; i < plan->n_buckets; ++i) {
    const struct MainspringBuckets* b = plan->buckets + i;
    const float* const from = batch->floats[b->source] + row;
    InParts(to(b->id), n_rows, is_streaming,
            [=](size_t at, size_t n, int32_t* ids) { BucketColumn(b, from + at, n, ids, is_streaming); });
  }
  for (size_t i = 0; i < plan->n_crosses; ++i) {
    const struct MainspringCross* c = plan->crosses + i;
    InParts(to(c->id), n_rows, is_streaming, [=](size_t at, size_t n, int32_t* ids) {
      CrossColumn(c, batch->ints, row + at, n, ids, is_streaming);
    });
  }
}

MAINSPRING_INLINE int64_t RunRows(const Plan* plan, const Batch* batch, const Workspace* workspace) {
  if (batch->n_rows < kFewRows) return RunFew(plan, batch, workspace);
  const size_t end = batch->first_row + batch->n_rows;
  for (size_t row = batch->first_row; row < end; row += plan->block_rows) {
    const size_t n_rows = end - row < plan->block_rows ? end - row : plan->block_rows;
    const int64_t bad_row = WindowBlock(plan, batch, row, n_rows, workspace->windows);
    if (bad_row >= 0) return bad_row;
    IdBlock(plan, batch, row, n_rows);
    if (plan->dense.width == 0) continue;
    for (size_t i = 0; i < plan->n_floats; ++i) workspace->columns[i] = batch->floats[i] + row;
    for (size_t i = 0; i < plan->n_windows; ++i) {
      workspace->columns[plan->n_floats + i] = workspace->windows + i * plan->block_rows;
    }
    Args dense = plan->dense;
    dense.columns = workspace->columns;
    dense.n_rows = n_rows;
    dense.out = batch->dense + row * dense.width;
    dense.use_streaming_stores = batch->use_streaming_stores;
    Transform(&dense);
  }
  if (batch->use_streaming_stores) StreamFence();
  return -1;
}

}  // namespace

#define MAINSPRING_DEFINE_PROGRAM_KERNELS(Target)                                                 \
  extern "C" int64_t MainspringProgramRows##Target(const struct MainspringPlan* plan,             \
                                                   const struct MainspringBatch* batch,           \
                                                   const struct MainspringWorkspace* workspace) { \
    return RunRows(plan, batch, workspace);                                                       \
  }                                                                                               \
  extern "C" void MainspringProgramRow##Target(                                                   \
      const struct MainspringPlan* plan, const struct MainspringRow* row,                         \
      const struct MainspringWorkspace* workspace, float* dense, int32_t* ids) {                  \
    RunRow(plan, row, workspace, dense, ids);                                                     \
  }                                                                                               \
  extern "C" int64_t MainspringProgramBags##Target(const struct MainspringPlan* plan,             \
                                                   const struct MainspringBags* bags) {           \
    return RunBags(plan, bags);                                                                   \
  }

#endif  // MAINSPRING_SRC_PROGRAM_PROGRAM_INL_H_
