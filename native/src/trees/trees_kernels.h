// The border between dispatch and the units of each instruction set: plain C, so that nothing inline or
// templated can cross it.
//
// Trees of at most 256 leaves need no walk: every split is compared, and a split whose value is greater than
// its threshold strikes out the leaves below its first child. The leaf that is reached is the first that is
// left. (QuickScorer: Lucchese and others, SIGIR 2015; in lanes: RapidScorer, Ye and others, KDD 2018.)

#ifndef MAINSPRING_SRC_TREES_TREES_KERNELS_H_
#define MAINSPRING_SRC_TREES_TREES_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Leaves are bits of words. A split is listed for each word that it strikes leaves out of: nearly always one.
enum { kMainspringTreesWordLeaves = 32, kMainspringTreesWords = 8 };

// Rows of a block lie side by side in each column.
enum { kMainspringTreesBlockRows = 64 };

// One row, one tree in each lane. Slots are read by a permutation of one or two registers, so the lanes of a
// split share a window of slots. Windows begin at every half of one, so most slots are in two.
enum {
  kMainspringTreesAvx2Lanes = 8,
  kMainspringTreesAvx2Window = 8,
  kMainspringTreesAvx512Lanes = 16,
  kMainspringTreesAvx512Window = 32,
  // Splits that share a window: where it takes two registers, loading it costs as much as all else.
  kMainspringTreesAvx2Share = 1,
  kMainspringTreesAvx512Share = 4,
  kMainspringTreesTogether = 4,  // splits that share a word of places, and a turn of the loop
};

// The splits of one word.
struct MainspringTreesPart {
  size_t n_splits;          // a multiple of kMainspringTreesTogether
  const uint32_t* windows;  // [split / share], the first slot
  const uint32_t* places;   // [split / 4][lane], a byte a split: the slot's place in the window
  const float* thresholds;  // [split][lane]; +inf where a lane has no split
  const uint32_t* kept;     // [split][lane], 0 for the leaves that are struck out
};

// leaves[lane]: the leaf that `slots` reach, by the parts of all words of a group of trees. Arrays of lanes
// begin on a cache line; slots fill whole windows.
void MainspringTreesGroupAvx2(const struct MainspringTreesPart* parts, size_t words, const float* slots,
                              uint32_t* leaves);
void MainspringTreesGroupAvx512(const struct MainspringTreesPart* parts, size_t words, const float* slots,
                                uint32_t* leaves);

// One tree, one row in each lane.
struct MainspringTreesSplit {
  float threshold;
  uint32_t column;  // where the slot's rows begin
  uint32_t kept;
};

struct MainspringTreesBlock {
  size_t words;
  const struct MainspringTreesSplit* splits;  // of the first word, then of the next
  const uint32_t* n_splits;                   // [word]
  const float* columns;                       // [slot][kMainspringTreesBlockRows]
  size_t n_rows;  // columns and sums are read, and sums written, up to the next whole 16
  // One of the two: kMainspringTreesWordLeaves values a word, and the sums of the rows that they are added
  // to.
  const double* doubles;
  double* double_sums;
  const float* floats;
  float* float_sums;
};

void MainspringTreesBlockGeneric(const struct MainspringTreesBlock* block);
void MainspringTreesBlockAvx2(const struct MainspringTreesBlock* block);
void MainspringTreesBlockAvx512(const struct MainspringTreesBlock* block);

#ifdef __cplusplus
}
#endif

#endif  // MAINSPRING_SRC_TREES_TREES_KERNELS_H_
