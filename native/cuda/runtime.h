// For the .cu files of this folder only: CUDA's errors as ours.

#ifndef MAINSPRING_CUDA_RUNTIME_H_
#define MAINSPRING_CUDA_RUNTIME_H_

#include <cuda_runtime.h>

#include "status.h"

namespace mainspring {
namespace cuda {

inline int32_t FromCuda(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return kMainspringCudaOk;
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
    case cudaErrorSystemDriverMismatch:
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
    case cudaErrorStubLibrary:
      return kMainspringCudaNoDevice;
    case cudaErrorMemoryAllocation:
      return kMainspringCudaOutOfMemory;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration:
      return kMainspringCudaBadArgument;
    default:
      return kMainspringCudaDeviceError;
  }
}

// After a launch. Also forgets an error that is no more than refused arguments, or the next launch would
// report it.
inline int32_t Launched() { return FromCuda(cudaGetLastError()); }

}  // namespace cuda
}  // namespace mainspring

#endif  // MAINSPRING_CUDA_RUNTIME_H_
