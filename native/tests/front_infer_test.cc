// Infer requests for endpoints: what is understood of tensors by column, what sticks them, and that no bytes
// hurt.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "../src/front/infer_columns.h"
#include "../src/front/predict_key.h"

namespace mainspring::front {
namespace {

const PredictFields& Fields() {
  static const PredictFields fields(
      {{"x", FrontType::kFloat32}, {"n", FrontType::kInt64}, {"city", FrontType::kString}});
  return fields;
}

std::string Bytes(std::string_view text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  std::string bytes(sizeof size, '\0');
  std::memcpy(bytes.data(), &size, sizeof size);
  return bytes.append(text);
}

template <typename Value>
std::string Raw(const std::vector<Value>& values) {
  std::string bytes(values.size() * sizeof(Value), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

// An input of `rows`, with `rest` being its data or how many bytes of it follow.
std::string Input(std::string_view name, std::string_view datatype, const std::string& rest,
                  std::string_view rows = "2") {
  return std::string(R"({"name":")")
             .append(name)
             .append(R"(","shape":[)")
             .append(rows)
             .append(R"(],"datatype":")")
             .append(datatype)
             .append("\",") +
         rest + "}";
}

std::string Data(const std::string& values) { return R"("data":[)" + values + "]"; }
std::string Follows(std::size_t n) {
  return R"("parameters":{"binary_data_size":)" + std::to_string(n) + "}";
}

std::string Inputs(const std::string& x, const std::string& n, const std::string& city,
                   const std::string& more = "") {
  return R"({"inputs":[)" + x + "," + n + "," + city + "]" + more + "}";
}

const std::string kX = Input("x", "FP32", Data("1.5,-2e3")), kN = Input("n", "INT64", Data("7,-3")),
                  kCity = Input("city", "BYTES", Data(R"("Graz","")"));

bool Reads(const std::string& json, const std::string& binary, InferColumns* call,
           std::size_t max_rows = 100) {
  return ReadInferColumns(json, binary, Fields(), max_rows, call);
}

bool Reads(const std::string& json, const std::string& binary = "") {
  InferColumns call;
  return Reads(json, binary, &call);
}

std::string KeyOf(const InferColumns& call) {
  std::string key;
  return AppendColumnsKey(call.columns, Fields(), {2, 1, 0}, &key) ? key : "the app's";
}

TEST(InferColumnsTest, ColumnsComeInAnyOrderAndForm) {
  const std::string expected = "[['Graz', ''], [7, -3], [1.5, -2000.0]]";
  InferColumns call;
  for (const std::string& json :
       {Inputs(kX, kN, kCity), Inputs(kCity, kX, kN), Inputs(kN, kCity, kX, R"(,"outputs":[])")}) {
    ASSERT_TRUE(Reads(json, "", &call)) << json;
    EXPECT_EQ(KeyOf(call), expected);
    EXPECT_EQ(call.columns.rows, 2u);
    EXPECT_FALSE(call.wants_binary);
    EXPECT_EQ(call.id, "");
  }
  // Bytes follow in the order of the inputs that have them.
  const std::string city = Bytes("Graz") + Bytes(""), x = Raw<float>({1.5f, -2000.0f});
  const std::string raw_city = Input("city", "BYTES", Follows(city.size()));
  const std::string raw_x = Input("x", "FP32", Follows(x.size()));
  const std::string json =
      Inputs(raw_city, kN, raw_x, R"(,"id":"a","parameters":{"binary_data_output":true})");
  const std::string binary = city + x;  // texts lie in it
  ASSERT_TRUE(Reads(json, binary, &call));
  EXPECT_EQ(KeyOf(call), expected);
  EXPECT_TRUE(call.wants_binary);
  EXPECT_EQ(call.id, "a");
  EXPECT_FALSE(Reads(Inputs(raw_x, kN, raw_city), city + x)) << "the other order";
  EXPECT_FALSE(Reads(Inputs(raw_city, kN, raw_x), city + x + "x"));
  EXPECT_FALSE(Reads(Inputs(raw_city, kN, raw_x), city));
}

TEST(InferColumnsTest, WhatSticksIsWhatPythonWritesOfTheColumns) {
  InferColumns call;
  const std::string nan = Raw<float>({std::nanf(""), 0.1f});
  const std::string raw = Inputs(Input("x", "FP32", Follows(8)), kN, kCity);
  ASSERT_TRUE(Reads(raw, nan, &call));
  EXPECT_EQ(KeyOf(call), "[['Graz', ''], [7, -3], [nan, 0.10000000149011612]]") << "of a float32";
  EXPECT_TRUE(call.columns.columns[0].has_null);
  const std::string accents = Inputs(kX, kN, Input("city", "BYTES", Data(R"("\u00e9","é")")));
  ASSERT_TRUE(Reads(accents, "", &call));
  EXPECT_EQ(KeyOf(call), "the app's");
  EXPECT_EQ(std::string(call.columns.columns[2].texts[0].data, call.columns.columns[2].texts[0].size), "é");
}

TEST(InferColumnsTest, EverythingElseIsNotUnderstood) {
  const auto x = [](const std::string& input) { return Inputs(input, kN, kCity); };
  EXPECT_TRUE(Reads(x(kX)));
  for (const std::string& wrong : {
           x(Input("x", "FP64", Data("1,2"))),
           x(Input("y", "FP32", Data("1,2"))),
           x(Input("n", "INT64", Data("1,2"))),
           x(Input("x", "FP32", Data("1"))),
           x(Input("x", "FP32", Data("1,2,3"))),
           x(Input("x", "FP32", Data("1,null"))),
           x(Input("x", "FP32", Data("1,1e39"))),
           x(Input("x", "FP32", Data(""))),
           x(Input("x", "FP32", Data("[1],[2]"))),
           x(Input("x", "FP32", Data("1,2"), "1")),
           x(Input("x", "FP32", Data("1,2"), "2,1")),
           x(Input("x", "FP32", Data("1,2"), "-1")),
           x(Input("x", "FP32", Data("1,2") + "," + Follows(8))),
           x(R"({"data":[1,2],"name":"x","shape":[2],"datatype":"FP32"})"),
           x(R"({"name":"x","shape":[2],"datatype":"FP32"})"),
           x(R"({"name":"x","name":"x","shape":[2],"datatype":"FP32","data":[1,2]})"),
           Inputs(kX, kN, Input("city", "BYTES", Data(R"("a","\ud800")"))),
           Inputs(kX, kN, Input("city", "BYTES", Data("\"a\",\"\xff\""))),
           Inputs(kX, Input("n", "INT64", Data("1,2.0")), kCity),
           Inputs(kX, Input("n", "INT64", Data("1,9223372036854775808")), kCity),
           Inputs(kX, kN, kCity, R"(,"parameters":{"priority":1})"),
           Inputs(kX, kN, kCity, R"(,"outputs":[{"name":"y"}])"),
           Inputs(kX, kN, kCity, R"(,"outputs":[{"name":"score"},{"name":"score"}])"),
           Inputs(kX, kN, kCity, R"(,"more":1)"),
           R"({"inputs":[)" + kX + "," + kN + "]}",
           std::string(R"({"inputs":[]})"),
           std::string("{}"),
           std::string(),
       }) {
    EXPECT_FALSE(Reads(wrong)) << wrong;
  }
  const auto raw = [&](const std::string& bytes) {
    return Reads(x(Input("x", "FP32", Follows(bytes.size()))), bytes);
  };
  EXPECT_TRUE(raw(Raw<float>({1, 2})));
  EXPECT_FALSE(raw(Raw<float>({1})));
  EXPECT_FALSE(raw(Raw<float>({1, 2, 3})));
  EXPECT_FALSE(raw(Raw<float>({1, -std::numeric_limits<float>::infinity()})));
  const auto texts = [&](const std::string& bytes) {
    return Reads(Inputs(kX, kN, Input("city", "BYTES", Follows(bytes.size()))), bytes);
  };
  EXPECT_TRUE(texts(Bytes("a") + Bytes("b")));
  EXPECT_FALSE(texts(Bytes("a")));
  EXPECT_FALSE(texts(Bytes("a") + Bytes("\xff")));
  EXPECT_FALSE(texts(Bytes("a") + Bytes("b") + Bytes("c")));
  EXPECT_FALSE(texts(Bytes("a") + std::string("\xff\xff\xff\xff", 4) + "b"));
  EXPECT_FALSE(
      Reads(x(Input("x", "FP32", R"("parameters":{"binary_data_size":999999999999999999})")), "12345678"));
  InferColumns call;
  EXPECT_FALSE(Reads(Inputs(kX, kN, kCity), "", &call, 1)) << "more rows than are allowed";
}

TEST(InferColumnsTest, NoBytesHurt) {
  const std::string city = Bytes("Graz") + Bytes("Wien"), n = Raw<std::int64_t>({1, 2});
  const std::string whole =
      Inputs(kX, Input("n", "INT64", Follows(n.size())), Input("city", "BYTES", Follows(city.size())),
             R"(,"id":"a","outputs":[{"name":"score","parameters":{"binary_data":true}}])");
  std::mt19937 random(7);
  const std::string pieces = "{}[],:\"\\0123456789-+.eEnul_ \x01\xff\xc3";
  InferColumns call;
  int read = 0;
  for (int i = 0; i < 30'000; ++i) {
    std::string json = whole, binary = n + city;
    for (std::uint32_t k = random() % 4; k-- > 0;) {
      std::string& part = random() % 3 == 0 ? binary : json;
      const std::size_t at = random() % (part.size() + 1);
      if (random() % 2 == 0) part.insert(at, 1, pieces[random() % pieces.size()]);
      if (random() % 2 == 0) part.erase(at, random() % 9);
      if (random() % 8 == 0) part.resize(at);
      if (part.empty()) break;
    }
    if (!Reads(json, binary, &call)) continue;
    ++read;
    std::string key;
    (void)AppendColumnsKey(call.columns, Fields(), {2, 1, 0}, &key);
  }
  EXPECT_GT(read, 5000);
}

}  // namespace
}  // namespace mainspring::front
