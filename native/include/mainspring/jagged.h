// Rows of different lengths: to a padded matrix and back, joined, gathered and scattered. What each does is
// in native/reference_jagged.py.

#ifndef MAINSPRING_JAGGED_H_
#define MAINSPRING_JAGGED_H_

#include <cstddef>
#include <cstdint>

#include "mainspring/status.h"
#include "mainspring/target.h"

namespace mainspring {

// Integers as the caller has them.
struct Integers {
  const void* data = nullptr;
  bool is_wide = false;  // int64 rather than int32
  std::size_t size = 0;
};

// A value is `words` 32-bit words: one for float32 and int32, two for int64, times the size of what it
// consists of.
struct JaggedShape {
  std::size_t max_length = 0;  // values in a row of the padded matrix
  std::size_t words = 1;
};

// The bits of a padding value: of its even and of its odd words.
struct Padding {
  std::uint32_t bits[2] = {0, 0};
};

// What CheckOffsets learns on its way.
struct OffsetsSummary {
  std::size_t first = 0, last = 0;
  bool is_long = false;  // whether a row has more than `max_length` values
};

// Nothing below allocates or throws. Refusals say in `column` which entry they mean, or -1.

// kBadOffsets unless there is at least one and 0 <= offsets[0] <= offsets[1] <= ... <= limit.
Status CheckOffsets(const Integers& offsets, std::size_t limit, std::size_t max_length,
                    OffsetsSummary* summary) noexcept;

// The row with the most values, and how many; of offsets that have been checked.
void FindLongest(const Integers& offsets, std::size_t* row, std::size_t* length) noexcept;

// values[offsets[i] .. offsets[i + 1]) to row i of dense[offsets.size - 1][max_length]. The offsets have been
// checked; the outputs overlap no input.
Status PadJagged(const void* values, std::size_t n_values, const Integers& offsets, const JaggedShape& shape,
                 const Padding& padding, Target target, void* dense) noexcept;

// The inverse; offsets[0] is 0. Where a row is longer than max_length it ends in padding.
Status UnpadJagged(const void* dense, const Integers& offsets, const JaggedShape& shape,
                   const Padding& padding, Target target, void* values) noexcept;

// kOutOfRange unless every index is one of `rows`, or -1 where `takes_missing`.
Status CheckIndices(const Integers& indices, std::size_t rows, bool takes_missing) noexcept;

// out[i] = table[indices[i]], padding where the index is -1. Rows of `words`; the indices have been checked.
void GatherRows(const void* table, const Integers& indices, std::size_t words, const Padding& padding,
                void* out) noexcept;

// out[indices[i]] = rows[i], in order: of several for one row the last stays.
void ScatterRows(const void* rows, const Integers& indices, std::size_t words, void* out) noexcept;

// Adds offsets[1 ..] - offsets[0] + base to `out`, which has room for them.
void AppendOffsets(const Integers& offsets, std::int64_t base, std::int64_t* out) noexcept;

}  // namespace mainspring

#endif  // MAINSPRING_JAGGED_H_
