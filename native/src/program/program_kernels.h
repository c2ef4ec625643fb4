// The border between the program's dispatch and the units of each instruction set: plain C, so that nothing
// inline or templated can cross it.

#ifndef MAINSPRING_SRC_PROGRAM_PROGRAM_KERNELS_H_
#define MAINSPRING_SRC_PROGRAM_PROGRAM_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#include "../dense/dense_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

// Rows of a block pass through all operations before the next ones do: as many as the plan says, a multiple
// of 64 between these two. Long blocks, because each column of a block is read from its own place, and memory
// is slow at the beginning of each: blocks of 2,048, 4,096, 8,192 and 32,768 rows make 1 M rows of
// CTR-48 1.13, 1.23, 1.28 and 1.29 times as fast as 1,024 (Zen 4, AVX-512, one thread, 2026-11).
enum { kMainspringLeastBlockRows = 1024, kMainspringMostBlockRows = 8192 };

enum MainspringAggregate {
  kMainspringSum = 0,
  kMainspringCount = 1,
  kMainspringMean = 2,
  kMainspringMax = 3,
  kMainspringMin = 4,
  kMainspringLast = 5,
};

// Operations that scatter one int64 each. Arrays of n entries, padded to a multiple of 8 with harmless ones.
// A run is how many entries from here on (itself included) have sources, or ids, that rise by one: whole
// vectors of a single row may then be loaded, or stored, as they lie.
struct MainspringKeyed {
  size_t n;
  const int32_t* source;
  const int32_t* source_run;
  const int32_t* id;
  const int32_t* id_run;
  const uint64_t* key;
};

// id = offset + (value is missing ? 0 : 1 + (upper half of the hash * range >> 32))
struct MainspringHashes {
  struct MainspringKeyed keyed;
  const uint64_t* range;   // buckets - 1
  const uint64_t* offset;  // added to every id
};

// See mainspring/vocabulary.h.
struct MainspringVocabulary {
  int32_t source;
  int32_t id;
  int32_t offset;
  int32_t is_narrow;
  uint32_t bits;
  const void* slots;
  const uint16_t* pilots;
  uint64_t bucket_mask;
  uint64_t key;
  int64_t base;
  uint64_t span;
};

// The narrow vocabularies once more, as a single row takes them: side by side. Padded to a multiple of 16.
struct MainspringNarrowRow {
  struct MainspringKeyed keyed;  // without `key`
  const uint64_t* base;
  const uint64_t* beyond;  // span + 1
  const int32_t* key;
  const int32_t* bits;
  const int32_t* largest;  // 2^bits - 1
  const int32_t* offset;
  const struct MainspringVocabulary* const* tables;
};

struct MainspringBuckets {
  int32_t source;  // a float column
  int32_t id;
  int32_t offset;
  uint32_t n;           // bounds
  const float* bounds;  // x is above those < x; padded with +inf to a multiple of 32
};

struct MainspringCross {
  const int32_t* sources;
  size_t n_sources;
  int32_t id;
  int32_t offset;
  uint64_t key;
  uint64_t range;
};

// All windows over one event list as seen from one column of moments.
struct MainspringWindows {
  int32_t events;
  int32_t as_of;
  size_t n;
  const int64_t* width;
  const uint8_t* aggregate;
  const int32_t* window;  // which derived column each one is
};

struct MainspringPlan {
  size_t n_floats;  // float columns; the windows follow them as sources of the dense columns
  size_t n_ints;
  size_t n_events;
  size_t n_windows;
  struct MainspringDenseArgs dense;  // without columns, rows and out; width 0: no dense matrix
  const int32_t* dense_run;          // of its sources, as in MainspringKeyed
  struct MainspringHashes hashes;
  size_t n_vocabularies;
  const struct MainspringVocabulary* vocabularies;
  struct MainspringNarrowRow narrow_row;
  size_t n_wide;  // of the vocabularies
  size_t n_buckets;
  const struct MainspringBuckets* buckets;
  size_t n_crosses;
  const struct MainspringCross* crosses;
  size_t n_groups;
  const struct MainspringWindows* groups;
  size_t block_rows;
};

// Row i has the events offsets[i] .. offsets[i + 1] - 1 of `size`.
struct MainspringEvents {
  const void* offsets;  // int64_t where is_wide, else int32_t
  int is_wide;
  size_t size;
  const int64_t* times;
  const float* values;
};

struct MainspringEventList {
  const int64_t* times;
  const float* values;
  size_t size;
};

// One row: the ints, the floats and the event lists in the order of the inputs.
struct MainspringRow {
  const int64_t* ints;
  const float* floats;
  const struct MainspringEventList* events;
};

// Room for one thread's intermediate results, made once.
struct MainspringWorkspace {
  const float** columns;               // n_floats + n_windows
  float* windows;                      // n_windows x block_rows
  int64_t* row_ints;                   // n_ints, padded to a whole vector
  float* row_floats;                   // n_floats + n_windows, padded
  int32_t* row_ids;                    // as many as there are ids, padded
  struct MainspringEventList* events;  // n_events
};

struct MainspringBatch {
  const float* const* floats;
  const int64_t* const* ints;
  const struct MainspringEvents* events;
  size_t first_row;
  size_t n_rows;  // from first_row on
  float* dense;   // of row 0; row-major
  int32_t* ids;   // of row 0; feature-major: id j of row i is ids[j * ids_stride + i]
  size_t ids_stride;
  int use_streaming_stores;
};

// Row i has the values offsets[i] .. offsets[i + 1] - 1 of `size`.
struct MainspringList {
  const void* offsets;  // int64_t where is_wide, else int32_t
  int is_wide;
  size_t size;
  const int64_t* values;
};

// Some rows of a batch of `stride` rows: the ids of bag j of row i are values[offsets[j * stride + i]] and
// on.
struct MainspringBags {
  const struct MainspringList* lists;
  const int64_t* list_firsts;  // where each list's first row began when the lists were measured
  const int64_t* begins;       // where each bag's ids begin, and where the last one's end
  size_t first_row;
  size_t n_rows;  // from first_row on
  size_t stride;
  int32_t* values;
  int32_t* offsets;  // the one after the last row's is the caller's to write
};

// Fill the outputs; only for CPUs that have the instructions, under the default floating-point environment.
// Rows: -1, or the first row whose events lie outside of their list; the outputs are then not complete. Bags:
// -1, or a row of lists that changed since they were measured; the plan is that of the bags alone (see
// bags-inl.h).
#define MAINSPRING_PROGRAM_KERNELS(Target)                                                              \
  int64_t MainspringProgramRows##Target(const struct MainspringPlan* plan,                              \
                                        const struct MainspringBatch* batch,                            \
                                        const struct MainspringWorkspace* workspace);                   \
  void MainspringProgramRow##Target(const struct MainspringPlan* plan, const struct MainspringRow* row, \
                                    const struct MainspringWorkspace* workspace, float* dense,          \
                                    int32_t* ids);                                                      \
  int64_t MainspringProgramBags##Target(const struct MainspringPlan* plan, const struct MainspringBags* bags)
MAINSPRING_PROGRAM_KERNELS(Generic);
MAINSPRING_PROGRAM_KERNELS(Avx2);
MAINSPRING_PROGRAM_KERNELS(Avx512);
#undef MAINSPRING_PROGRAM_KERNELS

#ifdef __cplusplus
}
#endif

#endif  // MAINSPRING_SRC_PROGRAM_PROGRAM_KERNELS_H_
