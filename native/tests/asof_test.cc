// Point-in-time joins against one that looks at every row for every question.

#include "mainspring/asof.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <tuple>
#include <vector>

namespace mainspring {
namespace {

using Numbers = std::vector<std::int64_t>;

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kUntouched = -7;

struct Sorted {
  Numbers times, starts;
};

struct Asked {
  Numbers keys, times;
};

struct Rows {
  Numbers keys, events, created, numbers;
};

// The difference of any two times, which 64 bits with a sign do not hold.
bool IsTooOld(std::int64_t time, std::int64_t as_of, std::int64_t max_age) {
  return max_age != kAnyAge && static_cast<__int128>(as_of) - time > max_age;
}

Numbers Searched(const Sorted& rows, const Asked& asked, std::int64_t max_age) {
  Numbers positions(asked.keys.size(), kUntouched);
  const AsofRuns runs{rows.times.data(), rows.times.size(), rows.starts.data(), rows.starts.size() - 1};
  const Status status =
      AsofSearch(runs, {asked.keys.data(), asked.times.data(), asked.keys.size()}, max_age, positions.data());
  EXPECT_TRUE(status.ok()) << status.expected;
  return positions;
}

Numbers SearchedSlowly(const Sorted& rows, const Asked& asked, std::int64_t max_age) {
  Numbers positions;
  for (std::size_t i = 0; i < asked.keys.size(); ++i) {
    std::int64_t found = -1;
    for (std::int64_t row = asked.keys[i] < 0 ? 0 : rows.starts[asked.keys[i]];
         asked.keys[i] >= 0 && row < rows.starts[asked.keys[i] + 1]; ++row) {
      if (rows.times[row] <= asked.times[i]) found = row;
    }
    positions.push_back(found >= 0 && IsTooOld(rows.times[found], asked.times[i], max_age) ? -1 : found);
  }
  return positions;
}

Status Find(const Rows& rows, const Asked& asked, std::size_t n_keys, bool known_only, std::int64_t max_age,
            Numbers* positions) {
  const std::size_t n = asked.keys.size();
  Numbers starts(n_keys + 1), order(n), times(n), best(n);
  positions->assign(n, kUntouched);
  return AsofNewest(
      {rows.keys.data(), rows.events.data(), rows.created.data(), rows.numbers.data(), rows.keys.size()},
      {asked.keys.data(), asked.times.data(), n}, n_keys, known_only, max_age,
      {starts.data(), order.data(), times.data(), best.data()}, positions->data());
}

Numbers FoundSlowly(const Rows& rows, const Asked& asked, bool known_only, std::int64_t max_age) {
  Numbers positions;
  for (std::size_t i = 0; i < asked.keys.size(); ++i) {
    std::int64_t found = -1;
    const auto order = [&rows](std::int64_t row) {
      return std::make_tuple(rows.events[row], rows.created[row], rows.numbers[row]);
    };
    for (std::size_t row = 0; row < rows.keys.size(); ++row) {
      const auto at = static_cast<std::int64_t>(row);
      if (asked.keys[i] < 0 || rows.keys[row] != asked.keys[i] || rows.events[row] > asked.times[i]) continue;
      if (known_only && rows.created[row] > asked.times[i]) continue;
      if (found < 0 || order(at) > order(found)) found = at;
    }
    positions.push_back(found >= 0 && IsTooOld(rows.events[found], asked.times[i], max_age) ? -1 : found);
  }
  return positions;
}

// Few different times, so that there are ties, and the ends of what 64 bits hold.
class Times {
 public:
  explicit Times(std::mt19937_64* random) : random_(*random) {}
  std::int64_t operator()() {
    switch (random_() % 16) {
      case 0:
        return kLeast;
      case 1:
        return kMost;
      default:
        return static_cast<std::int64_t>(random_() % 30) - 10;
    }
  }

 private:
  std::mt19937_64& random_;
};

constexpr std::int64_t kAges[] = {kAnyAge, 0, 1, 7, kMost};

Asked SomeQuestions(std::size_t n, std::size_t n_keys, std::mt19937_64* random) {
  Times time(random);
  Asked asked;
  for (std::size_t i = 0; i < n; ++i) {
    asked.keys.push_back(static_cast<std::int64_t>((*random)() % (n_keys + 1)) - 1);  // -1: none
    asked.times.push_back(time());
  }
  return asked;
}

TEST(AsofTest, SearchFindsWhatLookingAtEveryRowFinds) {
  std::mt19937_64 random(7);
  Times time(&random);
  for (int round = 0; round < 2000; ++round) {
    Sorted rows;
    rows.starts = {0};
    for (std::size_t n_runs = random() % 6; n_runs > 0; --n_runs) {
      const auto first = static_cast<std::ptrdiff_t>(rows.times.size());
      for (std::size_t n = random() % 20; n > 0; --n) rows.times.push_back(time());
      std::sort(rows.times.begin() + first, rows.times.end());
      rows.starts.push_back(static_cast<std::int64_t>(rows.times.size()));
    }
    const Asked asked = SomeQuestions(random() % 40, rows.starts.size() - 1, &random);
    for (const std::int64_t age : kAges) {
      ASSERT_EQ(Searched(rows, asked, age), SearchedSlowly(rows, asked, age)) << round << " " << age;
    }
  }
}

TEST(AsofTest, NewestFindsWhatLookingAtEveryRowFinds) {
  std::mt19937_64 random(11);
  Times time(&random);
  for (int round = 0; round < 2000; ++round) {
    const std::size_t n_keys = random() % 6;
    Rows rows;
    for (std::size_t n = random() % 60; n > 0; --n) {
      rows.keys.push_back(static_cast<std::int64_t>(random() % (n_keys + 1)) - 1);
      rows.events.push_back(time());
      rows.created.push_back(time());
      rows.numbers.push_back(
          static_cast<std::int64_t>(n));  // unlike in a source, and still the order of ties
    }
    const Asked asked = SomeQuestions(random() % 40, n_keys, &random);
    for (const std::int64_t age : kAges) {
      for (const bool known_only : {false, true}) {
        Numbers found;
        ASSERT_TRUE(Find(rows, asked, n_keys, known_only, age, &found).ok());
        ASSERT_EQ(found, FoundSlowly(rows, asked, known_only, age))
            << round << " " << age << " " << known_only;
      }
    }
  }
}

TEST(AsofTest, BothAgreeWhereRowsAreSorted) {
  std::mt19937_64 random(13);
  Sorted sorted;
  sorted.starts = {0};
  Rows rows;
  for (std::int64_t key = 0; key < 50; ++key) {
    for (std::int64_t i = 0; i < 200; ++i) {
      sorted.times.push_back(10 * i);
      rows.keys.push_back(key);
      rows.events.push_back(10 * i);
      rows.created.push_back(10 * i);
      rows.numbers.push_back(static_cast<std::int64_t>(rows.numbers.size()));
    }
    sorted.starts.push_back(static_cast<std::int64_t>(sorted.times.size()));
  }
  Asked asked;
  for (int i = 0; i < 5000; ++i) {
    asked.keys.push_back(static_cast<std::int64_t>(random() % 51) - 1);
    asked.times.push_back(static_cast<std::int64_t>(random() % 2100) - 50);
  }
  Numbers found;
  ASSERT_TRUE(Find(rows, asked, 50, false, 35, &found).ok());
  EXPECT_EQ(found, Searched(sorted, asked, 35));
  EXPECT_GT(std::count_if(found.begin(), found.end(), [](std::int64_t row) { return row >= 0; }), 4000);
}

TEST(AsofTest, RunsAndKeysThatAreNotThereAreRefused) {
  const Numbers times{1, 2, 3};
  const auto search = [&times](const Numbers& starts, std::int64_t run) {
    std::int64_t position;
    const std::int64_t as_of = 5;
    return AsofSearch({times.data(), times.size(), starts.data(), starts.size() - 1}, {&run, &as_of, 1},
                      kAnyAge, &position)
        .code;
  };
  EXPECT_EQ(search({0, 1, 3}, 1), StatusCode::kOk);
  EXPECT_EQ(search({0, 1, 3}, -5), StatusCode::kOk);
  EXPECT_EQ(search({0, 1, 3}, 2), StatusCode::kOutOfRange);
  EXPECT_EQ(search({0, 1, 3}, kMost), StatusCode::kOutOfRange);
  EXPECT_EQ(search({0}, 0), StatusCode::kOutOfRange);
  EXPECT_EQ(search({0, 4}, 0), StatusCode::kOutOfRange);  // beyond the rows
  EXPECT_EQ(search({2, 1}, 0), StatusCode::kOutOfRange);  // descending
  EXPECT_EQ(search({-1, 1}, 0), StatusCode::kOutOfRange);
  Numbers found;
  EXPECT_EQ(Find({{2}, {1}, {1}, {0}}, {{0}, {1}}, 2, false, kAnyAge, &found).code, StatusCode::kOutOfRange);
  EXPECT_EQ(Find({{0}, {1}, {1}, {0}}, {{2}, {1}}, 2, false, kAnyAge, &found).code, StatusCode::kOutOfRange);
  EXPECT_TRUE(Find({{-1}, {1}, {1}, {0}}, {{-1}, {1}}, 0, false, kAnyAge, &found).ok());
  EXPECT_EQ(found, Numbers{-1});
}

}  // namespace
}  // namespace mainspring
