// The takers' side: which batch is due, closing it to producers, and its answers.

#include <sched.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "rings.h"

namespace mainspring {

using namespace batching;  // NOLINT: this is its implementation

namespace {

// Reserved requests are looked at again after this; a sleep of less takes longer than spinning does.
constexpr std::int64_t kGlanceNs = 100000;
// A wait for less than this is spun through: the kernel's timers are 50 us late (2026-11).
constexpr std::int64_t kSpinNs = 100000;

}  // namespace

void Batcher::Impl::Deliver(const std::vector<std::pair<std::uint16_t, Delivery>>& answered, Slab* slab) {
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

Batcher::Impl::Look Batcher::Impl::Inspect(std::size_t priority, std::int64_t now) {
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

void Batcher::Impl::SealHead(std::size_t priority) {
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

bool Batcher::Impl::IsHeadWritten(std::size_t priority) {
  const Slab& slab = SlabOf(priority, lanes[priority].head);
  const std::uint32_t requests = slab.sealed.load(std::memory_order_acquire) >> 16;
  for (std::uint32_t i = 0; i < requests; ++i) {
    if (slab.requests[i].answer.load(std::memory_order_acquire) == Answer::kWriting) return false;
  }
  return requests != 0;
}

Batcher::Impl::Glance Batcher::Impl::TakeDue(std::int64_t now, bool is_polling, Batch* batch) {
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

TakeResult Batcher::Impl::Take(std::int64_t until_ns, bool is_polling, Batch* batch) {
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

bool Batcher::Impl::TakeHead(std::size_t priority, std::int64_t now, Batch* batch) {
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

void Batcher::Impl::Post(std::uint32_t number, std::size_t priority, std::uint32_t index, const Request& r,
                         Answer answer) {
  Ticket ticket{
      number, static_cast<std::uint16_t>(priority), static_cast<std::uint16_t>(index), r.first, r.rows,
      false};
  answered.push_back({r.mailbox, {ticket, answer}});
}

void Batcher::Impl::Count(Answer answer) {
  stats.done += answer == Answer::kDone;
  stats.failed += answer == Answer::kFailed;
  stats.expired += answer == Answer::kExpired;
  stats.cancelled += answer == Answer::kCancelled;
  stats.rejected += answer == Answer::kRejected;
}

void Batcher::Impl::MoveRows(Slab* slab, std::size_t from, std::size_t to, std::size_t rows) {
  stats.moved_rows += rows;
  for (std::size_t c = 0; c < options.row_bytes.size(); ++c) {
    const std::size_t bytes = options.row_bytes[c];
    std::memmove(slab->columns[c].get() + to * bytes, slab->columns[c].get() + from * bytes, rows * bytes);
  }
}

bool Batcher::Impl::Complete(const Batch& batch, bool is_failed) {
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

}  // namespace mainspring
