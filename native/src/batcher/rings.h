// The memory of a batcher, and what its two sides do with it: batcher.cc is the callers' side (reserve,
// commit, wait, collect), taking.cc that of the takers (inspect, seal, take, complete).

#ifndef MAINSPRING_SRC_BATCHER_RINGS_H_
#define MAINSPRING_SRC_BATCHER_RINGS_H_

#include <unistd.h>

#include <atomic>
#include <cstdint>
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

inline constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

struct Mailbox {
  std::mutex mutex;
  int fd = -1;
  bool is_closed = false;
  std::vector<Delivery> waiting;
  ~Mailbox() {
    if (fd >= 0) close(fd);
  }
};

}  // namespace batching

struct Batcher::Impl {
  using Lane = batching::Lane;
  using Round = batching::Round;
  using Slab = batching::Slab;
  using Request = batching::Request;
  using Tail = batching::Tail;
  using Mailbox = batching::Mailbox;

  explicit Impl(const BatcherOptions& given) : options(given) {}

  const BatcherOptions options;
  batching::Entrance entrance;

  alignas(batching::kLine) std::atomic<std::uint32_t> bell{0};
  std::atomic<bool> is_closed{false}, is_rejecting{false};
  std::atomic<std::int64_t> full_run_ns{0};
  std::atomic<std::uint64_t> busy{0};
  // Rounds that came back, a list: anybody pushes, takers take all of it, so no address is met twice.
  alignas(batching::kLine) std::atomic<Round*> returned{nullptr};

  alignas(batching::kLine) std::mutex mutex;  // of everything below, and of every lane's head
  CostModel cost;
  GapModel gap;
  BatcherStats stats;
  std::vector<std::unique_ptr<Mailbox>> mailboxes;

  std::vector<std::unique_ptr<Round>> rounds;  // all of them
  Round* spare = nullptr;                      // a list

  Slab& SlabOf(std::size_t priority, std::uint32_t batch) { return entrance.SlabOf(priority, batch); }
  static Request& RequestOf(const Ticket& t) { return t.round->requests[t.index]; }

  void Ring() {
    bell.fetch_add(1);
    FutexWakeAll(bell);
  }

  // --- callers: batcher.cc ---

  double RetrySeconds() const;

  // True where nothing of the round is left; it is then nobody's.
  bool Uncount(Round* round, std::int32_t collected) {
    if (round->uncollected.fetch_sub(collected, std::memory_order_acq_rel) != collected) return false;
    for (std::uint32_t i = 0; i < round->size; ++i) {
      round->requests[i].answer.store(Answer::kWriting, std::memory_order_relaxed);
      round->requests[i].is_told = false;
    }
    round->is_taken.store(false, std::memory_order_relaxed);
    round->uncollected.store(batching::kUnanswered, std::memory_order_relaxed);
    round->next = returned.load(std::memory_order_relaxed);
    while (!returned.compare_exchange_weak(round->next, round, std::memory_order_release,
                                           std::memory_order_relaxed)) {
    }
    return true;
  }

  // --- takers: taking.cc; but for Take, TakeDue and Settle, which take it, all of it needs the mutex ---

  struct Look {
    bool is_empty = true, is_sealed = false, is_written = true, is_closed = false;
    std::uint32_t requests = 0, rows = 0;
    std::int64_t due_ns = batching::kNever, order_ns = batching::kNever;
    std::int64_t first_ns = batching::kNever, last_ns = 0, deadline_ns = batching::kNever;  // of the written
  };

  struct Glance {
    bool is_taken = false, is_finished = false, is_again = false, is_unwritten = false;
    std::int64_t due_ns = batching::kNever;
  };

  // Tells the mailboxes. Requests of one mailbox lie side by side as a rule: one lock, one write for each
  // run of them.
  void Deliver(const std::vector<std::pair<std::uint16_t, Delivery>>& answered, Round* round);
  Look Inspect(std::size_t priority, std::int64_t now);
  // Closes the head batch to producers, if it is not yet.
  void SealHead(std::size_t priority);
  // The sealed head batch, looked at anew if somebody joined since `look`. False while one still writes.
  bool IsHeadWritten(std::size_t priority, std::int64_t now, Look* look);
  // One look at every priority: takes what is due and came first, by the clock that aging shifts.
  Glance TakeDue(std::int64_t now, bool is_polling, Batch* batch);
  TakeResult Take(std::int64_t until_ns, bool is_polling, Batch* batch);
  // The sealed and written head batch, without what needs no answer any more. False where nothing is left.
  bool TakeHead(std::size_t priority, std::int64_t now, const Look& look, Batch* batch);
  // A round that is nobody's stays in `spare`. May throw std::bad_alloc.
  void FindSpare();
  void Post(Round* round, std::uint32_t number, std::size_t priority, std::uint32_t index, Answer answer);
  void Count(Answer answer);
  void MoveRows(Slab* slab, std::size_t from, std::size_t to, std::size_t rows);
  bool Settle(const Batch& batch, bool is_failed);
  void Release(std::size_t priority, std::uint32_t number);

  std::vector<std::pair<std::uint16_t, Delivery>> answered;  // room for it, under the mutex
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_BATCHER_RINGS_H_
