// The callers' side: making a batcher, reserving places in it, waiting for answers and collecting them.

#include "mainspring/batcher.h"

#include <pthread.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "rings.h"

namespace mainspring {

using namespace batching;  // NOLINT: this is its implementation

std::atomic<std::uint32_t> batching::forks{0};

namespace {

constexpr std::size_t kMaxRows = 65535, kMaxDepth = 1024, kMaxPriorities = 64, kMaxMailboxes = 1024;

void RegisterForkHandler() {
  static const int done = pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1); });
  (void)done;
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

Status Batcher::Impl::Reserve(const RequestOptions& request, Ticket* ticket) {
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

void Batcher::Impl::Seal(Slab* slab, const Tail& closed) {
  slab->sealed.store(closed.requests << 16 | closed.rows, std::memory_order_release);
}

double Batcher::Impl::RetrySeconds() const {
  const std::int64_t run = full_run_ns.load(std::memory_order_relaxed);
  return static_cast<double>(
             std::max<std::int64_t>(run, std::max<std::int64_t>(1000, options.max_delay_ns / 2))) *
         1e-9;
}

void Batcher::Impl::Answered(const Ticket& ticket, Answer answer) {
  RequestOf(ticket).answer.store(answer, std::memory_order_release);
  // Where the taker went to sleep after our reservation it saw that and looks again by itself.
  if (parked.load() && parked.exchange(false)) Ring();
  if (ticket.is_urgent && dozing.load(std::memory_order_relaxed) && dozing.exchange(false)) Ring();
}

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
