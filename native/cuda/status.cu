#include "runtime.h"
#include "status.h"

extern "C" {

int32_t MainspringCudaVersion(void) { return MAINSPRING_CUDA_VERSION; }

const char* MainspringCudaStatusText(int32_t status) {
  switch (status) {
    case kMainspringCudaOk:
      return "ok";
    case kMainspringCudaNoDevice:
      return "no usable CUDA device; use the CPU targets, or install a driver for CUDA 13";
    case kMainspringCudaBadArgument:
      return "an argument is null or out of range; check the spec with the CPU program, which says which";
    case kMainspringCudaOutOfMemory:
      return "the device is out of memory; use smaller batches";
    case kMainspringCudaDeviceError:
      return "the device failed; end the process, its context is lost";
    default:
      return "not a status of this library";
  }
}

int32_t MainspringCudaDeviceCount(int32_t* count) {
  if (count == nullptr) return kMainspringCudaBadArgument;
  int found = 0;
  const cudaError_t error = cudaGetDeviceCount(&found);
  *count = error == cudaSuccess ? found : 0;
  if (error == cudaSuccess && found == 0) return kMainspringCudaNoDevice;
  return mainspring::cuda::FromCuda(error);
}

}  // extern "C"
