// The dense program without Python: each target this CPU has, against a scalar double reference and one
// another.

#include "mainspring/dense.h"

#include <gtest/gtest.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace mainspring {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr float kGuard = 77.0f;

using Columns = std::vector<std::vector<float>>;

DenseColumn Identity() {
  DenseColumn column;
  column.lower = -kInf;
  column.upper = kInf;
  return column;
}

// Indicators, bounds on one and two sides, log1p: all in turn.
std::vector<DenseColumn> MixedSpec(std::size_t width, std::int32_t n_sources) {
  std::mt19937 random(static_cast<unsigned>(width));
  std::normal_distribution<double> normal;
  std::vector<DenseColumn> spec(width);
  for (std::size_t i = 0; i < width; ++i) {
    spec[i].source = static_cast<std::int32_t>(i + width) % n_sources;
    spec[i].indicator = i % 4 == 3;
    spec[i].log1p = i % 4 == 1;
    spec[i].fill = normal(random);
    spec[i].lower = i % 3 == 0 ? -kInf : -3.0;
    spec[i].upper = i % 5 == 0 ? kInf : 50.0;
    spec[i].mean = normal(random);
    spec[i].scale = 1.0 + std::abs(normal(random));
  }
  spec[0].source = n_sources - 1;
  return spec;
}

Columns MixedColumns(std::size_t n_sources, std::size_t n_rows) {
  std::mt19937 random(static_cast<unsigned>(n_rows));
  std::normal_distribution<float> normal(0.0f, 20.0f);
  Columns columns(n_sources, std::vector<float>(n_rows));
  for (auto& column : columns) {
    for (float& x : column) x = random() % 10 == 0 ? static_cast<float>(kNaN) : normal(random);
  }
  return columns;
}

double Reference(const DenseColumn& c, float x) {
  if (c.indicator) return std::isnan(x) ? 1.0 : 0.0;
  double y = std::isnan(x) ? static_cast<float>(c.fill) : x;
  const double lower = static_cast<float>(c.lower), upper = static_cast<float>(c.upper);
  y = y < lower ? lower : y > upper ? upper : y;
  if (c.log1p) y = std::log1p(y > 0 ? y : 0.0);
  return (y - c.mean) / c.scale;
}

DenseProgram MakeProgram(const std::vector<DenseColumn>& spec, Target target) {
  DenseProgram program;
  const Status status = DenseProgram::Compile(spec.data(), spec.size(), target, &program);
  EXPECT_TRUE(status.ok()) << status.expected;
  return program;
}

std::vector<float> RunProgram(const DenseProgram& program, const Columns& columns, std::size_t n_rows) {
  std::vector<const float*> pointers;
  for (const auto& column : columns) pointers.push_back(column.data());
  // One float in, so that rows are not aligned; guards on both sides.
  std::vector<float> memory(n_rows * program.width() + 34, kGuard);
  EXPECT_TRUE(program.Run(pointers.data(), n_rows, memory.data() + 17).ok());
  for (std::size_t i = 0; i < 17; ++i) {
    EXPECT_EQ(memory[i], kGuard);
    EXPECT_EQ(memory[memory.size() - 1 - i], kGuard);
  }
  return std::vector<float>(memory.begin() + 17, memory.end() - 17);
}

bool SameBits(const float* a, const float* b, std::size_t size) {
  return size == 0 || std::memcmp(a, b, size * sizeof(float)) == 0;
}

class DenseTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (!IsSupported(GetParam())) GTEST_SKIP() << "this CPU has no " << TargetName(GetParam());
  }
};

TEST_P(DenseTest, EqualsReferenceAndTheGenericTargetBitForBit) {
  for (std::size_t width : {1, 3, 4, 5, 8, 9, 13, 16, 17, 33, 70}) {
    const auto spec = MixedSpec(width, 5);
    const DenseProgram program = MakeProgram(spec, GetParam());
    const DenseProgram generic = MakeProgram(spec, Target::kGeneric);
    ASSERT_EQ(program.n_sources(), 5u);
    for (std::size_t n_rows : {0, 1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 15, 16, 17, 31, 255, 256, 257, 300, 515}) {
      const Columns columns = MixedColumns(5, n_rows);
      const auto got = RunProgram(program, columns, n_rows);
      const auto plain = RunProgram(generic, columns, n_rows);
      ASSERT_TRUE(SameBits(got.data(), plain.data(), got.size())) << width << " " << n_rows;
      for (std::size_t row = 0; row < n_rows; ++row) {
        for (std::size_t i = 0; i < width; ++i) {
          const double want = Reference(spec[i], columns[static_cast<std::size_t>(spec[i].source)][row]);
          ASSERT_NEAR(got[row * width + i], want, 2e-6 + 1e-6 * std::abs(want))
              << width << " " << row << " " << i;
        }
      }
    }
  }
}

TEST_P(DenseTest, RowAloneEqualsRowInBatch) {
  const auto spec = MixedSpec(21, 5);
  const DenseProgram program = MakeProgram(spec, GetParam());
  const Columns columns = MixedColumns(5, 200);
  const auto batch = RunProgram(program, columns, 200);
  for (std::size_t row = 0; row < 200; ++row) {
    Columns alone;
    for (const auto& column : columns) alone.push_back({column[row]});
    const auto got = RunProgram(program, alone, 1);
    ASSERT_TRUE(SameBits(got.data(), batch.data() + row * 21, 21)) << row;
  }
}

TEST_P(DenseTest, LargeOutputsAreStreamedUnchanged) {
  const std::size_t width = 13, n_rows = (std::size_t{9} << 20) / (width * sizeof(float));
  const auto spec = MixedSpec(width, 5);
  const DenseProgram program = MakeProgram(spec, GetParam());
  const Columns columns = MixedColumns(5, n_rows);
  const auto whole = RunProgram(program, columns, n_rows);
  for (std::size_t first = 0; first < n_rows; first += n_rows / 7) {
    const std::size_t rows = std::min<std::size_t>(1000, n_rows - first);
    Columns part;
    for (const auto& column : columns)
      part.emplace_back(column.begin() + first, column.begin() + first + rows);
    const auto got = RunProgram(program, part, rows);
    ASSERT_TRUE(SameBits(got.data(), whole.data() + first * width, got.size()));
  }
}

TEST_P(DenseTest, Log1pIsWithinOneUlp) {
  DenseColumn column = Identity();
  column.log1p = true;
  const DenseProgram program = MakeProgram({column}, GetParam());
  Columns columns(1);
  for (std::uint32_t bits = 0; bits < 0x7F800000u; bits += 20011) {
    float x;
    std::memcpy(&x, &bits, sizeof(x));
    columns[0].push_back(x);
  }
  const auto got = RunProgram(program, columns, columns[0].size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double want = std::log1p(static_cast<double>(columns[0][i]));
    const float near = static_cast<float>(want);
    const double ulp =
        static_cast<double>(std::nextafter(near, std::numeric_limits<float>::infinity())) - near;
    ASSERT_LT(std::abs(got[i] - want), ulp) << columns[0][i];
  }
}

#if defined(__x86_64__)
TEST_P(DenseTest, FloatEnvironmentIsDefaultInsideAndKeptOutside) {
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x40, kRoundUp = 0x4000, kInexact = 0x20;
  const DenseProgram program = MakeProgram({Identity()}, GetParam());
  const Columns columns(1, std::vector<float>(40, 1e-40f));
  const auto want = RunProgram(program, columns, 40);
  const unsigned saved = _mm_getcsr(), plain = saved & ~0x3Fu;
  // Denormals raise a flag of their own, so what a caller had not raised must be taken back.
  for (const unsigned set : {plain | kFlushToZero | kDenormalsAreZero | kRoundUp, plain, plain | kInexact}) {
    _mm_setcsr(set);
    std::vector<float> got(40);
    const float* pointer = columns[0].data();
    const bool ok = program.Run(&pointer, 40, got.data()).ok();
    const unsigned after = _mm_getcsr();
    _mm_setcsr(saved);
    EXPECT_TRUE(ok);
    EXPECT_EQ(after, set);
    EXPECT_TRUE(SameBits(got.data(), want.data(), 40));
    EXPECT_NE(got[0], 0.0f);
  }
}
#endif

INSTANTIATE_TEST_SUITE_P(Targets, DenseTest, testing::ValuesIn(kAllTargets),
                         [](const auto& info) { return std::string(TargetName(info.param)); });

TEST(DenseCompileTest, RefusesWhatMakesNoSenseAndLeavesTheProgramAlone) {
  const auto code_of = [](const auto& change) {
    std::vector<DenseColumn> spec = {Identity(), Identity()};
    change(spec[1]);
    DenseProgram program = MakeProgram({Identity(), Identity(), Identity()}, Target::kGeneric);
    const Status status = DenseProgram::Compile(spec.data(), spec.size(), Target::kGeneric, &program);
    EXPECT_EQ(program.width(), status.ok() ? 2u : 3u);
    EXPECT_EQ(status.column, status.ok() ? -1 : 1);
    return status.code;
  };
  EXPECT_EQ(code_of([](DenseColumn&) {}), StatusCode::kOk);
  EXPECT_EQ(code_of([](DenseColumn& c) { c.source = -1; }), StatusCode::kBadSpec);
  EXPECT_EQ(code_of([](DenseColumn& c) { c.fill = kNaN; }), StatusCode::kBadSpec);
  EXPECT_EQ(code_of([](DenseColumn& c) { c.lower = kNaN; }), StatusCode::kBadSpec);
  EXPECT_EQ(code_of([](DenseColumn& c) { c.upper = -kInf; }), StatusCode::kBadSpec);
  EXPECT_EQ(code_of([](DenseColumn& c) { c.lower = 1, c.upper = 0; }), StatusCode::kBadSpec);
  EXPECT_EQ(code_of([](DenseColumn& c) { c.mean = 1e300; }), StatusCode::kBadSpec);
  EXPECT_EQ(code_of([](DenseColumn& c) { c.scale = 0; }), StatusCode::kBadSpec);
  EXPECT_EQ(code_of([](DenseColumn& c) { c.indicator = true, c.scale = 0; }), StatusCode::kOk);
}

TEST(DenseCompileTest, RefusesNoColumnsAndTargetsOfOtherCpus) {
  DenseProgram program;
  EXPECT_EQ(DenseProgram::Compile(nullptr, 0, Target::kGeneric, &program).code, StatusCode::kBadSpec);
  const DenseColumn column = Identity();
  for (Target target : kAllTargets) {
    if (IsSupported(target)) continue;
    EXPECT_EQ(DenseProgram::Compile(&column, 1, target, &program).code, StatusCode::kUnknownTarget);
  }
  EXPECT_EQ(program.Run(nullptr, 0, nullptr).code, StatusCode::kBadSpec) << "not compiled";
}

TEST(TargetTest, NamesAndChoice) {
  EXPECT_TRUE(IsSupported(Target::kGeneric));
  EXPECT_TRUE(IsSupported(BestTarget()));
  Target chosen = Target::kGeneric;
  for (Target target : kAllTargets) {
    const Status status = ChooseTarget(TargetName(target), &chosen);
    if (IsSupported(target)) {
      EXPECT_TRUE(status.ok());
      EXPECT_EQ(chosen, target);
    } else {
      EXPECT_EQ(status.code, StatusCode::kUnknownTarget);
    }
  }
  EXPECT_EQ(ChooseTarget("mmx", &chosen).code, StatusCode::kUnknownTarget);
}

}  // namespace
}  // namespace mainspring
