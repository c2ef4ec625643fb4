// A block of the fused transform, in the phases between its barriers: what thread `thread` of kProgramThreads
// does in each. Plain C++ as well (see elements.h).
//
// The grid has `parts` blocks for every kProgramRows rows, side by side, so that those which read the same
// column do so at the same time: first the dense matrix in tiles of kProgramColumns columns, turned through
// shared memory, its windows computed on the way; then the ids, kProgramIds columns to a block.

#ifndef MAINSPRING_CUDA_PROGRAM_BLOCK_H_
#define MAINSPRING_CUDA_PROGRAM_BLOCK_H_

#include "elements.h"
#include "program.h"

namespace mainspring {
namespace cuda {

constexpr int kProgramThreads = 256;
constexpr int kProgramRows = 64;
constexpr int kProgramColumns = 32;
constexpr int kProgramIds = 8;
constexpr int kWarpThreads = 32;

// The plan where the kernel reads it.
struct PlanView {
  const char* image;
  const DeviceDense* dense;
  const DeviceWindow* windows;
  const DeviceId* ids;
  int n_floats, width, n_ids, dense_parts, parts;
};

// `image` may be the address of a copy in another memory: nothing is read through it here.
inline PlanView ViewOf(const DeviceHeader& header, const char* image) {
  PlanView v;
  v.image = image;
  v.dense = reinterpret_cast<const DeviceDense*>(image + header.dense_at);
  v.windows = reinterpret_cast<const DeviceWindow*>(image + header.windows_at);
  v.ids = reinterpret_cast<const DeviceId*>(image + header.ids_at);
  v.n_floats = static_cast<int>(header.n_floats);
  v.width = static_cast<int>(header.width);
  v.n_ids = static_cast<int>(header.n_ids);
  v.dense_parts = (v.width + kProgramColumns - 1) / kProgramColumns;
  v.parts = v.dense_parts + (v.n_ids + kProgramIds - 1) / kProgramIds;
  return v;
}

// One word more than the rows, so that a warp that walks along a row meets 32 banks.
struct ProgramTile {
  float values[kProgramColumns][kProgramRows + 1];
};

struct BlockPlace {
  int part;
  std::size_t first_row;
  int rows;
};

MAINSPRING_HD BlockPlace PlaceOf(const PlanView& plan, std::size_t n_rows, unsigned block) {
  BlockPlace p;
  p.part = static_cast<int>(block % static_cast<unsigned>(plan.parts));
  p.first_row = static_cast<std::size_t>(block / static_cast<unsigned>(plan.parts)) * kProgramRows;
  p.rows = n_rows - p.first_row < kProgramRows ? static_cast<int>(n_rows - p.first_row) : kProgramRows;
  return p;
}

MAINSPRING_HD int ColumnsOf(const PlanView& plan, int first_column) {
  return plan.width - first_column < kProgramColumns ? plan.width - first_column : kProgramColumns;
}

// Row `row`'s window; of a row whose events lie outside of their list: what it is without any, and `*is_bad`.
MAINSPRING_HD float WindowOfRow(const MainspringCudaBatch& batch, const DeviceWindow& w, std::size_t row,
                                bool* is_bad) {
  const MainspringCudaEvents& list = batch.events[w.events];
  std::int64_t begin, end;
  if (list.is_wide != 0) {
    begin = static_cast<const std::int64_t*>(list.offsets)[row];
    end = static_cast<const std::int64_t*>(list.offsets)[row + 1];
  } else {
    begin = static_cast<const std::int32_t*>(list.offsets)[row];
    end = static_cast<const std::int32_t*>(list.offsets)[row + 1];
  }
  *is_bad = begin < 0 || end < begin || static_cast<std::uint64_t>(end) > list.size;
  if (*is_bad) begin = end = 0;
  return WindowOne(list.times + begin, list.values + begin, static_cast<std::size_t>(end - begin),
                   batch.ints[static_cast<std::size_t>(w.as_of) * batch.int_stride + row], w);
}

constexpr unsigned long long kNoBadRow = ~0ull;

// Before the barrier, of a dense part. The result is the first bad row that this thread met, or kNoBadRow.
MAINSPRING_HD unsigned long long FillTile(const PlanView& plan, const MainspringCudaBatch& batch,
                                          const BlockPlace& place, int thread, ProgramTile* tile) {
  const int first_column = place.part * kProgramColumns, n_columns = ColumnsOf(plan, first_column);
  unsigned long long bad_row = kNoBadRow;
  int window = 0;  // how many window columns came before: they go round the threads
  for (int i = 0; i < n_columns; ++i) {
    const DeviceDense c = plan.dense[first_column + i];
    if (c.source < plan.n_floats) {
      if (i % (kProgramThreads / kWarpThreads) != thread / kWarpThreads) continue;
      const float* x =
          batch.floats + static_cast<std::size_t>(c.source) * batch.float_stride + place.first_row;
      for (int row = thread % kWarpThreads; row < place.rows; row += kWarpThreads) {
        tile->values[i][row] = TransformOne(x[row], c);
      }
      continue;
    }
    // A thread a row; each window takes other warps, or they would wait for the same ones.
    const int first_thread = window % (kProgramThreads / kProgramRows) * kProgramRows;
    const int row = (thread + kProgramThreads - first_thread) % kProgramThreads;
    ++window;
    if (row >= place.rows) continue;
    const std::size_t at = place.first_row + static_cast<std::size_t>(row);
    bool is_bad;
    const float x = WindowOfRow(batch, plan.windows[c.source - plan.n_floats], at, &is_bad);
    if (is_bad && at < bad_row) bad_row = at;
    tile->values[i][row] = TransformOne(x, c);
  }
  return bad_row;
}

// After it: neighbouring threads write neighbouring floats, across the ends of rows where the matrix is
// narrow.
MAINSPRING_HD void StoreTile(const PlanView& plan, const MainspringCudaBatch& batch, const BlockPlace& place,
                             int thread, const ProgramTile& tile) {
  const int first_column = place.part * kProgramColumns, n_columns = ColumnsOf(plan, first_column);
  float* const out = batch.dense + place.first_row * static_cast<std::size_t>(plan.width) +
                     static_cast<std::size_t>(first_column);
  for (int at = thread; at < place.rows * n_columns; at += kProgramThreads) {
    const int row = at / n_columns, i = at - row * n_columns;
    out[static_cast<std::size_t>(row) * static_cast<std::size_t>(plan.width) + static_cast<std::size_t>(i)] =
        tile.values[i][row];
  }
}

template <typename T>
MAINSPRING_HD const T* TableAt(const PlanView& plan, std::int64_t at) {
  return reinterpret_cast<const T*>(plan.image + at);
}

// Of an id part: a warp takes a column.
MAINSPRING_HD void StoreIds(const PlanView& plan, const MainspringCudaBatch& batch, const BlockPlace& place,
                            int thread) {
  const int j = (place.part - plan.dense_parts) * kProgramIds + thread / kWarpThreads;
  if (j >= plan.n_ids) return;
  const DeviceId id = plan.ids[j];
  std::int32_t* const out = batch.ids + static_cast<std::size_t>(j) * batch.ids_stride + place.first_row;
  const std::int64_t* const ints = batch.ints + place.first_row;
  const int first = thread % kWarpThreads;
  if (id.kind == kDeviceCross) {
    const std::int64_t* const sources = TableAt<std::int64_t>(plan, id.at);
    for (int row = first; row < place.rows; row += kWarpThreads) {
      out[row] = CrossOne(ints + row, batch.int_stride, sources, id);
    }
    return;
  }
  const std::size_t source = static_cast<std::size_t>(id.source);
  if (id.kind == kDeviceBucketise) {
    const float* const x = batch.floats + source * batch.float_stride + place.first_row;
    const float* const bounds = TableAt<float>(plan, id.at);
    for (int row = first; row < place.rows; row += kWarpThreads) out[row] = BucketiseOne(x[row], bounds, id);
    return;
  }
  const std::int64_t* const x = ints + source * batch.int_stride;
  if (id.kind == kDeviceHash) {
    for (int row = first; row < place.rows; row += kWarpThreads) {
      out[row] = HashOne(static_cast<std::uint64_t>(x[row]), id);
    }
    return;
  }
  const std::uint16_t* const pilots = TableAt<std::uint16_t>(plan, id.pilots_at);
  if (id.kind == kDeviceVocabularyNarrow) {
    const std::uint32_t* const slots = TableAt<std::uint32_t>(plan, id.at);
    for (int row = first; row < place.rows; row += kWarpThreads) {
      out[row] = NarrowOne(static_cast<std::uint64_t>(x[row]), slots, pilots, id);
    }
    return;
  }
  const std::uint64_t* const slots = TableAt<std::uint64_t>(plan, id.at);
  for (int row = first; row < place.rows; row += kWarpThreads) {
    out[row] = WideOne(static_cast<std::uint64_t>(x[row]), slots, pilots, id);
  }
}

}  // namespace cuda
}  // namespace mainspring

#endif  // MAINSPRING_CUDA_PROGRAM_BLOCK_H_
