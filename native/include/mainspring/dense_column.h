// One output column of the dense transform: what callers say, what is wrong with it, and what kernels read.
// The CPU's dispatch and the CUDA library both prepare columns here, so that they cannot drift apart.

#ifndef MAINSPRING_DENSE_COLUMN_H_
#define MAINSPRING_DENSE_COLUMN_H_

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "mainspring/status.h"

namespace mainspring {

// NaN is a missing value; x is the input.
//
//   indicator:  NaN(x) ? 1 : 0, and nothing else is read
//   pass:       x, NaN included, and nothing else is read
//   otherwise:  y = NaN(x) ? fill : x
//               y = y < lower ? lower : y > upper ? upper : y      bounds may be infinite
//               y = log1p(y > 0 ? y : 0)                           where log1p is set
//               (y - mean) / scale
//
// fill, lower and upper belong to the column's type and are rounded to float32; mean is kept to 48 bits;
// the division is a multiplication by 1 / scale rounded to float32. Only `pass` lets a NaN out.
struct DenseColumn {
  std::int32_t source = 0;  // which input column it reads
  bool indicator = false;
  bool log1p = false;
  double fill = 0;
  double lower = 0;
  double upper = 0;
  double mean = 0;
  double scale = 1;
  bool pass = false;
};

// The float32 numbers that a kernel computes with; harmless zeros for an indicator.
struct DenseParameters {
  float fill = 0;
  float lower = 0;  // of a log1p column: at least 0, which is the max(y, 0) of the definition
  float upper = 0;  // same
  float mean_high = 0;
  float mean_low = 0;  // mean - mean_high
  float inverse_scale = 0;
};

inline constexpr std::size_t kMaxDenseWidth = 65536;

inline Status CheckDenseColumn(const DenseColumn& c, std::size_t i) {
  const auto bad = [i](const char* expected, double got, const char* next_step) {
    return Status{StatusCode::kBadSpec, static_cast<std::int32_t>(i), expected, true, got, next_step};
  };
  // What rounds to infinity is out of float32's range.
  const auto is_float = [](double x) { return std::isfinite(static_cast<float>(x)); };
  constexpr double kInfinity = std::numeric_limits<double>::infinity();

  if (c.source < 0 || static_cast<std::size_t>(c.source) >= kMaxDenseWidth) {
    return bad("`source` must be 0 to 65535", c.source, "name an input column");
  }
  if (c.indicator || c.pass) return {};
  if (!is_float(c.fill)) return bad("`fill` must be a finite float32", c.fill, "fit the plan again");
  if (std::isnan(c.lower) || c.lower == kInfinity) {
    return bad("`lower` must be a number or -inf", c.lower, "use -inf for no bound");
  }
  if (std::isnan(c.upper) || c.upper == -kInfinity) {
    return bad("`upper` must be a number or inf", c.upper, "use inf for no bound");
  }
  if (c.lower > c.upper) return bad("`lower` must not exceed `upper`", c.lower, "exchange the bounds");
  if (!is_float(c.mean)) return bad("`mean` must be a finite float32", c.mean, "fit the plan again");
  // 1 / scale must be a normal float32, or the product loses its last bits.
  if (!(c.scale >= 0x1p-126 && c.scale <= 0x1p126)) {
    return bad("`scale` must be in 2^-126 .. 2^126", c.scale, "use 1.0 for a constant column");
  }
  return {};
}

// Of a column that passed CheckDenseColumn, under the default floating-point environment.
inline DenseParameters PrepareDenseColumn(const DenseColumn& c) {
  DenseParameters p;
  if (c.indicator) return p;
  if (c.pass) {  // (x - 0 - 0) * 1: the same steps for every column, and every bit of x
    p.fill = std::numeric_limits<float>::quiet_NaN();
    p.lower = -std::numeric_limits<float>::infinity();
    p.upper = std::numeric_limits<float>::infinity();
    p.inverse_scale = 1;
    return p;
  }
  const float floor = c.log1p ? 0.0f : -std::numeric_limits<float>::infinity();
  p.fill = static_cast<float>(c.fill);
  p.lower = std::max(static_cast<float>(c.lower), floor);
  p.upper = std::max(static_cast<float>(c.upper), floor);
  p.mean_high = static_cast<float>(c.mean);
  p.mean_low = static_cast<float>(c.mean - static_cast<double>(p.mean_high));
  p.inverse_scale = static_cast<float>(1.0 / c.scale);
  return p;
}

}  // namespace mainspring

#endif  // MAINSPRING_DENSE_COLUMN_H_
