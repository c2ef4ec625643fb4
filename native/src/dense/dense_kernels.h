// The border between dispatch and the units of each instruction set: plain C, so that nothing inline or
// templated can cross it.

#ifndef MAINSPRING_SRC_DENSE_DENSE_KERNELS_H_
#define MAINSPRING_SRC_DENSE_DENSE_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum MainspringDenseKind {
  kMainspringDenseAffine = 0,
  kMainspringDenseLog1p = 1,
  kMainspringDenseIndicator = 2,
};

// Arrays of `width` entries, each padded with harmless ones to a multiple of 16 and 64-byte aligned.
struct MainspringDenseArgs {
  size_t width;
  int any_log1p;
  const int32_t* source;
  const uint8_t* kind;
  const float* fill;
  const float* lower;  // of log1p columns: at least 0, which is the max(y, 0) of the definition
  const float* upper;  // same
  const float* mean_high;
  const float* mean_low;  // mean - mean_high
  const float* inverse_scale;
  const uint32_t* is_log1p;      // all ones or zero, for whole rows at a time
  const uint32_t* is_indicator;  // same
  const float* const* columns;
  size_t n_rows;
  float* out;
  int use_streaming_stores;
};

// Fills out. Only for CPUs that have the instructions, under the default floating-point environment.
void MainspringDenseGeneric(const struct MainspringDenseArgs* args);
void MainspringDenseAvx2(const struct MainspringDenseArgs* args);
void MainspringDenseAvx512(const struct MainspringDenseArgs* args);

#ifdef __cplusplus
}
#endif

#endif  // MAINSPRING_SRC_DENSE_DENSE_KERNELS_H_
