// Accounts that several processes share: kills at any instant, no room, files that are none.

#include "mainspring/limits.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../src/front/limit_accounts.h"

namespace mainspring {
namespace {

using front::LimitAccount;
using front::LimitAccounts;

class SharedLimitsTest : public testing::Test {
 protected:
  SharedLimitsTest() {
    std::string folder = testing::TempDir() + "limitsXXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    path_ = folder_ + "/limits";
  }
  ~SharedLimitsTest() override {
    std::remove(path_.c_str());
    EXPECT_EQ(rmdir(folder_.c_str()), 0) << "nothing else is left";
  }

  std::unique_ptr<LimitAccounts> Open() const {
    std::unique_ptr<LimitAccounts> accounts;
    EXPECT_TRUE(LimitAccounts::Open(path_, &accounts).ok());
    return accounts;
  }

  std::shared_ptr<Limits> OpenLimits(std::vector<LimitRule> rules) const {
    std::shared_ptr<Limits> limits;
    EXPECT_TRUE(Limits::Open(path_, &limits).ok());
    limits->SetRules(std::move(rules));
    return limits;
  }

  std::string folder_, path_;
};

LimitRule PerDay(std::int64_t requests) {
  LimitRule rule;
  rule.requests_per_day = requests;
  return rule;
}

// What `work` does in another process, which is killed unless it has ended before `wait_us`.
template <typename Work>
void InAnotherProcess(const Work& work, int wait_us = -1) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    work();
    _exit(0);
  }
  if (wait_us >= 0) {
    usleep(static_cast<useconds_t>(wait_us));
    kill(child, SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (wait_us < 0) {
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  }
}

// qemu-user has no robust futexes: there the lock of a process that ended is held for ever.
#define SKIP_WITHOUT_ROBUST_FUTEXES() \
  if (std::getenv("MAINSPRING_EMULATED_CPU") != nullptr) GTEST_SKIP() << "qemu-user has no robust futexes"

TEST_F(SharedLimitsTest, WhatOneProcessTakesAnotherHasNot) {
  const auto limits = OpenLimits({PerDay(3)});
  InAnotherProcess([this] {
    const auto theirs = OpenLimits({PerDay(3)});
    (void)theirs->Admit("a", "x", {});
    (void)theirs->Admit("a", "x", {});
  });
  EXPECT_FALSE(limits->Admit("a", "x", {}).has_value());
  const auto refused = limits->Admit("a", "x", {});
  ASSERT_TRUE(refused.has_value());
  EXPECT_EQ(refused->kind, LimitKind::kRequestsPerDay);
  EXPECT_FALSE(limits->Admit("a", "y", {}).has_value()) << "another pair";
  EXPECT_FALSE(OpenLimits({PerDay(4)})->Admit("a", "x", {}).has_value()) << "rules are each one's own";
  ASSERT_EQ(limits->Refused().size(), 1u);
  EXPECT_EQ(limits->Refused()[0].refused, 1u);
}

TEST_F(SharedLimitsTest, WhoEndsInTheMiddleOfAStepLeavesTheStateBeforeIt) {
  SKIP_WITHOUT_ROBUST_FUTEXES();
  const auto accounts = Open();
  LimitAccount* const account = accounts->Find("a", "x");
  {
    LimitAccount::Held held(account);
    held.state.rows_today = 7;
    held.Commit();
  }
  InAnotherProcess([this] {
    const auto theirs = Open();
    LimitAccount::Held held(theirs->Find("a", "x"));
    held.state.rows_today = 8;
    _exit(0);  // with the lock, before anything counts
  });
  EXPECT_EQ(LimitAccount::Held(account).state.rows_today, 7) << "nobody waits, nothing is half";
  InAnotherProcess([this] {
    const auto theirs = Open();
    LimitAccount::Held held(theirs->Find("a", "x"));
    held.state.rows_today = 9;
    held.Commit();
    _exit(0);
  });
  LimitAccount::Held held(account);
  EXPECT_EQ(held.state.rows_today, 9);
  held.Commit();
}

// A state of which one part without the other is seen would be half of a step.
TEST_F(SharedLimitsTest, KillsAtAnyInstantHoldNobodyUpAndTearNothing) {
  SKIP_WITHOUT_ROBUST_FUTEXES();
  const auto accounts = Open();
  LimitAccount* const account = accounts->Find("a", "x");
  std::int64_t last = 0;
  for (int round = 0; round < 60; ++round) {
    InAnotherProcess(
        [&] {
          for (;;) {
            LimitAccount::Held held(account);
            ++held.state.requests_today;
            held.state.rows_today = 3 * held.state.requests_today;
            held.state.requests.level = static_cast<double>(held.state.requests_today);
            held.Commit();
          }
        },
        200 + 37 * round);
    LimitAccount::Held held(account);
    EXPECT_GE(held.state.requests_today, last);
    last = held.state.requests_today;
    EXPECT_EQ(held.state.rows_today, 3 * last);
    EXPECT_EQ(held.state.requests.level, static_cast<double>(last));
  }
  EXPECT_GT(last, 1000) << "they were killed at work";
}

// Whoever adds an account may be killed, too: it is there or not, and its neighbours are right.
TEST_F(SharedLimitsTest, KillsOfWhoAddsAccountsMixUpNone) {
  SKIP_WITHOUT_ROBUST_FUTEXES();
  const auto accounts = Open();
  for (int round = 0; round < 40; ++round) {
    InAnotherProcess(
        [&] {
          for (int i = 0; i < 1000; ++i) {
            LimitAccount::Held held(accounts->Find("r" + std::to_string(round), "e" + std::to_string(i)));
            held.state.refused = static_cast<std::uint64_t>(i);
            held.Commit();
          }
        },
        100 + 61 * round);
  }
  int found = 0;
  accounts->ForEach([&](std::string_view caller, std::string_view endpoint, LimitAccount* account) {
    const std::uint64_t n = LimitAccount::Held(account).state.refused;
    if (n == 0) return;
    ++found;
    EXPECT_EQ(endpoint, "e" + std::to_string(n)) << caller;
  });
  EXPECT_GT(found, 100);
  for (int i = 0; i < 100; ++i) {
    LimitAccount* const one = accounts->Find("after", std::to_string(i));
    ASSERT_NE(one, nullptr);
    EXPECT_EQ(accounts->Find("after", std::to_string(i)), one);
    EXPECT_EQ(LimitAccount::Held(one).state.refused, 0u);
  }
}

TEST_F(SharedLimitsTest, ThreadsOfSeveralProcessesAddEachPairOnce) {
  if (std::getenv("MAINSPRING_EMULATED_CPU") != nullptr) {
    GTEST_SKIP() << "qemu-user aborts when a forked child of several threads starts one of its own";
  }
  const auto add = [this] {
    const auto accounts = Open();
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&accounts] {
        for (int i = 0; i < 300; ++i) {
          LimitAccount::Held held(accounts->Find("c" + std::to_string(i % 17), "e" + std::to_string(i)));
          ++held.state.requests_today;
          held.Commit();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  std::vector<std::thread> processes;
  for (int p = 0; p < 3; ++p) processes.emplace_back([&add] { InAnotherProcess(add); });
  for (std::thread& process : processes) process.join();
  int pairs = 0;
  Open()->ForEach([&](std::string_view, std::string_view, LimitAccount* account) {
    ++pairs;
    EXPECT_EQ(LimitAccount::Held(account).state.requests_today, 9);
  });
  EXPECT_EQ(pairs, 300);
}

TEST_F(SharedLimitsTest, BeyondTheRoomEachProcessCountsForItself) {
  const auto accounts = Open();
  for (std::uint32_t i = 0; i < front::kLimitAccounts; ++i) {
    ASSERT_NE(accounts->Find("c" + std::to_string(i), ""), nullptr);
  }
  EXPECT_EQ(accounts->Find("one more", ""), nullptr);
  EXPECT_EQ(Open()->Find("one more", "x"), nullptr);
  ASSERT_NE(accounts->Find("c7", ""), nullptr) << "who has one keeps it";
  const auto ours = OpenLimits({PerDay(1)}), theirs = OpenLimits({PerDay(1)});
  EXPECT_FALSE(ours->Admit("one more", "x", {}).has_value());
  EXPECT_TRUE(ours->Admit("one more", "x", {}).has_value()) << "limited all the same";
  EXPECT_FALSE(theirs->Admit("one more", "x", {}).has_value());
  ASSERT_EQ(ours->Refused().size(), 1u);
  EXPECT_EQ(ours->Refused()[0].caller, "one more");
}

TEST_F(SharedLimitsTest, NamesThatFindNoRoomAreCountedHere) {
  const auto accounts = Open();
  EXPECT_EQ(accounts->Find(std::string(std::size_t{9} << 20, 'x'), "x"), nullptr);
  EXPECT_NE(accounts->Find(std::string(std::size_t{1} << 20, 'x'), "x"), nullptr);
}

TEST_F(SharedLimitsTest, AThrottleIsOfOneProcessAndBeginsWithWhatIsLeft) {
  LimitRule rule, slow;
  rule.rows_per_second = 1000;
  rule.burst_rows = 100;
  slow.rows_per_second = 1;
  slow.burst_rows = 10;
  const auto ours = OpenLimits({rule}), theirs = OpenLimits({rule});
  EXPECT_FALSE(ours->Admit("a", "x", {}).has_value());
  ours->Charge("a", "x", 95, {});
  ours->Throttle("a", "x", slow);
  EXPECT_FALSE(ours->Admit("a", "x", {}).has_value());
  ours->Charge("a", "x", 5, {});
  EXPECT_TRUE(ours->Admit("a", "x", {}).has_value()) << "5 were left";
  // Others, who ask much meanwhile, do not fill it by their rule.
  for (int i = 1; i < 50; ++i) EXPECT_FALSE(theirs->Admit("a", "x", {i * 0.01, 0}).has_value());
  EXPECT_TRUE(ours->Admit("a", "x", {0.5, 0}).has_value());
  ours->Throttle("a", "x", std::nullopt);
  EXPECT_FALSE(ours->Admit("a", "x", {0.5, 0}).has_value());
}

TEST_F(SharedLimitsTest, FilesThatAreNoneAreRefused) {
  std::ofstream(path_) << "something else";
  std::shared_ptr<Limits> limits;
  EXPECT_EQ(Limits::Open(path_, &limits).code, StatusCode::kCorrupt);
  EXPECT_EQ(Limits::Open(folder_ + "/nowhere/limits", &limits).code, StatusCode::kIo);
  EXPECT_EQ(Limits::Open(folder_, &limits).code, StatusCode::kIo);
  EXPECT_EQ(limits, nullptr);
}

}  // namespace
}  // namespace mainspring
