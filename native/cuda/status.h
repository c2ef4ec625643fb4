/* What every part of the CUDA library says: a C ABI, so that a caller needs no CUDA headers and no C++. */

#ifndef MAINSPRING_CUDA_STATUS_H_
#define MAINSPRING_CUDA_STATUS_H_

#include <stddef.h>
#include <stdint.h>

#define MAINSPRING_CUDA_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef enum MainspringCudaStatus {
  kMainspringCudaOk = 0,
  kMainspringCudaNoDevice = 1, /* no GPU, or no driver that this build can use */
  kMainspringCudaBadArgument = 2,
  kMainspringCudaOutOfMemory = 3,
  kMainspringCudaDeviceError = 4, /* the context is lost: end the process */
} MainspringCudaStatus;

/* Counts up with every change that an old caller would notice. */
#define MAINSPRING_CUDA_VERSION 1

/* MAINSPRING_CUDA_VERSION of the library that is loaded: compare it with the header's before anything else.
 */
MAINSPRING_CUDA_API int32_t MainspringCudaVersion(void);

/* What a status means, and what to do: a literal. */
MAINSPRING_CUDA_API const char* MainspringCudaStatusText(int32_t status);

/* How many GPUs can be used; 0 with kMainspringCudaNoDevice where there is none. */
MAINSPRING_CUDA_API int32_t MainspringCudaDeviceCount(int32_t* count);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* MAINSPRING_CUDA_STATUS_H_ */
