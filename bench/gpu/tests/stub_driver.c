/* A CUDA driver whose device is this process's own memory and whose kernels do nothing: test_bench_gpu.py
 * runs the script's host code against it. Compiled with CUDA's header, which checks every signature. Measures
 * nothing. */

#include <cuda.h>
#include <stdlib.h>
#include <string.h>

static int g_launches, g_allocated;
static char g_token;

int StubLaunches(void) { return g_launches; }
int StubAllocated(void) { return g_allocated; }

CUresult cuInit(unsigned flags) { return flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE; }
CUresult cuDriverGetVersion(int* version) { return *version = 13000, CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int* count) { return *count = getenv("STUB_NO_DEVICE") == NULL, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice* device, int ordinal) { return *device = ordinal, CUDA_SUCCESS; }
CUresult cuDeviceGetName(char* name, int size, CUdevice device) {
  (void)device;
  return strncpy(name, "stub, no GPU", (size_t)size), CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice device) {
  (void)device;
  *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 9 : 0;
  return attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ||
                 attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
             ? CUDA_SUCCESS
             : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuDeviceTotalMem(size_t* bytes, CUdevice device) {
  (void)device;
  return *bytes = 1 << 20, CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
  (void)device;
  return *context = (CUcontext)&g_token, CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return (void)device, CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext context) {
  return context == (CUcontext)&g_token ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}
CUresult cuCtxSynchronize(void) { return CUDA_SUCCESS; }
CUresult cuMemAlloc(CUdeviceptr* pointer, size_t bytes) {
  ++g_allocated;
  void* made = NULL;
  if (bytes == 0 || posix_memalign(&made, 256, bytes) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
  return *pointer = (CUdeviceptr)made, CUDA_SUCCESS;
}
CUresult cuMemFree(CUdeviceptr pointer) {
  --g_allocated;
  return free((void*)pointer), CUDA_SUCCESS;
}
CUresult cuMemcpyHtoD(CUdeviceptr to, const void* from, size_t bytes) {
  return memcpy((void*)to, from, bytes), CUDA_SUCCESS;
}
CUresult cuMemcpyDtoH(void* to, CUdeviceptr from, size_t bytes) {
  return memcpy(to, (void*)from, bytes), CUDA_SUCCESS;
}
CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
  if (stream != NULL) return CUDA_ERROR_INVALID_HANDLE;
  return memcpy((void*)to, (void*)from, bytes), CUDA_SUCCESS;
}
CUresult cuMemsetD8(CUdeviceptr to, unsigned char byte, size_t bytes) {
  return memset((void*)to, byte, bytes), CUDA_SUCCESS;
}
CUresult cuEventCreate(CUevent* event, unsigned flags) {
  return *event = (CUevent)&g_token, flags == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuEventDestroy(CUevent event) { return event == NULL ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent event, CUstream stream) {
  return event == NULL || stream != NULL ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
CUresult cuEventSynchronize(CUevent event) {
  return event == NULL ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
/* CUDA 13's header names its second version so; the first one is what older drivers have, too. */
#undef cuEventElapsedTime
CUresult cuEventElapsedTime(float* milliseconds, CUevent begin, CUevent end) {
  return *milliseconds = 1.0f, begin == NULL || end == NULL ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  *module = (CUmodule)&g_token;
  return memcmp(image, "\177ELF", 4) == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_IMAGE;
}
CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  *function = (CUfunction)&g_token;
  return module == NULL || *name == 0 ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction function, unsigned x, unsigned y, unsigned z, unsigned threads_x,
                        unsigned threads_y, unsigned threads_z, unsigned shared, CUstream stream,
                        void** parameters, void** extra) {
  const int is_good = function != NULL && x > 0 && y > 0 && y < 65536 && z == 1 && threads_x % 32 == 0 &&
                      threads_x > 0 && threads_y == 1 && threads_z == 1 && shared <= 49152 &&
                      stream == NULL && parameters != NULL && extra == NULL;
  ++g_launches;
  return is_good ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult cuGetErrorName(CUresult error, const char** name) {
  *name = error == CUDA_ERROR_INVALID_VALUE ? "CUDA_ERROR_INVALID_VALUE" : "CUDA_ERROR_OTHER";
  return CUDA_SUCCESS;
}
