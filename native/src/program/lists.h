// Ragged lists, measured before anything is written.

#ifndef MAINSPRING_SRC_PROGRAM_LISTS_H_
#define MAINSPRING_SRC_PROGRAM_LISTS_H_

#include <cstddef>
#include <cstdint>

#include "program_kernels.h"

namespace mainspring {

// -1, or the first of `rows` rows that does not lie within its list; 0 where there are no rows and the one
// offset does not.
std::int64_t FirstBadRow(const MainspringList& list, std::size_t rows) noexcept;

// Of a list with offset i: where row i begins.
inline std::int64_t ListOffset(const MainspringList& list, std::size_t i) {
  return list.is_wide != 0 ? static_cast<const std::int64_t*>(list.offsets)[i]
                           : static_cast<const std::int32_t*>(list.offsets)[i];
}

}  // namespace mainspring

#endif  // MAINSPRING_SRC_PROGRAM_LISTS_H_
