// What the front reads off the wire: heads, chunks, infer requests; and how it prints numbers.

#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "../src/front/chunks.h"
#include "../src/front/float_digits.h"
#include "../src/front/http_head.h"
#include "../src/front/infer_call.h"
#include "../src/front/json_number.h"

namespace mainspring::front {
namespace {

// ---- heads

struct ReadHead {
  std::string text;  // what `head` looks into
  Parsed parsed = Parsed::kMore;
  RequestHead head;
  BadHead bad;
};

// Read as it comes: one byte more at a time, which must end as one piece does.
ReadHead Piecewise(const std::string& text) {
  ReadHead read;
  std::size_t seen = 0;
  for (std::size_t size = 0; size <= text.size() && read.parsed == Parsed::kMore; ++size) {
    read.parsed = ReadRequestHead(std::string_view(text).substr(0, size), &seen, &read.head, &read.bad);
  }
  return read;
}

// On the heap: a short text would move with its owner, and the views would not.
std::unique_ptr<ReadHead> ReadOf(const std::string& text) {
  auto owned = std::make_unique<ReadHead>();
  ReadHead& read = *owned;
  read.text = text;
  std::size_t seen = 0;
  read.parsed = ReadRequestHead(read.text, &seen, &read.head, &read.bad);
  const ReadHead slow = Piecewise(text);
  EXPECT_EQ(read.parsed, slow.parsed) << text;
  if (read.parsed == Parsed::kBad) {
    EXPECT_EQ(read.bad.status, slow.bad.status) << text;
  }
  return owned;
}

TEST(HttpHeadTest, AnOrdinaryRequestIsReadWhole) {
  const std::string text =
      "POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length:  5 \r\nX: \t\r\n\r\nhello";
  const std::unique_ptr<ReadHead> owned = ReadOf(text);
  const ReadHead& read = *owned;
  ASSERT_EQ(read.parsed, Parsed::kDone);
  EXPECT_EQ(read.head.method, "POST");
  EXPECT_EQ(read.head.target, "/v2/models/m/infer");
  EXPECT_EQ(read.head.size, text.size() - 5);
  EXPECT_TRUE(read.head.framing.has_length);
  EXPECT_EQ(read.head.framing.length, 5u);
  EXPECT_FALSE(read.head.wants_close);
  ASSERT_EQ(read.head.fields.size(), 3u);
  EXPECT_EQ(read.head.fields[1].value, "5");
  EXPECT_EQ(read.head.fields[2].value, "");
  int times = 0;
  EXPECT_EQ(read.head.Only("content-length", &times), "5");
  EXPECT_EQ(times, 1);
}

TEST(HttpHeadTest, WhatAConnectionDoesNextIsKnown) {
  EXPECT_TRUE(ReadOf("GET / HTTP/1.0\r\n\r\n")->head.wants_close);
  EXPECT_TRUE(ReadOf("GET / HTTP/1.1\r\nhost: a\r\nconnection: x, Close\r\n\r\n")->head.wants_close);
  EXPECT_FALSE(ReadOf("GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive\r\n\r\n")->head.wants_close);
  EXPECT_TRUE(ReadOf("GET / HTTP/1.1\r\nhost: a\r\nexpect: 100-Continue\r\n\r\n")->head.expects_continue);
  EXPECT_TRUE(
      ReadOf("GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n")->head.framing.is_chunked);
  EXPECT_EQ(ReadOf("\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n")->parsed, Parsed::kDone);
}

struct Refusal {
  const char* text;
  int status;
};

TEST(HttpHeadTest, WhatTwoReadersCouldReadDifferentlyIsRefused) {
  const Refusal refusals[] = {
      {"GET / HTTP/1.1\nhost: a\n\n", 400},
      {"GET / HTTP/1.1\r\nhost: a\n\r\n", 400},
      {"\nGET / HTTP/1.1\r\n", 400},
      {"\r\n\r\nGET / HTTP/1.1\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: a\r\n b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: a\r\n\tb: c\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nho st: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: a\r\nx: a\rb\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: a\r\nx: \x01\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1, 1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0x1\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ncontent-length:\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9999999999999999999\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", 400},
      {"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \x0b"
       "chunked\r\n\r\n",
       400},
      {"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 400},
      {"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400},
      {"GET / HTTP/1.1 \r\nhost: a\r\n\r\n", 400},
      {" GET / HTTP/1.1\r\nhost: a\r\n\r\n", 400},
      {"GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", 400},
      {"GET /\x7f HTTP/1.1\r\nhost: a\r\n\r\n", 400},
      {"GET a HTTP/1.1\r\nhost: a\r\n\r\n", 400},
      {"GET HTTP/1.1\r\nhost: a\r\n\r\n", 400},
      {"G(T / HTTP/1.1\r\nhost: a\r\n\r\n", 400},
      {"GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505},
      {"GET / http/1.1\r\nhost: a\r\n\r\n", 400},
      {"GET / HTTP/1.10\r\nhost: a\r\n\r\n", 400},
      {"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n", 501},
      {"POST / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\n\r\n", 417},
  };
  for (const Refusal& refusal : refusals) {
    const std::unique_ptr<ReadHead> owned = ReadOf(refusal.text);
    const ReadHead& read = *owned;
    ASSERT_EQ(read.parsed, Parsed::kBad) << refusal.text;
    EXPECT_EQ(read.bad.status, refusal.status) << refusal.text;
    EXPECT_STRNE(read.bad.why, "");
  }
}

TEST(HttpHeadTest, MoreThanAHundredFieldsAreRefused) {
  std::string text = "GET / HTTP/1.1\r\nhost: a\r\n";
  for (int i = 0; i < 99; ++i) text += "x: y\r\n";
  EXPECT_EQ(ReadOf(text + "\r\n")->parsed, Parsed::kDone);
  EXPECT_EQ(ReadOf(text + "x: y\r\n\r\n")->bad.status, 431);
}

TEST(HttpHeadTest, FieldsOfOneConnectionAreKnown) {
  const std::unique_ptr<ReadHead> owned = ReadOf(
      "GET / HTTP/1.1\r\nhost: a\r\nConnection: close, X-Own, host\r\nX-Own: 1\r\nTE: x\r\nY: 2\r\n\r\n");
  const ReadHead& read = *owned;
  ASSERT_EQ(read.parsed, Parsed::kDone);
  std::vector<bool> dropped;
  for (const Field& field : read.head.fields) dropped.push_back(IsHopByHop(field, read.head.fields));
  EXPECT_EQ(dropped, (std::vector<bool>{false, true, true, true, false}));
}

TEST(HttpHeadTest, AnAnswerIsReadWhole) {
  ResponseHead head;
  BadHead bad;
  std::size_t seen = 0;
  EXPECT_EQ(ReadResponseHead("HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}", &seen, &head, &bad),
            Parsed::kDone);
  EXPECT_EQ(head.status, 404);
  EXPECT_EQ(head.reason, "Not Found");
  EXPECT_EQ(head.framing.length, 2u);
  seen = 0;
  EXPECT_EQ(ReadResponseHead("HTTP/1.1 200\r\n\r\n", &seen, &head, &bad), Parsed::kDone);
  for (const char* text : {"HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 x\r\n\r\n", "\r\n\r\n",
                           "HTTP/1.1 099 \r\n\r\n", "HTTP/1.1\r\n\r\n", "tea\r\n\r\n"}) {
    seen = 0;
    EXPECT_EQ(ReadResponseHead(text, &seen, &head, &bad), Parsed::kBad) << text;
  }
}

TEST(HttpHeadTest, NoMutationIsReadBeyondItsBytes) {
  const std::string whole =
      "POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: x, y\r\n\r\n";
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string text = whole;
    for (std::size_t n = random() % 4; n > 0; --n) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.erase(at, 1 + random() % 5);
          break;
        default:
          text.insert(at, 1 + random() % 3, "\r\n :,\0a"[random() % 7]);
      }
      if (text.empty()) text = "x";
    }
    // Exactly as many bytes as there are: a sanitizer sees one read more.
    const std::vector<char> bytes(text.begin(), text.end());
    RequestHead head;
    BadHead bad;
    std::size_t seen = 0;
    const std::string_view view(bytes.data(), bytes.size());
    const Parsed parsed = ReadRequestHead(view, &seen, &head, &bad);
    if (parsed == Parsed::kDone) {
      EXPECT_LE(head.size, view.size());
    }
    ResponseHead answer;
    seen = 0;
    (void)ReadResponseHead(view, &seen, &answer, &bad);
  }
}

// ---- chunks

// The body of `text`, fed in pieces of `step` bytes; "bad" or "more" where there is no whole one.
std::string Dechunked(const std::string& text, std::size_t step) {
  ChunkReader reader;
  std::string body;
  for (std::size_t at = 0; at < text.size(); at += step) {
    std::string_view piece = std::string_view(text).substr(at, step);
    while (!piece.empty() && !reader.is_done() && !reader.is_bad()) body += reader.Next(&piece);
    if (reader.is_done()) {
      const std::size_t left =
          text.size() - at - (std::string_view(text).substr(at, step).size() - piece.size());
      return body + (left > 0 ? "|" + text.substr(text.size() - left) : "");
    }
  }
  return reader.is_bad() ? "bad" : "more";
}

TEST(ChunksTest, ABodyIsTheSameInWhateverPiecesItComes) {
  const std::string text = "5\r\nhello\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nT: x\r\nU: y\r\n\r\nGET";
  for (std::size_t step : {1u, 2u, 3u, 7u, 1000u}) EXPECT_EQ(Dechunked(text, step), "hello0123456789|GET");
  EXPECT_EQ(Dechunked("0\r\n\r\n", 1), "");
}

TEST(ChunksTest, WhatIsNoChunkIsBad) {
  for (const char* text :
       {"\r\n", "x\r\n", "-1\r\n", "5 \r\nhello", "5\nhello", "5\r\nhelloX", "5\r\nhello\n0", "5\r\nhello\r0",
        "1000000000000000\r\n", "5;\x01\r\n", "0\r\n\x01\r\n", "0\r\n\rX"}) {
    for (std::size_t step : {1u, 100u}) EXPECT_EQ(Dechunked(text, step), "bad") << text;
  }
  EXPECT_EQ(Dechunked("1;" + std::string(300, 'x') + "\r\n", 50), "bad");
  EXPECT_EQ(Dechunked("0\r\n" + std::string(5000, 'x'), 50), "bad");
  EXPECT_EQ(Dechunked("5\r\nhel", 1), "more");
}

TEST(ChunksTest, WhatIsWrittenIsReadAgain) {
  std::string out;
  AppendChunk(std::string(300, 'a'), &out);
  AppendChunk("", &out);
  AppendChunk("b", &out);
  out += kLastChunk;
  EXPECT_EQ(Dechunked(out, 1000), std::string(300, 'a') + "b");
}

// ---- infer requests

constexpr InferNames kNames{"x", "y", false, 2, 4};

bool Understood(const std::string& json, std::size_t n_binary, InferCall* call) {
  // Exactly as many bytes as there are, so that a sanitizer sees one read more; kept for `call->id`.
  static std::unique_ptr<char[]> bytes;
  bytes = std::make_unique<char[]>(json.size());
  json.copy(bytes.get(), json.size());
  return ReadInferCall(std::string_view(bytes.get(), json.size()), n_binary, kNames, call);
}

std::string Input(const std::string& rest) {
  return R"({"inputs":[{"name":"x","datatype":"FP32","shape":[2,2],)" + rest + "}]}";
}

TEST(InferCallTest, FlatAndNestedAndBinaryAreUnderstood) {
  InferCall call;
  for (const char* data : {"[1,2.5,-3e1,4]", "[[1,2.5],[-3e1,4]]", " [ [ 1 , 2.5 ] ,\n[ -3E+1 ,\t4 ] ] "}) {
    ASSERT_TRUE(Understood(Input(std::string("\"data\":") + data), 0, &call)) << data;
    EXPECT_EQ(call.numbers, (std::vector<double>{1, 2.5, -30, 4}));
    EXPECT_EQ(call.rows, 2u);
    EXPECT_FALSE(call.is_binary || call.wants_binary);
  }
  ASSERT_TRUE(Understood(Input(R"("parameters":{"binary_data_size":16})"), 16, &call));
  EXPECT_TRUE(call.is_binary);
  const std::string whole =
      R"( {"id":"a b","outputs":[{"name":"y","parameters":{"binary_data":true}}],"parameters":{},)"
      R"("inputs":[{"data":[1,2],"shape":[1,2],"parameters":{},"name":"x","datatype":"FP32"}]} )";
  ASSERT_TRUE(Understood(whole, 0, &call));
  EXPECT_TRUE(call.wants_binary);
  EXPECT_EQ(call.id, "a b");
  EXPECT_EQ(call.rows, 1u);
}

TEST(InferCallTest, WhatTheOutputSaysCountsMoreThanWhatAllSay) {
  InferCall call;
  const auto wants = [&](const std::string& rest) {
    EXPECT_TRUE(Understood(
        R"({"inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]}])" + rest + "}", 0, &call))
        << rest;
    return call.wants_binary;
  };
  EXPECT_FALSE(wants(""));
  EXPECT_TRUE(wants(R"(,"parameters":{"binary_data_output":true})"));
  EXPECT_TRUE(wants(R"(,"parameters":{"binary_data_output":true},"outputs":[])"));
  EXPECT_FALSE(wants(
      R"(,"outputs":[{"name":"y","parameters":{"binary_data":false}}],"parameters":{"binary_data_output":true})"));
}

TEST(InferCallTest, EverythingElseIsLeftToTheApp) {
  InferCall call;
  const char* const datas[] = {"[1,2,3]",
                               "[1,2,3,4,5]",
                               "[]",
                               "[[1,2],[3]]",
                               "[[1,2,3],[4]]",
                               "[[[1,2],[3,4]]]",
                               "[1,2,3,]",
                               "[01,2,3,4]",
                               "[1.,2,3,4]",
                               "[.5,2,3,4]",
                               "[+1,2,3,4]",
                               "[-,2,3,4]",
                               "[1e,2,3,4]",
                               "[NaN,2,3,4]",
                               "[inf,2,3,4]",
                               "[true,2,3,4]",
                               "[null,2,3,4]",
                               "[\"1\",2,3,4]",
                               "[1e400,2,3,4]",
                               "[1 2,3,4,5]",
                               "[[1,2],3,4]",
                               "[1,2,[3,4]]",
                               "[[1,2] [3,4]]",
                               "[[1,2],]",
                               "[1,2,3,4",
                               "1",
                               "{}",
                               "[-nan,2,3,4]",
                               "[1.5.2,2,3,4]",
                               "[0x1,2,3,4]",
                               "[--1,2,3,4]",
                               "[1e+,2,3,4]",
                               "[infinity,2,3,4]"};
  for (const char* data : datas) {
    EXPECT_FALSE(Understood(Input(std::string("\"data\":") + data), 0, &call)) << data;
  }
  for (const char* rest :
       {R"("parameters":{"binary_data_size":15})", R"("parameters":{"binary_data_size":16,"x":1})",
        R"("parameters":{"binary_data_size":16,"binary_data_size":16})",
        R"("parameters":{"binary_data_size":016})", R"("parameters":{"binary_data_size":16.0})",
        R"("parameters":{"binary_data_size":16},"data":[1,2,3,4])",
        R"("parameters":{"binary_data_size":"16"})"}) {
    EXPECT_FALSE(Understood(Input(rest), 16, &call)) << rest;
  }
  const std::string good = R"({"name":"x","datatype":"FP32","shape":[1,2],"data":[1,2]})";
  ASSERT_TRUE(Understood(R"({"inputs":[)" + good + "]}", 0, &call));
  EXPECT_FALSE(Understood(R"({"inputs":[)" + good + "]}", 4, &call));
  for (const std::string& json :
       {R"({"inputs":[)" + good + "," + good + "]}",
        R"({"inputs":[)" + good + R"(],"inputs":[)" + good + "]}",
        R"({"inputs":[)" + good + R"(],"x":1})",
        R"({"inputs":[)" + good + R"(],"id":"\u0041"})",
        R"({"inputs":[)" + good + R"(],"id":"é"})",
        R"({"inputs":[)" + good + R"(],"id":1})",
        R"({"inputs":[)" + good + R"(],"outputs":[{"name":"z"}]})",
        R"({"inputs":[)" + good + R"(],"outputs":[{}]})",
        R"({"inputs":[)" + good + R"(],"outputs":[{"name":"y"},{"name":"y"}]})",
        R"({"inputs":[)" + good + R"(],"parameters":{"timeout":5}})",
        R"({"inputs":[)" + good + "]} x",
        R"({"inputs":[)" + good + "]",
        R"([)" + good + "]",
        std::string("{}"),
        std::string(),
        std::string(R"({"inputs":[]})"),
        std::string(R"({"inputs":[{}]})"),
        std::string(R"({"inputs":[{"name":"z","datatype":"FP32","shape":[1,2],"data":[1,2]}]})"),
        std::string(R"({"inputs":[{"name":"x","datatype":"FP64","shape":[1,2],"data":[1,2]}]})"),
        std::string(R"({"inputs":[{"name":"x","datatype":"FP32","shape":[2,1],"data":[1,2]}]})"),
        std::string(R"({"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1,2]}]})"),
        std::string(R"({"inputs":[{"name":"x","datatype":"FP32","shape":[0,2],"data":[]}]})"),
        std::string(
            R"({"inputs":[{"name":"x","datatype":"FP32","shape":[5,2],"data":[1,2,3,4,5,6,7,8,9,0]}]})"),
        std::string(R"({"inputs":[{"name":"x","datatype":"FP32","shape":[1,2,1],"data":[1,2]}]})")}) {
    EXPECT_FALSE(Understood(json, 0, &call)) << json;
  }
}

TEST(InferCallTest, ZeroIsNegativeOnlyWhereItIsAFraction) {
  InferCall call;
  ASSERT_TRUE(Understood(Input("\"data\":[-0,-0.0,0,-0e0]"), 0, &call));
  EXPECT_FALSE(std::signbit(call.numbers[0]));
  EXPECT_TRUE(std::signbit(call.numbers[1]));
  EXPECT_TRUE(std::signbit(call.numbers[3]));
}

TEST(InferCallTest, NoTruncationOrMutationIsReadBeyondItsBytes) {
  const std::string whole =
      R"({"id":"a","inputs":[{"name":"x","datatype":"FP32","shape":[2,2],"data":[[1,-2.5e3],[3,4]]}],)"
      R"("outputs":[{"name":"y","parameters":{"binary_data":true}}]})";
  InferCall call;
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(Understood(whole.substr(0, size), 0, &call));
  std::mt19937 random(7);
  for (int round = 0; round < 50000; ++round) {
    std::string text = whole;
    for (std::size_t n = 1 + random() % 3; n > 0; --n)
      text[random() % text.size()] = "[]{},:\"0-.e1\\x"[random() % 14];
    if (Understood(text, 0, &call)) {
      EXPECT_EQ(call.numbers.size(), call.rows * 2);
    }
  }
}

// ---- numbers

template <typename Value>
std::string Printed(Value value) {
  std::string out;
  AppendJsonNumber(value, &out);
  return out;
}

TEST(JsonNumberTest, NumbersAreWrittenAsTheAppWritesThem) {
  EXPECT_EQ(Printed(0.0f), "0.0");
  EXPECT_EQ(Printed(-0.0f), "-0.0");
  EXPECT_EQ(Printed(1.0f), "1.0");
  EXPECT_EQ(Printed(0.1f), "0.1");
  EXPECT_EQ(Printed(-123456.7f), "-123456.7");
  EXPECT_EQ(Printed(1e-6f), "0.000001");
  EXPECT_EQ(Printed(1.5e-7f), "1.5e-7");
  EXPECT_EQ(Printed(1e12f), "1000000000000.0");
  EXPECT_EQ(Printed(1e13f), "1e+13");
  EXPECT_EQ(Printed(3.4e38f), "3.4e+38");
  EXPECT_EQ(Printed(std::numeric_limits<float>::denorm_min()), "1e-45");
  EXPECT_EQ(Printed(0.1), "0.1");
  EXPECT_EQ(Printed(1e-5), "0.00001");
  EXPECT_EQ(Printed(1e-6), "1e-6");
  EXPECT_EQ(Printed(1e15), "1000000000000000.0");
  EXPECT_EQ(Printed(1e16), "1e+16");
  EXPECT_EQ(Printed(1.7976931348623157e308), "1.7976931348623157e+308");
}

// The digits and exponent that the standard library finds.
Decimal Expected(float value) {
  char text[40];
  *std::to_chars(text, text + sizeof text, value, std::chars_format::scientific).ptr = '\0';
  Decimal decimal;
  const char* at = text;
  for (; *at != 'e'; ++at) {
    if (*at != '.') decimal.digits = decimal.digits * 10 + static_cast<std::uint32_t>(*at - '0');
    if (*at != '.' && at != text) --decimal.exponent;
  }
  decimal.exponent += std::atoi(at + 1);
  return decimal;
}

// All 2'139'095'039 of them were compared once (2026-11).
TEST(FloatDigitsTest, TheShortestDigitsAreTheStandardLibrarys) {
  std::vector<std::uint32_t> bits;
  for (std::uint32_t exponent = 0; exponent < 255; ++exponent) {
    for (const std::uint32_t fraction : {0u, 1u, 2u, 3u, 0x3FFFFFu, 0x400000u, 0x7FFFFEu, 0x7FFFFFu}) {
      bits.push_back(exponent << 23 | fraction);
    }
  }
  std::mt19937 random(7);
  for (int round = 0; round < 300000; ++round) bits.push_back(random() & 0x7FFFFFFF);
  for (std::uint32_t i = 1; i < 70000; ++i) bits.push_back(i);  // subnormal
  for (const std::uint32_t one : bits) {
    float value;
    std::memcpy(&value, &one, sizeof value);
    if (!std::isfinite(value) || value == 0) continue;
    const Decimal got = ShortestDecimal(value), want = Expected(value);
    ASSERT_TRUE(got.digits == want.digits && got.exponent == want.exponent)
        << value << ": " << got.digits << "e" << got.exponent;
  }
}

TEST(JsonNumberTest, EveryNumberReadsBackAsItself) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200000; ++round) {
    const std::uint64_t bits = random();
    double value;
    std::memcpy(&value, &bits, sizeof value);
    if (std::isfinite(value)) {
      EXPECT_EQ(std::strtod(Printed(value).c_str(), nullptr), value);
    }
    float small;
    std::memcpy(&small, &bits, sizeof small);
    if (std::isfinite(small)) {
      EXPECT_EQ(std::strtof(Printed(small).c_str(), nullptr), small);
    }
  }
}

}  // namespace
}  // namespace mainspring::front
