// The frozen hashes and the vocabulary's table, without Python. More vectors: hash_vectors.json.

#include "mainspring/hash.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "mainspring/vocabulary.h"

namespace mainspring {
namespace {

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();

TEST(HashTest, IntegersAreFrozen) {
  EXPECT_EQ(Mix64(HashKey(0) ^ 0), 0x92650af0e7b779d9u);
  EXPECT_EQ(Mix64(HashKey(0) ^ 1), 0x2395bc7cae3ae4bbu);
  EXPECT_EQ(Mix64(HashKey(0) ^ static_cast<std::uint64_t>(-1)), 0x194432d5d3c3e994u);
  EXPECT_EQ(PreMix64(12345) >> 32, Mix64(12345) >> 32) << "buckets need the upper half only";
}

// What xxHash says of the first bytes of this text, seeds 0 and 2^64 - 1.
TEST(HashTest, Utf8EqualsXxhash) {
  std::string text;
  for (int i = 0; i < 60; ++i) {
    text +=
        "The hash of a string is that of its bytes: gr\xC3\xB6\xC3\x9F"
        "er, \xE6\x95\xB0\xE5\xAD\x97, \xF0\x9F\x99\x82. ";
  }
  struct Case {
    std::size_t size;
    std::uint64_t zero, ones;
  };
  const Case cases[] = {
      {0, 0x2d06800538d394c2u, 0x4c093276ae47a555u},    {1, 0x20948828081ddcb4u, 0x77b37bc7e7c6e031u},
      {2, 0x9f7d14ddaec31723u, 0x35b6882bb4d4d5cfu},    {3, 0x178e97a55c30304fu, 0x249079f315c24f03u},
      {4, 0x3094195fbd46ee2au, 0x677b306dc0534fa2u},    {7, 0x4f01b7067a0e3553u, 0xd504d14c6324c1edu},
      {8, 0x331d0b39f6072c0au, 0x95ba20d0bbb63fbeu},    {9, 0xd3e5791c3a5f40aau, 0x974e78300caa8b96u},
      {16, 0x9109e61df334f779u, 0x68ddeeac6873b1c4u},   {17, 0xfd8a49df0f764a55u, 0x8d1bee08a9a59b7fu},
      {32, 0x790203d188fecbc0u, 0xe9b7b89b6045191fu},   {33, 0x838d8580607ef16cu, 0xb556a9e373549249u},
      {128, 0x4ab61015d976257bu, 0xcb95b8033e1eff57u},  {129, 0x8af4eb4f51b2c48bu, 0x58f801df6ad2e8aeu},
      {130, 0xc176f01e4cbc0f35u, 0x9719a527a7fd2641u},  {240, 0x36261d0ecba0866eu, 0xb94757ffa3777906u},
      {241, 0xae433c807b760ac7u, 0x5d21636ece3c1ebdu},  {256, 0x592c9ee32fc18069u, 0xe22e856284235e3bu},
      {1024, 0xe3cb57ec1b453d36u, 0xb8268f0ca07ad0f9u}, {1025, 0x85d79a35f7448b03u, 0xd3c6d3a489a8f522u},
      {2049, 0x131e163942fada34u, 0xd1b5da6eebf9780cu}, {3000, 0x81f80c789a5ce279u, 0x440263931df95edcu},
  };
  for (const Case& c : cases) {
    // Exactly so many bytes on the heap: a sanitizer sees one more.
    const std::vector<char> bytes(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(c.size));
    EXPECT_EQ(HashUtf8(bytes.data(), c.size, 0), c.zero) << c.size;
    EXPECT_EQ(HashUtf8(bytes.data(), c.size, ~std::uint64_t{0}), c.ones) << c.size;
  }
  EXPECT_EQ(HashUtf8(nullptr, 0, 0), 0x2d06800538d394c2u);
}

// As the kernels look a value up.
std::int64_t Find(const Vocabulary& v, std::int64_t value) {
  if (v.is_narrow()) {
    const std::uint64_t distance = static_cast<std::uint64_t>(value) - static_cast<std::uint64_t>(v.base());
    const std::uint64_t word = value == kMissing      ? v.span() + 2
                               : distance <= v.span() ? distance
                                                      : v.span() + 1;
    const std::uint32_t h = PreMix32(static_cast<std::uint32_t>(word) ^ static_cast<std::uint32_t>(v.key()));
    const auto* slots = static_cast<const std::uint32_t*>(v.slots());
    const std::uint32_t id =
        slots[(h >> (32 - v.bits())) ^ v.pilots()[h & v.bucket_mask()]] ^ (h << v.bits());
    return (id >> v.bits()) == 0 ? id : 1;
  }
  const std::uint64_t h = PreMix64(static_cast<std::uint64_t>(value) ^ v.key());
  const auto* slots = static_cast<const std::uint64_t*>(v.slots());
  const std::uint64_t id = slots[(h >> (64 - v.bits())) ^ v.pilots()[h & v.bucket_mask()]] ^ (h << v.bits());
  return (id >> v.bits()) == 0 ? static_cast<std::int64_t>(id) : 1;
}

void CheckAll(const std::vector<std::int64_t>& values) {
  Vocabulary v;
  ASSERT_TRUE(Vocabulary::Build(values.data(), values.size(), &v).ok());
  EXPECT_EQ(Find(v, kMissing), 0);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(Find(v, values[i]), static_cast<std::int64_t>(i) + 2) << values[i];
  }
  std::vector<std::int64_t> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  std::mt19937_64 random(values.size());
  for (int i = 0; i < 20000; ++i) {
    std::int64_t x = static_cast<std::int64_t>(random());
    if (i % 2 == 0 && !values.empty())
      x = values[random() % values.size()] ^ (std::int64_t{1} << random() % 63);
    if (x == kMissing || std::binary_search(sorted.begin(), sorted.end(), x)) continue;
    ASSERT_EQ(Find(v, x), 1) << x;
  }
  EXPECT_LE(std::size_t{1} << v.bits(), std::max<std::size_t>(4, 3 * (values.size() + 1))) << "8-byte slots";
}

TEST(VocabularyTest, FindsEveryValueAndNoOther) {
  for (std::size_t n : {0, 1, 2, 3, 5, 100, 1000, 10000, 13107, 200000}) {
    std::vector<std::int64_t> counting, high, scattered;
    std::mt19937_64 random(n);
    for (std::size_t i = 0; i < n; ++i) {
      counting.push_back(static_cast<std::int64_t>(i));
      high.push_back(static_cast<std::int64_t>(i) << 40);
      scattered.push_back(static_cast<std::int64_t>(random() | 1));
    }
    CheckAll(counting);
    for (auto& value : counting) value -= 5000;
    CheckAll(counting);
    if (n >= 2 && n < 2000) {  // as far apart as 32 bits and two special words allow, and one further
      for (const std::int64_t last : {4294967293, 4294967294, 4294967295, 4294967296}) {
        counting.back() = counting.front() + last;
        CheckAll(counting);
      }
    }
    if (n < 100000) CheckAll(high);
    CheckAll(scattered);
  }
}

TEST(VocabularyTest, RefusesWhatIsNoSet) {
  Vocabulary v;
  for (const std::vector<std::int64_t>& values : {std::vector<std::int64_t>{4, 5, 4}, {1, kMissing}}) {
    const Status status = Vocabulary::Build(values.data(), values.size(), &v);
    EXPECT_EQ(status.code, StatusCode::kBadSpec);
  }
}

}  // namespace
}  // namespace mainspring
