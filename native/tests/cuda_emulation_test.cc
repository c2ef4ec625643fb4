// The CUDA kernels without a GPU: the lines that their threads run, compiled for the CPU, block by block and
// thread by thread, against the CPU's own program. It proves arithmetic, indices and bounds, not what only
// hardware can: races, the memory model, speed.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "../cuda/jagged_block.h"
#include "../cuda/program_block.h"
#include "../src/program/program_kernels.h"
#include "mainspring/program.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// Every operation; `width` dense columns, so that several tiles and narrow ones occur.
ProgramSpec MixedSpec(int width) {
  ProgramSpec spec;
  spec.n_floats = 3;
  spec.n_ints = 4;
  spec.n_events = 2;
  for (std::int32_t i = 0; i < 6; ++i) {
    spec.windows.push_back({i % 2, 3, i < 3 ? 50 : 500, static_cast<Aggregate>(i)});
  }
  spec.windows.push_back({0, 3, std::numeric_limits<std::int64_t>::max(), Aggregate::kMean});
  for (std::int32_t i = 0; i < width; ++i) {
    DenseColumn c;
    c.source = i % 10;
    c.indicator = i % 7 == 5;
    c.pass = i % 3 == 2;
    c.log1p = i % 4 == 1;
    c.lower = i % 4 == 1 ? -3 : -kInf;
    c.upper = i % 5 == 3 ? 40.5 : kInf;
    c.fill = 0.25 * i;
    c.mean = 0.1 * i;
    c.scale = 2 + 0.3 * i;
    spec.dense.push_back(c);
  }
  for (std::int32_t i = 0; i < 19; ++i) {
    IdSpec id;
    id.sources = {i % 3};
    id.seed = static_cast<std::uint64_t>(i);
    id.buckets = i == 0 ? 2 : i == 1 ? std::numeric_limits<std::int32_t>::max() : 1000 + i;
    id.offset = i == 1 ? 0 : 10 * i;
    spec.ids.push_back(id);
  }
  spec.ids[4].kind = spec.ids[5].kind = spec.ids[6].kind = IdKind::kVocabulary;
  for (std::int64_t v = 0; v < 200; v += 2) spec.ids[4].values.push_back(v), spec.ids[5].values.push_back(-v);
  spec.ids[5].values[0] = std::int64_t{1} << 60;  // a wide one; [6] stays empty
  spec.ids[7].kind = spec.ids[8].kind = IdKind::kCross;
  spec.ids[7].sources = {0, 1, 2};
  spec.ids[8].sources = {1, 3};
  for (std::size_t i = 9; i < 17; ++i) {
    spec.ids[i].kind = IdKind::kBucketise;
    spec.ids[i].right = i % 2 == 0;
    for (std::size_t b = 0; b < (i - 9) * (i - 9) * 3; ++b) {
      spec.ids[i].boundaries.push_back(static_cast<double>(b) - 20);
    }
  }
  return spec;
}

// Columns as the GPU takes them: float i at floats[i * n_rows].
struct Batch {
  std::size_t n_rows;
  std::vector<float> floats;
  std::vector<std::int64_t> ints;
  std::vector<std::int32_t> offsets;
  std::vector<std::int64_t> wide_offsets;
  std::vector<std::int64_t> times[2];
  std::vector<float> values[2];

  explicit Batch(std::size_t rows)
      : n_rows(rows), floats(3 * rows), ints(4 * rows), offsets{0}, wide_offsets{0} {
    std::mt19937_64 random(rows);
    std::normal_distribution<float> normal(0.0f, 20.0f);
    const float odd[] = {kNaN, 0.0f, -0.0f, 1e-40f, static_cast<float>(kInf), static_cast<float>(-kInf),
                         40.5f};
    for (float& x : floats) x = random() % 4 == 0 ? odd[random() % 7] : normal(random);
    for (std::int64_t& x : ints) {
      x = random() % 10 == 0 ? kMissing : static_cast<std::int64_t>(random() % 300) - 50;
      if (random() % 20 == 0) x = std::int64_t{1} << 60;
    }
    for (std::size_t row = 0; row < rows; ++row) {
      std::int64_t& now = ints[3 * rows + row];
      now = 1000 + static_cast<std::int64_t>(random() % 500);
      if (row % 17 == 3) now = row % 2 == 0 ? kMissing : kMissing + 20;
      for (int list = 0; list < 2; ++list) {
        const std::size_t n = random() % 50 == 0 ? 80 : random() % 20;
        std::int64_t time = 700;
        for (std::size_t i = 0; i < n; ++i) {
          time += static_cast<std::int64_t>(random() % 60) - (random() % 30 == 0 ? 100 : 0);
          times[list].push_back(random() % 40 == 0 ? kMissing : row % 17 == 3 ? kMissing + 10 : time);
          values[list].push_back(random() % 20 == 0 ? odd[random() % 7] : normal(random));
        }
      }
      offsets.push_back(static_cast<std::int32_t>(times[0].size()));
      wide_offsets.push_back(static_cast<std::int64_t>(times[1].size()));
    }
  }

  MainspringCudaBatch Device(float* dense, std::int32_t* ids) const {
    MainspringCudaBatch batch = {};
    batch.n_rows = batch.float_stride = batch.int_stride = batch.ids_stride = n_rows;
    batch.floats = floats.data();
    batch.ints = ints.data();
    batch.events[0] = {offsets.data(), 0, times[0].size(), times[0].data(), values[0].data()};
    batch.events[1] = {wide_offsets.data(), 1, times[1].size(), times[1].data(), values[1].data()};
    batch.dense = dense;
    batch.ids = ids;
    return batch;
  }
};

// The kernel of program.cu, a block after another.
unsigned long long Emulate(const std::vector<std::uint64_t>& image, const MainspringCudaBatch& batch) {
  DeviceHeader header;
  std::memcpy(&header, image.data(), sizeof(header));
  const cuda::PlanView plan = cuda::ViewOf(header, reinterpret_cast<const char*>(image.data()));
  const std::size_t tiles = (batch.n_rows + cuda::kProgramRows - 1) / cuda::kProgramRows;
  unsigned long long bad_row = cuda::kNoBadRow;
  for (unsigned block = 0; block < tiles * static_cast<std::size_t>(plan.parts); ++block) {
    const cuda::BlockPlace place = cuda::PlaceOf(plan, batch.n_rows, block);
    auto tile = std::make_unique<cuda::ProgramTile>();
    std::memset(tile.get(), 0xAB, sizeof(*tile));  // what no thread filled must not be read
    for (int thread = 0; thread < cuda::kProgramThreads; ++thread) {
      if (place.part >= plan.dense_parts) {
        cuda::StoreIds(plan, batch, place, thread);
      } else {
        bad_row = std::min(bad_row, cuda::FillTile(plan, batch, place, thread, tile.get()));
      }
    }
    for (int thread = 0; thread < cuda::kProgramThreads && place.part < plan.dense_parts; ++thread) {
      cuda::StoreTile(plan, batch, place, thread, *tile);
    }
  }
  return bad_row;
}

struct Outputs {
  std::vector<float> dense;
  std::vector<std::int32_t> ids;
};

Outputs Expected(const ProgramSpec& spec, const Batch& batch) {
  Program program;
  EXPECT_TRUE(Program::Compile(spec, BestTarget(), &program).ok());
  std::vector<const float*> floats;
  std::vector<const std::int64_t*> ints;
  for (std::size_t i = 0; i < 3; ++i) floats.push_back(batch.floats.data() + i * batch.n_rows);
  for (std::size_t i = 0; i < 4; ++i) ints.push_back(batch.ints.data() + i * batch.n_rows);
  const MainspringEvents events[] = {
      {batch.offsets.data(), 0, batch.times[0].size(), batch.times[0].data(), batch.values[0].data()},
      {batch.wide_offsets.data(), 1, batch.times[1].size(), batch.times[1].data(), batch.values[1].data()}};
  Outputs out;
  out.dense.resize(batch.n_rows * spec.dense.size());
  out.ids.resize(batch.n_rows * spec.ids.size());
  ProgramInput input;
  input.floats = floats.data();
  input.ints = ints.data();
  input.events = events;
  input.n_rows = batch.n_rows;
  ProgramWorkspace workspace = program.MakeWorkspace();
  EXPECT_TRUE(program.Run(input, &workspace, out.dense.data(), out.ids.data(), batch.n_rows).ok());
  return out;
}

TEST(CudaEmulationTest, BlocksGiveTheBitsOfTheCpu) {
  for (const int width : {1, 13, 31, 32, 33, 70}) {
    const ProgramSpec spec = MixedSpec(width);
    std::vector<std::uint64_t> image;
    ASSERT_TRUE(BuildDevicePlan(spec, &image).ok());
    ASSERT_TRUE(CheckDevicePlan(image.data(), image.size() * 8).ok());
    for (const std::size_t rows : {0, 1, 31, 63, 64, 65, 300}) {
      const Batch batch(rows);
      const Outputs want = Expected(spec, batch);
      Outputs got = {std::vector<float>(want.dense.size(), 77.0f),
                     std::vector<std::int32_t>(want.ids.size(), -7)};
      EXPECT_EQ(Emulate(image, batch.Device(got.dense.data(), got.ids.data())), cuda::kNoBadRow);
      EXPECT_EQ(got.ids, want.ids) << width << " " << rows;
      for (std::size_t i = 0; i < want.dense.size(); ++i) {
        // Which NaN `pass` lets out is nobody's business.
        if (std::isnan(want.dense[i]) && std::isnan(got.dense[i])) continue;
        ASSERT_EQ(cuda::AsInt(got.dense[i]), cuda::AsInt(want.dense[i]))
            << width << " columns, " << rows << " rows, at " << i << ": " << got.dense[i] << " instead of "
            << want.dense[i];
      }
    }
  }
}

TEST(CudaEmulationTest, Log1pIsTheCpusOverAllMagnitudes) {
  ProgramSpec spec;
  spec.n_floats = 1;
  DenseColumn c;
  c.log1p = true;
  c.lower = -kInf;
  c.upper = kInf;
  spec.dense.push_back(c);
  std::vector<float> x;
  for (std::uint32_t bits = 0; bits < 0x7F800000u; bits += 4801) {
    x.push_back(cuda::AsFloat(static_cast<std::int32_t>(bits)));
  }
  Program program;
  ASSERT_TRUE(Program::Compile(spec, BestTarget(), &program).ok());
  ProgramWorkspace workspace = program.MakeWorkspace();
  const float* columns[] = {x.data()};
  ProgramInput input;
  input.floats = columns;
  input.n_rows = x.size();
  std::vector<float> want(x.size());
  ASSERT_TRUE(program.Run(input, &workspace, want.data(), nullptr, 0).ok());
  for (std::size_t i = 0; i < x.size(); ++i)
    ASSERT_EQ(cuda::AsInt(cuda::Log1p(x[i])), cuda::AsInt(want[i])) << x[i];
}

TEST(CudaEmulationTest, RowsWhoseEventsLieOutsideCountAsEmptyAndAreTold) {
  const ProgramSpec spec = MixedSpec(10);
  std::vector<std::uint64_t> image;
  ASSERT_TRUE(BuildDevicePlan(spec, &image).ok());
  Batch batch(200);
  Outputs got = {std::vector<float>(2000), std::vector<std::int32_t>(200 * spec.ids.size())};
  MainspringCudaBatch device = batch.Device(got.dense.data(), got.ids.data());
  batch.wide_offsets[150] = -5;
  EXPECT_EQ(Emulate(image, device), 149u);
  batch.offsets[101] = static_cast<std::int32_t>(batch.times[0].size()) + 1;
  EXPECT_EQ(Emulate(image, device), 100u);
  batch.offsets[101] = 0;
  EXPECT_EQ(Emulate(image, device), 100u);
}

TEST(CudaEmulationTest, NoDamagedPlanIsFollowed) {
  std::vector<std::uint64_t> image;
  ASSERT_TRUE(BuildDevicePlan(MixedSpec(12), &image).ok());
  const std::size_t bytes = image.size() * 8;
  EXPECT_FALSE(CheckDevicePlan(nullptr, 0).ok());
  EXPECT_FALSE(CheckDevicePlan(image.data(), bytes - 8).ok());
  EXPECT_FALSE(CheckDevicePlan(image.data(), 95).ok());
  const Batch batch(65);
  Outputs out = {std::vector<float>(65 * 12), std::vector<std::int32_t>(65 * 19)};
  std::mt19937_64 random(7);
  int refused = 0, accepted = 0;
  DeviceHeader header;
  std::memcpy(&header, image.data(), sizeof(header));
  const std::size_t tables = static_cast<std::size_t>(header.ids_at) / 8 + 19 * sizeof(DeviceId) / 8;
  for (int i = 0; i < 4000; ++i) {
    std::vector<std::uint64_t> damaged = image;
    const std::size_t at = i % 4 == 0 ? random() % damaged.size() : random() % tables;
    damaged[at] = i % 3 == 0 ? random() : i % 3 == 1 ? random() % 1000 : damaged[at] ^ 1ull << random() % 64;
    if (!CheckDevicePlan(damaged.data(), bytes).ok()) {
      ++refused;
      continue;
    }
    // Followed, it stays within its batch: the sanitizers' and the allocator's word. Its header may want
    // more.
    DeviceHeader h;
    std::memcpy(&h, damaged.data(), sizeof(h));
    if (h.n_floats > 3 || h.n_ints > 4 || h.n_events > 2 || h.width > 12 || h.n_ids > 19) continue;
    ++accepted;
    Emulate(damaged, batch.Device(out.dense.data(), out.ids.data()));
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(accepted, 100);
}

TEST(CudaEmulationTest, APlanIsRefusedAsTheProgramIs) {
  ProgramSpec spec = MixedSpec(3);
  spec.ids[4].values.push_back(0);
  std::vector<std::uint64_t> image;
  const Status status = BuildDevicePlan(spec, &image);
  EXPECT_EQ(status.code, StatusCode::kBadSpec);
  EXPECT_EQ(status.column, 3 + 4);
  EXPECT_TRUE(image.empty());
}

TEST(CudaEmulationTest, JaggedRowsArePaddedAndComeBack) {
  std::mt19937_64 random(3);
  for (const std::size_t words : {1, 2, 3, 64}) {
    for (const std::size_t max_length : {0, 1, 5, 40}) {
      std::vector<std::int64_t> offsets = {0};
      for (int i = 0; i < 37; ++i)
        offsets.push_back(offsets.back() + static_cast<std::int64_t>(random() % 9));
      const std::size_t n = 37, n_values = static_cast<std::size_t>(offsets.back());
      std::vector<std::uint32_t> values(n_values * words), dense(n * max_length * words, 77),
          back(values.size(), 77);
      for (std::uint32_t& v : values) v = static_cast<std::uint32_t>(random());
      const MainspringCudaJagged shape = {n, offsets.data(), 1, n_values, max_length, words, {11, 12}};
      for (std::size_t row = 0; row < n; ++row) {
        for (std::size_t lane = 0; lane < 32; ++lane) {
          EXPECT_TRUE(cuda::PadRow(shape, values.data(), row, lane, dense.data()));
        }
      }
      for (std::size_t row = 0; row < n; ++row) {
        for (std::size_t lane = 0; lane < 32; ++lane) {
          EXPECT_TRUE(cuda::UnpadRow(shape, dense.data(), row, lane, back.data()));
        }
      }
      for (std::size_t row = 0; row < n; ++row) {
        const std::size_t begin = static_cast<std::size_t>(offsets[row]);
        const std::size_t length = static_cast<std::size_t>(offsets[row + 1]) - begin;
        for (std::size_t i = 0; i < max_length * words; ++i) {
          const std::uint32_t padding = i % 2 == 0 ? 11 : 12;
          EXPECT_EQ(dense[row * max_length * words + i],
                    i < length * words ? values[begin * words + i] : padding);
        }
        for (std::size_t i = 0; i < length * words; ++i) {
          const std::uint32_t padding = i % 2 == 0 ? 11 : 12;
          EXPECT_EQ(back[begin * words + i], i < max_length * words ? values[begin * words + i] : padding);
        }
      }
      offsets[7] = -1;
      EXPECT_FALSE(cuda::PadRow(shape, values.data(), 6, 0, dense.data()));
      EXPECT_FALSE(cuda::PadRow(shape, values.data(), 7, 0, dense.data()));
      EXPECT_FALSE(cuda::UnpadRow(shape, dense.data(), 7, 0, back.data()));
    }
  }
}

TEST(CudaEmulationTest, RowsAreGatheredAndScattered) {
  const std::vector<std::uint32_t> table = {1, 2, 3, 10, 20, 30};
  const std::vector<std::int64_t> indices = {1, -1, 0, 2, kMissing};
  std::vector<std::uint32_t> out(15, 77);
  std::vector<bool> good;
  for (std::size_t at = 0; at < 15; ++at) {
    good.push_back(cuda::GatherWord(table.data(), 2, indices.data(), 3, 8, 9, at, out.data()));
  }
  EXPECT_EQ(out, (std::vector<std::uint32_t>{10, 20, 30, 8, 9, 8, 1, 2, 3, 8, 9, 8, 8, 9, 8}));
  for (std::size_t at = 0; at < 15; ++at) EXPECT_EQ(good[at], at < 9);

  std::vector<std::uint32_t> to(9, 77);
  const std::vector<std::int64_t> places = {2, 0, 3, -1};
  const std::vector<std::uint32_t> rows = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
  for (std::size_t at = 0; at < 12; ++at) {
    EXPECT_EQ(cuda::ScatterWord(rows.data(), places.data(), 3, 3, at, to.data()), at < 6);
  }
  EXPECT_EQ(to, (std::vector<std::uint32_t>{4, 5, 6, 77, 77, 77, 1, 2, 3}));
}

}  // namespace
}  // namespace mainspring
