// The feature program without Python: each target against the generic one and small truths, under guards that
// sanitizers see. What every operation means is tested against NumPy in test_native_program.py.

#include "mainspring/program.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "../src/program/program_kernels.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

DenseColumn Numeric(std::int32_t source, bool log1p) {
  DenseColumn column;
  column.source = source;
  column.lower = -kInf;
  column.upper = kInf;
  column.log1p = log1p;
  column.mean = 0.5;
  column.scale = 2;
  return column;
}

DenseColumn Pass(std::int32_t source) {
  DenseColumn column;
  column.source = source;
  column.pass = true;
  return column;
}

// Three floats, four ints (the last is the moment), two event lists; every operation at least once.
ProgramSpec MixedSpec() {
  ProgramSpec spec;
  spec.n_floats = 3;
  spec.n_ints = 4;
  spec.n_events = 2;
  for (std::int32_t i = 0; i < 6; ++i) {
    spec.windows.push_back({i % 2, 3, i < 3 ? 50 : 500, static_cast<Aggregate>(i)});
  }
  for (std::int32_t i = 0; i < 9; ++i) spec.dense.push_back(i % 3 == 2 ? Pass(i) : Numeric(i, i % 3 == 0));
  for (std::int32_t i = 0; i < 11; ++i) {
    IdSpec id;
    id.sources = {i % 3};
    id.seed = static_cast<std::uint64_t>(i);
    id.buckets = 1000 + i;
    id.offset = 10 * i;
    spec.ids.push_back(id);
  }
  spec.ids[4].kind = IdKind::kVocabulary;
  spec.ids[5].kind = IdKind::kVocabulary;
  for (std::int64_t v = 0; v < 200; v += 2) spec.ids[4].values.push_back(v), spec.ids[5].values.push_back(-v);
  spec.ids[5].values[0] = 7;
  spec.ids[6].kind = IdKind::kCross;
  spec.ids[6].sources = {0, 1, 2};
  for (std::size_t i = 7; i < 10; ++i) {
    spec.ids[i].kind = IdKind::kBucketise;
    spec.ids[i].right = i % 2 == 0;
    for (std::size_t b = 0; b < (i - 6) * 30; ++b)
      spec.ids[i].boundaries.push_back(static_cast<double>(b) - 20);
  }
  return spec;
}

// Columns on the heap, each exactly as long as it is.
struct Batch {
  std::vector<std::vector<float>> floats;
  std::vector<std::vector<std::int64_t>> ints;
  std::vector<std::vector<std::int32_t>> offsets;
  std::vector<std::vector<std::int64_t>> times;
  std::vector<std::vector<float>> values;
  std::size_t n_rows;

  explicit Batch(std::size_t rows) : n_rows(rows) {
    std::mt19937_64 random(rows);
    std::normal_distribution<float> normal(0.0f, 20.0f);
    floats.assign(3, std::vector<float>(rows));
    for (auto& column : floats) {
      for (float& x : column) x = random() % 10 == 0 ? kNaN : std::round(normal(random));
    }
    ints.assign(4, std::vector<std::int64_t>(rows));
    for (auto& column : ints) {
      for (auto& x : column)
        x = random() % 10 == 0 ? kMissing : static_cast<std::int64_t>(random() % 300) - 50;
    }
    for (auto& now : ints[3]) now = 1000 + static_cast<std::int64_t>(random() % 500);
    for (int list = 0; list < 2; ++list) {
      offsets.push_back({0});
      times.emplace_back();
      values.emplace_back();
      for (std::size_t row = 0; row < rows; ++row) {
        const std::size_t n = random() % 50 == 0 ? 80 : random() % 20;
        std::int64_t time = ints[3][row] - 300;
        for (std::size_t i = 0; i < n; ++i) {
          time += static_cast<std::int64_t>(random() % 40) - (random() % 30 == 0 ? 100 : 0);
          times.back().push_back(time);
          values.back().push_back(random() % 20 == 0 ? kNaN : normal(random));
        }
        offsets.back().push_back(static_cast<std::int32_t>(times.back().size()));
      }
    }
  }
};

struct Result {
  Status status;
  std::vector<float> dense;
  std::vector<std::int32_t> ids;
};

Result RunProgram(const Program& program, const Batch& batch, int threads = 1) {
  std::vector<const float*> floats;
  std::vector<const std::int64_t*> ints;
  std::vector<MainspringEvents> events;
  for (const auto& column : batch.floats) floats.push_back(column.data());
  for (const auto& column : batch.ints) ints.push_back(column.data());
  for (std::size_t i = 0; i < batch.offsets.size(); ++i) {
    events.push_back(
        {batch.offsets[i].data(), 0, batch.times[i].size(), batch.times[i].data(), batch.values[i].data()});
  }
  Result result;
  result.dense.assign(batch.n_rows * program.width(), 77.0f);
  result.ids.assign(batch.n_rows * program.n_ids(), 77);
  ProgramWorkspace workspace = program.MakeWorkspace(threads);
  const ProgramInput input = {floats.data(), ints.data(), events.data(), batch.n_rows};
  result.status =
      program.Run(input, &workspace, result.dense.data(), result.ids.data(), batch.n_rows, threads);
  return result;
}

Program MakeProgram(const ProgramSpec& spec, Target target) {
  Program program;
  const Status status = Program::Compile(spec, target, &program);
  EXPECT_TRUE(status.ok()) << status.expected;
  return program;
}

class ProgramTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (!IsSupported(GetParam())) GTEST_SKIP() << "this CPU has no " << TargetName(GetParam());
  }
};

TEST_P(ProgramTest, EqualsTheGenericTargetBitForBit) {
  const Program program = MakeProgram(MixedSpec(), GetParam());
  const Program generic = MakeProgram(MixedSpec(), Target::kGeneric);
  for (std::size_t rows :
       {0, 1, 2, 5, 7, 8, 11, 12, 16, 17, 33, 63, 64, 65, 130, 1023, 1024, 1025, 8193, 17000, 300001}) {
    const Batch batch(rows);
    const Result got = RunProgram(program, batch), want = RunProgram(generic, batch);
    ASSERT_TRUE(got.status.ok());
    ASSERT_EQ(got.ids, want.ids) << rows;
    ASSERT_EQ(
        rows == 0 ? 0 : std::memcmp(got.dense.data(), want.dense.data(), got.dense.size() * sizeof(float)), 0)
        << rows;
  }
}

TEST_P(ProgramTest, ThreadsGiveTheSameBits) {
  const Program program = MakeProgram(MixedSpec(), GetParam());
  for (std::size_t rows : {0, 1, 1000, 2049, 5003, 40001}) {
    const Batch batch(rows);
    const Result want = RunProgram(program, batch);
    for (int threads : {2, 3, 8}) {
      const Result got = RunProgram(program, batch, threads);
      ASSERT_TRUE(got.status.ok());
      ASSERT_EQ(got.ids, want.ids) << rows;
      ASSERT_TRUE(rows == 0 ||
                  std::memcmp(got.dense.data(), want.dense.data(), got.dense.size() * sizeof(float)) == 0)
          << rows;
    }
  }
}

// Vocabularies of one row are lanes: more of them than lanes, wide ones between, ids and sources out of
// order.
ProgramSpec VocabularySpec() {
  ProgramSpec spec = MixedSpec();
  spec.ids.clear();
  for (std::int32_t i = 0; i < 37; ++i) {
    IdSpec id;
    id.kind = IdKind::kVocabulary;
    id.sources = {i < 20 ? i % 4 : 3 - i % 3};
    id.offset = i * 100;
    for (std::int64_t v = -i; v < 40 * i; v += 1 + i % 5) id.values.push_back(v);
    if (i % 7 == 3) id.values.push_back(std::int64_t{1} << 40);
    spec.ids.push_back(id);
    if (i % 11 == 5) spec.ids.push_back(MixedSpec().ids[6]);
  }
  return spec;
}

void ExpectRowAloneEqualsRowInBatch(const Program& program) {
  const Batch batch(300);
  const Result whole = RunProgram(program, batch);
  ProgramWorkspace workspace = program.MakeWorkspace();
  for (std::size_t row = 0; row < batch.n_rows; ++row) {
    // Each part exactly as long as it is, so that a sanitizer sees a read beyond.
    std::vector<float> floats;
    std::vector<std::int64_t> ints;
    std::vector<std::vector<std::int64_t>> times;
    std::vector<std::vector<float>> values;
    std::vector<MainspringEventList> lists;
    for (const auto& column : batch.floats) floats.push_back(column[row]);
    for (const auto& column : batch.ints) ints.push_back(column[row]);
    for (std::size_t i = 0; i < 2; ++i) {
      const std::int32_t begin = batch.offsets[i][row], end = batch.offsets[i][row + 1];
      times.emplace_back(batch.times[i].begin() + begin, batch.times[i].begin() + end);
      values.emplace_back(batch.values[i].begin() + begin, batch.values[i].begin() + end);
      lists.push_back({times[i].data(), values[i].data(), times[i].size()});
    }
    std::vector<float> dense(program.width());
    std::vector<std::int32_t> ids(program.n_ids());
    program.RunRow({ints.data(), floats.data(), lists.data()}, &workspace, dense.data(), ids.data());
    ASSERT_EQ(
        std::memcmp(dense.data(), whole.dense.data() + row * program.width(), dense.size() * sizeof(float)),
        0)
        << row;
    for (std::size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(ids[i], whole.ids[i * batch.n_rows + row]) << row;
  }
}

TEST_P(ProgramTest, RowAloneEqualsRowInBatch) {
  ExpectRowAloneEqualsRowInBatch(MakeProgram(MixedSpec(), GetParam()));
  ExpectRowAloneEqualsRowInBatch(MakeProgram(VocabularySpec(), GetParam()));
}

TEST_P(ProgramTest, WindowsAreHalfOpenAndDoNotSeeTheFuture) {
  ProgramSpec spec;
  spec.n_ints = 1;
  spec.n_events = 1;
  for (int i = 0; i < 6; ++i) {
    spec.windows.push_back({0, 0, 10, static_cast<Aggregate>(i)});
    spec.dense.push_back(Pass(i));
  }
  const Program program = MakeProgram(spec, GetParam());
  Batch batch(0);
  batch.floats.clear();
  batch.ints = {{100}};
  batch.offsets = {{0, 5}};
  batch.times = {{90, 91, 95, 100, 101}};
  batch.values = {{1000.0f, 1.0f, kNaN, 3.0f, 1000.0f}};
  batch.n_rows = 1;
  EXPECT_EQ(RunProgram(program, batch).dense, (std::vector<float>{4, 2, 2, 3, 1, 3}));
}

TEST_P(ProgramTest, OffsetsOutsideOfTheListAreAStatus) {
  const Program program = MakeProgram(MixedSpec(), GetParam());
  for (std::size_t rows : {3, 40, 2000, 30000}) {
    Batch batch(rows);
    batch.offsets[1][rows / 2] = 1 << 30;
    batch.offsets[1][rows / 2 + rows / 3] = 1 << 30;
    for (int threads : {1, 2}) {
      const Status status = RunProgram(program, batch, threads).status;
      EXPECT_EQ(status.code, StatusCode::kBadShape);
      EXPECT_EQ(status.got, static_cast<double>(rows / 2 - 1));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, ProgramTest, testing::ValuesIn(kAllTargets),
                         [](const auto& info) { return std::string(TargetName(info.param)); });

TEST(ProgramCompileTest, RefusesIndicesThatPointNowhereAndLeavesTheProgramAlone) {
  const auto column_of = [](const auto& change) {
    ProgramSpec spec = MixedSpec();
    change(spec);
    Program program = MakeProgram(MixedSpec(), Target::kGeneric);
    const Status status = Program::Compile(spec, Target::kGeneric, &program);
    EXPECT_EQ(program.n_ids(), 11u);
    EXPECT_EQ(status.code, StatusCode::kBadSpec);
    return status.column;
  };
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.dense[2].source = 9; }), 2);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.dense[2].source = -1; }), 2);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.ids[0].sources = {4}; }), 9);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.ids[1].sources = {}; }), 10);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.ids[1].sources = {0, 1}; }), 10);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.ids[7].sources = {3}; }), 16) << "the floats are three";
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.ids[0].buckets = 1; }), 9);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.ids[0].offset = 2147483000; }), 9);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.ids[7].boundaries = {1, 1}; }), 16);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.ids[4].values = {1, 1}; }), 13);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.windows[3].events = 2; }), 23);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.windows[3].as_of = 4; }), 23);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.windows[3].width = 0; }), 23);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.n_ints = -1; }), -1);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.dense.clear(), s.ids.clear(); }), -1);
}

}  // namespace
}  // namespace mainspring
