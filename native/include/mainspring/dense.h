// The fused dense transform: impute, clip, log1p, standardise. Columns in, one row-major matrix out.

#ifndef MAINSPRING_DENSE_H_
#define MAINSPRING_DENSE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mainspring/dense_column.h"
#include "mainspring/status.h"
#include "mainspring/target.h"

namespace mainspring {

// Sixteen values, one cache line: any target's vector loads are aligned.
struct alignas(64) DenseLanes {
  float value[16];
};

// Immutable once compiled; Run may be called from many threads at once.
class DenseProgram {
 public:
  DenseProgram() = default;

  // Checks every column first: nothing is half-made.
  static Status Compile(const DenseColumn* columns, std::size_t width, Target target, DenseProgram* program);

  // columns: n_sources() pointers to n_rows floats each. out: n_rows * width() floats, no overlap with an
  // input. Neither allocates nor throws; the caller's floating-point environment is put back as it was.
  Status Run(const float* const* columns, std::size_t n_rows, float* out) const noexcept;

  std::size_t width() const { return width_; }
  std::size_t n_sources() const { return n_sources_; }
  Target target() const { return target_; }

 private:
  std::size_t width_ = 0;
  std::size_t n_sources_ = 0;
  bool any_log1p_ = false;
  Target target_ = Target::kGeneric;
  // One entry per output column, padded to whole vectors.
  std::vector<std::int32_t> source_;
  std::vector<std::uint8_t> kind_;
  std::vector<DenseLanes> parameters_;
};

}  // namespace mainspring

#endif  // MAINSPRING_DENSE_H_
