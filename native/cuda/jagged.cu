#include "jagged.h"
#include "jagged_block.h"
#include "runtime.h"

namespace {

using namespace mainspring::cuda;

__device__ __forceinline__ void Mind(bool is_good, size_t row, unsigned long long* bad_row) {
  if (!is_good && bad_row != nullptr) atomicMin(bad_row, static_cast<unsigned long long>(row));
}

__device__ __forceinline__ size_t GlobalThread() {
  return static_cast<size_t>(blockIdx.x) * kJaggedThreads + threadIdx.x;
}

__global__ void __launch_bounds__(kJaggedThreads)
    PadKernel(const __grid_constant__ MainspringCudaJagged shape, const uint32_t* __restrict__ values,
              uint32_t* __restrict__ dense, unsigned long long* bad_row) {
  const size_t row = GlobalThread() / kJaggedWarp;
  if (row < shape.n_rows) Mind(PadRow(shape, values, row, threadIdx.x % kJaggedWarp, dense), row, bad_row);
}

__global__ void __launch_bounds__(kJaggedThreads)
    UnpadKernel(const __grid_constant__ MainspringCudaJagged shape, const uint32_t* __restrict__ dense,
                uint32_t* __restrict__ values, unsigned long long* bad_row) {
  const size_t row = GlobalThread() / kJaggedWarp;
  if (row < shape.n_rows) Mind(UnpadRow(shape, dense, row, threadIdx.x % kJaggedWarp, values), row, bad_row);
}

__global__ void __launch_bounds__(kJaggedThreads)
    GatherKernel(const uint32_t* __restrict__ table, size_t n_table, const int64_t* __restrict__ indices,
                 size_t n_words, size_t words, uint32_t even, uint32_t odd, uint32_t* __restrict__ out,
                 unsigned long long* bad_row) {
  const size_t at = GlobalThread();
  if (at >= n_words) return;
  Mind(GatherWord(table, n_table, indices, words, even, odd, at, out), at / words, bad_row);
}

__global__ void __launch_bounds__(kJaggedThreads)
    ScatterKernel(const uint32_t* __restrict__ rows, const int64_t* __restrict__ indices, size_t n_words,
                  size_t words, size_t n_out, uint32_t* __restrict__ out, unsigned long long* bad_row) {
  const size_t at = GlobalThread();
  if (at >= n_words) return;
  Mind(ScatterWord(rows, indices, words, n_out, at, out), at / words, bad_row);
}

// False where they are more than one launch may have.
bool Blocks(size_t threads, unsigned* blocks) {
  const size_t n = threads / kJaggedThreads + (threads % kJaggedThreads != 0);
  *blocks = static_cast<unsigned>(n);
  return n <= 0x7FFFFFFF;
}

int32_t Forget(unsigned long long* bad_row, cudaStream_t stream) {
  if (bad_row == nullptr) return kMainspringCudaOk;
  return FromCuda(cudaMemsetAsync(bad_row, 0xFF, sizeof(*bad_row), stream));
}

bool IsShape(const MainspringCudaJagged* shape) {
  constexpr size_t kLimit = size_t{1} << 40;  // no product of two overflows, nor does a count of threads
  return shape != nullptr && shape->offsets != nullptr && shape->words > 0 && shape->words <= 65536 &&
         shape->max_length <= 0x7FFFFFFF && shape->n_values <= kLimit && shape->n_rows <= kLimit;
}

}  // namespace

extern "C" {

int32_t MainspringCudaJaggedToPaddedDense(const MainspringCudaJagged* shape, const void* values, void* dense,
                                          unsigned long long* bad_row, void* stream) {
  unsigned blocks = 0;
  if (!IsShape(shape) || (shape->n_values > 0 && values == nullptr) ||
      (shape->n_rows > 0 && shape->max_length > 0 && dense == nullptr) ||
      !Blocks(shape->n_rows * kJaggedWarp, &blocks)) {
    return kMainspringCudaBadArgument;
  }
  const auto queue = static_cast<cudaStream_t>(stream);
  const int32_t status = Forget(bad_row, queue);
  if (status != kMainspringCudaOk || blocks == 0) return status;
  PadKernel<<<blocks, kJaggedThreads, 0, queue>>>(*shape, static_cast<const uint32_t*>(values),
                                                  static_cast<uint32_t*>(dense), bad_row);
  return Launched();
}

int32_t MainspringCudaDenseToJagged(const MainspringCudaJagged* shape, const void* dense, void* values,
                                    unsigned long long* bad_row, void* stream) {
  unsigned blocks = 0;
  if (!IsShape(shape) || (shape->n_values > 0 && values == nullptr) ||
      (shape->n_rows > 0 && shape->max_length > 0 && dense == nullptr) ||
      !Blocks(shape->n_rows * kJaggedWarp, &blocks)) {
    return kMainspringCudaBadArgument;
  }
  const auto queue = static_cast<cudaStream_t>(stream);
  const int32_t status = Forget(bad_row, queue);
  if (status != kMainspringCudaOk || blocks == 0) return status;
  UnpadKernel<<<blocks, kJaggedThreads, 0, queue>>>(*shape, static_cast<const uint32_t*>(dense),
                                                    static_cast<uint32_t*>(values), bad_row);
  return Launched();
}

int32_t MainspringCudaGatherRows(const void* table, size_t n_table, const int64_t* indices, size_t n,
                                 size_t words, const uint32_t padding[2], void* out,
                                 unsigned long long* bad_row, void* stream) {
  unsigned blocks = 0;
  if (words == 0 || words > 65536 || n > (size_t{1} << 40) || padding == nullptr ||
      (n > 0 && (indices == nullptr || out == nullptr)) || (n_table > 0 && table == nullptr) ||
      !Blocks(n * words, &blocks)) {
    return kMainspringCudaBadArgument;
  }
  const auto queue = static_cast<cudaStream_t>(stream);
  const int32_t status = Forget(bad_row, queue);
  if (status != kMainspringCudaOk || blocks == 0) return status;
  GatherKernel<<<blocks, kJaggedThreads, 0, queue>>>(static_cast<const uint32_t*>(table), n_table, indices,
                                                     n * words, words, padding[0], padding[1],
                                                     static_cast<uint32_t*>(out), bad_row);
  return Launched();
}

int32_t MainspringCudaScatterRows(const void* rows, const int64_t* indices, size_t n, size_t words,
                                  size_t n_out, void* out, unsigned long long* bad_row, void* stream) {
  unsigned blocks = 0;
  if (words == 0 || words > 65536 || n > (size_t{1} << 40) ||
      (n > 0 && (indices == nullptr || rows == nullptr)) || (n_out > 0 && out == nullptr) ||
      !Blocks(n * words, &blocks)) {
    return kMainspringCudaBadArgument;
  }
  const auto queue = static_cast<cudaStream_t>(stream);
  const int32_t status = Forget(bad_row, queue);
  if (status != kMainspringCudaOk || blocks == 0) return status;
  ScatterKernel<<<blocks, kJaggedThreads, 0, queue>>>(static_cast<const uint32_t*>(rows), indices, n * words,
                                                      words, n_out, static_cast<uint32_t*>(out), bad_row);
  return Launched();
}

}  // extern "C"
