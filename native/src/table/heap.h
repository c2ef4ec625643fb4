// Places for the strings that do not fit into their row. Only the writer knows who has which.

#ifndef MAINSPRING_SRC_TABLE_HEAP_H_
#define MAINSPRING_SRC_TABLE_HEAP_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "table_memory.h"

namespace mainspring {

// Sizes are rounded up to one of four steps to each doubling, so a place loses less than a fifth of itself. A
// place that is given back serves the same step again.
class Heap {
 public:
  explicit Heap(TableMemory* memory) : memory_(memory) {}

  // `place` counts units of TableMemory::kHeapUnit; never 0.
  Status Take(std::size_t bytes, std::uint32_t* place);
  void GiveBack(std::uint32_t place, std::size_t bytes);

  std::size_t bytes() const { return next_ * TableMemory::kHeapUnit; }

 private:
  static std::size_t Step(std::size_t units, std::size_t* rounded);

  TableMemory* memory_;
  std::uint64_t next_ = 1;
  std::uint64_t ready_bytes_ = 0;
  std::vector<std::vector<std::uint32_t>> free_;
};

// Sizes of the next piece of memory: doubling up to 2 MiB, then pieces of whole huge pages that grow with
// what is there.
std::size_t NextPiece(std::size_t ready_bytes, std::size_t wanted_bytes);

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_HEAP_H_
