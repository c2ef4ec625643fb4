/* Rows of different lengths on an NVIDIA GPU: to a padded matrix and back, gathered and scattered.
 * What each does is in native/reference_jagged.py; where the CPU refuses a row, this says so in `bad_row`.
 *
 * All arrays are device memory. A value is `words` 32-bit words and moved bit by bit: one for float32 and
 * int32, two for int64, times the size of what it consists of. `padding` has the bits of a padding value's
 * even and odd words. Every call enqueues on `stream` (a cudaStream_t, null for the default) and returns;
 * nothing is allocated. bad_row: or null; becomes all ones, or the first row that is not in order, which
 * counts as empty (or as not there). */

#ifndef MAINSPRING_CUDA_JAGGED_H_
#define MAINSPRING_CUDA_JAGGED_H_

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Row i has the values offsets[i] .. offsets[i + 1] - 1 of `n_values`; n_rows + 1 offsets, int64_t where
 * is_wide, else int32_t. */
typedef struct MainspringCudaJagged {
  size_t n_rows;
  const void* offsets;
  int32_t is_wide;
  size_t n_values;
  size_t max_length; /* values in a row of the padded matrix; longer rows are cut */
  size_t words;
  uint32_t padding[2];
} MainspringCudaJagged;

/* values[n_values] to dense[n_rows][max_length], padded. */
MAINSPRING_CUDA_API int32_t MainspringCudaJaggedToPaddedDense(const MainspringCudaJagged* shape,
                                                              const void* values, void* dense,
                                                              unsigned long long* bad_row, void* stream);

/* The inverse; a row longer than max_length ends in padding. */
MAINSPRING_CUDA_API int32_t MainspringCudaDenseToJagged(const MainspringCudaJagged* shape, const void* dense,
                                                        void* values, unsigned long long* bad_row,
                                                        void* stream);

/* out[i] = table[indices[i]], padding where the index is -1. indices: n int64_t, -1 .. n_table - 1. */
MAINSPRING_CUDA_API int32_t MainspringCudaGatherRows(const void* table, size_t n_table,
                                                     const int64_t* indices, size_t n, size_t words,
                                                     const uint32_t padding[2], void* out,
                                                     unsigned long long* bad_row, void* stream);

/* out[indices[i]] = rows[i]. Unlike on the CPU, which of several rows for one index stays is not said: the
 * threads do not wait for one another. */
MAINSPRING_CUDA_API int32_t MainspringCudaScatterRows(const void* rows, const int64_t* indices, size_t n,
                                                      size_t words, size_t n_out, void* out,
                                                      unsigned long long* bad_row, void* stream);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MAINSPRING_CUDA_JAGGED_H_ */
