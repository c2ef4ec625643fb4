// A word that threads sleep on. Linux; the happens-before edges are those of the atomics around it.

#ifndef MAINSPRING_SRC_BATCHER_FUTEX_H_
#define MAINSPRING_SRC_BATCHER_FUTEX_H_

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>

namespace mainspring {

// Sleeps while the word is `seen`, until `until_ns` of CLOCK_MONOTONIC (0: for ever). May wake for nothing.
inline void FutexWait(const std::atomic<std::uint32_t>& word, std::uint32_t seen, std::int64_t until_ns) {
  static_assert(sizeof(word) == 4, "a futex is 32 bits");
  timespec until{};
  until.tv_sec = until_ns / 1000000000;
  until.tv_nsec = until_ns % 1000000000;
  syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, seen, until_ns == 0 ? nullptr : &until, nullptr,
          FUTEX_BITSET_MATCH_ANY);
}

inline void FutexWake(const std::atomic<std::uint32_t>& word, int threads) {
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, threads, nullptr, nullptr, 0);
}
inline void FutexWakeAll(const std::atomic<std::uint32_t>& word) { FutexWake(word, INT_MAX); }

}  // namespace mainspring

#endif  // MAINSPRING_SRC_BATCHER_FUTEX_H_
