#include <cuda_runtime.h>

#include <new>
#include <vector>

#include "dense.h"
#include "mainspring/dense_column.h"
#include "mainspring/float_environment.h"

namespace {

// A block turns kTileRows x kTileColumns values through shared memory: a warp reads 32 rows of one column
// (one 128-byte line) and writes 32 neighbours of a row.
constexpr int kTileRows = 64;
constexpr int kTileColumns = 32;
constexpr int kWarp = 32;
constexpr int kWarps = 8;

enum Kind : int { kAffine, kLog1p, kIndicator };

// 32 bytes: two 16-byte loads through the read-only cache, the same for a whole warp.
struct alignas(16) Column {
  int source;
  int kind;
  float fill, lower, upper, mean_high, mean_low, inverse_scale;
};

// mainspring/math/log1p-inl.h, step by step. The intrinsics are never fused or flushed.
__device__ __forceinline__ float Log1p(float x) {
  const int bits = (__float_as_int(__fadd_rn(x, 1.0f)) - 0x3F400001) & ~0x7FFFFF;
  const float four_scaled = __int_as_float(0x40800000 - bits);
  const float x_scaled = __int_as_float(__float_as_int(x) - bits);
  const float f = __fadd_rn(x_scaled, __fsub_rn(__fmul_rn(four_scaled, 0.25f), 1.0f));
  const float f2 = __fmul_rn(f, f);
  const float low = __fmaf_rn(__fmaf_rn(-0x1.000046p-2f, f, 0x1.5555a4p-2f), f, -0.5f);
  const float middle = __fmaf_rn(__fmaf_rn(0x1.28848ap-3f, f, -0x1.54ed86p-3f), f, 0x1.99695ep-3f);
  const float high = __fmaf_rn(__fmaf_rn(-0x1.71e6a8p-5f, f, 0x1.ad0a08p-4f), f, -0x1.0da4eep-3f);
  const float f3 = __fmul_rn(f2, f);
  const float q = __fmaf_rn(__fmaf_rn(high, f3, middle), f3, low);
  const float result = __fmaf_rn(__int2float_rn(bits), 0x1.62e43p-24f, __fmaf_rn(f2, q, f));
  return x == __int_as_float(0x7F800000) ? x : result;
}

__device__ __forceinline__ float Transform(float x, const Column& c) {
  const bool is_missing = x != x;
  if (c.kind == kIndicator) return is_missing ? 1.0f : 0.0f;
  float y = is_missing ? c.fill : x;
  y = c.lower > y ? c.lower : y;  // not fmaxf: a value equal to a bound, -0.0 included, stays itself
  y = c.upper < y ? c.upper : y;
  if (c.kind == kLog1p) y = Log1p(y);
  return __fmul_rn(__fsub_rn(__fsub_rn(y, c.mean_high), c.mean_low), c.inverse_scale);
}

__global__ void __launch_bounds__(kWarp* kWarps)
    DenseKernel(const Column* __restrict__ program, int width, const float* __restrict__ columns,
                size_t column_stride, size_t n_rows, float* __restrict__ out) {
  // One word more than the rows, so that a warp that walks along a row meets 32 banks.
  __shared__ float tile[kTileColumns][kTileRows + 1];
  const size_t first_row = static_cast<size_t>(blockIdx.x) * kTileRows;
  const int first_column = static_cast<int>(blockIdx.y) * kTileColumns;
  const int rows = n_rows - first_row < kTileRows ? static_cast<int>(n_rows - first_row) : kTileRows;
  const int n_columns = width - first_column < kTileColumns ? width - first_column : kTileColumns;

  for (int i = threadIdx.y; i < n_columns; i += kWarps) {
    const Column c = program[first_column + i];
    const float* x = columns + c.source * column_stride + first_row;
    for (int row = threadIdx.x; row < rows; row += kWarp) tile[i][row] = Transform(x[row], c);
  }
  __syncthreads();
  // Neighbouring threads write neighbouring floats, across the ends of rows where the matrix is narrow.
  for (int at = threadIdx.y * kWarp + threadIdx.x; at < rows * n_columns; at += kWarp * kWarps) {
    const int row = at / n_columns;
    const int i = at - row * n_columns;
    out[(first_row + row) * width + first_column + i] = tile[i][row];
  }
}

int32_t FromCuda(cudaError_t error) {
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

}  // namespace

struct MainspringCudaDense {
  Column* columns;  // device memory
  size_t width;
};

extern "C" {

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
  return FromCuda(error);
}

int32_t MainspringCudaDenseCreate(const MainspringCudaDenseSpec* spec, MainspringCudaDense** program) {
  if (program == nullptr) return kMainspringCudaBadArgument;
  *program = nullptr;
  if (spec == nullptr || spec->width == 0 || spec->width > mainspring::kMaxDenseWidth ||
      spec->source == nullptr || spec->indicator == nullptr || spec->log1p == nullptr ||
      spec->fill == nullptr || spec->lower == nullptr || spec->upper == nullptr || spec->mean == nullptr ||
      spec->scale == nullptr) {
    return kMainspringCudaBadArgument;
  }
  int32_t count = 0;
  if (const int32_t status = MainspringCudaDeviceCount(&count); status != kMainspringCudaOk) return status;

  const mainspring::DefaultFloatEnvironment environment;
  std::vector<Column> columns(spec->width);
  for (size_t i = 0; i < spec->width; ++i) {
    const mainspring::DenseColumn c = {spec->source[i], spec->indicator[i] != 0, spec->log1p[i] != 0,
                                       spec->fill[i],   spec->lower[i],          spec->upper[i],
                                       spec->mean[i],   spec->scale[i]};
    if (!mainspring::CheckDenseColumn(c, i).ok()) return kMainspringCudaBadArgument;
    const mainspring::DenseParameters p = mainspring::PrepareDenseColumn(c);
    const int kind = c.indicator ? kIndicator : c.log1p ? kLog1p : kAffine;
    columns[i] = {c.source, kind, p.fill, p.lower, p.upper, p.mean_high, p.mean_low, p.inverse_scale};
  }
  auto* made = new (std::nothrow) MainspringCudaDense{nullptr, spec->width};
  if (made == nullptr) return kMainspringCudaOutOfMemory;
  const size_t bytes = columns.size() * sizeof(Column);
  cudaError_t error = cudaMalloc(&made->columns, bytes);
  if (error == cudaSuccess) error = cudaMemcpy(made->columns, columns.data(), bytes, cudaMemcpyHostToDevice);
  if (error != cudaSuccess) {
    MainspringCudaDenseDestroy(made);
    return FromCuda(error);
  }
  *program = made;
  return kMainspringCudaOk;
}

int32_t MainspringCudaDenseRun(const MainspringCudaDense* program, const float* columns, size_t column_stride,
                               size_t n_rows, float* out, void* stream) {
  if (program == nullptr) return kMainspringCudaBadArgument;
  if (n_rows == 0) return kMainspringCudaOk;
  const size_t row_tiles = (n_rows + kTileRows - 1) / kTileRows;
  const size_t column_tiles = (program->width + kTileColumns - 1) / kTileColumns;
  if (columns == nullptr || out == nullptr || column_stride < n_rows || row_tiles > 0x7FFFFFFF) {
    return kMainspringCudaBadArgument;
  }
  const dim3 grid(static_cast<unsigned>(row_tiles), static_cast<unsigned>(column_tiles));
  DenseKernel<<<grid, dim3(kWarp, kWarps), 0, static_cast<cudaStream_t>(stream)>>>(
      program->columns, static_cast<int>(program->width), columns, column_stride, n_rows, out);
  return FromCuda(cudaGetLastError());
}

void MainspringCudaDenseDestroy(MainspringCudaDense* program) {
  if (program == nullptr) return;
  cudaFree(program->columns);  // a failure here has no one left to hear it
  delete program;
}

}  // extern "C"
