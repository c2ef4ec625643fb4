// Bags without Python: each target against the generic one, nothing written elsewhere, under guards that
// sanitizers see. What they mean is tested against NumPy in test_native_bags.py.

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "../src/program/program_kernels.h"
#include "mainspring/program.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();

// Two lists; three bags of the first, one of the second.
ProgramSpec BagSpec() {
  ProgramSpec spec;
  spec.n_lists = 2;
  spec.bags.resize(4);
  for (std::size_t i = 0; i < spec.bags.size(); ++i) {
    IdSpec& bag = spec.bags[i];
    bag.sources = {i == 2 ? 1 : 0};
    bag.offset = static_cast<std::int32_t>(100 * i);
    bag.seed = i;
    bag.buckets = 1000;
  }
  for (std::size_t i : {1, 3}) {
    spec.bags[i].kind = IdKind::kVocabulary;
    for (std::int64_t v = 0; v < 50; ++v) {
      spec.bags[i].values.push_back(v * (i == 3 ? std::int64_t{1} << 40 : 2));
    }
  }
  return spec;
}

// Lists on the heap, each exactly as long as it is; `before`: values ahead of the first row's.
struct Lists {
  std::vector<std::int32_t> narrow;
  std::vector<std::int64_t> wide;
  std::vector<std::int64_t> values[2];
  std::vector<MainspringList> lists;
  std::size_t n_rows;

  explicit Lists(std::size_t rows, std::int32_t before = 0) : narrow{before}, wide{0}, n_rows(rows) {
    std::mt19937_64 random(rows);
    for (std::size_t row = 0; row < rows; ++row) {
      narrow.push_back(narrow.back() + static_cast<std::int32_t>(random() % 50 == 0 ? 1500 : random() % 9));
      wide.push_back(wide.back() + static_cast<std::int64_t>(random() % 3));
    }
    values[0].resize(static_cast<std::size_t>(narrow.back()) + 3);
    values[1].resize(static_cast<std::size_t>(wide.back()));
    for (auto& list : values) {
      for (auto& x : list) {
        x = random() % 10 == 0 ? kMissing : static_cast<std::int64_t>(random() % 120) - 10;
        if (random() % 4 == 0 && x > 0) x <<= 40;
      }
    }
    lists = {{narrow.data(), 0, values[0].size(), values[0].data()},
             {wide.data(), 1, values[1].size(), values[1].data()}};
  }

  ProgramInput Input() const {
    ProgramInput input;
    input.n_rows = n_rows;
    input.lists = lists.data();
    return input;
  }
};

struct Result {
  Status status;
  std::size_t size = 0;
  std::vector<std::int32_t> values, offsets;
};

Program Make(Target target) {
  Program program;
  const Status status = Program::Compile(BagSpec(), target, &program);
  EXPECT_TRUE(status.ok()) << status.expected;
  return program;
}

Result RunBags(const Program& program, const Lists& lists, int threads = 1) {
  ProgramWorkspace workspace = program.MakeWorkspace(threads);
  Result r;
  r.status = program.PrepareBags(lists.Input(), &workspace, &r.size);
  if (!r.status.ok()) return r;
  r.values.assign(r.size, -7);
  r.offsets.assign(program.n_bags() * lists.n_rows + 1, -7);
  r.status = program.Run(lists.Input(), &workspace, nullptr, nullptr, lists.n_rows, threads,
                         {r.values.data(), r.offsets.data()});
  return r;
}

class BagsTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (!IsSupported(GetParam())) GTEST_SKIP() << "this CPU has no " << TargetName(GetParam());
  }
};

TEST_P(BagsTest, EqualsTheGenericTargetOnAnyNumberOfThreads) {
  const Program program = Make(GetParam()), generic = Make(Target::kGeneric);
  for (std::size_t rows : {0, 1, 2, 7, 8, 11, 12, 65, 1023, 1025, 5003, 40001}) {
    for (std::int32_t before : {0, 5}) {
      const Lists lists(rows, before);
      const Result want = RunBags(generic, lists);
      ASSERT_TRUE(want.status.ok());
      EXPECT_EQ(want.size, static_cast<std::size_t>(3 * (lists.narrow.back() - before) + lists.wide.back()));
      EXPECT_EQ(want.offsets.front(), 0);
      EXPECT_EQ(want.offsets.back(), static_cast<std::int32_t>(want.size));
      EXPECT_TRUE(std::is_sorted(want.offsets.begin(), want.offsets.end()));
      EXPECT_EQ(std::count(want.values.begin(), want.values.end(), -7), 0);
      for (int threads : {1, 2, 3, 8}) {
        const Result got = RunBags(program, lists, threads);
        ASSERT_TRUE(got.status.ok());
        ASSERT_EQ(got.values, want.values) << rows;
        ASSERT_EQ(got.offsets, want.offsets) << rows;
      }
    }
  }
}

TEST_P(BagsTest, RowAloneEqualsRowInBatch) {
  const Program program = Make(GetParam());
  const Lists lists(200);
  const Result whole = RunBags(program, lists);
  ProgramWorkspace workspace = program.MakeWorkspace();
  for (std::size_t row = 0; row < lists.n_rows; ++row) {
    ProgramInput input;
    input.n_rows = 1;
    const MainspringList alone[] = {
        {lists.narrow.data() + row, 0, lists.values[0].size(), lists.values[0].data()},
        {lists.wide.data() + row, 1, lists.values[1].size(), lists.values[1].data()}};
    input.lists = alone;
    std::size_t size = 0;
    ASSERT_TRUE(program.PrepareBags(input, &workspace, &size).ok());
    std::vector<std::int32_t> values(size), offsets(program.n_bags() + 1);
    ASSERT_TRUE(program.RunBags(input, &workspace, {values.data(), offsets.data()}).ok());
    for (std::size_t bag = 0; bag < program.n_bags(); ++bag) {
      const auto begin = whole.values.begin() + whole.offsets[bag * lists.n_rows + row];
      const auto end = whole.values.begin() + whole.offsets[bag * lists.n_rows + row + 1];
      ASSERT_EQ(std::vector<std::int32_t>(values.begin() + offsets[bag], values.begin() + offsets[bag + 1]),
                std::vector<std::int32_t>(begin, end));
    }
  }
}

TEST_P(BagsTest, DamagedOffsetsAreFoundBeforeAnythingIsWritten) {
  const Program program = Make(GetParam());
  for (std::size_t rows : {1, 12, 3000}) {
    for (std::int64_t bad : {std::int64_t{-1}, std::int64_t{1} << 31, kMissing}) {
      for (std::size_t row : {std::size_t{0}, rows / 2, rows - 1}) {
        Lists lists(rows);
        lists.wide[row + 1] = bad;
        const Status status = RunBags(program, lists).status;
        EXPECT_EQ(status.code, StatusCode::kBadShape);
        EXPECT_EQ(status.column, 1);
        EXPECT_EQ(status.got, static_cast<double>(row));
      }
    }
  }
  Lists none(0);
  none.narrow[0] = 10;
  EXPECT_EQ(RunBags(program, none).status.code, StatusCode::kBadShape);
}

// Whoever changes the offsets while we run must not make us write or read elsewhere. The arrays are as long
// as they must be, so a sanitizer sees one step beyond.
TEST_P(BagsTest, ListsThatChangeAfterTheyWereMeasuredLeadNowhere) {
  const Program program = Make(GetParam());
  for (std::int32_t bad : {-1000, -1, 1, 1000, 1 << 30}) {
    for (std::size_t at : {0, 50, 100}) {
      Lists lists(100, 2);
      ProgramWorkspace workspace = program.MakeWorkspace();
      std::size_t size = 0;
      ASSERT_TRUE(program.PrepareBags(lists.Input(), &workspace, &size).ok());
      std::vector<std::int32_t> values(size), offsets(program.n_bags() * lists.n_rows + 1);
      lists.narrow[at] += bad;
      const Status status = program.Run(lists.Input(), &workspace, nullptr, nullptr, lists.n_rows, 1,
                                        {values.data(), offsets.data()});
      EXPECT_TRUE(at != 100 || bad < 0 || status.code == StatusCode::kBadShape);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, BagsTest, testing::ValuesIn(kAllTargets),
                         [](const auto& info) { return std::string(TargetName(info.param)); });

TEST(BagsCompileTest, RefusesWhatIsNoBag) {
  const auto column_of = [](const auto& change) {
    ProgramSpec spec = BagSpec();
    change(spec);
    Program program;
    const Status status = Program::Compile(spec, Target::kGeneric, &program);
    EXPECT_EQ(status.code, StatusCode::kBadSpec);
    return status.column;
  };
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.bags[1].sources = {2}; }), 1);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.bags[2].sources = {}; }), 2);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.bags[0].buckets = 1; }), 0);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.bags[3].values = {1, 1}; }), 3);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.bags[3].kind = IdKind::kCross; }), 3);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.bags[3].kind = IdKind::kBucketise; }), 3);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.n_lists = -1; }), -1);
  EXPECT_EQ(column_of([](ProgramSpec& s) { s.bags.clear(); }), -1);
}

TEST(BagsCompileTest, MoreIdsThanAnInt32CountsAreRefused) {
  const Program program = Make(Target::kGeneric);
  ProgramWorkspace workspace = program.MakeWorkspace();
  const std::int64_t offsets[] = {0, 1 << 30};
  const MainspringList lists[] = {{offsets, 1, 1 << 30, nullptr}, {offsets, 1, 1 << 30, nullptr}};
  ProgramInput input;
  input.n_rows = 1;
  input.lists = lists;
  std::size_t size = 0;
  const Status status = program.PrepareBags(input, &workspace, &size);
  EXPECT_EQ(status.code, StatusCode::kOutOfRange);
  EXPECT_EQ(size, std::size_t{1} << 32);
  EXPECT_EQ(program.MaxBagIds(input), std::size_t{1} << 32);
}

}  // namespace
}  // namespace mainspring
