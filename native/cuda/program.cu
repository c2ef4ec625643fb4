#include <cstring>
#include <new>

#include "program.h"
#include "program_block.h"
#include "runtime.h"

namespace {

using namespace mainspring::cuda;

__global__ void __launch_bounds__(kProgramThreads)
    ProgramKernel(const __grid_constant__ PlanView plan, const __grid_constant__ MainspringCudaBatch batch) {
  __shared__ ProgramTile tile;
  const int thread = static_cast<int>(threadIdx.x);
  const BlockPlace place = PlaceOf(plan, batch.n_rows, blockIdx.x);
  if (place.part >= plan.dense_parts) return StoreIds(plan, batch, place, thread);
  const unsigned long long bad_row = FillTile(plan, batch, place, thread, &tile);
  if (bad_row != kNoBadRow && batch.bad_row != nullptr) atomicMin(batch.bad_row, bad_row);
  __syncthreads();
  StoreTile(plan, batch, place, thread, tile);
}

}  // namespace

struct MainspringCudaProgram {
  char* image;  // device memory
  PlanView view;
  int64_t n_floats, n_ints, n_events;
};

extern "C" {

int32_t MainspringCudaProgramCreate(const void* plan, size_t bytes, MainspringCudaProgram** program) {
  if (program == nullptr) return kMainspringCudaBadArgument;
  *program = nullptr;
  if (!mainspring::CheckDevicePlan(plan, bytes).ok()) return kMainspringCudaBadArgument;
  mainspring::DeviceHeader header;
  std::memcpy(&header, plan, sizeof(header));
  if (header.n_events > MAINSPRING_CUDA_MAX_EVENTS) return kMainspringCudaBadArgument;
  int32_t count = 0;
  if (const int32_t status = MainspringCudaDeviceCount(&count); status != kMainspringCudaOk) return status;

  auto* made = new (std::nothrow) MainspringCudaProgram{};
  if (made == nullptr) return kMainspringCudaOutOfMemory;
  cudaError_t error = cudaMalloc(&made->image, bytes);
  if (error == cudaSuccess) error = cudaMemcpy(made->image, plan, bytes, cudaMemcpyHostToDevice);
  if (error != cudaSuccess) {
    MainspringCudaProgramDestroy(made);
    return FromCuda(error);
  }
  made->view = ViewOf(header, made->image);
  made->n_floats = header.n_floats;
  made->n_ints = header.n_ints;
  made->n_events = header.n_events;
  *program = made;
  return kMainspringCudaOk;
}

int32_t MainspringCudaProgramRun(const MainspringCudaProgram* program, const MainspringCudaBatch* batch,
                                 void* stream) {
  if (program == nullptr || batch == nullptr) return kMainspringCudaBadArgument;
  const auto queue = static_cast<cudaStream_t>(stream);
  if (batch->bad_row != nullptr) {
    const cudaError_t error = cudaMemsetAsync(batch->bad_row, 0xFF, sizeof(*batch->bad_row), queue);
    if (error != cudaSuccess) return FromCuda(error);
  }
  const size_t rows = batch->n_rows;
  if (rows == 0) return kMainspringCudaOk;
  const PlanView& view = program->view;
  const size_t blocks = (rows + kProgramRows - 1) / kProgramRows * static_cast<size_t>(view.parts);
  if (blocks > 0x7FFFFFFF || rows > 0x7FFFFFFF || (program->n_floats > 0 && batch->floats == nullptr) ||
      (program->n_floats > 1 && batch->float_stride < rows) ||
      (program->n_ints > 0 && batch->ints == nullptr) || (program->n_ints > 1 && batch->int_stride < rows) ||
      (view.width > 0 && batch->dense == nullptr) || (view.n_ids > 0 && batch->ids == nullptr) ||
      (view.n_ids > 1 && batch->ids_stride < rows)) {
    return kMainspringCudaBadArgument;
  }
  for (int64_t i = 0; i < program->n_events; ++i) {
    const MainspringCudaEvents& list = batch->events[i];
    if (list.offsets == nullptr || (list.size > 0 && (list.times == nullptr || list.values == nullptr))) {
      return kMainspringCudaBadArgument;
    }
  }
  ProgramKernel<<<static_cast<unsigned>(blocks), kProgramThreads, 0, queue>>>(view, *batch);
  return Launched();
}

void MainspringCudaProgramDestroy(MainspringCudaProgram* program) {
  if (program == nullptr) return;
  cudaFree(program->image);  // a failure here has no one left to hear it
  delete program;
}

}  // extern "C"
