#include "mainspring/pool.h"

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mainspring {
namespace {

// How long a thread that has nothing to do looks for work before it sleeps: a caller with one batch after
// another finds it awake, and an idle process costs nothing. About 50 us.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

class Worker {
 public:
  // False where it is busy, asleep when it must not be woken, or cannot be started.
  bool Post(bool may_wake, void (*work)(void*, int), void* context, int i) {
    if (!may_wake && is_asleep_.load(std::memory_order_relaxed)) return false;
    bool is_free = false;
    if (!is_claimed_.compare_exchange_strong(is_free, true, std::memory_order_acquire)) return false;
    if (!is_started_ && !Start()) {
      is_claimed_.store(false, std::memory_order_release);
      return false;
    }
    work_ = work;
    context_ = context;
    index_ = i;
    state_.store(kPosted);
    // Either we see that it sleeps, or it sees the work before it does: both orders are sequential.
    if (is_asleep_.load()) {
      {
        const std::lock_guard<std::mutex> lock(mutex_);
      }  // by now it waits
      wake_.notify_one();
    }
    return true;
  }

  // Ends a Post: takes the work back where it has not begun, else waits for its end.
  void Finish() {
    int posted = kPosted;
    if (!state_.compare_exchange_strong(posted, kIdle)) {
      for (int spins = 0; state_.load(std::memory_order_acquire) != kIdle; ++spins) {
        if (spins < kSpins) {
          Pause();
        } else {
          std::this_thread::yield();
        }
      }
    }
    is_claimed_.store(false, std::memory_order_release);
  }

 private:
  enum State { kIdle, kPosted, kRunning };

  bool Start() {
    // Signals are for the threads of the host, Python's handlers among them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    try {
      std::thread([this] { Serve(); }).detach();
      is_started_ = true;
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return is_started_;
  }

  void Serve() {
    is_asleep_.store(false);
    for (;;) {
      for (int spins = 0; spins < kSpins && state_.load(std::memory_order_relaxed) != kPosted; ++spins)
        Pause();
      if (state_.load() != kPosted) {
        std::unique_lock<std::mutex> lock(mutex_);
        is_asleep_.store(true);
        wake_.wait(lock, [this] { return state_.load() == kPosted; });
        is_asleep_.store(false);
      }
      int posted = kPosted;
      if (!state_.compare_exchange_strong(posted, kRunning)) continue;  // taken back
      work_(context_, index_);
      state_.store(kIdle, std::memory_order_release);
    }
  }

  std::atomic<bool> is_claimed_{false};  // by a caller
  std::atomic<int> state_{kIdle};
  std::atomic<bool> is_asleep_{true};  // until it is started, too
  bool is_started_ = false;            // of the caller that claims it
  void (*work_)(void*, int) = nullptr;
  void* context_ = nullptr;
  int index_ = 0;
  std::mutex mutex_;
  std::condition_variable wake_;
};

std::int64_t Now() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// A call that begins so soon after another ended belongs to a loop; as long as a thread looks for work.
constexpr std::int64_t kSoonNanoseconds = 50'000;

struct Pool {
  std::atomic<std::int64_t> last_end{0};
  Worker workers[kMaxThreads - 1];
};

// Never deleted: its threads run until the process ends.
std::atomic<Pool*> current_pool{nullptr};

Pool* TheOnePool() {
  static const int is_registered = pthread_atfork(nullptr, nullptr, [] { current_pool.store(nullptr); });
  static_cast<void>(is_registered);
  Pool* pool = current_pool.load(std::memory_order_acquire);
  if (pool != nullptr) return pool;
  Pool* const made = new (std::nothrow) Pool;
  if (made == nullptr) return nullptr;
  if (current_pool.compare_exchange_strong(pool, made, std::memory_order_acq_rel)) return made;
  delete made;  // another was faster
  return pool;
}

}  // namespace

void RunTogether(int threads, bool is_long, void (*work)(void*, int), void* context) noexcept {
  Worker* posted[kMaxThreads - 1];
  int n = 0;
  Pool* const pool = threads > 1 ? TheOnePool() : nullptr;
  if (pool != nullptr) {
    const bool may_wake =
        is_long || Now() - pool->last_end.load(std::memory_order_relaxed) < kSoonNanoseconds;
    for (Worker& worker : pool->workers) {
      if (n + 1 >= threads) break;
      if (worker.Post(may_wake, work, context, n + 1)) posted[n++] = &worker;
    }
  }
  work(context, 0);
  for (int i = 0; i < n; ++i) posted[i]->Finish();
  if (pool != nullptr) pool->last_end.store(Now(), std::memory_order_relaxed);
}

}  // namespace mainspring
