// The pool's promise: the first call alone may finish, no call outlives RunTogether, and callers do not wait
// for one another. Run it under ThreadSanitizer, too.

#include "mainspring/pool.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

namespace mainspring {
namespace {

// Work that is shared out by a counter, as Program does it.
struct Counting {
  explicit Counting(int n) : seen(static_cast<std::size_t>(n)) {}
  std::atomic<int> next{0};
  std::atomic<int> inside{0};
  std::vector<std::atomic<int>> seen;
  std::atomic<unsigned> indices{0};

  static void Work(void* context, int i) {
    auto* const self = static_cast<Counting*>(context);
    ++self->inside;
    self->indices |= 1u << i;
    const int n = static_cast<int>(self->seen.size());
    for (int at = self->next++; at < n; at = self->next++) ++self->seen[static_cast<std::size_t>(at)];
    --self->inside;
  }

  void ExpectDoneOnce(int threads) const {
    EXPECT_EQ(inside.load(), 0);
    for (const auto& times : seen) ASSERT_EQ(times.load(), 1);
    EXPECT_EQ(indices.load() & 1, 1u);
    EXPECT_LT(indices.load(), 1u << threads);
  }
};

TEST(PoolTest, EveryPieceIsDoneOnceWhateverTheNumberOfThreads) {
  for (int threads : {1, 2, 3, kMaxThreads, kMaxThreads + 5}) {
    for (int round = 0; round < 300; ++round) {
      Counting work(round);
      RunTogether(threads, round % 2 == 0, Counting::Work, &work);
      work.ExpectDoneOnce(kMaxThreads + 5);
      if (threads == 1) {
        EXPECT_EQ(work.indices.load(), 1u);
      }
    }
  }
}

TEST(PoolTest, TheSecondThreadHelps) {
  // Both calls wait for one another, which only two threads can do; a sleeper wakes within the first's wait.
  struct Meeting {
    std::atomic<int> here{0};
    static void Work(void* context, int) {
      auto* const self = static_cast<Meeting*>(context);
      ++self->here;
      while (self->here.load() < 2) std::this_thread::yield();
    }
  };
  for (int round = 0; round < 100; ++round) {
    Meeting meeting;
    RunTogether(2, true, Meeting::Work, &meeting);
    EXPECT_EQ(meeting.here.load(), 2);
    if (round % 10 == 0) usleep(2000);  // long enough to fall asleep
  }
}

TEST(PoolTest, ASleeperIsLeftAloneUnlessTheWorkIsWorthIt) {
  Counting first(1);
  RunTogether(2, true, Counting::Work, &first);
  for (int round = 0; round < 5; ++round) {
    usleep(50'000);  // a thousand times as long as it looks for more
    Counting work(100);
    RunTogether(2, false, Counting::Work, &work);
    work.ExpectDoneOnce(1);
  }
}

TEST(PoolTest, ShortCallsInALoopGetTheSecondThread) {
  std::atomic<unsigned> indices{0};
  for (int round = 0; round < 100'000 && indices.load() != 3; ++round) {
    Counting work(500);
    RunTogether(2, false, Counting::Work, &work);
    indices |= work.indices.load();
  }
  EXPECT_EQ(indices.load(), 3u);
}

TEST(PoolTest, CallersAtOnceDoNotWaitForOneAnother) {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([] {
      for (int round = 0; round < 300; ++round) {
        Counting work(50);
        RunTogether(2, round % 2 == 0, Counting::Work, &work);
        work.ExpectDoneOnce(2);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

#if !defined(__SANITIZE_THREAD__)
TEST(PoolTest, AForkedChildHasItsOwnThreads) {
  if (std::getenv("MAINSPRING_EMULATED_CPU") != nullptr) {
    GTEST_SKIP() << "qemu-user aborts when a forked child of several threads starts one of its own";
  }
  Counting before(100);
  RunTogether(2, true, Counting::Work, &before);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    for (int round = 0; round < 50; ++round) {
      Counting work(100);
      RunTogether(2, true, Counting::Work, &work);
      for (const auto& times : work.seen) {
        if (times.load() != 1) _exit(1);
      }
    }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

}  // namespace
}  // namespace mainspring
