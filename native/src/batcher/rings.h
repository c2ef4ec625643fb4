// The memory of a batcher, and what its two sides do with it: batcher.cc is the callers' side (reserve,
// commit, wait, collect), taking.cc that of the takers (inspect, seal, take, complete).

#ifndef MAINSPRING_SRC_BATCHER_RINGS_H_
#define MAINSPRING_SRC_BATCHER_RINGS_H_

#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "delay.h"
#include "futex.h"
#include "mainspring/batcher.h"

namespace mainspring {
namespace batching {

inline constexpr std::size_t kLine = 64;
inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
// How many collections a batch may still lack before it is answered; more than any batch has.
inline constexpr std::int32_t kUnanswered = 1 << 20;

// What producers agree on, in one word: closed, the open batch's number, its requests, its rows.
struct Tail {
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;
  static constexpr std::uint32_t kBatchMask = 0x7fffffff;

  bool is_closed;
  std::uint32_t batch, requests, rows;

  static Tail Of(std::uint64_t word) {
    return {(word & kClosed) != 0, static_cast<std::uint32_t>(word >> 32) & kBatchMask,
            static_cast<std::uint32_t>(word >> 16) & 0xffff, static_cast<std::uint32_t>(word) & 0xffff};
  }
  std::uint64_t Word() const {
    return (is_closed ? kClosed : 0) | std::uint64_t{batch & kBatchMask} << 32 |
           std::uint64_t{requests} << 16 | rows;
  }
};

inline std::uint32_t Later(std::uint32_t batch, std::size_t by) {
  return (batch + static_cast<std::uint32_t>(by)) & Tail::kBatchMask;
}

struct Request {
  std::atomic<Answer> answer{Answer::kWriting};
  // Of the producer until it commits, of the takers from then on.
  std::uint16_t first = 0, rows = 0, mailbox = 0;
  bool is_told = false;  // its answer was final when the batch was taken
  std::int64_t deadline_ns = 0, arrival_ns = 0;
};

struct FreeDeleter {
  void operator()(char* memory) const { std::free(memory); }
};

// A batch's place in the ring of its priority. INVARIANT: `number` is that of the batch which lives here or
// may be opened next; it moves on by `depth` when the last answer was collected.
struct alignas(kLine) Slab {
  std::atomic<std::uint32_t> number{0};
  std::atomic<std::uint32_t> sealed{0};  // requests << 16 | rows once closed to producers
  std::atomic<std::int32_t> uncollected{kUnanswered};
  std::atomic<std::uint32_t> answers{0};  // a futex: counts rounds of answers
  std::atomic<std::uint32_t> waiters{0};
  std::vector<std::unique_ptr<char, FreeDeleter>> columns;
  std::unique_ptr<Request[]> requests;
};

struct alignas(kLine) Lane {
  std::atomic<std::uint64_t> tail{0};
  alignas(kLine) std::uint32_t head = 0;  // the next batch to take; of the takers
  std::unique_ptr<Slab[]> slabs;
};

struct Mailbox {
  std::mutex mutex;
  int fd = -1;
  bool is_closed = false;
  std::vector<Delivery> waiting;
  ~Mailbox() {
    if (fd >= 0) close(fd);
  }
};

// Threads do not survive a fork, and the other half of every conversation is one: what was made before is
// refused after. Counts them.
extern std::atomic<std::uint32_t> forks;

inline bool Move(std::atomic<Answer>& answer, Answer from, Answer to) {
  return answer.compare_exchange_strong(from, to, std::memory_order_acq_rel, std::memory_order_acquire);
}

}  // namespace batching

struct Batcher::Impl {
  using Lane = batching::Lane;
  using Slab = batching::Slab;
  using Request = batching::Request;
  using Tail = batching::Tail;
  using Mailbox = batching::Mailbox;

  explicit Impl(const BatcherOptions& given)
      : options(given), mask(given.depth - 1), fork(batching::forks.load()) {}

  const BatcherOptions options;
  const std::size_t mask;
  const std::uint32_t fork;
  std::vector<Lane> lanes;

  // Takers: `parked` where one sleeps until something is committed, `dozing` until something urgent is.
  alignas(batching::kLine) std::atomic<std::uint32_t> bell{0};
  std::atomic<bool> parked{false}, dozing{false};
  std::atomic<bool> is_closed{false}, is_rejecting{false};
  std::atomic<std::int64_t> full_run_ns{0};
  std::atomic<std::uint64_t> busy{0};

  alignas(batching::kLine) std::mutex mutex;  // of everything below, and of every lane's head
  CostModel cost;
  GapModel gap;
  BatcherStats stats;
  std::vector<std::unique_ptr<Mailbox>> mailboxes;

  Slab& SlabOf(std::size_t priority, std::uint32_t batch) { return lanes[priority].slabs[batch & mask]; }
  Request& RequestOf(const Ticket& t) { return SlabOf(t.priority, t.batch).requests[t.index]; }
  bool IsForked() const { return batching::forks.load(std::memory_order_relaxed) != fork; }

  void Ring() {
    bell.fetch_add(1);
    FutexWakeAll(bell);
  }

  // --- callers: batcher.cc ---

  Status Reserve(const RequestOptions& request, Ticket* ticket);
  static void Seal(Slab* slab, const Tail& closed);
  double RetrySeconds() const;
  void Answered(const Ticket& ticket, Answer answer);

  // Wakes whoever sleeps on this slab, after answers were stored.
  static void WakeWaiters(Slab* slab) {
    slab->answers.fetch_add(1);
    if (slab->waiters.load() != 0) FutexWakeAll(slab->answers);
  }

  // True where nothing of the batch is left.
  bool Uncount(Slab* slab, std::int32_t collected) {
    if (slab->uncollected.fetch_sub(collected, std::memory_order_acq_rel) != collected) return false;
    const std::uint32_t requests = slab->sealed.load(std::memory_order_relaxed) >> 16;
    for (std::uint32_t i = 0; i < requests; ++i) {
      slab->requests[i].answer.store(Answer::kWriting, std::memory_order_relaxed);
    }
    slab->sealed.store(0, std::memory_order_relaxed);
    slab->uncollected.store(batching::kUnanswered, std::memory_order_relaxed);
    const std::uint32_t number = slab->number.load(std::memory_order_relaxed);
    slab->number.store(batching::Later(number, options.depth), std::memory_order_release);
    return true;
  }

  // --- takers: taking.cc; but for Take, TakeDue and Complete, which take it, all of it needs the mutex ---

  struct Look {
    bool is_empty = true, is_sealed = false, is_written = true, is_closed = false;
    std::uint32_t requests = 0, rows = 0;
    std::int64_t due_ns = batching::kNever, order_ns = batching::kNever;
  };

  struct Glance {
    bool is_taken = false, is_finished = false, is_again = false, is_unwritten = false;
    std::int64_t due_ns = batching::kNever;
  };

  // Tells the mailboxes; needs the mutex. Requests of one mailbox lie side by side as a rule: one lock, one
  // write for each run of them.
  void Deliver(const std::vector<std::pair<std::uint16_t, Delivery>>& answered, Slab* slab);
  Look Inspect(std::size_t priority, std::int64_t now);
  // Closes the head batch to producers, if it is not yet.
  void SealHead(std::size_t priority);
  bool IsHeadWritten(std::size_t priority);
  // One look at every priority: takes what is due and came first, by the clock that aging shifts.
  Glance TakeDue(std::int64_t now, bool is_polling, Batch* batch);
  TakeResult Take(std::int64_t until_ns, bool is_polling, Batch* batch);
  // The sealed and written head batch, without what needs no answer any more. False where nothing is left.
  bool TakeHead(std::size_t priority, std::int64_t now, Batch* batch);
  void Post(std::uint32_t number, std::size_t priority, std::uint32_t index, const Request& r, Answer answer);
  void Count(Answer answer);
  void MoveRows(Slab* slab, std::size_t from, std::size_t to, std::size_t rows);
  bool Complete(const Batch& batch, bool is_failed);

  std::vector<std::pair<std::uint16_t, Delivery>> answered;  // room for it, under the mutex
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_BATCHER_RINGS_H_
