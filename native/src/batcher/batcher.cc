#include "mainspring/batcher.h"

#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

#include "delay.h"
#include "futex.h"

namespace mainspring {
namespace {

constexpr std::size_t kLine = 64;
constexpr std::size_t kMaxRows = 65535, kMaxDepth = 1024, kMaxPriorities = 64, kMaxMailboxes = 1024;
// Reserved requests are looked at again after this; a sleep of less takes longer than spinning does.
constexpr std::int64_t kGlanceNs = 100000;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();
// A wait for less than this is spun through: the kernel's timers are 50 us late (2026-11).
constexpr std::int64_t kSpinNs = 100000;
// How many collections a batch may still lack before it is answered; more than any batch has.
constexpr std::int32_t kUnanswered = 1 << 20;

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

std::uint32_t Later(std::uint32_t batch, std::size_t by) {
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
// refused after.
std::atomic<std::uint32_t> forks{0};

void RegisterForkHandler() {
  static const int done = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  (void)done;
}

bool Move(std::atomic<Answer>& answer, Answer from, Answer to) {
  return answer.compare_exchange_strong(from, to, std::memory_order_acq_rel, std::memory_order_acquire);
}

Status Refuse(StatusCode code, const char* expected, double got, const char* next_step) {
  return {code, -1, expected, true, got, next_step};
}

}  // namespace

std::int64_t MonotonicNs() noexcept {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

struct Batcher::Impl {
  explicit Impl(const BatcherOptions& given) : options(given), mask(given.depth - 1), fork(forks.load()) {}

  const BatcherOptions options;
  const std::size_t mask;
  const std::uint32_t fork;
  std::vector<Lane> lanes;

  // Takers: `parked` where one sleeps until something is committed, `dozing` until something urgent is.
  alignas(kLine) std::atomic<std::uint32_t> bell{0};
  std::atomic<bool> parked{false}, dozing{false};
  std::atomic<bool> is_closed{false}, is_rejecting{false};
  std::atomic<std::int64_t> full_run_ns{0};
  std::atomic<std::uint64_t> busy{0};

  alignas(kLine) std::mutex mutex;  // of everything below, and of every lane's head
  CostModel cost;
  GapModel gap;
  BatcherStats stats;
  std::vector<std::unique_ptr<Mailbox>> mailboxes;

  Slab& SlabOf(std::size_t priority, std::uint32_t batch) { return lanes[priority].slabs[batch & mask]; }
  Request& RequestOf(const Ticket& t) { return SlabOf(t.priority, t.batch).requests[t.index]; }
  bool IsForked() const { return forks.load(std::memory_order_relaxed) != fork; }

  void Ring() {
    bell.fetch_add(1);
    FutexWakeAll(bell);
  }

  // --- producers ---

  Status Reserve(const RequestOptions& request, Ticket* ticket) {
    const auto rows = static_cast<std::uint32_t>(request.rows);
    Lane& lane = lanes[request.priority];
    std::uint64_t word = lane.tail.load(std::memory_order_acquire);
    for (;;) {
      const Tail open = Tail::Of(word);
      if (open.is_closed || IsForked()) {
        return {StatusCode::kClosed,
                -1,
                "the batcher must be open, in the process that made it",
                false,
                0,
                IsForked() ? "make one in each process, after the fork" : "make another one"};
      }
      const bool overflows = open.rows + rows > options.max_rows;
      const std::uint32_t batch = overflows ? Later(open.batch, 1) : open.batch;
      if (SlabOf(request.priority, batch).number.load(std::memory_order_acquire) != batch) {
        busy.fetch_add(1, std::memory_order_relaxed);
        return Refuse(StatusCode::kBusy, "the batcher must have room", RetrySeconds(),
                      "try again after that many seconds");
      }
      const Tail next =
          overflows ? Tail{false, batch, 1, rows} : Tail{false, batch, open.requests + 1, open.rows + rows};
      // Sequentially consistent, like the takers' store to `parked`: one of both sees the other.
      if (!lane.tail.compare_exchange_weak(word, next.Word())) continue;
      if (overflows) Seal(&SlabOf(request.priority, open.batch), open);
      ticket->batch = batch;
      ticket->priority = static_cast<std::uint16_t>(request.priority);
      ticket->index = static_cast<std::uint16_t>(next.requests - 1);
      ticket->first_row = static_cast<std::uint16_t>(next.rows - rows);
      ticket->rows = static_cast<std::uint16_t>(rows);
      ticket->is_urgent =
          overflows || ticket->index == 0 || next.rows == options.max_rows || request.deadline_ns != 0;
      Request& r = RequestOf(*ticket);
      r.first = ticket->first_row;
      r.rows = ticket->rows;
      r.mailbox = request.mailbox;
      r.deadline_ns = request.deadline_ns;
      r.arrival_ns = request.arrival_ns != 0 ? request.arrival_ns : MonotonicNs();
      return {};
    }
  }

  static void Seal(Slab* slab, const Tail& closed) {
    slab->sealed.store(closed.requests << 16 | closed.rows, std::memory_order_release);
  }

  double RetrySeconds() const {
    const std::int64_t run = full_run_ns.load(std::memory_order_relaxed);
    return static_cast<double>(
               std::max<std::int64_t>(run, std::max<std::int64_t>(1000, options.max_delay_ns / 2))) *
           1e-9;
  }

  void Answered(const Ticket& ticket, Answer answer) {
    RequestOf(ticket).answer.store(answer, std::memory_order_release);
    // Where the taker went to sleep after our reservation it saw that and looks again by itself.
    if (parked.load() && parked.exchange(false)) Ring();
    if (ticket.is_urgent && dozing.load(std::memory_order_relaxed) && dozing.exchange(false)) Ring();
  }

  // --- answers ---

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
    slab->uncollected.store(kUnanswered, std::memory_order_relaxed);
    const std::uint32_t number = slab->number.load(std::memory_order_relaxed);
    slab->number.store(Later(number, options.depth), std::memory_order_release);
    return true;
  }

  // Tells the mailboxes; needs the mutex. Requests of one mailbox lie side by side as a rule: one lock, one
  // write for each run of them.
  void Deliver(const std::vector<std::pair<std::uint16_t, Delivery>>& answered, Slab* slab) {
    for (std::size_t i = 0; i < answered.size();) {
      const std::uint16_t to = answered[i].first;
      Mailbox& box = *mailboxes[to - 1u];
      const std::lock_guard<std::mutex> lock(box.mutex);
      const bool was_empty = box.waiting.empty();
      for (; i < answered.size() && answered[i].first == to; ++i) {
        if (box.is_closed) {
          Uncount(slab, 1);  // never the last: the batch's own share comes after this
        } else {
          box.waiting.push_back(answered[i].second);
        }
      }
      // INVARIANT: the descriptor is readable while something waits; Drain reads it before it empties the
      // box.
      if (was_empty && !box.waiting.empty()) {
        const std::uint64_t one = 1;
        (void)!write(box.fd, &one, sizeof(one));
      }
    }
  }

  // --- takers; all of it needs the mutex ---

  struct Look {
    bool is_empty = true, is_sealed = false, is_written = true, is_closed = false;
    std::uint32_t requests = 0, rows = 0;
    std::int64_t due_ns = kNever, order_ns = kNever;
  };

  Look Inspect(std::size_t priority, std::int64_t now) {
    Lane& lane = lanes[priority];
    Slab& slab = SlabOf(priority, lane.head);
    Look look;
    const Tail tail = Tail::Of(lane.tail.load());
    look.is_closed = tail.is_closed;
    if (tail.batch != lane.head) {
      const std::uint32_t sealed = slab.sealed.load(std::memory_order_acquire);
      look.is_empty = false;
      look.is_sealed = true;
      look.is_written = sealed != 0;  // else its producer is between two instructions
      look.requests = sealed >> 16;
      look.rows = sealed & 0xffff;
    } else {
      look.is_empty = tail.requests == 0;
      look.requests = tail.requests;
      look.rows = tail.rows;
    }
    if (look.is_empty) return look;
    std::int64_t first = now, last = 0, deadline = kNever;
    for (std::uint32_t i = 0; i < look.requests; ++i) {
      const Request& r = slab.requests[i];
      if (r.answer.load(std::memory_order_acquire) == Answer::kWriting) {
        look.is_written = false;
        continue;
      }
      first = std::min(first, r.arrival_ns);
      last = std::max(last, r.arrival_ns);
      if (r.deadline_ns != 0) deadline = std::min(deadline, r.deadline_ns);
    }
    look.order_ns = first + static_cast<std::int64_t>(priority) * options.aging_ns;
    look.due_ns = now;
    if (look.is_sealed || look.rows == options.max_rows || tail.is_closed) return look;
    const std::int64_t latest = first + options.max_delay_ns;
    std::int64_t due = latest;
    if (options.is_adaptive) due = std::min(due, AdaptiveDue(gap, cost, look.requests, last, now));
    if (deadline != kNever) due = std::min(due, deadline - cost.Predict(look.rows));
    // While somebody writes, others may join at no cost, but not for ever.
    look.due_ns = look.is_written ? due : std::max(due, latest);
    return look;
  }

  // Closes the head batch to producers, if it is not yet.
  void SealHead(std::size_t priority) {
    Lane& lane = lanes[priority];
    std::uint64_t word = lane.tail.load();
    for (;;) {
      const Tail open = Tail::Of(word);
      if (open.batch != lane.head) return;
      const Tail next{open.is_closed, Later(open.batch, 1), 0, 0};
      if (lane.tail.compare_exchange_weak(word, next.Word())) {
        return Seal(&SlabOf(priority, open.batch), open);
      }
    }
  }

  bool IsHeadWritten(std::size_t priority) {
    const Slab& slab = SlabOf(priority, lanes[priority].head);
    const std::uint32_t requests = slab.sealed.load(std::memory_order_acquire) >> 16;
    for (std::uint32_t i = 0; i < requests; ++i) {
      if (slab.requests[i].answer.load(std::memory_order_acquire) == Answer::kWriting) return false;
    }
    return requests != 0;
  }

  struct Glance {
    bool is_taken = false, is_finished = false, is_again = false, is_unwritten = false;
    std::int64_t due_ns = kNever;
  };

  // One look at every priority: takes what is due and came first, by the clock that aging shifts.
  Glance TakeDue(std::int64_t now, bool is_polling, Batch* batch) {
    const std::lock_guard<std::mutex> lock(mutex);
    Glance glance;
    glance.is_finished = true;
    std::size_t best = 0;
    std::int64_t best_order = kNever;
    for (std::size_t p = 0; p < options.priorities; ++p) {
      const Look look = Inspect(p, now);
      glance.is_finished &= look.is_empty && look.is_closed;
      if (look.is_empty) continue;
      const bool is_due = look.due_ns <= now;
      if (look.is_written && (is_due || is_polling)) {
        if (look.order_ns < best_order) best = p, best_order = look.order_ns;
      } else if (look.is_written) {
        glance.due_ns = std::min(glance.due_ns, look.due_ns);
      } else {
        glance.is_unwritten = true;
        if (is_due) SealHead(p);
      }
    }
    if (best_order == kNever) return glance;
    SealHead(best);
    if (!IsHeadWritten(best)) {  // somebody joined in between
      glance.is_unwritten = true;
      return glance;
    }
    glance.is_taken = TakeHead(best, now, batch);
    glance.is_again = !glance.is_taken;
    return glance;
  }

  TakeResult Take(std::int64_t until_ns, bool is_polling, Batch* batch) {
    bool is_armed = false;
    std::uint32_t seen = 0;
    for (int yields = 0;;) {
      const std::int64_t now = MonotonicNs();
      const Glance glance = TakeDue(now, is_polling, batch);
      if (glance.is_taken) return TakeResult::kTaken;
      if (glance.is_again) continue;
      if (glance.is_finished) return TakeResult::kFinished;
      if (is_polling || (until_ns != 0 && now >= until_ns)) return TakeResult::kNothing;
      std::int64_t wake = glance.due_ns;
      if (until_ns != 0) wake = std::min(wake, until_ns);
      const bool is_waiting_for_more = glance.due_ns != kNever && !glance.is_unwritten;
      if ((is_waiting_for_more && wake - now < kSpinNs) || (glance.is_unwritten && yields < 64)) {
        ++yields;
        sched_yield();
        continue;
      }
      if (!is_armed) {  // say that we will sleep, then look once more
        seen = bell.load();
        (is_waiting_for_more ? dozing : parked).store(true);
        is_armed = true;
        continue;
      }
      is_armed = false;
      if (is_waiting_for_more) wake -= kSpinNs / 2;
      if (glance.is_unwritten) wake = std::min(wake, now + kGlanceNs);
      FutexWait(bell, seen, wake == kNever ? 0 : wake);
    }
  }

  // The sealed and written head batch, without what needs no answer any more. False where nothing is left.
  bool TakeHead(std::size_t priority, std::int64_t now, Batch* batch) {
    Lane& lane = lanes[priority];
    const std::uint32_t number = lane.head;
    Slab& slab = SlabOf(priority, number);
    const std::uint32_t sealed = slab.sealed.load(std::memory_order_acquire);
    const std::uint32_t requests = sealed >> 16;
    lane.head = Later(number, 1);
    *batch = {number, static_cast<std::uint16_t>(priority), static_cast<std::uint16_t>(requests), 0, now};
    const std::int64_t horizon = options.sheds_infeasible ? now + cost.Predict(sealed & 0xffff) : now;
    std::int64_t first = kNever, last = 0;
    std::uint32_t to = 0;
    std::int32_t gone = 0;
    bool any_answered = false;
    answered.clear();
    for (std::uint32_t i = 0; i < requests; ++i) {
      Request& r = slab.requests[i];
      first = std::min(first, r.arrival_ns);
      last = std::max(last, r.arrival_ns);
      Answer became = Answer::kRunning;
      if (is_rejecting.load()) {
        became = Answer::kRejected;
      } else if (r.deadline_ns != 0 && r.deadline_ns <= horizon) {
        became = Answer::kExpired;
      }
      if (!Move(r.answer, Answer::kWaiting, became)) became = r.answer.load(std::memory_order_acquire);
      r.is_told = became != Answer::kRunning;
      if (became == Answer::kRunning) {
        if (to != r.first) MoveRows(&slab, r.first, to, r.rows);
        r.first = static_cast<std::uint16_t>(to);
        to += r.rows;
        continue;
      }
      if (became == Answer::kAbandoned) {
        ++gone;
        ++stats.abandoned;
        continue;
      }
      any_answered = true;
      Count(became);
      if (r.mailbox != 0) Post(number, priority, i, r, became);
    }
    gap.Observe(requests, first, last);
    if (gone != 0) Uncount(&slab, gone);
    Deliver(answered, &slab);
    if (any_answered) WakeWaiters(&slab);
    batch->rows = to;
    if (to != 0) {
      stats.batches += 1;
      stats.rows += to;
      return true;
    }
    Uncount(&slab, kUnanswered - static_cast<std::int32_t>(requests));
    return false;
  }

  void Post(std::uint32_t number, std::size_t priority, std::uint32_t index, const Request& r,
            Answer answer) {
    Ticket ticket{
        number, static_cast<std::uint16_t>(priority), static_cast<std::uint16_t>(index), r.first, r.rows,
        false};
    answered.push_back({r.mailbox, {ticket, answer}});
  }

  void Count(Answer answer) {
    stats.done += answer == Answer::kDone;
    stats.failed += answer == Answer::kFailed;
    stats.expired += answer == Answer::kExpired;
    stats.cancelled += answer == Answer::kCancelled;
    stats.rejected += answer == Answer::kRejected;
  }

  void MoveRows(Slab* slab, std::size_t from, std::size_t to, std::size_t rows) {
    stats.moved_rows += rows;
    for (std::size_t c = 0; c < options.row_bytes.size(); ++c) {
      const std::size_t bytes = options.row_bytes[c];
      std::memmove(slab->columns[c].get() + to * bytes, slab->columns[c].get() + from * bytes, rows * bytes);
    }
  }

  bool Complete(const Batch& batch, bool is_failed) {
    const std::int64_t now = MonotonicNs();
    const std::lock_guard<std::mutex> lock(mutex);
    Slab& slab = SlabOf(batch.priority, batch.batch);
    answered.clear();
    for (std::uint32_t i = 0; i < batch.requests; ++i) {
      Request& r = slab.requests[i];
      Answer became = is_failed ? Answer::kFailed : Answer::kDone;
      if (!Move(r.answer, Answer::kRunning, became)) {
        // Answered when the batch was taken, but for who was cancelled since.
        if (r.is_told) continue;
        became = Answer::kCancelled;
      }
      Count(became);
      if (r.mailbox != 0) Post(batch.batch, batch.priority, i, r, became);
    }
    if (batch.rows != 0) {
      cost.Observe(batch.rows, static_cast<double>(std::max<std::int64_t>(0, now - batch.taken_ns)));
      full_run_ns.store(cost.Predict(options.max_rows), std::memory_order_relaxed);
    }
    Deliver(answered, &slab);
    WakeWaiters(&slab);
    return Uncount(&slab, kUnanswered - batch.requests);
  }

  std::vector<std::pair<std::uint16_t, Delivery>> answered;  // room for it, under the mutex
};

Batcher::Batcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Batcher::~Batcher() = default;

Status Batcher::Create(const BatcherOptions& options, std::unique_ptr<Batcher>* batcher) {
  const auto refuse = [](const char* expected, double got, const char* next_step) {
    return Refuse(StatusCode::kBadSpec, expected, got, next_step);
  };
  if (options.row_bytes.empty()) return refuse("a batcher must have at least one column", 0, "name one");
  if (options.max_rows < 1 || options.max_rows > kMaxRows) {
    return refuse("`max_rows` must be 1 to 65535", static_cast<double>(options.max_rows), "choose another");
  }
  if (options.depth < 1 || options.depth > kMaxDepth || (options.depth & (options.depth - 1)) != 0) {
    return refuse("`depth` must be a power of two up to 1024", static_cast<double>(options.depth),
                  "round it up");
  }
  if (options.priorities < 1 || options.priorities > kMaxPriorities) {
    return refuse("`priorities` must be 1 to 64", static_cast<double>(options.priorities), "choose another");
  }
  constexpr std::int64_t kHourNs = 3600000000000;
  if (options.max_delay_ns < 0 || options.aging_ns < 0 || options.max_delay_ns > kHourNs ||
      options.aging_ns > kHourNs) {
    return refuse("delays must be 0 seconds to an hour",
                  static_cast<double>(std::max(options.max_delay_ns, options.aging_ns)) * 1e-9,
                  "choose another");
  }
  RegisterForkHandler();
  auto impl = std::make_unique<Impl>(options);
  impl->lanes = std::vector<Lane>(options.priorities);
  for (Lane& lane : impl->lanes) {
    lane.slabs = std::make_unique<Slab[]>(options.depth);
    lane.head = Later(options.first_batch, 0);
    lane.tail.store(Tail{false, lane.head, 0, 0}.Word());
    for (std::size_t i = 0; i < options.depth; ++i) {
      const std::uint32_t number = Later(options.first_batch, i);
      Slab& slab = lane.slabs[number & impl->mask];
      slab.number.store(number);
      slab.requests = std::make_unique<Request[]>(options.max_rows);
      for (const std::size_t row_bytes : options.row_bytes) {
        const std::size_t bytes = (options.max_rows * row_bytes + kLine) / kLine * kLine;
        auto* const memory = static_cast<char*>(std::aligned_alloc(kLine, bytes));
        if (memory == nullptr) throw std::bad_alloc();
        std::memset(memory, 0, bytes);
        slab.columns.emplace_back(memory);
      }
    }
  }
  impl->answered.reserve(options.max_rows);
  batcher->reset(new Batcher(std::move(impl)));
  return {};
}

Status Batcher::Reserve(const RequestOptions& options, Ticket* ticket) noexcept {
  if (options.rows < 1 || options.rows > impl_->options.max_rows) {
    return Refuse(StatusCode::kOutOfRange, "a request must have 1 to `max_rows` rows",
                  static_cast<double>(options.rows), "split it, or make a batcher of larger batches");
  }
  if (options.priority >= impl_->options.priorities) {
    return Refuse(StatusCode::kOutOfRange, "`priority` must be below `priorities`",
                  static_cast<double>(options.priority), "0 is the most urgent");
  }
  return impl_->Reserve(options, ticket);
}

void Batcher::Commit(const Ticket& ticket) noexcept { impl_->Answered(ticket, Answer::kWaiting); }
void Batcher::Abandon(const Ticket& ticket) noexcept { impl_->Answered(ticket, Answer::kAbandoned); }

char* Batcher::Rows(const Ticket& t, std::size_t column) const noexcept {
  return impl_->SlabOf(t.priority, t.batch).columns[column].get() +
         t.first_row * impl_->options.row_bytes[column];
}

bool Batcher::Cancel(const Ticket& ticket) noexcept {
  std::atomic<Answer>& answer = impl_->RequestOf(ticket).answer;
  if (!Move(answer, Answer::kWaiting, Answer::kCancelled) &&
      !Move(answer, Answer::kRunning, Answer::kCancelled)) {
    return false;
  }
  Impl::WakeWaiters(&impl_->SlabOf(ticket.priority, ticket.batch));
  return true;
}

Answer Batcher::Peek(const Ticket& ticket) const noexcept {
  return impl_->RequestOf(ticket).answer.load(std::memory_order_acquire);
}

Answer Batcher::Wait(const Ticket& ticket, std::int64_t until_ns) noexcept {
  Request& request = impl_->RequestOf(ticket);
  Slab& slab = impl_->SlabOf(ticket.priority, ticket.batch);
  for (;;) {
    const std::uint32_t seen = slab.answers.load();
    const Answer answer = Peek(ticket);
    if (IsFinal(answer)) return answer;
    if (impl_->IsForked()) return Answer::kRejected;
    // Nobody may be left to take it.
    if (impl_->is_rejecting.load() && Move(request.answer, Answer::kWaiting, Answer::kRejected)) continue;
    const std::int64_t now = MonotonicNs();
    std::int64_t until = until_ns;
    if (answer == Answer::kWaiting && request.deadline_ns != 0) {
      if (now >= request.deadline_ns) {
        Move(request.answer, Answer::kWaiting, Answer::kExpired);
        continue;
      }
      until = until == 0 ? request.deadline_ns : std::min(until, request.deadline_ns);
    }
    if (until_ns != 0 && now >= until_ns) return answer;
    slab.waiters.fetch_add(1);
    if (!IsFinal(Peek(ticket))) FutexWait(slab.answers, seen, until);
    slab.waiters.fetch_sub(1);
  }
}

void Batcher::Range(const Ticket& ticket, std::size_t* first, std::size_t* rows) const noexcept {
  const Request& request = impl_->RequestOf(ticket);
  *first = request.first;
  *rows = request.rows;
}

bool Batcher::Collect(const Ticket& ticket) noexcept {
  return impl_->Uncount(&impl_->SlabOf(ticket.priority, ticket.batch), 1);
}

std::uint16_t Batcher::OpenMailbox() {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->mailboxes.size() >= kMaxMailboxes) return 0;
  auto box = std::make_unique<Mailbox>();
  box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (box->fd < 0) return 0;
  impl_->mailboxes.push_back(std::move(box));
  return static_cast<std::uint16_t>(impl_->mailboxes.size());
}

int Batcher::MailboxFd(std::uint16_t mailbox) const {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  return impl_->mailboxes[mailbox - 1u]->fd;
}

void Batcher::Drain(std::uint16_t mailbox, std::vector<Delivery>* out) {
  Mailbox* box = nullptr;
  {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    box = impl_->mailboxes[mailbox - 1u].get();
  }
  out->clear();
  const std::lock_guard<std::mutex> lock(box->mutex);
  std::uint64_t count = 0;
  (void)!read(box->fd, &count, sizeof(count));
  out->swap(box->waiting);
}

void Batcher::CloseMailbox(std::uint16_t mailbox) {
  std::vector<Delivery> left;
  {
    const std::lock_guard<std::mutex> lock(impl_->mutex);
    Mailbox& box = *impl_->mailboxes[mailbox - 1u];
    const std::lock_guard<std::mutex> box_lock(box.mutex);
    box.is_closed = true;
    left.swap(box.waiting);
  }
  for (const Delivery& delivery : left) Collect(delivery.ticket);
}

TakeResult Batcher::Take(std::int64_t until_ns, bool is_polling, Batch* batch) {
  if (impl_->IsForked()) return TakeResult::kFinished;
  return impl_->Take(until_ns, is_polling, batch);
}

char* Batcher::Column(const Batch& batch, std::size_t column) const noexcept {
  return impl_->SlabOf(batch.priority, batch.batch).columns[column].get();
}

bool Batcher::Complete(const Batch& batch, bool is_failed) { return impl_->Complete(batch, is_failed); }

void Batcher::Close(bool is_draining) {
  if (!is_draining) impl_->is_rejecting.store(true);
  for (Lane& lane : impl_->lanes) lane.tail.fetch_or(Tail::kClosed);
  impl_->is_closed.store(true);
  impl_->Ring();
  if (is_draining) return;
  for (Lane& lane : impl_->lanes) {
    for (std::size_t i = 0; i < impl_->options.depth; ++i) Impl::WakeWaiters(&lane.slabs[i]);
  }
}

bool Batcher::is_closed() const noexcept { return impl_->is_closed.load() || impl_->IsForked(); }

BatcherStats Batcher::Stats() {
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  BatcherStats stats = impl_->stats;
  stats.busy = impl_->busy.load(std::memory_order_relaxed);
  stats.gap_ns = impl_->gap.ns();
  stats.fixed_cost_ns = impl_->cost.fixed();
  stats.row_cost_ns = impl_->cost.row();
  return stats;
}

const BatcherOptions& Batcher::options() const noexcept { return impl_->options; }

}  // namespace mainspring
