// The batcher without Python, under real threads: run it under ThreadSanitizer too.

#include "mainspring/batcher.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace mainspring {
namespace {

std::unique_ptr<Batcher> Make(BatcherOptions options = {}) {
  if (options.row_bytes.empty()) options.row_bytes = {8};
  std::unique_ptr<Batcher> batcher;
  EXPECT_TRUE(Batcher::Create(options, &batcher).ok());
  return batcher;
}

BatcherOptions Small(std::size_t max_rows, std::size_t depth = 2, std::size_t priorities = 1) {
  BatcherOptions options;
  options.row_bytes = {8};
  options.max_rows = max_rows;
  options.depth = depth;
  options.priorities = priorities;
  return options;
}

std::int64_t* Values(const Batcher& batcher, const Ticket& ticket) {
  return reinterpret_cast<std::int64_t*>(batcher.Rows(ticket, 0));
}

Ticket Add(Batcher* batcher, RequestOptions options, std::int64_t value) {
  Ticket ticket;
  const Status status = batcher->Reserve(options, &ticket);
  EXPECT_TRUE(status.ok()) << status.expected;
  for (std::size_t i = 0; i < options.rows; ++i) Values(*batcher, ticket)[i] = value + static_cast<int>(i);
  batcher->Commit(ticket);
  return ticket;
}

std::vector<std::int64_t> Poll(Batcher* batcher, Batch* batch) {
  if (batcher->Take(0, true, batch) != TakeResult::kTaken) return {};
  const auto* const rows = reinterpret_cast<const std::int64_t*>(batcher->Column(*batch, 0));
  return {rows, rows + batch->rows};
}

RequestOptions Rows(std::size_t rows) {
  RequestOptions options;
  options.rows = rows;
  return options;
}

TEST(BatcherTest, RequestsLieSideBySide) {
  const auto batcher = Make(Small(8));
  const Ticket a = Add(batcher.get(), Rows(2), 10), b = Add(batcher.get(), Rows(3), 20);
  Batch batch;
  EXPECT_EQ(Poll(batcher.get(), &batch), (std::vector<std::int64_t>{10, 11, 20, 21, 22}));
  EXPECT_EQ(batcher->Peek(a), Answer::kRunning);
  EXPECT_FALSE(batcher->Complete(batch, false));
  std::size_t first, rows;
  EXPECT_EQ(batcher->Wait(b, 0), Answer::kDone);
  batcher->Range(b, &first, &rows);
  EXPECT_EQ(first, 2u);
  EXPECT_EQ(rows, 3u);
  EXPECT_FALSE(batcher->Collect(b));
  EXPECT_TRUE(batcher->Collect(a));
}

TEST(BatcherTest, WhatNeedsNoAnswerIsNotComputed) {
  const auto batcher = Make(Small(16));
  RequestOptions late = Rows(2);
  late.deadline_ns = 1;
  const Ticket expired = Add(batcher.get(), late, 10);
  const Ticket kept = Add(batcher.get(), Rows(2), 20);
  const Ticket cancelled = Add(batcher.get(), Rows(1), 30);
  Ticket abandoned;
  ASSERT_TRUE(batcher->Reserve(Rows(3), &abandoned).ok());
  const Ticket last = Add(batcher.get(), Rows(1), 40);
  EXPECT_TRUE(batcher->Cancel(cancelled));
  EXPECT_FALSE(batcher->Cancel(cancelled));
  Batch batch;
  EXPECT_TRUE(Poll(batcher.get(), &batch).empty());  // somebody still writes
  batcher->Abandon(abandoned);
  EXPECT_EQ(Poll(batcher.get(), &batch), (std::vector<std::int64_t>{20, 21, 40}));
  EXPECT_EQ(batcher->Peek(expired), Answer::kExpired);
  EXPECT_TRUE(batcher->Cancel(last));  // while it runs
  batcher->Complete(batch, false);
  EXPECT_EQ(batcher->Peek(kept), Answer::kDone);
  EXPECT_EQ(batcher->Peek(last), Answer::kCancelled);
  for (const Ticket& t : {expired, kept, cancelled}) EXPECT_FALSE(batcher->Collect(t));
  EXPECT_TRUE(batcher->Collect(last));
  const BatcherStats stats = batcher->Stats();
  EXPECT_EQ(stats.expired, 1u);
  EXPECT_EQ(stats.cancelled, 2u);
  EXPECT_EQ(stats.abandoned, 1u);
  EXPECT_EQ(stats.done, 1u);
}

TEST(BatcherTest, BoundedAndRefusing) {
  const auto batcher = Make(Small(4, 2));
  Ticket ticket;
  EXPECT_EQ(batcher->Reserve(Rows(5), &ticket).code, StatusCode::kOutOfRange);
  EXPECT_EQ(batcher->Reserve(Rows(0), &ticket).code, StatusCode::kOutOfRange);
  RequestOptions wrong = Rows(1);
  wrong.priority = 1;
  EXPECT_EQ(batcher->Reserve(wrong, &ticket).code, StatusCode::kOutOfRange);
  const Ticket a = Add(batcher.get(), Rows(3), 0), b = Add(batcher.get(), Rows(4), 0);
  const Status busy = batcher->Reserve(Rows(1), &ticket);
  EXPECT_EQ(busy.code, StatusCode::kBusy);
  EXPECT_GT(busy.got, 0);
  Batch batch;
  EXPECT_EQ(Poll(batcher.get(), &batch).size(), 3u);
  batcher->Complete(batch, true);
  Add(batcher.get(), Rows(1), 0);  // an answer that nobody has read yet holds no place
  EXPECT_EQ(batcher->Wait(a, 0), Answer::kFailed);
  batcher->Collect(a);
  batcher->Close(true);
  EXPECT_EQ(batcher->Reserve(Rows(1), &ticket).code, StatusCode::kClosed);
  EXPECT_EQ(Poll(batcher.get(), &batch).size(), 4u);
  batcher->Complete(batch, false);
  EXPECT_EQ(batcher->Peek(b), Answer::kDone);
  EXPECT_EQ(Poll(batcher.get(), &batch).size(), 1u);
  EXPECT_EQ(batcher->Take(0, false, &batch), TakeResult::kFinished);
}

TEST(BatcherTest, RowsStayUntilReleased) {
  const auto batcher = Make(Small(1, 1));
  const Ticket a = Add(batcher.get(), Rows(1), 7);
  Batch batch;
  ASSERT_EQ(Poll(batcher.get(), &batch).size(), 1u);
  EXPECT_FALSE(batcher->Settle(batch, false));
  EXPECT_EQ(batcher->Wait(a, 0), Answer::kDone);
  EXPECT_TRUE(batcher->Collect(a));
  Ticket ticket;
  EXPECT_EQ(batcher->Reserve(Rows(1), &ticket).code, StatusCode::kBusy);
  EXPECT_EQ(*reinterpret_cast<std::int64_t*>(batcher->Column(batch, 0)), 7);
  batcher->Release(batch);
  EXPECT_TRUE(batcher->Reserve(Rows(1), &ticket).ok());
  batcher->Abandon(ticket);
}

TEST(BatcherTest, ManyAtOnceTakeWhatFits) {
  const auto batcher = Make(Small(8, 2));
  const Ticket first = Add(batcher.get(), Rows(3), 0);
  Ticket tickets[9];
  std::size_t reserved = 0;
  ASSERT_EQ(batcher->TryReserve(Rows(2), 9, tickets, &reserved), StatusCode::kOk);
  ASSERT_EQ(reserved, 2u);  // 3 + 2 + 2 of 8 rows
  ASSERT_EQ(batcher->TryReserve(Rows(2), 7, tickets + 2, &reserved), StatusCode::kOk);
  ASSERT_EQ(reserved, 4u);  // all of the next batch
  for (int i = 0; i < 6; ++i) {
    for (int k = 0; k < 2; ++k) Values(*batcher, tickets[i])[k] = 10 * (i + 1) + k;
    batcher->Commit(tickets[i]);
  }
  Ticket ticket;
  EXPECT_EQ(batcher->TryReserve(Rows(2), 3, &ticket, &reserved), StatusCode::kBusy);
  EXPECT_EQ(batcher->TryReserve(Rows(9), 3, &ticket, &reserved), StatusCode::kOutOfRange);
  Batch batch;
  EXPECT_EQ(Poll(batcher.get(), &batch), (std::vector<std::int64_t>{0, 1, 2, 10, 11, 20, 21}));
  batcher->Complete(batch, false);
  EXPECT_EQ(Poll(batcher.get(), &batch), (std::vector<std::int64_t>{30, 31, 40, 41, 50, 51, 60, 61}));
  batcher->Complete(batch, false);
  for (int i = 0; i < 6; ++i) {
    std::size_t at, rows;
    EXPECT_EQ(batcher->Wait(tickets[i], 0), Answer::kDone);
    batcher->Range(tickets[i], &at, &rows);
    EXPECT_EQ(at, (i < 2 ? 3 + 2 * i : 2 * (i - 2)));
    EXPECT_EQ(rows, 2u);
    EXPECT_EQ(batcher->Collect(tickets[i]), i == 5);
  }
  EXPECT_TRUE(batcher->Collect(first));
}

TEST(BatcherTest, ThreadsThatWaitForOneBatchWakeOneAnother) {
  for (int round = 0; round < 50; ++round) {
    const auto batcher = Make(Small(32));
    std::vector<std::thread> threads;
    std::atomic<int> heard{0};
    for (int i = 0; i < 32; ++i) {
      threads.emplace_back([&, i] {
        const Ticket ticket = Add(batcher.get(), Rows(1), i);
        EXPECT_EQ(batcher->Wait(ticket, 0), Answer::kDone);
        ++heard;
        batcher->Collect(ticket);
      });
    }
    Batch batch;
    while (heard < 32) {
      if (batcher->Take(MonotonicNs() + 1000000, false, &batch) == TakeResult::kTaken)
        batcher->Complete(batch, false);
    }
    for (auto& thread : threads) thread.join();
  }
}

TEST(BatcherTest, ClosingWithoutDrainingRejects) {
  const auto batcher = Make(Small(4));
  const Ticket a = Add(batcher.get(), Rows(1), 0);
  std::thread waiter([&] { EXPECT_EQ(batcher->Wait(a, 0), Answer::kRejected); });
  batcher->Close(false);
  waiter.join();
  Batch batch;
  EXPECT_EQ(batcher->Take(0, false, &batch), TakeResult::kFinished);
}

TEST(BatcherTest, AgingBoundsStarvation) {
  BatcherOptions options = Small(1, 8, 2);
  options.aging_ns = 100;
  const auto batcher = Make(options);
  const auto add = [&](std::size_t priority, std::int64_t arrival) {
    RequestOptions request = Rows(1);
    request.priority = priority;
    request.arrival_ns = arrival;
    Add(batcher.get(), request, arrival);
  };
  add(1, 1000);
  for (const std::int64_t t : {1010, 1090, 1110, 1120}) add(0, t);
  std::vector<std::int64_t> order;
  Batch batch;
  for (auto rows = Poll(batcher.get(), &batch); !rows.empty(); rows = Poll(batcher.get(), &batch)) {
    order.push_back(rows[0]);
  }
  EXPECT_EQ(order, (std::vector<std::int64_t>{1010, 1090, 1000, 1110, 1120}));
}

TEST(BatcherTest, NumbersWrapAndPlacesComeRound) {
  BatcherOptions options = Small(2, 4);
  options.first_batch = 0x7fffffff - 20;
  const auto batcher = Make(options);
  Batch batch;
  for (int i = 0; i < 100; ++i) {
    const Ticket a = Add(batcher.get(), Rows(1), i);
    ASSERT_EQ(Poll(batcher.get(), &batch), (std::vector<std::int64_t>{i}));
    batcher->Complete(batch, false);
    ASSERT_TRUE(batcher->Collect(a));
  }
}

// Threads that wait, two takers, cancellations, deadlines and abandoned writes, all at once.
TEST(BatcherTest, NothingIsLostOrAnsweredTwice) {
  BatcherOptions options = Small(16, 4, 2);
  options.max_delay_ns = 200000;
  options.aging_ns = 1000000;
  const auto batcher = Make(options);
  constexpr int kThreads = 6, kRequests = 1500;
  std::atomic<int> done{0}, other{0}, abandoned{0};
  // Of each round ever made; one is in use by a batch or by those who read its answers.
  std::vector<std::vector<std::int64_t>> outputs(kThreads + 16);
  const auto take = [&] {
    Batch batch;
    while (batcher->Take(0, false, &batch) == TakeResult::kTaken) {
      const auto* const rows = reinterpret_cast<const std::int64_t*>(batcher->Column(batch, 0));
      auto& output = outputs.at(batch.round->id);
      output.assign(rows, rows + batch.rows);
      for (auto& x : output) x = x * 3 + 1;
      batcher->Complete(batch, false);
    }
  };
  const auto submit = [&](int thread) {
    std::mt19937 random(static_cast<unsigned>(thread));
    for (int i = 0; i < kRequests; ++i) {
      RequestOptions request = Rows(1 + random() % 5);
      request.priority = random() % 2;
      if (random() % 16 == 0) request.deadline_ns = MonotonicNs() + 20000;
      Ticket ticket;
      Status status;
      while ((status = batcher->Reserve(request, &ticket)).code == StatusCode::kBusy)
        std::this_thread::yield();
      ASSERT_TRUE(status.ok());
      const std::int64_t value = thread * 1000000 + i;
      for (std::size_t r = 0; r < request.rows; ++r) Values(*batcher, ticket)[r] = value;
      if (random() % 32 == 0) {
        batcher->Abandon(ticket);
        ++abandoned;
        continue;
      }
      batcher->Commit(ticket);
      if (random() % 16 == 0) batcher->Cancel(ticket);
      const Answer answer = batcher->Wait(ticket, 0);
      ASSERT_TRUE(IsFinal(answer));
      ASSERT_FALSE(batcher->Cancel(ticket));
      if (answer == Answer::kDone) {
        std::size_t first, rows;
        batcher->Range(ticket, &first, &rows);
        ASSERT_EQ(rows, request.rows);
        const auto& output = outputs.at(ticket.round->id);
        for (std::size_t r = 0; r < rows; ++r) ASSERT_EQ(output[first + r], value * 3 + 1);
        ++done;
      } else {
        ++other;
      }
      batcher->Collect(ticket);
    }
  };
  std::vector<std::thread> takers, threads;
  for (int i = 0; i < 2; ++i) takers.emplace_back(take);
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(submit, i);
  for (auto& thread : threads) thread.join();
  batcher->Close(true);
  for (auto& thread : takers) thread.join();
  const BatcherStats stats = batcher->Stats();
  EXPECT_EQ(done + other + abandoned, kThreads * kRequests);
  EXPECT_EQ(stats.done, static_cast<std::uint64_t>(done));
  EXPECT_EQ(stats.cancelled + stats.expired, static_cast<std::uint64_t>(other));
  EXPECT_EQ(stats.abandoned, static_cast<std::uint64_t>(abandoned));
}

TEST(BatcherTest, MailboxesHearOnceOfEach) {
  BatcherOptions options = Small(16, 4);
  options.max_delay_ns = 100000;
  const auto batcher = Make(options);
  constexpr int kRequests = 4000;
  const std::uint16_t box = batcher->OpenMailbox();
  ASSERT_NE(box, 0);
  std::thread taker([&] {
    Batch batch;
    for (int i = 0; batcher->Take(0, false, &batch) == TakeResult::kTaken; ++i) {
      batcher->Complete(batch, i % 7 == 0);
    }
  });
  std::thread submitter([&] {
    RequestOptions request = Rows(1);
    request.mailbox = box;
    Ticket ticket;
    for (int i = 0; i < kRequests; ++i) {
      request.rows = 1 + i % 3;
      request.deadline_ns = i % 11 == 0 ? 1 : 0;
      while (!batcher->Reserve(request, &ticket).ok()) std::this_thread::yield();
      batcher->Commit(ticket);
    }
  });
  int heard = 0, expired = 0;
  std::vector<Delivery> deliveries;
  while (heard < kRequests) {
    pollfd readable{batcher->MailboxFd(box), POLLIN, 0};
    ASSERT_EQ(poll(&readable, 1, 20000), 1);
    batcher->Drain(box, &deliveries);
    for (const Delivery& delivery : deliveries) {
      ASSERT_TRUE(IsFinal(delivery.answer));
      expired += delivery.answer == Answer::kExpired;
      ++heard;
      batcher->Collect(delivery.ticket);
    }
  }
  EXPECT_EQ(expired, (kRequests + 10) / 11);
  submitter.join();
  batcher->CloseMailbox(box);
  RequestOptions request = Rows(1);
  request.mailbox = box;
  for (int i = 0; i < 100; ++i) {  // nobody reads it: its batches must come free all the same
    Ticket ticket;
    while (!batcher->Reserve(request, &ticket).ok()) std::this_thread::yield();
    batcher->Commit(ticket);
  }
  batcher->Close(true);
  taker.join();
}

TEST(BatcherTest, AChildIsRefused) {
  const auto batcher = Make(Small(4));
  const Ticket before = Add(batcher.get(), Rows(1), 0);
  const pid_t child = fork();
  if (child == 0) {
    Ticket ticket;
    Batch batch;
    const bool is_refused = batcher->Reserve(Rows(1), &ticket).code == StatusCode::kClosed &&
                            batcher->Take(0, false, &batch) == TakeResult::kFinished &&
                            batcher->Wait(before, 0) == Answer::kRejected;
    _exit(is_refused ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  Add(batcher.get(), Rows(1), 0);
}

TEST(BatcherTest, OptionsAreChecked) {
  std::unique_ptr<Batcher> batcher;
  BatcherOptions none = Small(1);
  none.row_bytes.clear();
  EXPECT_EQ(Batcher::Create(none, &batcher).code, StatusCode::kBadSpec);
  for (const auto& options :
       {Small(0), Small(65536), Small(1, 3), Small(1, 0), Small(1, 1, 0), Small(1, 1, 65)}) {
    EXPECT_EQ(Batcher::Create(options, &batcher).code, StatusCode::kBadSpec);
  }
}

}  // namespace
}  // namespace mainspring
