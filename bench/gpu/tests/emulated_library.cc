// The CUDA library's C ABI over the emulated kernels of native/cuda: "device memory" is this process's own,
// as it is for stub_driver.c. With it test_bench_gpu.py runs all of the script's host code to the end,
// answers compared.

#include <cstring>
#include <vector>

#include "mainspring/dense_column.h"
#include "native/cuda/dense.h"
#include "native/cuda/jagged_block.h"
#include "native/cuda/program_block.h"

using namespace mainspring;
using namespace mainspring::cuda;

struct MainspringCudaProgram {
  std::vector<std::uint64_t> image;
};
struct MainspringCudaDense {
  std::vector<DeviceDense> columns;
};

namespace {

void Forget(unsigned long long* bad_row) {
  if (bad_row != nullptr) *bad_row = kNoBadRow;
}
void Mind(bool is_good, std::size_t row, unsigned long long* bad_row) {
  if (!is_good && bad_row != nullptr && row < *bad_row) *bad_row = row;
}

}  // namespace

extern "C" {

int32_t MainspringCudaVersion(void) { return MAINSPRING_CUDA_VERSION; }
const char* MainspringCudaStatusText(int32_t) { return "emulated"; }

int32_t MainspringCudaProgramCreate(const void* plan, size_t bytes, MainspringCudaProgram** program) {
  if (!CheckDevicePlan(plan, bytes).ok()) return kMainspringCudaBadArgument;
  *program = new MainspringCudaProgram{std::vector<std::uint64_t>(bytes / 8)};
  std::memcpy((*program)->image.data(), plan, bytes);
  return kMainspringCudaOk;
}

int32_t MainspringCudaProgramRun(const MainspringCudaProgram* program, const MainspringCudaBatch* batch,
                                 void* stream) {
  if (stream != nullptr) return kMainspringCudaBadArgument;
  DeviceHeader header;
  std::memcpy(&header, program->image.data(), sizeof(header));
  const PlanView plan = ViewOf(header, reinterpret_cast<const char*>(program->image.data()));
  const std::size_t tiles = (batch->n_rows + kProgramRows - 1) / kProgramRows;
  Forget(batch->bad_row);
  ProgramTile tile;
  for (unsigned block = 0; block < tiles * static_cast<std::size_t>(plan.parts); ++block) {
    const BlockPlace place = PlaceOf(plan, batch->n_rows, block);
    const bool is_dense = place.part < plan.dense_parts;
    for (int thread = 0; thread < kProgramThreads; ++thread) {
      if (!is_dense) {
        StoreIds(plan, *batch, place, thread);
      } else if (const auto bad = FillTile(plan, *batch, place, thread, &tile); bad != kNoBadRow) {
        Mind(false, bad, batch->bad_row);
      }
    }
    for (int thread = 0; is_dense && thread < kProgramThreads; ++thread)
      StoreTile(plan, *batch, place, thread, tile);
  }
  return kMainspringCudaOk;
}

int32_t MainspringCudaDenseCreate(const MainspringCudaDenseSpec* s, MainspringCudaDense** program) {
  *program = new MainspringCudaDense;
  for (std::size_t i = 0; i < s->width; ++i) {
    const DenseColumn c = {s->source[i], s->indicator[i] != 0, s->log1p[i] != 0, s->fill[i],
                           s->lower[i],  s->upper[i],          s->mean[i],       s->scale[i]};
    if (!CheckDenseColumn(c, i).ok()) return kMainspringCudaBadArgument;
    const DenseParameters p = PrepareDenseColumn(c);
    const std::int32_t kind = c.indicator ? kDeviceIndicator : c.log1p ? kDeviceLog1p : kDeviceAffine;
    (*program)->columns.push_back(
        {c.source, kind, p.fill, p.lower, p.upper, p.mean_high, p.mean_low, p.inverse_scale});
  }
  return kMainspringCudaOk;
}

int32_t MainspringCudaDenseRun(const MainspringCudaDense* program, const float* columns, size_t column_stride,
                               size_t n_rows, float* out, void* stream) {
  if (stream != nullptr) return kMainspringCudaBadArgument;
  for (std::size_t row = 0; row < n_rows; ++row) {
    for (const DeviceDense& c : program->columns) {
      *out++ = TransformOne(columns[static_cast<std::size_t>(c.source) * column_stride + row], c);
    }
  }
  return kMainspringCudaOk;
}

int32_t MainspringCudaJaggedToPaddedDense(const MainspringCudaJagged* shape, const void* values, void* dense,
                                          unsigned long long* bad_row, void* stream) {
  Forget(bad_row);
  for (std::size_t i = 0; i < shape->n_rows * 32; ++i) {
    Mind(PadRow(*shape, static_cast<const uint32_t*>(values), i / 32, i % 32, static_cast<uint32_t*>(dense)),
         i / 32, bad_row);
  }
  return stream == nullptr ? kMainspringCudaOk : kMainspringCudaBadArgument;
}

int32_t MainspringCudaDenseToJagged(const MainspringCudaJagged* shape, const void* dense, void* values,
                                    unsigned long long* bad_row, void* stream) {
  Forget(bad_row);
  for (std::size_t i = 0; i < shape->n_rows * 32; ++i) {
    Mind(
        UnpadRow(*shape, static_cast<const uint32_t*>(dense), i / 32, i % 32, static_cast<uint32_t*>(values)),
        i / 32, bad_row);
  }
  return stream == nullptr ? kMainspringCudaOk : kMainspringCudaBadArgument;
}

int32_t MainspringCudaGatherRows(const void* table, size_t n_table, const int64_t* indices, size_t n,
                                 size_t words, const uint32_t padding[2], void* out,
                                 unsigned long long* bad_row, void* stream) {
  Forget(bad_row);
  for (std::size_t at = 0; at < n * words; ++at) {
    Mind(GatherWord(static_cast<const uint32_t*>(table), n_table, indices, words, padding[0], padding[1], at,
                    static_cast<uint32_t*>(out)),
         at / words, bad_row);
  }
  return stream == nullptr ? kMainspringCudaOk : kMainspringCudaBadArgument;
}

int32_t MainspringCudaScatterRows(const void* rows, const int64_t* indices, size_t n, size_t words,
                                  size_t n_out, void* out, unsigned long long* bad_row, void* stream) {
  Forget(bad_row);
  for (std::size_t at = 0; at < n * words; ++at) {
    Mind(ScatterWord(static_cast<const uint32_t*>(rows), indices, words, n_out, at,
                     static_cast<uint32_t*>(out)),
         at / words, bad_row);
  }
  return stream == nullptr ? kMainspringCudaOk : kMainspringCudaBadArgument;
}

}  // extern "C"
