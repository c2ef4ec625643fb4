// Small trees laid out for the kernels that need no walk (see trees_kernels.h).

#ifndef MAINSPRING_SRC_TREES_BITVECTORS_H_
#define MAINSPRING_SRC_TREES_BITVECTORS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "mainspring/packed_array.h"
#include "mainspring/target.h"
#include "mainspring/trees.h"
#include "trees_kernels.h"

namespace mainspring {

// Immutable. Which trees are held, and where they pay, is decided by counting: see kCosts in bitvectors.cc.
template <typename Leaf>
struct Bitvectors {
  // The nodes of a forest as they lie: tree t is [roots[t], roots[t + 1]). Complete once the packer has
  // packed.
  static std::shared_ptr<const Bitvectors> Make(const std::vector<Forest::Narrow>& nodes,
                                                const std::vector<Leaf>& leaves,
                                                const std::vector<std::uint32_t>& roots,
                                                const std::vector<std::uint32_t>& depths, Target target,
                                                Packer* packer);

  // The same over another block with the same bytes.
  std::shared_ptr<const Bitvectors> Moved(const PackedMemory& from, const PackedMemory& to) const;

  struct Tree {
    std::size_t words = 0;  // 0: a block of rows is better walked
    std::size_t first_split = 0;
    std::uint32_t n_splits[kMainspringTreesWords] = {};
  };
  // What one row does next: trees that are walked, or one tree in each lane.
  struct Job {
    std::size_t first_tree, n_trees;
    std::size_t first_part, words;  // no words: they are walked
  };

  Target target;
  std::size_t few_rows;          // fewer are each run alone
  bool has_walked_tree = false;  // in a block
  PackedArray<Tree> trees;
  PackedArray<MainspringTreesSplit> splits;
  PackedArray<Leaf> values;  // [tree][leaf], filled up to whole words
  PackedArray<std::uint32_t> first_values;
  PackedArray<Job> jobs;
  PackedArray<std::uint32_t> windows;
  PackedArray<float> thresholds;
  PackedArray<std::uint32_t> places, kept;
  std::vector<MainspringTreesPart> parts;  // [job][word]; they point into the arrays
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TREES_BITVECTORS_H_
