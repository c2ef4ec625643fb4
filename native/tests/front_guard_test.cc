// Who is answered and how much of it: hashes of public vectors, keys, and accounts under several threads. Run
// it under the sanitizers.

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../src/front/admission.h"
#include "../src/front/callers.h"
#include "../src/front/sha256.h"
#include "../src/front/spans.h"
#include "mainspring/limits.h"

namespace mainspring::front {
namespace {

std::string Hex(const Sha256Digest& digest) {
  std::string text;
  for (std::uint8_t byte : digest) {
    text.push_back("0123456789abcdef"[byte >> 4]);
    text.push_back("0123456789abcdef"[byte & 15]);
  }
  return text;
}

// NIST's examples, and lengths around the ends of blocks.
TEST(Sha256Test, IsWhatTheStandardSays) {
  EXPECT_EQ(Hex(Sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex(Sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex(Sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(Sha256(std::string(1'000'000, 'a'))),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, ComparesEveryByte) {
  const Sha256Digest digest = Sha256("x");
  EXPECT_TRUE(EqualsInConstantTime(digest, Sha256("x")));
  for (std::size_t i = 0; i < digest.size(); ++i) {
    Sha256Digest other = digest;
    other[i] ^= 0x80;
    EXPECT_FALSE(EqualsInConstantTime(digest, other));
  }
}

FrontKey Key(const std::string& id, const std::string& secret) {
  return {id, "caller-" + id, Sha256(secret), true, false, 0, "shop"};
}

// The name of who shows `field`, "" for whoever is the app's to judge.
std::string Asked(const Callers& callers, const std::string& fields,
                  FrontScope scope = FrontScope::kPredict) {
  const std::string bytes = "POST /x HTTP/1.1\r\nhost: a\r\n" + fields + "\r\n";
  RequestHead head;
  BadHead bad;
  std::size_t seen = 0;
  EXPECT_EQ(ReadRequestHead(bytes, &seen, &head, &bad), Parsed::kDone) << fields;
  const Caller caller = callers.Identify(head, scope, 1000);
  EXPECT_EQ(caller.project, caller.name.empty() || caller.name == kAnonymous ? "" : "shop") << fields;
  return std::string(caller.name);
}

TEST(CallersTest, AKeyIsItsIdAndItsSecret) {
  const Callers callers({true, {Key("1", "one"), Key("2", "two_2")}, nullptr});
  EXPECT_EQ(Asked(callers, "Authorization: Bearer msk_1_one\r\n"), "caller-1");
  EXPECT_EQ(Asked(callers, "X-Api-Key: msk_2_two_2\r\n"), "caller-2");
  EXPECT_EQ(Asked(callers, "X-Api-Key: msk_2_two_2\r\n", FrontScope::kRead), "");
  for (const char* wrong :
       {"msk_1_two_2", "msk_2_one", "msk_1_one ", "msk_1", "msk__one", "msk_3_one", "one"}) {
    EXPECT_EQ(Asked(callers, std::string("Authorization: Bearer ") + wrong + "x\r\n"), "") << wrong;
  }
  EXPECT_EQ(Asked(callers, ""), "");
  const Callers open({false, {Key("1", "one")}, nullptr});
  EXPECT_EQ(Asked(open, ""), "anonymous");
  EXPECT_EQ(Asked(open, "X-Api-Key: msk_1_one\r\n", FrontScope::kRead), "caller-1");
}

TEST(CallersTest, AKeyEndsAtItsTime) {
  FrontKey ended = Key("1", "one");
  ended.expires_us = 1000;
  FrontKey alive = Key("2", "two");
  alive.expires_us = 1001;
  const Callers callers({true, {ended, alive}, nullptr});
  EXPECT_EQ(Asked(callers, "x-api-key: msk_1_one\r\n"), "");
  EXPECT_EQ(Asked(callers, "x-api-key: msk_2_two\r\n"), "caller-2");
}

LimitRule Daily(std::int64_t requests) {
  LimitRule rule;
  rule.requests_per_day = requests;
  return rule;
}

TEST(TakenTest, WhatIsNotAnsweredIsGivenBack) {
  auto limits = std::make_shared<Limits>();
  limits->SetRules({Daily(2)});
  const Callers callers({false, {}, limits});
  const Door door{FrontScope::kPredict, "m"};
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(Taken(callers, door, "a").is_taken());
  for (int i = 0; i < 2; ++i) {
    Taken taken(callers, door, "a");
    EXPECT_TRUE(taken.is_taken());
    taken.Answered(1);
  }
  EXPECT_FALSE(Taken(callers, door, "a").is_taken());
  EXPECT_FALSE(Taken(callers, door, "").is_taken()) << "who asks is not known";
  EXPECT_TRUE(limits->Refused().empty()) << "the app refuses";
}

TEST(LimitsTest, ThreadsTakeWhatIsThereWhileRulesChange) {
  Limits limits;
  limits.SetRules({Daily(10'000)});
  std::atomic<int> taken{0};
  std::atomic<bool> is_over{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 5000; ++i) {
        const LimitTime now = LimitTime::Now();
        if (limits.Admit("a", "m", {now.monotonic, 0}, false)) continue;
        if (t == 0 && i % 2 == 0) {
          limits.GiveBack("a", "m", {now.monotonic, 0});
        } else {
          ++taken;
          limits.Charge("a", "m", 1, {now.monotonic, 0});
        }
      }
    });
  }
  std::thread changing([&] {
    while (!is_over) {
      limits.SetRules({Daily(10'000)});
      limits.Throttle("b", "m", Daily(1));
      limits.Throttle("b", "m", std::nullopt);
      (void)limits.Refused();
    }
  });
  for (std::thread& thread : threads) thread.join();
  is_over = true;
  changing.join();
  int left = 0;
  while (!limits.Admit("a", "m", {0, 0})) ++left;
  EXPECT_EQ(taken + left, 10'000);
}

TEST(SpansTest, ATraceparentIsReadAsFarAsItIsKnown) {
  const std::string trace = "4bf92f3577b34da6a3ce929d0e0e4736", parent = "00f067aa0ba902b7";
  const std::string known = "-" + trace + "-" + parent + "-";
  TraceParent read;
  for (const auto& [text, is_sampled] :
       {std::pair("00" + known + "01", true), std::pair("00" + known + "00", false),
        std::pair("00" + known + "fe", false), std::pair("fe" + known + "0b-more", true)}) {
    ASSERT_TRUE(ReadTraceParent(text, &read)) << text;
    EXPECT_EQ(read.trace_id, trace);
    EXPECT_EQ(read.parent_id, parent);
    EXPECT_EQ(read.is_sampled, is_sampled) << text;
  }
  for (const std::string& wrong :
       {std::string(), "00" + known + "0", "ff" + known + "01", "00" + known + "01-", "00" + known + "01x",
        "01" + known + "01x", "0A" + known + "01", "00" + known + "0A",
        "00-" + std::string(32, '0') + "-" + parent + "-01",
        "00-" + trace + "-" + std::string(16, '0') + "-01"}) {
    EXPECT_FALSE(ReadTraceParent(wrong, &read)) << wrong;
  }
}

TEST(SpansTest, EverySpanIsTakenOnceOrCountedAsDropped) {
  SpanBuffer buffer;
  buffer.Limit(50);
  std::atomic<bool> is_over{false};
  std::vector<FrontSpan> taken;
  std::uint64_t dropped = 0;
  std::thread taking([&] {
    while (!is_over) buffer.Drain(&taken, &dropped);
  });
  for (int i = 0; i < 20'000; ++i) {
    FrontSpan span;
    span.parts.push_back({"infer", "1", 0, 0});
    buffer.Add(std::move(span));
  }
  is_over = true;
  taking.join();
  buffer.Drain(&taken, &dropped);
  EXPECT_EQ(taken.size() + dropped / 2, 20'000u);
}

}  // namespace
}  // namespace mainspring::front
