// Reads of features by the front: what is understood of them, what is answered, and that no bytes hurt.

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "../src/front/feature_answer.h"
#include "../src/front/feature_reads.h"
#include "../src/front/features_call.h"
#include "../src/front/json_text.h"
#include "table_testing.h"

namespace mainspring::front {
namespace {

// ---- strings

std::string Written(std::string_view text) {
  std::string out;
  AppendJsonText(text, &out);
  return out;
}

TEST(JsonTextTest, StringsHaveTheEscapesThatTheyMustHave) {
  EXPECT_EQ(Written(""), R"("")");
  EXPECT_EQ(Written("a\"b\\c/"), R"("a\"b\\c/")");
  EXPECT_EQ(Written(std::string_view("\0\x01\x1f\x7f", 4)), "\"\\u0000\\u0001\\u001f\x7f\"");
  EXPECT_EQ(Written("\b\t\n\f\r"), R"("\b\t\n\f\r")");
  EXPECT_EQ(Written("é\xe2\x80\xa8😀"), "\"é\xe2\x80\xa8😀\"");
}

TEST(JsonTextTest, EscapesAreReadStrictly) {
  const auto decoded = [](std::string_view inside) {
    std::string out;
    return AppendDecoded(inside, &out) ? out : "refused";
  };
  EXPECT_EQ(decoded(R"(\"\\\/\b\f\n\r\t)"), "\"\\/\b\f\n\r\t");
  EXPECT_EQ(decoded(R"(\u0041\u00e9\u20AC\uD83D\uDE00)"), "Aé€😀");
  EXPECT_EQ(decoded(R"(\uFFFF)"), "\xef\xbf\xbf");
  for (const char* text :
       {R"(\)", R"(\x)", R"(\u)", R"(\u004)", R"(\u00g1)", R"(\ud800)", R"(\ud800x)", R"(\ud800\n)",
        R"(\ud800\u)", R"(\ud800\ud800)", R"(\ud800\u0041)", R"(\udc00)", R"(\U0041)", "\"", "\n", "\xff"}) {
    EXPECT_EQ(decoded(text), "refused") << text;
  }
}

TEST(JsonTextTest, OnlyUtf8IsText) {
  for (const char* text :
       {"", "a", "\x7f", "é", "€", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "\xed\x9f\xbf"}) {
    EXPECT_TRUE(IsUtf8(text)) << text;
  }
  for (const char* text : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc3", "\xe0\x9f\xbf", "\xed\xa0\x80",
                           "\xe2\x82", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff",
                           "\xc3\xc3", "\xe2\x28\xa1", "\xf0\x9f\x98\x28"}) {
    EXPECT_FALSE(IsUtf8(text));
  }
}

// ---- requests

constexpr std::string_view kWhole =
    R"({"features":["v:a","v:b"],"entities":{"id":[7,-9223372036854775808,null],"name":["x","\u00e9é",null]},)"
    R"("full_feature_names":true})";

TEST(FeaturesCallTest, AUsualRequestIsReadWhole) {
  FeaturesCall call;
  for (int round = 0; round < 2; ++round) {  // again: nothing is left of the one before
    ASSERT_TRUE(ReadFeaturesCall(kWhole, &call));
    EXPECT_EQ(call.references, (std::vector<std::string_view>{"v:a", "v:b"}));
    EXPECT_EQ(call.asked, R"(["v:a","v:b"])");
    EXPECT_TRUE(call.full_names);
    ASSERT_EQ(call.n_entities, 2u);
    const EntityColumn& ids = *call.Find("id");
    EXPECT_EQ(ids.kind, EntityColumn::Kind::kInts);
    EXPECT_EQ(ids.ints, (std::vector<std::int64_t>{7, INT64_MIN, 0}));
    EXPECT_EQ(ids.is_null, (std::vector<std::uint8_t>{0, 0, 1}));
    EXPECT_EQ(ids.echo, "[7,-9223372036854775808,null]");
    const EntityColumn& names = *call.Find("name");
    EXPECT_EQ(names.kind, EntityColumn::Kind::kTexts);
    EXPECT_EQ(std::string(names.texts[1].data, names.texts[1].size), "éé");
    EXPECT_EQ(names.echo, R"(["x","éé",null])");
    EXPECT_EQ(call.Find("other"), nullptr);
  }
  ASSERT_TRUE(
      ReadFeaturesCall(" {\"entities\" :\t{ \"id\" : [ 1 , \"a\" ] } "
                       ",\n\"feature_service\":null,\"as_of\":null, \"features\" : "
                       "[\"x\" ] }\r",
                       &call));
  EXPECT_FALSE(call.full_names);
  EXPECT_EQ(call.Find("id")->kind, EntityColumn::Kind::kOther);
  EXPECT_EQ(call.Find("id")->echo, R"([1,"a"])");
}

TEST(FeaturesCallTest, EverythingElseIsLeftToTheApp) {
  FeaturesCall call;
  const auto of = [](const std::string& entities) {
    return R"({"features":["v:a"],"entities":)" + entities + "}";
  };
  ASSERT_TRUE(ReadFeaturesCall(of(R"({"id":[1]})"), &call));
  for (const char* values :
       {"[]",        "[1,]",       "[01]",     "[-0]",  "[1.0]", "[1e2]",   "[9223372036854775808]",
        "[-]",       "[+1]",       "[true]",   "[[1]]", "[nul]", "[nulls]", "[\"a]",
        "[\"\\x\"]", "[\"\xff\"]", "[\"\n\"]", "[1 2]", "1",     "null",    "{}",
        "[1"}) {
    EXPECT_FALSE(ReadFeaturesCall(of(std::string(R"({"id":)") + values + "}"), &call)) << values;
  }
  for (const char* entities : {"{}", "[]", "null", R"({"id":[1],"id":[1]})", R"({"id":[1],"x":[1,2]})",
                               R"({"é":[1]})", R"({"\u0061":[1]})", R"({1:[1]})"}) {
    EXPECT_FALSE(ReadFeaturesCall(of(entities), &call)) << entities;
  }
  const std::string good = R"("entities":{"id":[1]})";
  for (const std::string& json :
       {"{" + good + "}", "{" + good + R"(,"features":[]})", "{" + good + R"(,"features":null})",
        "{" + good + R"(,"features":"v:a"})", "{" + good + R"(,"features":[1]})",
        "{" + good + R"(,"features":["\u0076:a"]})",
        "{" + good + R"(,"features":["v:a"],"features":["v:a"]})",
        "{" + good + R"(,"features":["v:a"],"x":1})", "{" + good + R"(,"features":["v:a"],"as_of":"2026"})",
        "{" + good + R"(,"features":["v:a"],"feature_service":"s"})",
        "{" + good + R"(,"feature_service":""})", "{" + good + R"(,"feature_service":null})",
        "{" + good + R"(,"feature_service":["s"]})",
        "{" + good + R"(,"features":["v:a"],"full_feature_names":1})",
        "{" + good + R"(,"features":["v:a"]} x)", "{" + good + R"(,"features":["v:a"])", std::string("[]"),
        std::string()}) {
    EXPECT_FALSE(ReadFeaturesCall(json, &call)) << json;
  }
  std::string many = "{";
  for (std::size_t i = 0; i <= kMaxEntities; ++i)
    many += (i > 0 ? ",\"k" : "\"k") + std::to_string(i) + "\":[1]";
  EXPECT_FALSE(ReadFeaturesCall(of(many + "}"), &call));
}

// ---- answers

TEST(FeatureAnswerTest, TimesAreWrittenToTheMicrosecond) {
  const std::uint8_t status[] = {0, 1, 2, 0, 0};
  const std::int64_t times[] = {1'385'900'000'000'000, 0, 951'782'400'000'001, 951'782'400'000'001,
                                253'402'300'799'999'999};
  std::string out;
  ASSERT_TRUE(AppendEnding(status, times, 5, &out));
  EXPECT_EQ(
      out,
      R"(,"statuses":["PRESENT","NOT_FOUND","OUTSIDE_MAX_AGE","PRESENT","PRESENT"],)"
      R"("event_timestamps":["2013-12-01T12:13:20Z","1970-01-01T00:00:00Z","2000-02-29T00:00:00.000001Z",)"
      R"("2000-02-29T00:00:00.000001Z","9999-12-31T23:59:59.999999Z"]})");
  for (const std::int64_t time : {std::int64_t{-1}, std::int64_t{253'402'300'800'000'000}}) {
    EXPECT_FALSE(AppendEnding(status, &time, 1, &out));
  }
}

std::int64_t NowUs() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Two views over int64 keys: `v` with floats f0 to f3, an hour of age; `w` with a string, by a string.
class FeatureReadsTest : public testing::Test {
 protected:
  FeatureReadsTest() {
    TableSchema floats = FloatSchema(4);
    floats.max_age_us = 3'600'000'000;
    EXPECT_TRUE(OnlineTable::Create(floats, {}, floats_.get()).ok());
    EXPECT_TRUE(OnlineTable::Create(StringSchema(), {}, texts_.get()).ok());
  }

  std::shared_ptr<FeatureReads> Reads(std::size_t max_rows = 100) const {
    std::vector<FrontView> views{{"v", floats_, is_closed_}, {"w", texts_, nullptr}};
    return std::make_shared<FeatureReads>(
        std::move(views), std::vector<FrontService>{{"s", {{"v", "f2"}, {"w", "text"}}}}, max_rows, book_);
  }

  // "": left to the app.
  static std::string Ask(const FeatureReads& reads, std::string_view body, std::size_t loop = 0) {
    Scratch scratch;
    MadeAnswer answer;
    return reads.Answer({}, body, loop, &scratch, &answer) ? scratch.body : "";
  }

  std::shared_ptr<OnlineTable> floats_ = std::make_shared<OnlineTable>(),
                               texts_ = std::make_shared<OnlineTable>();
  std::shared_ptr<std::atomic<bool>> is_closed_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<ModelBook> book_ = std::make_shared<ModelBook>("", "", 4);
};

constexpr std::string_view kOfFloats = R"({"features":["v:f1","v:f0"],"entities":{"id":[1,2,null,3,4]}})";

TEST_F(FeatureReadsTest, RowsAreJudgedByTheirTimes) {
  PutFloats(floats_.get(), 1, NowUs(), 0, 1.5f);
  PutFloats(floats_.get(), 2, 1'385'900'000'000'000, 0, 2);
  PutFloats(floats_.get(), 3, NowUs() + 1'000'000'000, 0, 3);
  const std::string answer = Ask(*Reads(), kOfFloats);
  const std::string values = R"({"values":[1.5,null,null,null,null],"statuses":["PRESENT","OUTSIDE_MAX_AGE",)"
                             R"("NOT_FOUND","NOT_FOUND","NOT_FOUND"],"event_timestamps":[")";
  EXPECT_EQ(answer.rfind(
                R"({"metadata":{"feature_names":["id","f1","f0"]},"results":[{"values":[1,2,null,3,4],)", 0),
            0u)
      << answer;
  const std::size_t first = answer.find(values);
  ASSERT_NE(first, std::string::npos) << answer;
  EXPECT_NE(answer.find(values, first + 1), std::string::npos) << answer;
  EXPECT_NE(answer.find(R"(Z","2013-12-01T12:13:20Z","1970-01-01T00:00:00Z",)"), std::string::npos) << answer;
  EXPECT_EQ(book_->Sum().requests, 1u);
  EXPECT_EQ(book_->Sum().rows, 5u);
}

TEST_F(FeatureReadsTest, WhatItDoesNotKnowIsLeftToTheApp) {
  const auto reads = Reads(4);
  for (const char* body :
       {R"({"features":["v:f4"],"entities":{"id":[1]}})", R"({"features":["x:f0"],"entities":{"id":[1]}})",
        R"({"features":["v"],"entities":{"id":[1]}})", R"({"features":[":f0"],"entities":{"id":[1]}})",
        R"({"features":["v:f0","v:f0"],"entities":{"id":[1]}})",
        R"({"features":["v:f0"],"entities":{"x":[1]}})", R"({"features":["v:f0"],"entities":{"id":["1"]}})",
        R"({"features":["w:text"],"entities":{"name":[1]}})",
        R"({"features":["v:f0"],"entities":{"id":[1,2,3,4,5]}})"}) {
    EXPECT_EQ(Ask(*reads, body), "") << body;
  }
  AskedHead head;
  Scratch scratch;
  MadeAnswer answer;
  const std::string_view good = R"({"features":["v:f0"],"entities":{"id":[1]}})";
  EXPECT_TRUE(reads->Answer(head, good, 0, &scratch, &answer));
  head.accepts_other = true;
  EXPECT_FALSE(reads->Answer(head, good, 0, &scratch, &answer));
  *is_closed_ = true;
  EXPECT_EQ(Ask(*reads, good), "");
  EXPECT_EQ(Ask(*Reads(), R"({"features":["w:text","v:f0"],"entities":{"name":["a"],"id":[1]}})"), "");
  EXPECT_NE(Ask(*Reads(), R"({"features":["w:text"],"entities":{"name":["a"]}})"), "");
}

TEST_F(FeatureReadsTest, OneNameOfTwoViewsNeedsTheWholeName) {
  std::vector<FrontView> views{{"v", floats_, nullptr}, {"u", floats_, nullptr}};
  const FeatureReads reads(std::move(views), {}, 10, book_);
  EXPECT_EQ(Ask(reads, R"({"features":["v:f0","u:f0"],"entities":{"id":[1]}})"), "");
  const std::string answer =
      Ask(reads, R"({"features":["v:f0","u:f0","v:f1"],"entities":{"id":[1]},"full_feature_names":true})");
  // By view, in the order in which they are asked first.
  EXPECT_EQ(answer.rfind(R"({"metadata":{"feature_names":["id","v__f0","v__f1","u__f0"]},)", 0), 0u)
      << answer;
}

TEST_F(FeatureReadsTest, RowsThatAreTooLongAreLeftToTheAppWhateverIsAskedOfThem) {
  TableSchema schema = StringSchema();
  schema.fields.push_back({"x", FieldType::kInt64, 1});
  auto table = std::make_shared<OnlineTable>();
  ASSERT_TRUE(OnlineTable::Create(schema, {}, table.get()).ok());
  const auto put = [&table](std::int64_t event, std::size_t size) {
    const std::string text(size, 'a');
    const std::int64_t x = 5, offsets[] = {0, static_cast<std::int64_t>(size)};
    const Text key{"k", 1};
    const KeyColumn column{nullptr, nullptr, nullptr, &key};
    const InputColumn columns[] = {{text.data(), offsets, nullptr}, {&x, nullptr, nullptr}};
    UpsertBatch batch;
    batch.keys = {&column, nullptr, 1};
    batch.event_us = batch.created_us = &event;
    batch.columns = columns;
    UpsertResult result;
    EXPECT_TRUE(table->Upsert(batch, &result).ok());
  };
  std::vector<FrontView> views{{"u", table, nullptr}};
  const FeatureReads reads(std::move(views), {}, 10, book_);
  const std::string_view one = R"({"features":["u:x"],"entities":{"name":["k"]}})";
  const std::string_view five = R"({"features":["u:x"],"entities":{"name":["k","k","k","k","k"]}})";
  put(1, 30'000);
  EXPECT_NE(Ask(reads, one), "");
  EXPECT_EQ(Ask(reads, five), "");
  EXPECT_EQ(Ask(reads, R"({"features":["u:text"],"entities":{"name":["k","k","k","k","k"]}})"), "");
  put(2, 150'000);
  EXPECT_EQ(Ask(reads, one), "");
  put(3, 3);
  EXPECT_NE(Ask(reads, five).find(R"({"values":[5,5,5,5,5],)"), std::string::npos);
}

TEST_F(FeatureReadsTest, AServiceIsANameForFeatures) {
  const std::string entities = R"("entities":{"name":["a"],"id":[1]}})";
  const std::string answer = Ask(*Reads(), R"({"feature_service":"s","features":null,)" + entities);
  EXPECT_EQ(answer.rfind(R"({"metadata":{"feature_names":["name","id","f2","text"]},)", 0), 0u) << answer;
  EXPECT_EQ(Ask(*Reads(), R"({"feature_service":"t",)" + entities), "");
}

TEST_F(FeatureReadsTest, MoreQuestionsThanAreKeptAreAllAnswered) {
  PutFloats(floats_.get(), 1, NowUs(), 0, 1);
  const auto reads = Reads();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 100; ++i) {
      const std::string blanks(static_cast<std::size_t>(i), ' ');
      EXPECT_NE(Ask(*reads, R"({"features":[)" + blanks + R"("v:f0"],"entities":{"id":[1]}})"), "") << i;
    }
  }
}

TEST_F(FeatureReadsTest, NoTruncationOrMutationHurts) {
  const std::string whole =
      R"({"features":["v:f0","w:text"],"entities":{"id":[1,null],"name":["a","\u00e9"]},"full_feature_names":true})";
  const auto reads = Reads();
  ASSERT_NE(Ask(*reads, whole), "");
  for (std::size_t size = 0; size < whole.size(); ++size) EXPECT_EQ(Ask(*reads, whole.substr(0, size)), "");
  std::mt19937 random(7);
  int answered = 0;
  for (int round = 0; round < 50000; ++round) {
    std::string text = whole;
    for (std::size_t n = 1 + random() % 3; n > 0; --n) {
      text[random() % text.size()] = "[]{},:\"0-.e1\\xu\xc3\xa9"[random() % 17];
    }
    const std::string answer = Ask(*reads, text);
    answered += answer.empty() ? 0 : 1;
    EXPECT_TRUE(answer.empty() || answer.compare(answer.size() - 3, 3, "}]}") == 0) << text;
  }
  EXPECT_GT(answered, 0);
}

// Run it under the sanitizers. Every batch sets both keys to one value: no answer may have two.
TEST_F(FeatureReadsTest, ThreadsReadWhileRowsAreReplacedAndTheSetIs) {
  std::atomic<bool> is_over{false};
  std::atomic<int> wrong{0}, right{0};
  std::shared_ptr<FeatureReads> reads = Reads();
  const auto put = [this](float value) {
    UpsertResult result;
    const std::int64_t now = NowUs();
    EXPECT_TRUE(Put(floats_.get(), {1, 2}, {now, now}, {value, value}, &result).ok());
  };
  put(0);
  std::vector<std::thread> readers;
  for (std::size_t loop = 0; loop < 3; ++loop) {
    readers.emplace_back([&, loop] {
      const auto body = R"({"features":["v:f0"],"entities":{"id":[1,2]}})";
      while (!is_over) {
        const std::string answer = Ask(*std::atomic_load(&reads), body, loop);
        const std::size_t begin = answer.find("\"values\":[", answer.find("\"values\":[") + 1) + 10;
        const std::string pair = answer.substr(begin, answer.find(']', begin) - begin);
        const std::size_t comma = pair.find(',');
        ++(comma != std::string::npos && pair.substr(0, comma) == pair.substr(comma + 1) ? right : wrong);
      }
    });
  }
  for (int i = 1; i < 3000; ++i) {
    put(static_cast<float>(i));
    if (i % 50 == 0) std::atomic_store(&reads, Reads());
  }
  is_over = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(right, 0);
}

}  // namespace
}  // namespace mainspring::front
