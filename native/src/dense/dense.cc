#include "mainspring/dense.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "../float_environment.h"
#include "dense_kernels.h"

namespace mainspring {
namespace {

constexpr std::size_t kPad = 16;
// From here on the output is larger than what a consumer could still find in cache, and reading it only to
// overwrite it is what costs: measured in bench/native/tune_dense.py.
constexpr std::size_t kStreamingBytes = std::size_t{8} << 20;

// The parameter arrays, in the order in which Compile lays them out.
enum Array { kFill, kLower, kUpper, kMeanHigh, kMeanLow, kInverseScale, kIsLog1p, kIsIndicator, kArrays };

std::size_t Lines(std::size_t width) { return (width + kPad - 1) / kPad; }

Status Bad(std::size_t column, const char* expected, double got, const char* next_step) {
  return {StatusCode::kBadSpec, static_cast<std::int32_t>(column), expected, true, got, next_step};
}

// float32 range is a range of numbers here: what rounds to infinity is out of it.
bool IsFloat(double x) { return std::isfinite(static_cast<float>(x)); }

Status Check(const DenseColumn& c, std::size_t i) {
  if (c.source < 0 || static_cast<std::size_t>(c.source) >= DenseProgram::kMaxWidth) {
    return Bad(i, "`source` must be 0 to 65535", c.source, "name an input column");
  }
  if (c.indicator) return {};
  if (!IsFloat(c.fill)) return Bad(i, "`fill` must be a finite float32", c.fill, "fit the plan again");
  if (std::isnan(c.lower) || c.lower == std::numeric_limits<double>::infinity()) {
    return Bad(i, "`lower` must be a number or -inf", c.lower, "use -inf for no bound");
  }
  if (std::isnan(c.upper) || c.upper == -std::numeric_limits<double>::infinity()) {
    return Bad(i, "`upper` must be a number or inf", c.upper, "use inf for no bound");
  }
  if (c.lower > c.upper) return Bad(i, "`lower` must not exceed `upper`", c.lower, "exchange the bounds");
  if (!IsFloat(c.mean)) return Bad(i, "`mean` must be a finite float32", c.mean, "fit the plan again");
  // 1 / scale must be a normal float32, or the product loses its last bits.
  if (!(c.scale >= 0x1p-126 && c.scale <= 0x1p126)) {
    return Bad(i, "`scale` must be in 2^-126 .. 2^126", c.scale, "use 1.0 for a constant column");
  }
  return {};
}

}  // namespace

Status DenseProgram::Compile(const DenseColumn* columns, std::size_t width, Target target,
                             DenseProgram* program) {
  const DefaultFloatEnvironment environment;
  if (width == 0 || width > kMaxWidth) {
    return {StatusCode::kBadSpec,
            -1,
            "the number of output columns must be 1 to 65536",
            true,
            static_cast<double>(width),
            "split the program"};
  }
  for (std::size_t i = 0; i < width; ++i) {
    if (const Status status = Check(columns[i], i); !status.ok()) return status;
  }
  if (!IsSupported(target)) {
    return {StatusCode::kUnknownTarget,           -1, "`target` must be one that this CPU supports", false, 0,
            "take one from `targets.available()`"};
  }

  DenseProgram made;
  const std::size_t lines = Lines(width);
  made.width_ = width;
  made.target_ = target;
  made.source_.assign(lines * kPad, 0);
  made.kind_.assign(lines * kPad, kMainspringDenseIndicator);
  made.parameters_.assign(kArrays * lines, DenseLanes{});
  const auto set = [&made, lines](Array array, std::size_t i, float value) {
    made.parameters_[array * lines + i / kPad].value[i % kPad] = value;
  };
  const auto set_mask = [&made, lines](Array array, std::size_t i, bool value) {
    const std::uint32_t mask = value ? ~std::uint32_t{0} : 0;
    std::memcpy(&made.parameters_[array * lines + i / kPad].value[i % kPad], &mask, sizeof(mask));
  };
  for (std::size_t i = 0; i < width; ++i) {
    const DenseColumn& c = columns[i];
    made.source_[i] = c.source;
    made.n_sources_ = std::max(made.n_sources_, static_cast<std::size_t>(c.source) + 1);
    set_mask(kIsIndicator, i, c.indicator);
    if (c.indicator) continue;
    made.kind_[i] = c.log1p ? kMainspringDenseLog1p : kMainspringDenseAffine;
    made.any_log1p_ |= c.log1p;
    const float mean = static_cast<float>(c.mean);
    float lower = static_cast<float>(c.lower), upper = static_cast<float>(c.upper);
    if (c.log1p) {  // log1p(max(y, 0)): the maximum is folded into the bounds
      lower = std::max(lower, 0.0f);
      upper = std::max(upper, 0.0f);
    }
    set(kFill, i, static_cast<float>(c.fill));
    set(kLower, i, lower);
    set(kUpper, i, upper);
    set(kMeanHigh, i, mean);
    set(kMeanLow, i, static_cast<float>(c.mean - static_cast<double>(mean)));
    set(kInverseScale, i, static_cast<float>(1.0 / c.scale));
    set_mask(kIsLog1p, i, c.log1p);
  }
  *program = std::move(made);
  return {};
}

Status DenseProgram::Run(const float* const* columns, std::size_t n_rows, float* out) const noexcept {
  if (width_ == 0) {
    return {StatusCode::kBadSpec, -1, "the program must be compiled first", false, 0, "call Compile"};
  }
  const std::size_t lines = Lines(width_);
  const auto array = [this, lines](Array which) { return parameters_[which * lines].value; };
  MainspringDenseArgs args;
  args.width = width_;
  args.any_log1p = any_log1p_;
  args.source = source_.data();
  args.kind = kind_.data();
  args.fill = array(kFill);
  args.lower = array(kLower);
  args.upper = array(kUpper);
  args.mean_high = array(kMeanHigh);
  args.mean_low = array(kMeanLow);
  args.inverse_scale = array(kInverseScale);
  args.is_log1p = reinterpret_cast<const std::uint32_t*>(array(kIsLog1p));
  args.is_indicator = reinterpret_cast<const std::uint32_t*>(array(kIsIndicator));
  args.columns = columns;
  args.n_rows = n_rows;
  args.out = out;
  args.use_streaming_stores = n_rows * width_ * sizeof(float) >= kStreamingBytes;

  const DefaultFloatEnvironment environment;
  switch (target_) {
    case Target::kGeneric:
      MainspringDenseGeneric(&args);
      return {};
#if defined(__x86_64__)
    case Target::kAvx2:
      MainspringDenseAvx2(&args);
      return {};
    case Target::kAvx512:
      MainspringDenseAvx512(&args);
      return {};
#else
    default:
      break;
#endif
  }
  return {StatusCode::kUnknownTarget, -1, "this build has no such target", false, 0, "build for this CPU"};
}

}  // namespace mainspring
