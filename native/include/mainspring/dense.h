// The fused dense transform: impute, clip, log1p, standardise. Columns in, one row-major matrix out.

#ifndef MAINSPRING_DENSE_H_
#define MAINSPRING_DENSE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mainspring/dense_column.h"
#include "mainspring/status.h"
#include "mainspring/target.h"

struct MainspringDenseArgs;

namespace mainspring {

// From here on an ordinary store costs more, because it reads each line of the output before it overwrites
// it. ns/row, stored / streamed, 16 columns, Zen 4 (2026-11): 4 MiB 3.0 / 3.9, 8 MiB 4.8 / 4.9, 12 MiB 8.7
// / 5.2, 64 MiB 9.8 / 6.8. It stays so when the caller reads the matrix at once (12 MiB with its sum: 11.3
// / 7.6).
inline constexpr std::size_t kStreamingBytes = std::size_t{8} << 20;

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

  // What a kernel wants to know of this program, which must outlive it; columns, rows and out are the
  // caller's.
  void Describe(MainspringDenseArgs* args) const noexcept;

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
