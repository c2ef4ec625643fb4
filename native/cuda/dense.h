/* The dense transform on an NVIDIA GPU: a C ABI, so that a caller needs no CUDA headers and no C++.
 * Definition and numbers are those of mainspring/dense_column.h, bit for bit (built with --fmad=false). */

#ifndef MAINSPRING_CUDA_DENSE_H_
#define MAINSPRING_CUDA_DENSE_H_

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Arrays of `width` entries, in host memory; only read during MainspringCudaDenseCreate. */
typedef struct MainspringCudaDenseSpec {
  size_t width;
  const int32_t* source;
  const uint8_t* indicator;
  const uint8_t* log1p;
  const double* fill;
  const double* lower;
  const double* upper;
  const double* mean;
  const double* scale;
} MainspringCudaDenseSpec;

typedef struct MainspringCudaDense MainspringCudaDense;

/* Compiles for the current device. *program is null unless the status is ok. */
MAINSPRING_CUDA_API int32_t MainspringCudaDenseCreate(const MainspringCudaDenseSpec* spec,
                                                      MainspringCudaDense** program);

/* Enqueues on `stream` (a cudaStream_t, null for the default) and returns; allocates nothing.
 * columns: device memory, input column i at columns + i * column_stride, n_rows floats each.
 * out: device memory, n_rows * width floats, row-major; must not overlap the columns.
 * One program may be run on many streams at once. */
MAINSPRING_CUDA_API int32_t MainspringCudaDenseRun(const MainspringCudaDense* program, const float* columns,
                                                   size_t column_stride, size_t n_rows, float* out,
                                                   void* stream);

/* After the last run has finished; null is allowed. */
MAINSPRING_CUDA_API void MainspringCudaDenseDestroy(MainspringCudaDense* program);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MAINSPRING_CUDA_DENSE_H_ */
