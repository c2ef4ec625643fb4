// Predictions by the front: what is understood of them, what is answered and counted, and that no bytes hurt.

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "../src/front/predict_call.h"
#include "../src/front/predict_key.h"
#include "../src/front/predict_tally.h"
#include "../src/front/predicting.h"
#include "../src/front/sha256.h"
#include "table_testing.h"

namespace mainspring::front {
namespace {

std::string Hex(std::string_view text) {
  std::string hex;
  for (const std::uint8_t byte : Sha256(text)) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", byte);
    hex += two;
  }
  return hex;
}

// Vectors of FIPS 180-4 and of hashlib, around the ends of blocks.
TEST(Sha256Test, DigestsAreTheStandards) {
  EXPECT_EQ(Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
  EXPECT_EQ(Hex(std::string(55, 'x')), "d5e285683cd4efc02d021a5c62014694958901005d6f71e89e0989fac77e4072");
  EXPECT_EQ(Hex(std::string(64, 'x')), "7ce100971f64e7001e8fe5a51973ecdfe1ced42befe7ee8d5fd6219506b5393c");
}

std::string Repr(double value) {
  std::string out;
  AppendRepr(value, &out);
  return out;
}

std::string Repr(std::string_view text) {
  std::string out;
  return AppendRepr(text, &out) ? out : "refused";
}

TEST(PredictKeyTest, ValuesAreWrittenAsPythonWritesThem) {
  EXPECT_EQ(Repr(0.0), "0.0");
  EXPECT_EQ(Repr(-0.0), "-0.0");
  EXPECT_EQ(Repr(1.0), "1.0");
  EXPECT_EQ(Repr(-12.5), "-12.5");
  EXPECT_EQ(Repr(0.0001), "0.0001");
  EXPECT_EQ(Repr(0.00001), "1e-05");
  EXPECT_EQ(Repr(1.5e-7), "1.5e-07");
  EXPECT_EQ(Repr(1e15), "1000000000000000.0");
  EXPECT_EQ(Repr(1234567890123456.7), "1234567890123456.8");
  EXPECT_EQ(Repr(1e16), "1e+16");
  EXPECT_EQ(Repr(1.25e300), "1.25e+300");
  // Short ones after long ones: what is left of those is not read.
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Repr(-1.2345678901234568e-300), "-1.2345678901234568e-300");
    EXPECT_EQ(Repr(118031.0), "118031.0");
    EXPECT_EQ(Repr(5e-324), "5e-324");
  }
  EXPECT_EQ(Repr("JFK"), "'JFK'");
  EXPECT_EQ(Repr(""), "''");
  EXPECT_EQ(Repr("a'b"), "\"a'b\"");
  EXPECT_EQ(Repr("a\"b"), "'a\"b'");
  EXPECT_EQ(Repr("a'b\"c\\"), R"('a\'b"c\\')");
  for (const char* text : {"\t", "\x7f", "ü", "\x1f"}) EXPECT_EQ(Repr(text), "refused");
}

TEST(PredictKeyTest, SharesGrowAndAreAboutWhatTheySay) {
  int counts[101] = {};
  for (int i = 0; i < 20'000; ++i) {
    const std::string key = "[['" + std::to_string(i) + "']]";
    bool was = false;
    for (const std::uint32_t percent : {0u, 5u, 25u, 50u, 100u}) {
      const bool is = GoesToCanary("flights", key, percent);
      EXPECT_TRUE(is || !was) << key;  // who has the canary keeps it
      was = is;
      counts[percent] += is ? 1 : 0;
    }
  }
  EXPECT_EQ(counts[0], 0);
  EXPECT_NEAR(counts[5], 1000, 150);
  EXPECT_NEAR(counts[25], 5000, 300);
  EXPECT_EQ(counts[100], 20'000);
}

TEST(PredictCallTest, TimesAreReadToTheMicrosecond) {
  const auto read = [](std::string_view text) {
    std::int64_t us = -1;
    return ReadUtcTime(text, &us) ? us : -1;
  };
  EXPECT_EQ(read("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(read("2013-12-01T12:13:20Z"), 1'385'900'000'000'000);
  EXPECT_EQ(read("2000-02-29T00:00:00.000001Z"), 951'782'400'000'001);
  EXPECT_EQ(read("2000-02-29T00:00:00.5Z"), 951'782'400'500'000);
  EXPECT_EQ(read("9999-12-31T23:59:59.999999Z"), 253'402'300'799'999'999);
  for (const char* text :
       {"", "Z", "1969-12-31T23:59:59Z", "2013-02-29T00:00:00Z", "2100-02-29T00:00:00Z",
        "2013-13-01T00:00:00Z", "2013-12-00T00:00:00Z", "2013-12-01T24:00:00Z", "2013-12-01T00:60:00Z",
        "2013-12-01T00:00:60Z", "2013-12-01t00:00:00Z", "2013-12-01 00:00:00Z", "2013-12-01T00:00:00",
        "2013-12-01T00:00:00z", "2013-12-01T00:00:00.Z", "2013-12-01T00:00:00.1234567Z",
        "2013-12-01T00:00:00,1Z", "2013-12-01T00:00:0xZ", "2013-12-01T00:00:00+00:00"}) {
    EXPECT_EQ(read(text), -1) << text;
  }
}

// ---- an endpoint: score = f0 of view `v` + distance + the id of `city`, of rows and of entities

FrontProgram SumProgram(const std::vector<std::string>& floats, const std::string& text) {
  FrontProgram made;
  made.floats = floats;
  ProgramSpec spec;
  spec.n_floats = static_cast<std::int32_t>(floats.size());
  for (std::size_t i = 0; i < floats.size(); ++i) {
    DenseColumn column;
    column.source = static_cast<std::int32_t>(i);
    column.lower = -INFINITY;
    column.upper = INFINITY;
    spec.dense.push_back(column);
  }
  auto vocabulary = std::make_shared<StringVocabulary>();
  EXPECT_TRUE(StringVocabulary::Build({"Graz", "Wien"}, vocabulary.get()).ok());
  made.texts.push_back({text, vocabulary});
  spec.n_ints = 1;
  IdSpec id;
  id.kind = IdKind::kVocabulary;
  id.sources = {0};
  id.values = {0, 1};
  spec.ids.push_back(id);
  auto program = std::make_shared<Program>();
  EXPECT_TRUE(Program::Compile(spec, Target::kGeneric, program.get()).ok());
  made.program = std::move(program);
  return made;
}

// The sum of the dense values, and of the id as a table has it: 0, 1, 2, ...
std::shared_ptr<const Mlp> SumModel(std::size_t width, float scale) {
  const std::vector<float> weights(width + 1, scale);
  const std::vector<float> rows{0, 1, 2, 3};
  MlpSpec spec;
  spec.dense_width = width;
  spec.n_ids = 1;
  spec.tables.push_back({0, 4, 1, rows.data(), false});
  spec.layers.push_back({width + 1, 1, weights.data(), nullptr, Activation::kIdentity});
  auto mlp = std::make_shared<Mlp>();
  EXPECT_TRUE(Mlp::Compile(spec, Target::kGeneric, mlp.get()).ok());
  return mlp;
}

class PredictingTest : public testing::Test {
 protected:
  static constexpr std::int64_t kNowUs = 1'385'900'000'000'000;

  PredictingTest() {
    TableSchema schema = FloatSchema(1);
    schema.max_age_us = 3'600'000'000;
    EXPECT_TRUE(OnlineTable::Create(schema, {}, table_.get()).ok());
    PutFloats(table_.get(), 1, kNowUs - 1'000'000, 0, 10);
    PutFloats(table_.get(), 2, kNowUs - 7'200'000'000, 0, 20);
  }

  FrontBundle Bundle(std::string digest, float scale = 1) const {
    FrontBundle bundle;
    bundle.digest = std::move(digest);
    bundle.entity = {
        {"id", FrontType::kInt64}, {"distance", FrontType::kFloat64}, {"city", FrontType::kString}};
    bundle.keys = {"id"};
    bundle.inputs = {
        {"v__f0", FrontType::kFloat32}, {"distance", FrontType::kFloat32}, {"city", FrontType::kString}};
    bundle.lookups.push_back({{"v", table_, is_closed_}, {"f0"}});
    bundle.program = SumProgram({"v__f0", "distance"}, "city");
    bundle.mlp = SumModel(2, scale);
    return bundle;
  }

  PredictRole Role(const char* name, FrontBundle bundle, std::size_t n_loops = 4) const {
    PredictRole role;
    role.name = name;
    role.tally = std::make_shared<PredictTally>("flights", 3, bundle.digest, name, n_loops);
    std::string wrong;
    role.bundle = PredictBundle::Make(std::move(bundle), n_loops, &wrong);
    EXPECT_EQ(wrong, "");
    return role;
  }

  std::unique_ptr<Predicting> Endpoint(std::size_t max_rows = 8) {
    PredictRole role = Role("stable", Bundle("sha256:a"));
    tally_ = role.tally;
    return std::make_unique<Predicting>(Roles(std::move(role), PredictRole(), 0, max_rows), book_);
  }

  static std::shared_ptr<const EndpointRoles> Roles(PredictRole stable, PredictRole canary = {},
                                                    std::uint32_t canary_percent = 0,
                                                    std::size_t max_rows = 8) {
    auto roles = std::make_shared<EndpointRoles>();
    roles->name = "flights";
    roles->max_rows = max_rows;
    roles->stable = std::move(stable);
    roles->canary = std::move(canary);
    roles->canary_percent = canary_percent;
    return roles;
  }

  // "": left to the app.
  static std::string Ask(const Predicting& endpoint, std::string_view body, std::size_t loop = 0) {
    Scratch scratch;
    scratch.request_id = "r";
    MadeAnswer answer;
    return endpoint.Answer(AskedBy({kAnonymous, ""}), body, loop, &scratch, &answer) ? scratch.body : "";
  }

  static AskedHead AskedBy(const Caller& caller) {
    AskedHead head;
    head.caller = caller;
    return head;
  }

  std::shared_ptr<OnlineTable> table_ = std::make_shared<OnlineTable>();
  std::shared_ptr<std::atomic<bool>> is_closed_ = std::make_shared<std::atomic<bool>>(false);
  std::shared_ptr<ModelBook> book_ = std::make_shared<ModelBook>("flights", "", 4);
  std::shared_ptr<PredictTally> tally_;
};

constexpr std::string_view kAsked =
    R"({"entities":[{"id":1,"distance":0.5,"city":"Graz"},{"city":null,"id":2,"distance":1},)"
    R"({"id":3,"distance":2,"city":"W\u0069en"}],"as_of":"2013-12-01T12:13:20Z"})";

TEST_F(PredictingTest, EntitiesAreLookedUpAndScored) {
  const auto endpoint = Endpoint();
  EXPECT_EQ(endpoint->path(), "/v1/endpoints/flights:predict");
  const std::string head =
      R"({"request_id":"r","endpoint":"flights","model_version":"sha256:a","role":"stable","predictions":[)";
  for (int round = 0; round < 2; ++round) {  // again: nothing is left of the one before
    // Ids of a vocabulary: 0 missing, 1 unknown, then the values. Missing floats are filled with 0.
    EXPECT_EQ(
        Ask(*endpoint, kAsked),
        head + R"({"score":12.5,"feature_status":{"v":"present"},"feature_age_seconds":{"v":1.0}},)"
               R"({"score":1.0,"feature_status":{"v":"outside_max_age"},"feature_age_seconds":{"v":7200.0}},)"
               R"({"score":5.0,"feature_status":{"v":"not_found"},"feature_age_seconds":{}}]})");
    EXPECT_EQ(Ask(*endpoint, R"({"rows":[{"v__f0":null,"distance":3,"city":"Bonn"}]})"),
              head + R"({"score":4.0,"feature_status":{},"feature_age_seconds":{}}]})");
  }
  const std::string overridden = Ask(
      *endpoint,
      R"({"overrides":{"v__f0":100,"distance":1e-3,"city":"Wien"},"entities":[{"id":1,"distance":9,"city":""}]})");
  EXPECT_NE(overridden.find(R"("score":103.0009)"), std::string::npos) << overridden;
}

TEST_F(PredictingTest, WhatItCountsIsDrainedOnce) {
  const auto endpoint = Endpoint();
  for (std::size_t loop = 0; loop < 4; ++loop) ASSERT_NE(Ask(*endpoint, kAsked, loop), "");
  const FrontPredictions sums = tally_->Drain();
  EXPECT_EQ(sums.endpoint, "flights");
  EXPECT_EQ(sums.version, 3u);
  EXPECT_EQ(sums.role, "stable");
  EXPECT_EQ(sums.requests, 4u);
  EXPECT_EQ(sums.rows, 12u);
  EXPECT_DOUBLE_EQ(sums.scores_sum, 4 * 18.5);
  EXPECT_EQ(sums.latency_seconds.size(), 4u);
  ASSERT_EQ(sums.used.size(), 1u);
  EXPECT_EQ(sums.used[0].caller, "anonymous");
  EXPECT_EQ(sums.used[0].rows, 12u);
  EXPECT_GT(sums.used[0].cpu_nanos, 0u);
  EXPECT_EQ(tally_->Drain().requests, 0u);
  EXPECT_TRUE(tally_->Drain().used.empty());
  EXPECT_EQ(book_->Sum().rows, 12u);
}

TEST(PredictTallyTest, NothingIsLostWhileItIsDrainedAndMemoryIsBounded) {
  PredictTally tally("e", 1, "d", "stable", 2);
  std::vector<std::thread> threads;
  constexpr std::uint64_t kEach = 20'000;
  std::atomic<int> running{2};
  const Caller callers[] = {{"a", ""}, {"a", "shop"}, {"b", ""}, {"ab", ""}};
  for (std::size_t loop = 0; loop < 2; ++loop) {
    threads.emplace_back([&, loop] {
      for (std::uint64_t i = 0; i < kEach; ++i) tally.Answered(loop, {callers[i % 4], 2, 0.5, 1e-6, 3});
      --running;
    });
  }
  FrontPredictions all;
  std::map<std::pair<std::string, std::string>, FrontUse> used;
  const auto drain = [&] {
    const FrontPredictions one = tally.Drain();
    EXPECT_LE(one.latency_seconds.size(), 2 * kTallyLatencies);
    all.requests += one.requests;
    all.rows += one.rows;
    all.scores_sum += one.scores_sum;
    EXPECT_LE(one.used.size(), 4u) << "each once";
    for (const FrontUse& use : one.used) {
      FrontUse& sum = used[{use.caller, use.project}];
      sum.requests += use.requests;
      sum.rows += use.rows;
      sum.cpu_nanos += use.cpu_nanos;
    }
  };
  while (running > 0) drain();
  for (std::thread& thread : threads) thread.join();
  drain();
  EXPECT_EQ(all.requests, 2 * kEach);
  EXPECT_EQ(all.rows, 4 * kEach);
  EXPECT_DOUBLE_EQ(all.scores_sum, static_cast<double>(kEach));
  ASSERT_EQ(used.size(), 4u);
  for (const Caller& caller : callers) {
    const FrontUse& sum = used.at({std::string(caller.name), std::string(caller.project)});
    EXPECT_EQ(sum.requests, kEach / 2);
    EXPECT_EQ(sum.rows, kEach);
    EXPECT_EQ(sum.cpu_nanos, 3 * kEach / 2);
  }
}

TEST_F(PredictingTest, SoManyCallersAreToldApartAndMoreAreTheApps) {
  const auto endpoint = Endpoint();
  Scratch scratch;
  const auto ask = [&](const std::string& caller, std::size_t loop) {
    MadeAnswer answer;
    return endpoint->Answer(AskedBy({caller, "p"}), kAsked, loop, &scratch, &answer);
  };
  for (std::size_t i = 0; i < kTallyCallers; ++i) EXPECT_TRUE(ask("c" + std::to_string(i), 0));
  EXPECT_FALSE(ask("another", 0));
  EXPECT_TRUE(ask("c7", 0)) << "who is known has room";
  EXPECT_TRUE(ask("another", 1));
  EXPECT_FALSE(ask("", 0)) << "nobody knows whom to charge";
  const FrontPredictions sums = tally_->Drain();
  EXPECT_EQ(sums.used.size(), kTallyCallers + 1);
  EXPECT_EQ(sums.requests, kTallyCallers + 2);
  EXPECT_TRUE(ask("another", 0)) << "there is room again";
  EXPECT_EQ(tally_->Drain().used[0].project, "p");
}

TEST_F(PredictingTest, ItsPartsAreTimedInTheirOrder) {
  const auto endpoint = Endpoint();
  Scratch scratch;
  const auto parts = [&](std::string_view body) {
    MadeAnswer answer;
    const std::int64_t began = NowNanos();
    EXPECT_TRUE(endpoint->Answer(AskedBy({kAnonymous, ""}), body, 0, &scratch, &answer));
    EXPECT_EQ(answer.model, "");
    EXPECT_EQ(answer.bundle, "sha256:a");
    std::vector<std::string> names;
    std::int64_t last = began;
    for (std::size_t i = 0; i < answer.n_parts; ++i) {
      names.push_back(answer.parts[i].name);
      EXPECT_LE(last, answer.parts[i].began);
      EXPECT_LE(answer.parts[i].began, last = answer.parts[i].ended);
    }
    EXPECT_LE(last, NowNanos());
    return names;
  };
  EXPECT_EQ(parts(kAsked), (std::vector<std::string>{"look up", "transform", "model"}));
  EXPECT_EQ(parts(R"({"rows":[{"v__f0":1,"distance":1,"city":"a"}]})"),
            (std::vector<std::string>{"transform", "model"}));
}

TEST_F(PredictingTest, EverythingElseIsLeftToTheApp) {
  const auto endpoint = Endpoint(2);
  const std::string one = R"({"id":1,"distance":0.5,"city":"Graz"})";
  const auto of = [](const std::string& entities) { return R"({"entities":[)" + entities + "]}"; };
  ASSERT_NE(Ask(*endpoint, of(one)), "");
  for (const std::string& body :
       {of(""),
        of("{}"),
        of(one + "," + one + "," + one),
        of(one) + "x",
        of(one + ","),
        std::string(),
        std::string("[]"),
        of(R"({"id":1,"distance":0.5})"),
        of(R"({"id":1,"distance":0.5,"city":"a","x":1})"),
        of(R"({"id":1,"id":2,"distance":0.5,"city":"a"})"),
        of(R"({"id":1.0,"distance":0.5,"city":"a"})"),
        of(R"({"id":null,"distance":0.5,"city":"a"})"),
        of(R"({"id":1,"distance":"0.5","city":"a"})"),
        of(R"({"id":1,"distance":true,"city":"a"})"),
        of(R"({"id":1,"distance":1,"city":1})"),
        of("{\"id\":1,\"distance\":1,\"city\":\"\xff\"}"),
        of(R"({"id":1,"distance":1,"city":"\ud800"})"),
        of(R"({"id":1,"distance":1,"city":"a"]})"),
        R"({"entities":[)" + one + R"(],"rows":[{"v__f0":1,"distance":1,"city":"a"}]})",
        R"({"entities":[)" + one + R"(],"entities":null})",
        R"({"entities":[)" + one + R"(],"overrides":{"id":1}})",
        R"({"entities":[)" + one + R"(],"overrides":{"x":1}})",
        R"({"entities":[)" + one + R"(],"overrides":null})",
        R"({"entities":[)" + one + R"(],"overrides":{"city":"a","city":"a"}})",
        R"({"entities":[)" + one + R"(],"as_of":0})",
        R"({"entities":[)" + one + R"(],"as_of":"2013-12-01"})",
        std::string(R"({"rows":[{"v__f0":1e39,"distance":1,"city":"a"}]})"),
        std::string(R"({"rows":[{"v__f0":1,"distance":1,"city":"a"}],"overrides":{"distance":1}})"),
        std::string(R"({"rows":[{"v__f0":3e38,"distance":3e38,"city":"a"}]})")}) {  // not a finite score
    EXPECT_EQ(Ask(*endpoint, body), "") << body;
  }
  const AskedHead head = AskedBy({"a", ""});
  Scratch scratch;
  MadeAnswer answer;
  EXPECT_TRUE(endpoint->Answer(head, of(one), 0, &scratch, &answer));
  EXPECT_EQ(answer.rows, 1u);
  for (bool AskedHead::* field : {&AskedHead::has_wish, &AskedHead::has_other_form}) {
    AskedHead special = head;
    special.*field = true;
    EXPECT_FALSE(endpoint->Answer(special, of(one), 0, &scratch, &answer));
  }
  *is_closed_ = true;
  EXPECT_EQ(Ask(*endpoint, of(one)), "");
  EXPECT_NE(Ask(*endpoint, R"({"rows":[{"v__f0":1,"distance":1,"city":"a"}]})"), "");
  EXPECT_EQ(tally_->Drain().requests, 3u);
}

TEST_F(PredictingTest, PartsThatDoNotBelongTogetherAreRefused) {
  const auto wrong = [this](const auto& change) {
    FrontBundle bundle = Bundle("d");
    change(&bundle);
    std::string what;
    EXPECT_EQ(PredictBundle::Make(std::move(bundle), 1, &what), nullptr);
    return what;
  };
  EXPECT_EQ(wrong([](FrontBundle* b) { b->entity[0].type = FrontType::kString; }), "key `id` of view `v`");
  EXPECT_EQ(wrong([](FrontBundle* b) { b->entity.erase(b->entity.begin() + 1); }),
            "input `distance` of the program");
  EXPECT_EQ(wrong([](FrontBundle* b) { b->entity[2].type = FrontType::kInt64; }),
            "input `city` of the program");
  EXPECT_EQ(wrong([](FrontBundle* b) { b->inputs.pop_back(); }), "input `city` of the program");
  EXPECT_EQ(wrong([](FrontBundle* b) { b->lookups[0].fields = {"f9"}; }), "`f9` of a view");
  EXPECT_EQ(wrong([](FrontBundle* b) { b->mlp = SumModel(3, 1); }), "the model's inputs");
  EXPECT_EQ(wrong([](FrontBundle* b) { b->output = 1; }), "the model's output");
}

// v__f0 = hours of `id` + distance, and distance = 10 * distance: both hide what has their name.
std::shared_ptr<Formulas> HourFormulas() {
  FormulaSpec spec;
  spec.inputs = {{"id", true}, {"distance", false}, {"v__f0", false}};
  auto clock = std::make_shared<const FormulaClock>(FormulaClock{{0, 10}, {0, 60}, 20});
  const auto step = [&spec](FormulaOp op, std::int32_t a, std::int32_t b, double real, std::int64_t whole) {
    spec.steps.push_back({op, a, b, real, whole, nullptr, nullptr});
  };
  step(FormulaOp::kWholeColumn, 0, -1, 0, 0);
  step(FormulaOp::kLocalMinutes, 0, -1, 0, 0);
  spec.steps.back().clock = clock;
  step(FormulaOp::kFloorDivide, 1, -1, 0, 60);
  step(FormulaOp::kWiden, 2, -1, 0, 0);
  step(FormulaOp::kRealColumn, 1, -1, 0, 0);
  step(FormulaOp::kAdd, 3, 4, 0, 0);
  step(FormulaOp::kRealNumber, -1, -1, 10, 0);
  step(FormulaOp::kMultiply, 4, 6, 0, 0);
  step(FormulaOp::kRealColumn, 2, -1, 0, 0);
  spec.outputs = {{"v__f0", false, 5}, {"distance", false, 7}, {"seen", false, 8}, {"minutes", true, 1}};
  auto made = std::make_shared<Formulas>();
  EXPECT_TRUE(Formulas::Compile(std::move(spec), made.get()).ok());
  return made;
}

TEST_F(PredictingTest, FormulasHideWhatIsLookedUpAndOverridesHideThem) {
  FrontBundle bundle = Bundle("d");
  bundle.formulas = HourFormulas();
  const Predicting endpoint(Roles(Role("stable", std::move(bundle))), book_);
  const auto score = [&](const std::string& id, const std::string& overrides) {
    const std::string answer =
        Ask(endpoint, R"({"entities":[{"id":)" + id + R"(,"distance":0.5,"city":"Graz"}],"overrides":{)" +
                          overrides + "}}");
    return answer.empty() ? ""
                          : answer.substr(answer.find("score") + 7,
                                          answer.find(",\"feature_status") - answer.find("score") - 7);
  };
  // The id of Graz is 2. The clock is an hour ahead from hour 10 on.
  EXPECT_EQ(score("1", ""), "7.5");
  EXPECT_EQ(score("36000000000", ""), "18.5");
  EXPECT_EQ(score("35999999999", ""), "16.5");
  EXPECT_EQ(score("1", R"("v__f0":100)"), "107.0");
  EXPECT_EQ(score("1", R"("distance":2)"), "6.0") << "before formulas, and after them";
  EXPECT_EQ(score("72000000000", ""), "") << "the clock is not known";
  EXPECT_EQ(score("-1", ""), "");
  EXPECT_NE(Ask(endpoint, R"({"rows":[{"v__f0":1,"distance":1,"city":"a"}]})"), "") << "rows bring all along";
}

TEST_F(PredictingTest, FormulasOfOtherTypesAreRefused) {
  const auto wrong = [this](const auto& change) {
    FrontBundle bundle = Bundle("d");
    FormulaSpec spec = HourFormulas()->spec();
    change(&spec, &bundle);
    auto made = std::make_shared<Formulas>();
    EXPECT_TRUE(Formulas::Compile(std::move(spec), made.get()).ok());
    bundle.formulas = std::move(made);
    std::string what;
    EXPECT_EQ(PredictBundle::Make(std::move(bundle), 1, &what), nullptr);
    return what;
  };
  EXPECT_EQ(wrong([](FormulaSpec* spec, FrontBundle*) { spec->inputs[0].name = "distance"; }),
            "input `distance` of the formulas");
  EXPECT_EQ(wrong([](FormulaSpec* spec, FrontBundle*) { spec->inputs[1].name = "city"; }),
            "input `city` of the formulas");
  EXPECT_EQ(wrong([](FormulaSpec* spec, FrontBundle*) { spec->inputs[1].name = "nowhere"; }),
            "input `nowhere` of the formulas");
  EXPECT_EQ(wrong([](FormulaSpec* spec, FrontBundle*) {
              spec->outputs[3].name = "distance";
              spec->outputs[1].name = "x";
            }),
            "input `distance` of the program");
  EXPECT_EQ(wrong([](FormulaSpec* spec, FrontBundle*) { spec->outputs[2].name = "city"; }),
            "input `city` of the program");
}

TEST_F(PredictingTest, WideProgramsAndManyViewsTakeFewerRows) {
  EXPECT_EQ(Role("stable", Bundle("d")).bundle->max_rows(), 512u);
  FrontBundle two = Bundle("d");
  two.lookups.push_back({{"w", table_, nullptr}, {"f0"}});
  EXPECT_EQ(Role("stable", std::move(two)).bundle->max_rows(), 256u);
  FrontBundle wide;
  std::vector<std::string> names;
  for (int i = 0; i < 1023; ++i) names.push_back("x" + std::to_string(i));
  for (const std::string& name : names) wide.inputs.push_back({name, FrontType::kFloat32});
  wide.inputs.push_back({"city", FrontType::kString});
  wide.program = SumProgram(names, "city");
  wide.mlp = SumModel(names.size(), 1);
  EXPECT_EQ(Role("stable", std::move(wide)).bundle->max_rows(), 64u);
}

TEST_F(PredictingTest, PoliciesLeaveValuesToTheApp) {
  FrontBundle bundle = Bundle("d");
  bundle.policies = {
      {"distance", 0, 0.1, false}, {"city", -INFINITY, INFINITY, true}, {"id", 1, INFINITY, false}};
  const Predicting endpoint(Roles(Role("stable", std::move(bundle))), book_);
  const auto ask = [&](const char* id, const char* distance, const char* city) {
    return Ask(endpoint, std::string(R"({"entities":[{"id":)") + id + R"(,"distance":)" + distance +
                             R"(,"city":)" + city + "}]}") != "";
  };
  EXPECT_TRUE(ask("1", "0.1", "\"a\""));
  EXPECT_TRUE(ask("1", "null", "\"a\""));
  EXPECT_TRUE(ask("1", "-0.0", "\"a\""));
  EXPECT_FALSE(ask("1", "0.10000000000000002", "\"a\""));
  EXPECT_FALSE(ask("1", "-1e-300", "\"a\""));
  EXPECT_FALSE(ask("0", "0.1", "\"a\""));
  EXPECT_FALSE(ask("1", "0.1", "\"\""));
  EXPECT_FALSE(ask("1", "0.1", "null"));
}

TEST_F(PredictingTest, ACanaryHasItsShare) {
  PredictRole stable = Role("stable", Bundle("sha256:a")), canary = Role("canary", Bundle("sha256:b", 2));
  const auto of_stable = stable.tally, of_canary = canary.tally;
  const Predicting endpoint(Roles(std::move(stable), std::move(canary), 30), book_);
  std::uint64_t expected = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string id = std::to_string(i);
    const bool is_canary = GoesToCanary("flights", "[[" + id + ", 7]]", 30);
    expected += is_canary ? 1 : 0;
    const std::string answer = Ask(endpoint, R"({"entities":[{"distance":1,"city":"é","id":)" + id +
                                                 R"(},{"id":7,"distance":1,"city":"é"}]})");
    EXPECT_NE(answer.find(is_canary ? R"("sha256:b","role":"canary")" : R"("sha256:a","role":"stable")"),
              std::string::npos);
  }
  EXPECT_EQ(of_canary->Drain().requests, expected);
  EXPECT_EQ(of_stable->Drain().requests, 200 - expected);
  // By row all values count, and Python's way to write this text is not known here.
  EXPECT_NE(Ask(endpoint, R"({"rows":[{"v__f0":1e22,"distance":-0,"city":null}]})"), "");
  EXPECT_EQ(Ask(endpoint, R"({"rows":[{"v__f0":1e22,"distance":-0,"city":"é"}]})"), "");
}

TEST_F(PredictingTest, NoBytesHurt) {
  const auto endpoint = Endpoint();
  std::mt19937 random(5);
  const std::string pieces = "{}[],:\"\\0123456789-+.eEnultrfas_ \x01\xff\xc3";
  for (int i = 0; i < 30'000; ++i) {
    std::string body(kAsked);
    for (std::uint32_t k = random() % 4; k-- > 0;) {
      const std::size_t at = random() % (body.size() + 1);
      if (random() % 2 == 0) body.insert(at, 1, pieces[random() % pieces.size()]);
      if (random() % 2 == 0) body.erase(at, random() % 9);
      if (random() % 8 == 0) body.resize(at);
      if (body.empty()) break;
    }
    (void)Ask(*endpoint, body, i % 4);
  }
}

TEST_F(PredictingTest, LoopsAnswerAtOnce) {
  const auto endpoint = Endpoint();
  const std::string expected = Ask(*endpoint, kAsked);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::size_t loop = 0; loop < 4; ++loop) {
    threads.emplace_back([&, loop] {
      for (int i = 0; i < 500; ++i) wrong += Ask(*endpoint, kAsked, loop) == expected ? 0 : 1;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace mainspring::front
