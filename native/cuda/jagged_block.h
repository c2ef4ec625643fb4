// What the threads of the jagged kernels do. Plain C++ as well (see elements.h).

#ifndef MAINSPRING_CUDA_JAGGED_BLOCK_H_
#define MAINSPRING_CUDA_JAGGED_BLOCK_H_

#include "elements.h"
#include "jagged.h"

namespace mainspring {
namespace cuda {

constexpr int kJaggedThreads = 256;
constexpr std::size_t kJaggedWarp = 32;

MAINSPRING_HD std::int64_t OffsetAt(const MainspringCudaJagged& shape, std::size_t i) {
  return shape.is_wide != 0 ? static_cast<const std::int64_t*>(shape.offsets)[i]
                            : static_cast<const std::int32_t*>(shape.offsets)[i];
}

// False, and an empty row, where the offsets leave the values.
MAINSPRING_HD bool RowOf(const MainspringCudaJagged& shape, std::size_t row, std::size_t* begin,
                         std::size_t* length) {
  const std::int64_t from = OffsetAt(shape, row), to = OffsetAt(shape, row + 1);
  const bool is_good = from >= 0 && to >= from && static_cast<std::uint64_t>(to) <= shape.n_values;
  *begin = is_good ? static_cast<std::size_t>(from) : 0;
  *length = is_good ? static_cast<std::size_t>(to - from) : 0;
  return is_good;
}

// A warp takes a row; `lane` of it every 32nd word.
MAINSPRING_HD bool PadRow(const MainspringCudaJagged& shape, const std::uint32_t* values, std::size_t row,
                          std::size_t lane, std::uint32_t* dense) {
  std::size_t begin, length;
  const bool is_good = RowOf(shape, row, &begin, &length);
  if (length > shape.max_length) length = shape.max_length;
  const std::size_t filled = length * shape.words, all = shape.max_length * shape.words;
  const std::uint32_t* const from = values + begin * shape.words;
  std::uint32_t* const to = dense + row * all;
  for (std::size_t i = lane; i < all; i += kJaggedWarp) {
    to[i] = i < filled ? from[i] : i % 2 == 0 ? shape.padding[0] : shape.padding[1];
  }
  return is_good;
}

MAINSPRING_HD bool UnpadRow(const MainspringCudaJagged& shape, const std::uint32_t* dense, std::size_t row,
                            std::size_t lane, std::uint32_t* values) {
  std::size_t begin, length;
  const bool is_good = RowOf(shape, row, &begin, &length);
  const std::size_t all = length * shape.words, there = shape.max_length * shape.words;
  const std::uint32_t* const from = dense + row * there;
  std::uint32_t* const to = values + begin * shape.words;
  for (std::size_t i = lane; i < all; i += kJaggedWarp) {
    to[i] = i < there ? from[i] : i % 2 == 0 ? shape.padding[0] : shape.padding[1];
  }
  return is_good;
}

// One word of the n * words that move.
MAINSPRING_HD bool GatherWord(const std::uint32_t* table, std::size_t n_table, const std::int64_t* indices,
                              std::size_t words, std::uint32_t even, std::uint32_t odd, std::size_t at,
                              std::uint32_t* out) {
  const std::size_t row = at / words, word = at - row * words;
  const std::int64_t index = indices[row];
  const bool is_there = index >= 0 && static_cast<std::uint64_t>(index) < n_table;
  out[at] = is_there ? table[static_cast<std::size_t>(index) * words + word] : word % 2 == 0 ? even : odd;
  return is_there || index == -1;
}

MAINSPRING_HD bool ScatterWord(const std::uint32_t* rows, const std::int64_t* indices, std::size_t words,
                               std::size_t n_out, std::size_t at, std::uint32_t* out) {
  const std::size_t row = at / words, word = at - row * words;
  const std::int64_t index = indices[row];
  if (index < 0 || static_cast<std::uint64_t>(index) >= n_out) return false;
  out[static_cast<std::size_t>(index) * words + word] = rows[at];
  return true;
}

}  // namespace cuda
}  // namespace mainspring

#endif  // MAINSPRING_CUDA_JAGGED_BLOCK_H_
