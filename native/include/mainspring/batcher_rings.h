// The memory of a batcher as its callers touch it for every request; batcher.h has the functions, and only it
// includes this. It is a header so that reserving and committing can be compiled into a server's own loop.

#ifndef MAINSPRING_BATCHER_RINGS_H_
#define MAINSPRING_BATCHER_RINGS_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace mainspring {

enum class Answer : std::uint32_t {
  kWriting = 0,  // reserved
  kWaiting,      // committed
  kRunning,      // in a batch that was taken; never stored: it is kWaiting in a round that was taken
  kDone,         // from here on the answer stands
  kFailed,
  kExpired,
  kCancelled,
  kRejected,   // closed without draining
  kAbandoned,  // never committed
};

constexpr bool IsFinal(Answer answer) { return answer >= Answer::kDone; }

namespace batching {

inline constexpr std::size_t kLine = 64;
// How many collections a round may still lack before it is answered; more than any batch has requests.
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

// The answers of one batch. It lives apart from the rows, which are free again when the batch was answered,
// so an answer that nobody reads holds no place. Goes back to the takers when the last one was collected.
struct alignas(kLine) Round {
  Round(std::uint32_t id, std::size_t max_rows) : id(id), requests(new Request[max_rows]) {}

  const std::uint32_t id;  // of all rounds ever made, counted from 0
  std::uint32_t size = 0;  // requests; set by who takes the batch
  std::atomic<bool> is_taken{false};
  std::atomic<std::int32_t> uncollected{kUnanswered};
  std::unique_ptr<Request[]> requests;
  Round* next = nullptr;                              // of a list of free ones
  alignas(kLine) std::atomic<std::uint32_t> told{0};  // a futex: counts how often answers were stored
  std::atomic<std::uint32_t> waiters{0};
};

struct FreeDeleter {
  void operator()(char* memory) const { std::free(memory); }
};

// A place for a batch's rows in the ring of its priority. INVARIANT: `number` is that of the batch which
// lives here or may be opened next, and `round` is its round; the number moves on by `depth` when the batch
// was answered and nobody looks at its rows any more.
struct alignas(kLine) Slab {
  std::atomic<std::uint32_t> number{0};
  std::atomic<std::uint32_t> sealed{0};  // requests << 16 | rows once closed to producers
  Round* round = nullptr;
  std::vector<std::unique_ptr<char, FreeDeleter>> columns;
};

struct alignas(kLine) Lane {
  std::atomic<std::uint64_t> tail{0};
  alignas(kLine) std::uint32_t head = 0;  // the next batch to take; of the takers
  std::unique_ptr<Slab[]> slabs;
};

// Threads do not survive a fork, and the other half of every conversation is one: what was made before is
// refused after. Counts them.
extern std::atomic<std::uint32_t> forks;

// What every producer reads; only the two flags change.
struct Entrance {
  std::unique_ptr<Lane[]> lanes;
  std::size_t mask = 0;
  std::uint32_t max_rows = 0;
  std::uint32_t priorities = 0;
  std::uint32_t fork = 0;
  // Takers: `parked` where one sleeps until something is committed, `dozing` until something urgent is.
  alignas(kLine) std::atomic<bool> parked{false};
  std::atomic<bool> dozing{false};

  Slab& SlabOf(std::size_t priority, std::uint32_t batch) const {
    return lanes[priority].slabs[batch & mask];
  }
  bool IsForked() const { return forks.load(std::memory_order_relaxed) != fork; }
};

inline void Seal(Slab* slab, const Tail& closed) {
  slab->sealed.store(closed.requests << 16 | closed.rows, std::memory_order_release);
}

inline bool Move(std::atomic<Answer>& answer, Answer from, Answer to) {
  return answer.compare_exchange_strong(from, to, std::memory_order_acq_rel, std::memory_order_acquire);
}

}  // namespace batching
}  // namespace mainspring

#endif  // MAINSPRING_BATCHER_RINGS_H_
