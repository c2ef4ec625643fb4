// The table in memory: what it answers against a plain map, and while somebody writes.

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "table_testing.h"

namespace mainspring {
namespace {

constexpr std::int64_t kSecond = 1'000'000;

OnlineTable MakeTable(const TableSchema& schema, std::int64_t quarantine_us = 100'000) {
  TableOptions options;
  options.max_rows = 1 << 20;
  options.quarantine_us = quarantine_us;
  OnlineTable table;
  EXPECT_TRUE(OnlineTable::Create(schema, options, &table).ok());
  return table;
}

TEST(TableMemory, NewestByEventThenCreatedThenLater) {
  OnlineTable table = MakeTable(FloatSchema(3));
  EXPECT_EQ(PutFloats(&table, 7, 100, 5, 1.0f).n_changed, 1u);
  EXPECT_EQ(PutFloats(&table, 7, 99, 9, 2.0f).n_older, 1u);
  EXPECT_EQ(PutFloats(&table, 7, 100, 4, 3.0f).n_older, 1u);
  EXPECT_EQ(GetFloat(table, 7, 100), 1.0f);
  EXPECT_EQ(PutFloats(&table, 7, 100, 5, 4.0f).n_changed, 1u);
  EXPECT_EQ(GetFloat(table, 7, 100), 4.0f);
  EXPECT_EQ(table.Stats().older_rows, 2u);
  EXPECT_EQ(table.Stats().rows, 1u);
}

TEST(TableMemory, StatusByAgeAndMoment) {
  OnlineTable table = MakeTable(FloatSchema(1));
  PutFloats(&table, 1, 10 * kSecond, 0, 1.5f, 3);
  RowStatus status;
  EXPECT_EQ(GetFloat(table, 1, 10 * kSecond, &status), 1.5f);
  EXPECT_TRUE(std::isnan(GetFloat(table, 1, 10 * kSecond - 1, &status)));
  EXPECT_EQ(status, RowStatus::kNotFound);
  EXPECT_EQ(GetFloat(table, 1, 13 * kSecond, &status), 1.5f);
  EXPECT_TRUE(std::isnan(GetFloat(table, 1, 13 * kSecond + 1, &status)));
  EXPECT_EQ(status, RowStatus::kOutsideMaxAge);
  EXPECT_TRUE(std::isnan(GetFloat(table, 1, 12 * kSecond, &status, kSecond)));
  EXPECT_EQ(status, RowStatus::kOutsideMaxAge);
  EXPECT_TRUE(std::isnan(GetFloat(table, 2, 12 * kSecond, &status)));
  EXPECT_EQ(status, RowStatus::kNotFound);
}

TEST(TableMemory, DeletionForgetsTimes) {
  OnlineTable table = MakeTable(FloatSchema(1));
  PutFloats(&table, 1, 50, 0, 1.0f);
  EXPECT_EQ(DeleteInt(&table, 1).n_changed, 1u);
  EXPECT_EQ(DeleteInt(&table, 1).n_changed, 0u);
  EXPECT_TRUE(std::isnan(GetFloat(table, 1, 60)));
  EXPECT_EQ(table.Stats().rows, 0u);
  PutFloats(&table, 1, 20, 0, 2.0f);
  EXPECT_EQ(GetFloat(table, 1, 60), 2.0f);
}

// Any sequence of upserts and deletions, of keys that meet in a small index, with places used again at once.
TEST(TableMemory, EqualsAMap) {
  OnlineTable table = MakeTable(FloatSchema(2), 0);
  struct Row {
    std::int64_t event, created;
    float x;
  };
  std::map<std::int64_t, Row> want;
  std::mt19937_64 random(7);
  for (int step = 0; step < 20000; ++step) {
    const auto key = static_cast<std::int64_t>(random() % 700);
    if (random() % 4 == 0) {
      EXPECT_EQ(DeleteInt(&table, key).n_changed, want.erase(key));
    } else {
      const auto event = static_cast<std::int64_t>(random() % 50),
                 created = static_cast<std::int64_t>(random() % 3);
      const auto x = static_cast<float>(step);
      const UpsertResult got = PutFloats(&table, key, event, created, x);
      const auto found = want.find(key);
      const bool is_older =
          found != want.end() &&
          std::make_pair(event, created) < std::make_pair(found->second.event, found->second.created);
      ASSERT_EQ(got.n_older, is_older ? 1u : 0u);
      if (!is_older) want[key] = {event, created, x};
    }
    if (step % 500 != 0) continue;
    for (std::int64_t k = 0; k < 700; ++k) {
      const auto found = want.find(k);
      const float x = GetFloat(table, k, 1000);
      if (found == want.end()) {
        ASSERT_TRUE(std::isnan(x)) << k;
      } else {
        ASSERT_EQ(x, found->second.x) << k;
      }
    }
    ASSERT_EQ(table.Stats().rows, want.size());
  }
  // Rows that were replaced were used again.
  EXPECT_LT(table.Stats().rows_bytes, 40000u * table.Stats().row_bytes / 8);
}

TEST(TableMemory, StringKeysAndValuesOfAnyLengthAndTheHeapIsUsedAgain) {
  OnlineTable table = MakeTable(StringSchema(), 0);
  std::map<std::string, std::string> want;
  std::mt19937_64 random(3);
  std::uint64_t heap_bytes = 0;
  for (int step = 0; step < 6000; ++step) {
    const std::string key(1 + random() % 60, static_cast<char>('a' + random() % 26));
    const std::string value(random() % 300, static_cast<char>('A' + random() % 26));
    PutString(&table, key, step, value);
    want[key] = value;
    if (step == 3000) heap_bytes = table.Stats().heap_bytes;
  }
  for (const auto& [key, value] : want) {
    std::string got;
    ASSERT_EQ(GetString(table, key, 1 << 20, &got), RowStatus::kPresent);
    ASSERT_EQ(got, value);
  }
  EXPECT_LT(table.Stats().heap_bytes, heap_bytes * 5 / 4);
  std::string got;
  EXPECT_EQ(GetString(table, "", 1 << 20, &got), RowStatus::kNotFound);
}

TEST(TableMemory, FullIsAnErrorThatChangesNothing) {
  TableOptions options;
  options.max_rows = 100;
  OnlineTable table;
  ASSERT_TRUE(OnlineTable::Create(FloatSchema(1), options, &table).ok());
  std::vector<std::int64_t> keys(150), times(150, 1);
  std::vector<float> values(150, 1.0f);
  for (int i = 0; i < 150; ++i) keys[static_cast<std::size_t>(i)] = i;
  UpsertResult result;
  EXPECT_EQ(Put(&table, keys, times, values, &result).status.code, StatusCode::kFull);
  EXPECT_EQ(table.Stats().rows, 0u);
  EXPECT_TRUE(std::isnan(GetFloat(table, 5, 10)));
  keys.resize(90), times.resize(90), values.resize(90);
  std::this_thread::sleep_for(std::chrono::milliseconds(150));  // the quarantine
  EXPECT_TRUE(Put(&table, keys, times, values, &result).ok());
  EXPECT_EQ(table.Stats().rows, 90u);
}

// Every row holds one number in all its floats: a torn row would hold two, and one batch is one number. Rows
// are used again as fast as can be.
TEST(TableMemory, ReadersNeverSeeTornRowsNorHalfABatch) {
  constexpr std::size_t kKeys = 64, kFloats = 50;
  OnlineTable table = MakeTable(FloatSchema(kFloats), 2000);
  std::atomic<bool> is_done{false};
  std::vector<std::int64_t> keys(kKeys), times(kKeys);
  for (std::size_t i = 0; i < kKeys; ++i) keys[i] = static_cast<std::int64_t>(i);
  std::vector<float> values(kKeys);
  UpsertResult result;
  ASSERT_TRUE(Put(&table, keys, times, values, &result).ok());
  const auto read = [&] {
    FieldSelection selection;
    std::vector<std::uint32_t> fields(kFloats);
    for (std::uint32_t i = 0; i < kFloats; ++i) fields[i] = i;
    ASSERT_TRUE(table.Select(fields, &selection).ok());
    std::vector<float> matrix(kKeys * kFloats);
    std::vector<std::uint8_t> status(kKeys);
    std::vector<std::int64_t> events(kKeys);
    ReadWorkspace workspace;
    KeyColumn column{keys.data(), nullptr, nullptr};
    ReadBatch batch;
    batch.keys = {&column, nullptr, kKeys};
    batch.now_us = 1 << 30;
    batch.matrix = matrix.data();
    batch.status = status.data();
    batch.event_us = events.data();
    float before = 0;
    std::size_t reads = 0;
    while (!is_done || reads < 100) {
      table.Get(selection, batch, &workspace);
      ++reads;
      for (const float x : matrix) ASSERT_EQ(x, matrix[0]);
      ASSERT_GE(matrix[0], before);
      ASSERT_EQ(static_cast<float>(events[kKeys - 1]), matrix[0]);
      before = matrix[0];
    }
  };
  std::thread first(read), second(read);
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  for (std::int64_t round = 1; std::chrono::steady_clock::now() < until; ++round) {
    std::fill(times.begin(), times.end(), round);
    std::fill(values.begin(), values.end(), static_cast<float>(round));
    ASSERT_TRUE(Put(&table, keys, times, values, &result).ok());
    // New keys make the index grow meanwhile.
    for (int i = 0; i < 16; ++i) PutFloats(&table, 1000 + round * 16 + i, 1, 1, 0.0f);
  }
  is_done = true;
  first.join();
  second.join();
}

// A key that loses its slot long after its deletion is nothing to a read that began since.
TEST(TableMemory, DeletionsOfOtherKeysDoNotMakeAReadStartAgain) {
  constexpr std::size_t kKeys = 4096;
  TableOptions options;
  options.max_rows = options.rows = 1 << 20;  // the index is not made anew meanwhile
  OnlineTable table;
  ASSERT_TRUE(OnlineTable::Create(FloatSchema(8), options, &table).ok());
  PutFloats(&table, -1, 1, 1, 7.0f);
  std::atomic<bool> is_done{false};
  std::uint64_t restarts = 0;
  std::thread reader([&] {
    FieldSelection selection;
    ASSERT_TRUE(table.Select({0}, &selection).ok());
    const std::vector<std::int64_t> keys(kKeys, -1);
    std::vector<float> matrix(kKeys);
    std::vector<std::uint8_t> status(kKeys);
    std::vector<std::int64_t> events(kKeys);
    ReadWorkspace workspace;
    const KeyColumn column{keys.data(), nullptr, nullptr};
    ReadBatch batch;
    batch.keys = {&column, nullptr, kKeys};
    batch.now_us = 1 << 30;
    batch.matrix = matrix.data();
    batch.status = status.data();
    batch.event_us = events.data();
    while (!is_done) {
      table.Get(selection, batch, &workspace);
      for (const float x : matrix) ASSERT_EQ(x, 7.0f);
    }
    restarts = workspace.restarts();
  });
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  std::int64_t key = 0;
  for (; std::chrono::steady_clock::now() < until; ++key) {
    PutFloats(&table, key, 1, 1, 0.0f);
    if (key >= 100) DeleteInt(&table, key - 100);
  }
  is_done = true;
  reader.join();
  EXPECT_EQ(table.Stats().rows, 101u);
  // A reader that is stopped for a whole quarantine does start again.
  EXPECT_LT(restarts, 10u) << key << " deletions";
}

}  // namespace
}  // namespace mainspring
