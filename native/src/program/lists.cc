#include "lists.h"

namespace mainspring {
namespace {

template <typename T>
std::int64_t FirstBad(const T* offsets, std::size_t rows, std::size_t size) {
  // Without a branch first, because nearly always all is well.
  bool falls = offsets[0] < 0 || static_cast<std::uint64_t>(offsets[rows]) > size;
  for (std::size_t i = 0; i < rows; ++i) falls |= offsets[i + 1] < offsets[i];
  if (!falls) return -1;
  for (std::size_t i = 0; i < rows; ++i) {
    if (offsets[i] < 0 || offsets[i + 1] < offsets[i] || static_cast<std::uint64_t>(offsets[i + 1]) > size) {
      return static_cast<std::int64_t>(i);
    }
  }
  return 0;
}

}  // namespace

std::int64_t FirstBadRow(const MainspringList& list, std::size_t rows) noexcept {
  return list.is_wide != 0 ? FirstBad(static_cast<const std::int64_t*>(list.offsets), rows, list.size)
                           : FirstBad(static_cast<const std::int32_t*>(list.offsets), rows, list.size);
}

}  // namespace mainspring
