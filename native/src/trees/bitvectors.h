// Small trees laid out for the kernels that need no walk (see trees_kernels.h).

#ifndef MAINSPRING_SRC_TREES_BITVECTORS_H_
#define MAINSPRING_SRC_TREES_BITVECTORS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "mainspring/target.h"
#include "mainspring/trees.h"
#include "trees_kernels.h"

namespace mainspring {

// For vectors that begin on a cache line.
template <typename T>
struct LineAllocator {
  using value_type = T;
  LineAllocator() = default;
  template <typename U>
  LineAllocator(const LineAllocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, std::size_t) { ::operator delete(p, std::align_val_t{64}); }
  friend bool operator==(LineAllocator, LineAllocator) { return true; }
  friend bool operator!=(LineAllocator, LineAllocator) { return false; }
};

template <typename T>
using Lines = std::vector<T, LineAllocator<T>>;

// Immutable. Which trees are held, and where they pay, is decided by counting: see kCosts in bitvectors.cc.
template <typename Leaf>
struct Bitvectors {
  // The nodes of a forest as they lie: tree t is [roots[t], roots[t + 1]).
  static std::shared_ptr<const Bitvectors> Make(const std::vector<Forest::Narrow>& nodes,
                                                const std::vector<Leaf>& leaves,
                                                const std::vector<std::uint32_t>& roots,
                                                const std::vector<std::uint32_t>& depths, Target target);

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
  std::vector<Tree> trees;
  std::vector<MainspringTreesSplit> splits;
  std::vector<Leaf> values;  // [tree][leaf], filled up to whole words
  std::vector<std::uint32_t> first_values;
  std::vector<Job> jobs;
  std::vector<MainspringTreesPart> parts;  // [job][word]
  std::vector<std::uint32_t> windows;
  Lines<float> thresholds;
  Lines<std::uint32_t> places, kept;
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TREES_BITVECTORS_H_
