/* A whole feature program on an NVIDIA GPU: one kernel from columns and event lists to the dense matrix and
 * the ids. Definition and numbers are those of mainspring/program.h, bit for bit (built with --fmad=false).
 */

#ifndef MAINSPRING_CUDA_PROGRAM_H_
#define MAINSPRING_CUDA_PROGRAM_H_

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How many event lists a program may have here: they travel with the launch. */
#define MAINSPRING_CUDA_MAX_EVENTS 16

/* Device memory. Row i has the events offsets[i] .. offsets[i + 1] - 1 of `size`. */
typedef struct MainspringCudaEvents {
  const void* offsets; /* int64_t where is_wide, else int32_t; n_rows + 1 */
  int32_t is_wide;
  size_t size;
  const int64_t* times;
  const float* values;
} MainspringCudaEvents;

/* Device memory. Inputs in the order of the spec's inputs of their type; column i begins at base + i *
 * stride. */
typedef struct MainspringCudaBatch {
  size_t n_rows;
  const float* floats;
  size_t float_stride;
  const int64_t* ints;
  size_t int_stride;
  MainspringCudaEvents events[MAINSPRING_CUDA_MAX_EVENTS];
  float* dense; /* n_rows x width, row-major */
  int32_t* ids; /* id j of row i is ids[j * ids_stride + i] */
  size_t ids_stride;
  /* Or null. Becomes all ones, or the first row whose events lie outside of their list: it counts as empty.
   */
  unsigned long long* bad_row;
} MainspringCudaBatch;

typedef struct MainspringCudaProgram MainspringCudaProgram;

/* `plan`: host memory, the bytes of a device plan (mainspring/device_plan.h, Python's device_plan.compile),
 * copied to the current device. *program is null unless the status is ok. */
MAINSPRING_CUDA_API int32_t MainspringCudaProgramCreate(const void* plan, size_t bytes,
                                                        MainspringCudaProgram** program);

/* Enqueues on `stream` (a cudaStream_t, null for the default) and returns; allocates nothing. `batch` itself
 * is host memory and only read during the call. Outputs overlap nothing. One program may run on many streams
 * at once. */
MAINSPRING_CUDA_API int32_t MainspringCudaProgramRun(const MainspringCudaProgram* program,
                                                     const MainspringCudaBatch* batch, void* stream);

/* After the last run has finished; null is allowed. */
MAINSPRING_CUDA_API void MainspringCudaProgramDestroy(MainspringCudaProgram* program);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MAINSPRING_CUDA_PROGRAM_H_ */
