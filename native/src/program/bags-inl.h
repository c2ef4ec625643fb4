// Ids of ragged lists. Compiled per target, after ids-inl.h: a list's values lie side by side, so a bag is a
// column like any other, and only its offsets are new.

#ifndef MAINSPRING_SRC_PROGRAM_BAGS_INL_H_
#define MAINSPRING_SRC_PROGRAM_BAGS_INL_H_

#include <stddef.h>
#include <stdint.h>

#include "ids-inl.h"
#include "program_kernels.h"

namespace {

typedef struct MainspringBags Bags;

struct BagSlice {
  const int64_t* values;
  size_t n;
  int32_t* ids;
};

MAINSPRING_INLINE int64_t ListOffset(const struct MainspringList* list, size_t i) {
  return list->is_wide ? ((const int64_t*)list->offsets)[i] : ((const int32_t*)list->offsets)[i];
}

// The values of these rows and where their ids go; writes the rows' offsets. False where the list is not as
// it was when it was measured: nobody may make us write elsewhere by changing it meanwhile.
static int SliceBag(const Bags* b, int32_t from, int32_t bag, BagSlice* slice) {
  const struct MainspringList* list = b->lists + from;
  const int64_t first = b->list_firsts[from], base = b->begins[bag], shift = base - first;
  const int64_t begin = ListOffset(list, b->first_row), end = ListOffset(list, b->first_row + b->n_rows);
  if (begin < first || end < begin || end - first > b->begins[bag + 1] - base ||
      (uint64_t)end > (uint64_t)list->size) {
    return 0;
  }
  int32_t* const out = b->offsets + (size_t)bag * b->stride + b->first_row;
  if (list->is_wide) {
    const int64_t* offsets = (const int64_t*)list->offsets + b->first_row;
    for (size_t i = 0; i < b->n_rows; ++i) out[i] = (int32_t)(offsets[i] + shift);
  } else {
    const int32_t* offsets = (const int32_t*)list->offsets + b->first_row;
    for (size_t i = 0; i < b->n_rows; ++i) out[i] = (int32_t)(offsets[i] + shift);
  }
  slice->values = list->values + begin;
  slice->n = (size_t)(end - begin);
  slice->ids = b->values + (begin + shift);
  return 1;
}

// `plan`: of the bags alone; its int columns are the lists, its ids the bags.
static int64_t RunBags(const struct MainspringPlan* plan, const Bags* bags) {
  BagSlice s;
  const struct MainspringHashes* h = &plan->hashes;
  for (size_t i = 0; i < h->keyed.n; ++i) {
    if (!SliceBag(bags, h->keyed.source[i], h->keyed.id[i], &s)) return (int64_t)bags->first_row;
    HashColumn(s.values, s.n, h->keyed.key[i], h->range[i], h->offset[i], s.ids, 0);
  }
  for (size_t i = 0; i < plan->n_vocabularies; ++i) {
    const struct MainspringVocabulary* v = plan->vocabularies + i;
    if (!SliceBag(bags, v->source, v->id, &s)) return (int64_t)bags->first_row;
    VocabularyColumn(v, s.values, s.n, s.ids, 0);
  }
  return -1;
}

}  // namespace

#endif  // MAINSPRING_SRC_PROGRAM_BAGS_INL_H_
