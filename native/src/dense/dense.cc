#include "mainspring/dense.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "dense_kernels.h"
#include "mainspring/float_environment.h"

namespace mainspring {
namespace {

constexpr std::size_t kPad = 16;

// The parameter arrays, in the order in which Compile lays them out.
enum Array { kFill, kLower, kUpper, kMeanHigh, kMeanLow, kInverseScale, kIsLog1p, kIsIndicator, kArrays };

Status Refuse(StatusCode code, const char* expected, const char* next_step) {
  return {code, -1, expected, false, 0, next_step};
}

std::size_t Lines(std::size_t width) { return (width + kPad - 1) / kPad; }

}  // namespace

Status DenseProgram::Compile(const DenseColumn* columns, std::size_t width, Target target,
                             DenseProgram* program) {
  const DefaultFloatEnvironment environment;
  if (width == 0 || width > kMaxDenseWidth) {
    const double got = static_cast<double>(width);
    return {StatusCode::kBadSpec, -1, "a program must have 1 to 65536 output columns", true, got, "split it"};
  }
  for (std::size_t i = 0; i < width; ++i) {
    if (const Status status = CheckDenseColumn(columns[i], i); !status.ok()) return status;
  }
  if (!IsSupported(target)) {
    return Refuse(StatusCode::kUnknownTarget, "`target` must be one that this CPU supports",
                  "take one from `targets.available()`");
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
    made.kind_[i] = c.log1p && !c.pass ? kMainspringDenseLog1p : kMainspringDenseAffine;
    made.any_log1p_ |= c.log1p && !c.pass;
    const DenseParameters p = PrepareDenseColumn(c);
    set(kFill, i, p.fill);
    set(kLower, i, p.lower);
    set(kUpper, i, p.upper);
    set(kMeanHigh, i, p.mean_high);
    set(kMeanLow, i, p.mean_low);
    set(kInverseScale, i, p.inverse_scale);
    set_mask(kIsLog1p, i, c.log1p && !c.pass);
  }
  *program = std::move(made);
  return {};
}

void DenseProgram::Describe(MainspringDenseArgs* args) const noexcept {
  const std::size_t lines = Lines(width_);
  const auto array = [this, lines](Array which) { return parameters_[which * lines].value; };
  args->width = width_;
  args->any_log1p = any_log1p_;
  args->source = source_.data();
  args->kind = kind_.data();
  args->fill = array(kFill);
  args->lower = array(kLower);
  args->upper = array(kUpper);
  args->mean_high = array(kMeanHigh);
  args->mean_low = array(kMeanLow);
  args->inverse_scale = array(kInverseScale);
  args->is_log1p = reinterpret_cast<const std::uint32_t*>(array(kIsLog1p));
  args->is_indicator = reinterpret_cast<const std::uint32_t*>(array(kIsIndicator));
}

Status DenseProgram::Run(const float* const* columns, std::size_t n_rows, float* out) const noexcept {
  if (width_ == 0) {
    return Refuse(StatusCode::kBadSpec, "the program must be compiled first", "call Compile");
  }
  MainspringDenseArgs args;
  Describe(&args);
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
  return Refuse(StatusCode::kUnknownTarget, "this build has no such target", "build for this CPU");
}

}  // namespace mainspring
