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

void Batcher::Impl::Deliver(const std::vector<std::pair<std::uint16_t, Delivery>>& answered, Round* round) {
  for (std::size_t i = 0; i < answered.size();) {
    const std::uint16_t to = answered[i].first;
    Mailbox& box = *mailboxes[to - 1u];
    const std::lock_guard<std::mutex> lock(box.mutex);
    const bool was_empty = box.waiting.empty();
    for (; i < answered.size() && answered[i].first == to; ++i) {
      if (box.is_closed) {
        Uncount(round, 1);  // never the last: the batch's own share comes after this
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
  Lane& lane = entrance.lanes[priority];
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
  for (std::uint32_t i = 0; i < look.requests; ++i) {
    const Request& r = slab.round->requests[i];
    if (r.answer.load(std::memory_order_acquire) == Answer::kWriting) {
      look.is_written = false;
      continue;
    }
    look.first_ns = std::min(look.first_ns, r.arrival_ns);
    look.last_ns = std::max(look.last_ns, r.arrival_ns);
    if (r.deadline_ns != 0) look.deadline_ns = std::min(look.deadline_ns, r.deadline_ns);
  }
  const std::int64_t first = std::min(look.first_ns, now);
  look.order_ns = first + static_cast<std::int64_t>(priority) * options.aging_ns;
  look.due_ns = now;
  if (look.is_sealed || look.rows == options.max_rows || tail.is_closed) return look;
  const std::int64_t latest = first + options.max_delay_ns;
  std::int64_t due = latest;
  if (options.is_adaptive) due = std::min(due, AdaptiveDue(gap, cost, look.requests, look.last_ns, now));
  if (look.deadline_ns != kNever) due = std::min(due, look.deadline_ns - cost.Predict(look.rows));
  // While somebody writes, others may join at no cost, but not for ever.
  look.due_ns = look.is_written ? due : std::max(due, latest);
  return look;
}

void Batcher::Impl::SealHead(std::size_t priority) {
  Lane& lane = entrance.lanes[priority];
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

bool Batcher::Impl::IsHeadWritten(std::size_t priority, std::int64_t now, Look* look) {
  const Slab& slab = SlabOf(priority, entrance.lanes[priority].head);
  const std::uint32_t requests = slab.sealed.load(std::memory_order_acquire) >> 16;
  if (requests != look->requests) *look = Inspect(priority, now);
  return look->is_written;
}

Batcher::Impl::Glance Batcher::Impl::TakeDue(std::int64_t now, bool is_polling, Batch* batch) {
  const std::lock_guard<std::mutex> lock(mutex);
  Glance glance;
  glance.is_finished = true;
  std::size_t best = 0;
  Look best_look;
  for (std::size_t p = 0; p < options.priorities; ++p) {
    const Look look = Inspect(p, now);
    glance.is_finished &= look.is_empty && look.is_closed;
    if (look.is_empty) continue;
    const bool is_due = look.due_ns <= now;
    if (look.is_written && (is_due || is_polling)) {
      if (look.order_ns < best_look.order_ns) best = p, best_look = look;
    } else if (look.is_written) {
      glance.due_ns = std::min(glance.due_ns, look.due_ns);
    } else {
      glance.is_unwritten = true;
      if (is_due && !is_polling) SealHead(p);  // who polls takes it as it is when it comes again
    }
  }
  if (best_look.order_ns == kNever) return glance;
  FindSpare();
  SealHead(best);
  if (!IsHeadWritten(best, now, &best_look)) {  // somebody joined in between
    glance.is_unwritten = true;
    return glance;
  }
  glance.is_taken = TakeHead(best, now, best_look, batch);
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
      (is_waiting_for_more ? entrance.dozing : entrance.parked).store(true);
      is_armed = true;
      continue;
    }
    is_armed = false;
    if (is_waiting_for_more) wake -= kSpinNs / 2;
    if (glance.is_unwritten) wake = std::min(wake, now + kGlanceNs);
    FutexWait(bell, seen, wake == kNever ? 0 : wake);
  }
}

void Batcher::Impl::FindSpare() {
  if (spare == nullptr) spare = returned.exchange(nullptr, std::memory_order_acquire);
  if (spare != nullptr) return;
  rounds.push_back(std::make_unique<Round>(static_cast<std::uint32_t>(rounds.size()), options.max_rows));
  spare = rounds.back().get();
}

bool Batcher::Impl::TakeHead(std::size_t priority, std::int64_t now, const Look& look, Batch* batch) {
  Lane& lane = entrance.lanes[priority];
  const std::uint32_t number = lane.head;
  Slab& slab = SlabOf(priority, number);
  Round* const round = slab.round;
  const std::uint32_t requests = look.requests;
  lane.head = Later(number, 1);
  // Producers see it when the number moves on.
  slab.round = std::exchange(spare, spare->next);
  round->size = requests;
  round->is_taken.store(true, std::memory_order_release);
  *batch = {round, number, static_cast<std::uint16_t>(priority), static_cast<std::uint16_t>(requests),
            0,     now};
  const std::int64_t horizon = options.sheds_infeasible ? now + cost.Predict(look.rows) : now;
  const bool is_rejected = is_rejecting.load();
  std::uint32_t to = 0;
  std::int32_t gone = 0;
  bool any_answered = false;
  answered.clear();
  for (std::uint32_t i = 0; i < requests; ++i) {
    Request& r = round->requests[i];
    Answer became = r.answer.load(std::memory_order_acquire);
    if (became == Answer::kWaiting) {
      // What is left as it is runs; so does what is cancelled from here on, for nothing.
      const bool is_expired = r.deadline_ns != 0 && r.deadline_ns <= horizon;
      if (is_rejected || is_expired) {
        became = is_rejected ? Answer::kRejected : Answer::kExpired;
        if (!Move(r.answer, Answer::kWaiting, became)) became = r.answer.load(std::memory_order_acquire);
      }
    }
    if (became == Answer::kWaiting) {
      if (to != r.first) {
        MoveRows(&slab, r.first, to, r.rows);
        r.first = static_cast<std::uint16_t>(to);
      }
      to += r.rows;
      continue;
    }
    r.is_told = true;
    if (became == Answer::kAbandoned) {
      ++gone;
      ++stats.abandoned;
      continue;
    }
    any_answered = true;
    Count(became);
    if (r.mailbox != 0) Post(round, number, priority, i, became);
  }
  gap.Observe(requests, look.first_ns, look.last_ns);
  if (gone != 0) Uncount(round, gone);
  Deliver(answered, round);
  if (any_answered) {
    round->told.fetch_add(1);
    if (round->waiters.load() != 0) FutexWakeAll(round->told);
  }
  batch->rows = to;
  if (to != 0) {
    stats.batches += 1;
    stats.rows += to;
    return true;
  }
  Uncount(round, kUnanswered - static_cast<std::int32_t>(requests));
  Release(priority, number);
  return false;
}

void Batcher::Impl::Post(Round* round, std::uint32_t number, std::size_t priority, std::uint32_t index,
                         Answer answer) {
  const Request& r = round->requests[index];
  const Ticket ticket{
      round,  number, static_cast<std::uint16_t>(priority), static_cast<std::uint16_t>(index), r.first,
      r.rows, false};
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

bool Batcher::Impl::Settle(const Batch& batch, bool is_failed) {
  const std::int64_t now = MonotonicNs();
  const std::lock_guard<std::mutex> lock(mutex);
  Round* const round = batch.round;
  const Answer outcome = is_failed ? Answer::kFailed : Answer::kDone;
  answered.clear();
  for (std::uint32_t i = 0; i < batch.requests; ++i) {
    Request& r = round->requests[i];
    if (r.is_told) continue;
    // Who was cancelled since it was taken, or timed out at that very moment, has its answer already.
    const Answer became = Move(r.answer, Answer::kWaiting, outcome) ? outcome : r.answer.load();
    Count(became);
    if (r.mailbox != 0) Post(round, batch.batch, batch.priority, i, became);
  }
  if (batch.rows != 0) {
    cost.Observe(batch.rows, static_cast<double>(std::max<std::int64_t>(0, now - batch.taken_ns)));
    full_run_ns.store(cost.Predict(options.max_rows), std::memory_order_relaxed);
  }
  Deliver(answered, round);
  round->told.fetch_add(1);
  return Uncount(round, kUnanswered - batch.requests);
}

void Batcher::Impl::Release(std::size_t priority, std::uint32_t number) {
  Slab& slab = SlabOf(priority, number);
  slab.sealed.store(0, std::memory_order_relaxed);
  slab.number.store(Later(number, options.depth), std::memory_order_release);
}

}  // namespace mainspring
