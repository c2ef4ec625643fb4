// The border between dispatch and the units of each instruction set: plain C, so that nothing inline or
// templated can cross it.
//
// Trees of at most 64 leaves need no walk: every split is compared, and a split whose value is greater than
// its threshold strikes out the leaves below its first child. The leaf that is reached is the first that is
// left. (QuickScorer: Lucchese and others, SIGIR 2015; in lanes: RapidScorer, Ye and others, KDD 2018.)

#ifndef MAINSPRING_SRC_TREES_TREES_KERNELS_H_
#define MAINSPRING_SRC_TREES_TREES_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Leaves are bits of words: one word for trees of at most 32, two for those of at most 64.
enum { kMainspringTreesWordLeaves = 32, kMainspringTreesWords = 2 };

// Rows of a block lie side by side in each column.
enum { kMainspringTreesBlockRows = 64 };

// One row, one tree in each lane. Slots are read by a permutation of registers, so a step's splits share a
// table: slots that fill one or two registers.
enum {
  kMainspringTreesAvx2Lanes = 8,
  kMainspringTreesAvx2Table = 8,
  kMainspringTreesAvx512Lanes = 16,
  kMainspringTreesAvx512Table = 32,
};

// `n` splits of each lane that read the table whose first slot is `first_slot`.
struct MainspringTreesSpan {
  uint32_t first_slot, n;
};

struct MainspringTreesGroup {
  size_t words;
  const struct MainspringTreesSpan* spans;
  size_t n_spans;
  // Of the splits in the order of the spans. A lane without a split there has the threshold +inf.
  const float* thresholds;  // [split][lane]
  const uint8_t* places;    // [split][lane], the slot's place in the table
  const uint32_t* kept;     // [split][word][lane], 0 for the leaves that are struck out
};

// leaves[lane]: the leaf that `slots` reach. All arrays are aligned to 64 bytes; slots fill whole tables.
void MainspringTreesGroupAvx2(const struct MainspringTreesGroup* group, const float* slots, uint32_t* leaves);
void MainspringTreesGroupAvx512(const struct MainspringTreesGroup* group, const float* slots,
                                uint32_t* leaves);

// One tree, one row in each lane.
struct MainspringTreesSplit {
  float threshold;
  uint32_t column;  // where the slot's rows begin
  uint32_t kept[kMainspringTreesWords];
};

struct MainspringTreesBlock {
  size_t words;
  const struct MainspringTreesSplit* splits;
  size_t n_splits;
  const float* columns;  // [slot][kMainspringTreesBlockRows]; those of a part of a vector are read, too
  size_t n_rows;
  uint32_t* leaves;  // the leaf that each row reaches, up to the next whole vector
};

void MainspringTreesBlockGeneric(const struct MainspringTreesBlock* block);
void MainspringTreesBlockAvx2(const struct MainspringTreesBlock* block);
void MainspringTreesBlockAvx512(const struct MainspringTreesBlock* block);

#ifdef __cplusplus
}
#endif

#endif  // MAINSPRING_SRC_TREES_TREES_KERNELS_H_
