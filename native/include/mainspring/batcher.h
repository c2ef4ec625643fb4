// Joins requests of several rows each into contiguous batches: a request is written straight into the arena
// of the batch that it will be part of, so there is nothing to copy together afterwards. Knows no Python.
// What every step means is written as plain Python in native/reference_batcher.py.

#ifndef MAINSPRING_BATCHER_H_
#define MAINSPRING_BATCHER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "mainspring/batcher_rings.h"
#include "mainspring/status.h"

namespace mainspring {

// Times are nanoseconds of CLOCK_MONOTONIC.
std::int64_t MonotonicNs() noexcept;

struct BatcherOptions {
  std::vector<std::size_t> row_bytes;  // of each column: a row of it lies in one piece
  std::size_t max_rows = 256;          // of a batch, up to 65,535
  std::size_t depth = 64;              // batches of each priority under way at once: a power of two
  std::size_t priorities = 1;          // 0 is the most urgent
  std::int64_t max_delay_ns = 2000000;
  std::int64_t aging_ns = 10000000;  // what one step of priority is worth in waiting
  bool is_adaptive = true;           // else a batch waits for `max_delay_ns` unless it is full
  bool sheds_infeasible = false;     // whether a deadline that the run itself would pass counts as passed
  std::uint32_t first_batch = 0;     // where batches are numbered from; a test of the numbers' wrap sets it
};

// Where a request's rows go, and its name until it is collected.
struct Ticket {
  batching::Round* round = nullptr;  // where its answer will be
  std::uint32_t batch = 0;           // the running number within the priority
  std::uint16_t priority = 0;
  std::uint16_t index = 0;  // within the round
  std::uint16_t first_row = 0;
  std::uint16_t rows = 0;
  bool is_urgent = false;  // its commit may change when the batch is due
};

struct RequestOptions {
  std::size_t rows = 1;
  std::size_t priority = 0;
  std::int64_t deadline_ns = 0;  // 0: none
  std::int64_t arrival_ns = 0;   // 0: now
  std::uint16_t mailbox = 0;     // 0: somebody waits for the ticket
};

// What was taken: the rows [0, rows) of each column.
struct Batch {
  batching::Round* round = nullptr;
  std::uint32_t batch = 0;
  std::uint16_t priority = 0;
  std::uint16_t requests = 0;  // all of them, the answered ones too
  std::uint32_t rows = 0;
  std::int64_t taken_ns = 0;
};

enum class TakeResult { kTaken, kNothing, kFinished };

struct BatcherStats {
  std::uint64_t batches = 0, rows = 0, moved_rows = 0;
  std::uint64_t done = 0, failed = 0, expired = 0, cancelled = 0, rejected = 0, abandoned = 0, busy = 0;
  double gap_ns = 0, fixed_cost_ns = 0, row_cost_ns = 0;
};

struct Delivery {
  Ticket ticket;
  Answer answer = Answer::kWriting;
};

// Producers never take a lock; takers share one. Threads: any number of producers, takers and waiters. What
// one ticket or batch names belongs to one thread at a time, but Cancel may be called from any. INVARIANT:
// whatever is committed gets exactly one final answer, and keeps it until it is collected.
class Batcher {
 public:
  static Status Create(const BatcherOptions& options, std::unique_ptr<Batcher>* batcher);
  ~Batcher();

  // kOutOfRange (more rows than a batch has, no such priority), kBusy with `got` the seconds after which to
  // try again, kClosed. Then write the rows, then Commit or Abandon: nobody's batch runs before that.
  Status Reserve(const RequestOptions& options, Ticket* ticket) noexcept;
  // The same in few instructions, for a loop of one's own; only Reserve says what was wrong in words.
  StatusCode TryReserve(const RequestOptions& options, Ticket* ticket) noexcept {
    std::size_t reserved = 0;
    return TryReserve(options, 1, ticket, &reserved);
  }
  // Up to `count` (at least 1) requests alike, side by side, for who knows what a round of epoll brought: one
  // compare-and-swap for as many as fit into one batch. The first `reserved` tickets are written.
  StatusCode TryReserve(const RequestOptions& options, std::size_t count, Ticket* tickets,
                        std::size_t* reserved) noexcept;
  void Commit(const Ticket& ticket) noexcept;
  void Abandon(const Ticket& ticket) noexcept;
  char* Rows(const Ticket& ticket, std::size_t column) const noexcept;

  // True where it was not answered before; it then never is, but with kCancelled.
  bool Cancel(const Ticket& ticket) noexcept;
  Answer Peek(const Ticket& ticket) const noexcept;
  // Until the answer is final, or `until_ns` (0: for ever) has come. Sees to its own deadline.
  Answer Wait(const Ticket& ticket, std::int64_t until_ns) noexcept;
  // The rows of the output that are a done request's.
  void Range(const Ticket& ticket, std::size_t* first, std::size_t* rows) const noexcept;
  // Once for each ticket, after its final answer; the ticket is then nobody's. True: the last of its batch.
  bool Collect(const Ticket& ticket) noexcept;

  // A mailbox receives the tickets of its requests, once each, when their answer is final; its file
  // descriptor becomes readable. 0 where there are no more.
  std::uint16_t OpenMailbox();
  int MailboxFd(std::uint16_t mailbox) const;
  // Everything that has come; the caller collects each.
  void Drain(std::uint16_t mailbox, std::vector<Delivery>* out);
  // What has come and what comes later is collected unseen.
  void CloseMailbox(std::uint16_t mailbox);

  // The next batch that is due, waiting for one until `until_ns` (0: for ever). With `is_polling`, whatever
  // is there, due or not, at once. kFinished: closed, and nothing left. May throw std::bad_alloc, and then
  // took nothing.
  TakeResult Take(std::int64_t until_ns, bool is_polling, Batch* batch);
  char* Column(const Batch& batch, std::size_t column) const noexcept;
  // Once for each batch: Settle, Wake, and Release as soon as nobody looks at its rows. Complete is all of
  // it. Settle stores the answers of all that is still in it. True: all were collected already.
  bool Settle(const Batch& batch, bool is_failed);
  // Wakes the threads that wait for its answers: one, which wakes the others.
  void Wake(const Batch& batch) noexcept;
  void Release(const Batch& batch) noexcept;
  bool Complete(const Batch& batch, bool is_failed);

  // Refuses new requests. What is there is still taken, or rejected. Idempotent; draining may become
  // rejecting.
  void Close(bool is_draining);
  bool is_closed() const noexcept;

  BatcherStats Stats();
  const BatcherOptions& options() const noexcept;

 private:
  struct Impl;
  explicit Batcher(std::unique_ptr<Impl> impl);
  StatusCode Refused(StatusCode code) noexcept;
  void Ring() noexcept;

  std::unique_ptr<Impl> impl_;
  batching::Entrance* entrance_;  // of impl_
};

inline StatusCode Batcher::TryReserve(const RequestOptions& request, std::size_t count, Ticket* tickets,
                                      std::size_t* reserved) noexcept {
  using batching::Tail;
  batching::Entrance& in = *entrance_;
  if (request.rows - 1 >= in.max_rows || request.priority >= in.priorities) return StatusCode::kOutOfRange;
  const auto rows = static_cast<std::uint32_t>(request.rows);
  batching::Lane& lane = in.lanes[request.priority];
  std::uint64_t word = lane.tail.load(std::memory_order_acquire);
  for (;;) {
    const Tail open = Tail::Of(word);
    if (open.is_closed || in.IsForked()) return StatusCode::kClosed;
    const bool overflows = open.rows + rows > in.max_rows;
    const Tail before = overflows ? Tail{false, batching::Later(open.batch, 1), 0, 0} : open;
    batching::Slab& slab = in.SlabOf(request.priority, before.batch);
    if (slab.number.load(std::memory_order_acquire) != before.batch) return Refused(StatusCode::kBusy);
    std::uint32_t places = 1;
    if (count > 1) {
      const std::uint32_t room = (in.max_rows - before.rows) / rows;
      places = count < room ? static_cast<std::uint32_t>(count) : room;
    }
    const Tail after{false, before.batch, before.requests + places, before.rows + places * rows};
    // Sequentially consistent, like the takers' store to `parked`: one of both sees the other.
    if (!lane.tail.compare_exchange_weak(word, after.Word())) continue;
    if (overflows) batching::Seal(&in.SlabOf(request.priority, open.batch), open);
    const std::int64_t arrival_ns = request.arrival_ns != 0 ? request.arrival_ns : MonotonicNs();
    for (std::uint32_t i = 0; i < places; ++i) {
      Ticket& ticket = tickets[i];
      ticket.round = slab.round;
      ticket.batch = before.batch;
      ticket.priority = static_cast<std::uint16_t>(request.priority);
      ticket.index = static_cast<std::uint16_t>(before.requests + i);
      ticket.first_row = static_cast<std::uint16_t>(before.rows + i * rows);
      ticket.rows = static_cast<std::uint16_t>(rows);
      ticket.is_urgent =
          overflows || ticket.index == 0 || after.rows == in.max_rows || request.deadline_ns != 0;
      batching::Request& r = slab.round->requests[ticket.index];
      r.first = ticket.first_row;
      r.rows = ticket.rows;
      r.mailbox = request.mailbox;
      r.deadline_ns = request.deadline_ns;
      r.arrival_ns = arrival_ns;
    }
    *reserved = places;
    return StatusCode::kOk;
  }
}

inline void Batcher::Commit(const Ticket& ticket) noexcept {
  ticket.round->requests[ticket.index].answer.store(Answer::kWaiting, std::memory_order_release);
  // Where the taker went to sleep after our reservation it saw that and looks again by itself.
  if (entrance_->parked.load() || (ticket.is_urgent && entrance_->dozing.load(std::memory_order_relaxed)))
    Ring();
}

}  // namespace mainspring

#endif  // MAINSPRING_BATCHER_H_
