#include "heap.h"

#include <algorithm>

namespace mainspring {

std::size_t NextPiece(std::size_t ready_bytes, std::size_t wanted_bytes) {
  constexpr std::size_t kFirst = 65536, kLargest = std::size_t{64} << 20;
  std::size_t piece = std::max(kFirst, ready_bytes);
  if (ready_bytes >= Arena::kHugePage) {
    piece = std::min(kLargest, ready_bytes / 8) / Arena::kHugePage * Arena::kHugePage;
    piece = std::max(piece, Arena::kHugePage);
  }
  const std::size_t missing = wanted_bytes > ready_bytes ? wanted_bytes - ready_bytes : 0;
  const std::size_t unit = ready_bytes >= Arena::kHugePage ? Arena::kHugePage : kFirst;
  return std::max(piece, (missing + unit - 1) / unit * unit);
}

// 1, 2, ... 8 units, then 10, 12, 14, 16, 20, 24, ...
std::size_t Heap::Step(std::size_t units, std::size_t* rounded) {
  if (units <= 8) {
    *rounded = units;
    return units;
  }
  const int shift = 61 - __builtin_clzll(units - 1);  // units - 1 in [4, 8) << shift
  const std::size_t quarter = ((units - 1) >> shift) + 1;
  *rounded = quarter << shift;
  return static_cast<std::size_t>(shift) * 4 + quarter;
}

Status Heap::Take(std::size_t bytes, std::uint32_t* place) {
  std::size_t rounded;
  const std::size_t step = Step((bytes + TableMemory::kHeapUnit - 1) / TableMemory::kHeapUnit, &rounded);
  if (step < free_.size() && !free_[step].empty()) {
    *place = free_[step].back();
    free_[step].pop_back();
    return {};
  }
  const std::uint64_t end = (next_ + rounded) * TableMemory::kHeapUnit;
  if (end > ready_bytes_) {
    const std::size_t at = memory_->header->heap_at + ready_bytes_, piece = NextPiece(ready_bytes_, end);
    const Status status = memory_->arena.Commit(at, piece);
    if (!status.ok()) return status;
    ready_bytes_ += piece;
  }
  *place = static_cast<std::uint32_t>(next_);
  next_ += rounded;
  return {};
}

void Heap::GiveBack(std::uint32_t place, std::size_t bytes) {
  std::size_t rounded;
  const std::size_t step = Step((bytes + TableMemory::kHeapUnit - 1) / TableMemory::kHeapUnit, &rounded);
  if (step >= free_.size()) free_.resize(step + 1);
  free_[step].push_back(place);
}

}  // namespace mainspring
