// Jagged rows without Python: every target against plain loops, on memory that sanitizers watch.

#include "mainspring/jagged.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace mainspring {
namespace {

using Words = std::vector<std::uint32_t>;

struct Batch {
  std::vector<std::int64_t> wide;
  std::vector<std::int32_t> narrow;
  Words values;
  std::size_t words = 1;

  Integers Offsets(bool is_wide) const {
    return is_wide ? Integers{wide.data(), true, wide.size()} : Integers{narrow.data(), false, narrow.size()};
  }
};

// Exactly so much memory: a sanitizer sees one word more.
Batch MakeBatch(std::size_t rows, std::size_t longest, std::size_t words, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  Batch batch;
  batch.words = words;
  batch.wide.push_back(0);
  for (std::size_t i = 0; i < rows; ++i) {
    batch.wide.push_back(batch.wide.back() + static_cast<std::int64_t>(random() % (longest + 1)));
  }
  batch.narrow.assign(batch.wide.begin(), batch.wide.end());
  batch.values.resize(static_cast<std::size_t>(batch.wide.back()) * words);
  for (auto& word : batch.values) word = static_cast<std::uint32_t>(random());
  return batch;
}

const Padding kPadding = {{7, 9}};

Words Padded(const Batch& batch, std::size_t max_length) {
  const std::size_t width = max_length * batch.words;
  Words dense;
  for (std::size_t row = 0; row + 1 < batch.wide.size(); ++row) {
    const std::size_t begin = static_cast<std::size_t>(batch.wide[row]) * batch.words;
    const std::size_t n = static_cast<std::size_t>(batch.wide[row + 1]) * batch.words - begin;
    for (std::size_t i = 0; i < width; ++i)
      dense.push_back(i < n ? batch.values[begin + i] : kPadding.bits[i & 1]);
  }
  return dense;
}

TEST(JaggedTest, EveryTargetPadsAndUnpads) {
  for (const Target target : kAllTargets) {
    if (!IsSupported(target)) continue;
    for (const std::size_t words : {1, 2, 6}) {
      for (const std::size_t max_length : {0, 1, 2, 5, 8, 16, 17, 32, 33, 100, 129, 400}) {
        for (const std::size_t rows : {0, 1, 3, 50}) {
          const bool is_wide = rows % 2 == 1;
          const JaggedShape shape{max_length, words};
          const Batch batch = MakeBatch(rows, max_length, words, max_length + rows);
          const Words want = Padded(batch, max_length);
          Words dense(want.size());
          ASSERT_TRUE(PadJagged(batch.values.data(), batch.values.size() / words, batch.Offsets(is_wide),
                                shape, kPadding, target, dense.data())
                          .ok());
          ASSERT_EQ(dense, want) << TargetName(target) << " " << words << " " << max_length << " " << rows;
          Words back(batch.values.size());
          ASSERT_TRUE(
              UnpadJagged(dense.data(), batch.Offsets(is_wide), shape, kPadding, target, back.data()).ok());
          ASSERT_EQ(back, batch.values) << TargetName(target) << " " << words << " " << max_length;
        }
      }
    }
  }
}

TEST(JaggedTest, LongRowsAreCutAndGrowBackWithPadding) {
  for (const Target target : kAllTargets) {
    if (!IsSupported(target)) continue;
    for (const std::size_t max_length : {0, 3, 16, 140}) {
      const Batch batch = MakeBatch(30, 200, 1, max_length);
      const Words want = Padded(batch, max_length);
      Words dense(want.size()), back(batch.values.size());
      const JaggedShape shape{max_length, 1};
      ASSERT_TRUE(PadJagged(batch.values.data(), batch.values.size(), batch.Offsets(true), shape, kPadding,
                            target, dense.data())
                      .ok());
      ASSERT_EQ(dense, want);
      ASSERT_TRUE(UnpadJagged(dense.data(), batch.Offsets(false), shape, kPadding, target, back.data()).ok());
      for (std::size_t row = 0; row < 30; ++row) {
        const auto begin = static_cast<std::size_t>(batch.wide[row]);
        const auto n = static_cast<std::size_t>(batch.wide[row + 1]) - begin;
        for (std::size_t i = 0; i < n; ++i) {
          ASSERT_EQ(back[begin + i], i < max_length ? batch.values[begin + i] : kPadding.bits[i & 1]);
        }
      }
    }
  }
}

// Past the cache from 8 MiB on: on whole lines and off them.
TEST(JaggedTest, LargeOutputs) {
  const std::size_t rows = 9000, max_length = 256;
  const Batch batch = MakeBatch(rows, max_length, 1, 3);
  const Words want = Padded(batch, max_length);
  for (const Target target : kAllTargets) {
    if (!IsSupported(target)) continue;
    for (const std::size_t off : {0, 1}) {
      Words memory(want.size() + 32, 5);
      const auto address = reinterpret_cast<std::uintptr_t>(memory.data());
      std::uint32_t* const dense = memory.data() + (64 - address % 64) % 64 / 4 + off;
      ASSERT_TRUE(PadJagged(batch.values.data(), batch.values.size(), batch.Offsets(true), {max_length, 1},
                            kPadding, target, dense)
                      .ok());
      ASSERT_EQ(std::memcmp(dense, want.data(), want.size() * 4), 0) << TargetName(target) << off;
      ASSERT_EQ(dense[want.size()], 5u);
    }
  }
}

TEST(JaggedTest, OffsetsAreChecked) {
  const auto check = [](std::vector<std::int64_t> offsets, std::size_t limit) {
    OffsetsSummary summary;
    const Status wide = CheckOffsets({offsets.data(), true, offsets.size()}, limit, 3, &summary);
    const std::vector<std::int32_t> narrow(offsets.begin(), offsets.end());
    const Status same = CheckOffsets({narrow.data(), false, narrow.size()}, limit, 3, &summary);
    EXPECT_EQ(wide.code, same.code);
    EXPECT_EQ(wide.column, same.column);
    if (wide.ok()) return summary.is_long ? 1000 : 100;
    return wide.column;
  };
  EXPECT_EQ(check({}, 9), -1);
  EXPECT_EQ(check({0}, 0), 100);
  EXPECT_EQ(check({0, 3, 3, 6}, 6), 100);
  EXPECT_EQ(check({2, 6, 6}, 6), 1000);
  EXPECT_EQ(check({0, 3, 3, 7}, 6), 3);
  EXPECT_EQ(check({0, 3, 2, 7}, 9), 2);
  EXPECT_EQ(check({-1, 3}, 9), 0);
  EXPECT_EQ(check({0, INT32_MAX, -5}, 9), 1);
  EXPECT_EQ(check({0, 5, INT32_MIN}, 9), 2);
}

TEST(JaggedTest, GathersAndScatters) {
  std::mt19937_64 random(1);
  const std::size_t rows = 90;
  for (const std::size_t words : {0, 1, 3, 50, 300}) {
    Words table(rows * words);
    for (auto& word : table) word = static_cast<std::uint32_t>(random());
    std::vector<std::int32_t> indices = {-1, static_cast<std::int32_t>(rows) - 1};
    for (int i = 0; i < 200; ++i) indices.push_back(static_cast<std::int32_t>(random() % (rows + 1)) - 1);
    const Integers all{indices.data(), false, indices.size()};
    EXPECT_TRUE(CheckIndices(all, rows, true).ok());
    EXPECT_EQ(CheckIndices(all, rows, false).code, StatusCode::kOutOfRange);
    EXPECT_EQ(CheckIndices(all, rows - 1, true).code, StatusCode::kOutOfRange);
    Words out(indices.size() * words);
    GatherRows(table.data(), all, words, kPadding, out.data());
    for (std::size_t i = 0; i < indices.size(); ++i) {
      for (std::size_t j = 0; j < words; ++j) {
        const auto row = static_cast<std::size_t>(indices[i]);
        ASSERT_EQ(out[i * words + j], indices[i] < 0 ? kPadding.bits[j & 1] : table[row * words + j]);
      }
    }
    for (auto& index : indices) index = std::max(index, 0);
    Words into(rows * words, 1), want = into;
    for (std::size_t i = 0; i < indices.size(); ++i) {
      std::copy_n(out.data() + i * words, words, want.data() + static_cast<std::size_t>(indices[i]) * words);
    }
    ScatterRows(out.data(), all, words, into.data());
    EXPECT_EQ(into, want);
  }
}

}  // namespace
}  // namespace mainspring
