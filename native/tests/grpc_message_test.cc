// What the front reads and writes of gRPC: messages of infer requests, times, and the memory of calls.

#include "../src/front/grpc_message.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <string>
#include <vector>

#include "../src/front/http2_call.h"

namespace mainspring::front {
namespace {

std::string Field(int number, const std::string& bytes) {
  std::string field{static_cast<char>(number << 3 | 2)};
  for (std::size_t n = bytes.size();; n >>= 7) {
    field.push_back(static_cast<char>(n >= 0x80 ? n | 0x80 : n));
    if (n < 0x80) break;
  }
  return field + bytes;
}

const std::string kShape = Field(3, std::string("\x02\x03", 2));
const std::string kRaw(24, '\x01');

std::string Input(const std::string& more = kShape) {
  return Field(5, Field(1, "x") + Field(2, "FP32") + more);
}

std::string Framed(const std::string& message) {
  std::string framed("\0\0\0\0", 4);
  framed.push_back(static_cast<char>(message.size()));
  return framed + message;
}

TEST(GrpcMessage, ReadsWhatMostClientsSend) {
  const std::string message =
      Field(1, "m") + Field(2, "1") + Field(3, "id") + Input() + Field(6, Field(1, "y")) + Field(7, kRaw);
  std::string_view only;
  const std::string framed = Framed(message);
  ASSERT_TRUE(ReadOnlyMessage(framed, &only));
  GrpcInfer infer;
  ASSERT_TRUE(ReadGrpcInfer(only, &infer));
  EXPECT_EQ(infer.model, "m");
  EXPECT_EQ(infer.version, "1");
  EXPECT_EQ(infer.id, "id");
  EXPECT_EQ(infer.input, "x");
  EXPECT_EQ(infer.datatype, "FP32");
  EXPECT_EQ(infer.rows, 2U);
  EXPECT_EQ(infer.width, 3U);
  EXPECT_EQ(infer.elements, kRaw);
  EXPECT_EQ(infer.element_size, 0U);
  EXPECT_TRUE(infer.names_output);
  EXPECT_EQ(infer.output, "y");
}

TEST(GrpcMessage, ReadsTypedContents) {
  GrpcInfer infer;
  const std::string floats = Field(1, "m") + Input(kShape + Field(5, Field(6, kRaw)));
  ASSERT_TRUE(ReadGrpcInfer(floats, &infer));
  EXPECT_EQ(infer.elements, kRaw);
  EXPECT_EQ(infer.element_size, sizeof(float));
  const std::string doubles = Field(1, "m") + Input(kShape + Field(5, Field(7, kRaw)));
  ASSERT_TRUE(ReadGrpcInfer(doubles, &infer));
  EXPECT_EQ(infer.element_size, sizeof(double));
}

TEST(GrpcMessage, LeavesWhatIsUnusualToTheApp) {
  GrpcInfer infer;
  const std::string good = Field(1, "m") + Input() + Field(7, kRaw);
  ASSERT_TRUE(ReadGrpcInfer(good, &infer));
  const std::string contents = Field(5, Field(6, kRaw));
  const std::vector<std::string> odd = {
      "",
      Field(1, "m") + Field(7, kRaw),  // no input
      Field(1, "m") + Input(),         // no elements
      good + Input(),                  // two of what there is one of
      good + Field(7, kRaw),
      good + Field(1, "m"),
      good + Field(4, ""),                                                         // parameters
      good + Field(6, Field(1, "y")) + Field(6, Field(1, "z")),                    // two outputs
      good + Field(6, Field(2, "")),                                               // parameters of one
      good + Field(9, ""),                                                         // a field of another time
      good + std::string("\x50\x01", 2),                                           // a number
      good + "\x3a",                                                               // ends in the middle
      Field(1, "\xc3\xa9") + Input() + Field(7, kRaw),                             // not ASCII
      Field(1, "m") + Input("") + Field(7, kRaw),                                  // no shape
      Field(1, "m") + Input(kShape + kShape) + Field(7, kRaw),                     // two
      Field(1, "m") + Input(Field(3, "\x02")) + Field(7, kRaw),                    // of one dimension
      Field(1, "m") + Input(Field(3, "\x02\x03\x04")) + Field(7, kRaw),            // of three
      Field(1, "m") + Input(std::string("\x18\x02\x18\x03", 4)) + Field(7, kRaw),  // not packed
      Field(1, "m") + Input(kShape + Field(4, "")) + Field(7, kRaw),               // parameters of the input
      Field(1, "m") + Input(kShape + contents) + Field(7, kRaw),                   // elements twice
      Field(1, "m") + Input(kShape + Field(5, Field(1, kRaw))),                    // of booleans
      Field(1, "m") + Input(kShape + Field(5, Field(6, kRaw) + Field(7, kRaw))),
      Field(1, "m") + Input(Field(3, std::string(11, '\xff'))) + Field(7, kRaw),  // no number
  };
  for (std::size_t i = 0; i < odd.size(); ++i) EXPECT_FALSE(ReadGrpcInfer(odd[i], &infer)) << i;
}

TEST(GrpcMessage, ACutMessageIsNeverReadBeyondItsEnd) {
  const std::string whole = Field(1, "m") + Field(3, "id") + Input() + Field(7, kRaw);
  GrpcInfer infer;
  for (std::size_t n = 0; n < whole.size(); ++n) {
    // A copy of its own, so that a sanitiser sees the end.
    const std::vector<char> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    EXPECT_FALSE(ReadGrpcInfer({cut.data(), n}, &infer)) << n;
  }
}

TEST(GrpcMessage, OneMessageAloneIsRead) {
  std::string_view message;
  const std::string framed = Framed("abc");
  EXPECT_TRUE(ReadOnlyMessage(framed, &message));
  EXPECT_EQ(message, "abc");
  EXPECT_FALSE(ReadOnlyMessage(Framed("abc") + "d", &message));
  EXPECT_FALSE(ReadOnlyMessage(Framed("abc").substr(0, 7), &message));
  EXPECT_FALSE(ReadOnlyMessage("\0\0\0", &message));
  std::string compressed = Framed("abc");
  compressed[0] = 1;
  EXPECT_FALSE(ReadOnlyMessage(compressed, &message));
}

TEST(GrpcMessage, WritesWhatProtobufWrites) {
  const float values[] = {1.0F, 2.0F};
  const std::string_view elements(reinterpret_cast<const char*>(values), sizeof values);
  std::string written;
  AppendGrpcAnswer({"m", "1", "", "y", "FP32", 300, 1, elements}, &written);
  const std::string expected = Field(1, "m") + Field(2, "1") +
                               Field(5, Field(1, "y") + Field(2, "FP32") + Field(3, "\xac\x02\x01")) +
                               Field(6, std::string(elements));
  EXPECT_EQ(written, Framed(expected));
}

TEST(GrpcTimeout, IsReadAndWritten) {
  double seconds = 0;
  EXPECT_TRUE(ReadGrpcTimeout("5S", &seconds));
  EXPECT_DOUBLE_EQ(seconds, 5);
  EXPECT_TRUE(ReadGrpcTimeout("99999999n", &seconds));
  EXPECT_DOUBLE_EQ(seconds, 0.099999999);
  EXPECT_TRUE(ReadGrpcTimeout("2H", &seconds));
  EXPECT_DOUBLE_EQ(seconds, 7200);
  for (const char* odd : {"", "5", "S", "100000000m", "-1S", "1.5S", "5s", " 5S", "5 S"}) {
    EXPECT_FALSE(ReadGrpcTimeout(odd, &seconds)) << odd;
  }
  for (const double wanted : {1e-9, 5e-7, 0.25, 1.5, 99.0, 12'345.0, 3.6e6, 2e8}) {
    ASSERT_TRUE(ReadGrpcTimeout(GrpcTimeout(wanted), &seconds)) << GrpcTimeout(wanted);
    EXPECT_NEAR(seconds, wanted, wanted * 1e-4);
  }
  EXPECT_EQ(GrpcTimeout(-1), "1n");
}

TEST(HeldMemory, BeyondItsOwnIsTakenFromWhatAllShare) {
  std::atomic<std::size_t> held{0};
  {
    HeldMemory one(&held, 256 << 10), other(&held, 256 << 10);
    EXPECT_TRUE(one.Take(64 << 10));
    EXPECT_EQ(held, 0U);
    EXPECT_TRUE(one.Take(200 << 10));
    EXPECT_EQ(held, 256U << 10);
    EXPECT_TRUE(other.Take(64 << 10));
    EXPECT_FALSE(other.Take(1));
    one.Give(264 << 10);
    EXPECT_EQ(held, 0U);
    EXPECT_TRUE(other.Take(1));
    EXPECT_EQ(held, 64U << 10);
  }
  EXPECT_EQ(held, 0U);
}

TEST(ByteQueue, GivesBackInOrder) {
  ByteQueue queue;
  std::string sent, got;
  char room[1000];
  for (int i = 0; i < 2000; ++i) {
    const std::string piece(static_cast<std::size_t>(i % 97), static_cast<char>('a' + i % 26));
    queue.Add(piece);
    sent += piece;
    if (i % 3 == 0) got.append(room, queue.Take(room, static_cast<std::size_t>(i % 200)));
  }
  while (queue.size() > 0) got.append(room, queue.Take(room, sizeof room));
  EXPECT_EQ(got, sent);
  EXPECT_EQ(queue.Take(room, sizeof room), 0U);
}

}  // namespace
}  // namespace mainspring::front
