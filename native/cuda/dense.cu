#include <cuda_runtime.h>

#include <new>
#include <vector>

#include "dense.h"
#include "elements.h"
#include "mainspring/dense_column.h"
#include "mainspring/float_environment.h"
#include "runtime.h"

namespace {

using mainspring::DeviceDense;
using mainspring::cuda::TransformOne;

// A block turns kTileRows x kTileColumns values through shared memory: a warp reads 32 rows of one column
// (one 128-byte line) and writes 32 neighbours of a row.
constexpr int kTileRows = 64;
constexpr int kTileColumns = 32;
constexpr int kWarp = 32;
constexpr int kWarps = 8;

__global__ void __launch_bounds__(kWarp* kWarps)
    DenseKernel(const DeviceDense* __restrict__ program, int width, const float* __restrict__ columns,
                size_t column_stride, size_t n_rows, float* __restrict__ out) {
  // One word more than the rows, so that a warp that walks along a row meets 32 banks.
  __shared__ float tile[kTileColumns][kTileRows + 1];
  const size_t first_row = static_cast<size_t>(blockIdx.x) * kTileRows;
  const int first_column = static_cast<int>(blockIdx.y) * kTileColumns;
  const int rows = n_rows - first_row < kTileRows ? static_cast<int>(n_rows - first_row) : kTileRows;
  const int n_columns = width - first_column < kTileColumns ? width - first_column : kTileColumns;

  for (int i = threadIdx.y; i < n_columns; i += kWarps) {
    const DeviceDense c = program[first_column + i];
    const float* x = columns + c.source * column_stride + first_row;
    for (int row = threadIdx.x; row < rows; row += kWarp) tile[i][row] = TransformOne(x[row], c);
  }
  __syncthreads();
  // Neighbouring threads write neighbouring floats, across the ends of rows where the matrix is narrow.
  for (int at = threadIdx.y * kWarp + threadIdx.x; at < rows * n_columns; at += kWarp * kWarps) {
    const int row = at / n_columns;
    const int i = at - row * n_columns;
    out[(first_row + row) * width + first_column + i] = tile[i][row];
  }
}

}  // namespace

struct MainspringCudaDense {
  mainspring::DeviceDense* columns;  // device memory
  size_t width;
};

using mainspring::cuda::FromCuda;

extern "C" {

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
  std::vector<mainspring::DeviceDense> columns(spec->width);
  for (size_t i = 0; i < spec->width; ++i) {
    const mainspring::DenseColumn c = {spec->source[i], spec->indicator[i] != 0, spec->log1p[i] != 0,
                                       spec->fill[i],   spec->lower[i],          spec->upper[i],
                                       spec->mean[i],   spec->scale[i]};
    if (!mainspring::CheckDenseColumn(c, i).ok()) return kMainspringCudaBadArgument;
    const mainspring::DenseParameters p = mainspring::PrepareDenseColumn(c);
    const std::int32_t kind = c.indicator ? mainspring::kDeviceIndicator
                              : c.log1p   ? mainspring::kDeviceLog1p
                                          : mainspring::kDeviceAffine;
    columns[i] = {c.source, kind, p.fill, p.lower, p.upper, p.mean_high, p.mean_low, p.inverse_scale};
  }
  auto* made = new (std::nothrow) MainspringCudaDense{nullptr, spec->width};
  if (made == nullptr) return kMainspringCudaOutOfMemory;
  const size_t bytes = columns.size() * sizeof(columns[0]);
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
  return mainspring::cuda::Launched();
}

void MainspringCudaDenseDestroy(MainspringCudaDense* program) {
  if (program == nullptr) return;
  cudaFree(program->columns);  // a failure here has no one left to hear it
  delete program;
}

}  // extern "C"
