// Strings found by their bytes, also where their hashes are the same.

#include "mainspring/string_vocabulary.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "mainspring/hash.h"

namespace mainspring {
namespace {

StringVocabulary Make(const std::vector<std::string>& values) {
  StringVocabulary made;
  const Status status = StringVocabulary::Build(values, &made);
  EXPECT_TRUE(status.ok()) << status.expected;
  return made;
}

// Exactly so many bytes on the heap: a sanitizer sees one more.
std::int64_t Find(const StringVocabulary& vocabulary, const std::string& text) {
  const std::vector<char> bytes(text.begin(), text.end());
  return vocabulary.Find(bytes.data(), bytes.size());
}

TEST(StringVocabularyTest, FindsEachStringAndNoOther) {
  for (std::size_t n : {0, 1, 2, 3, 4, 5, 100, 20000}) {
    std::vector<std::string> values;
    for (std::size_t i = 0; i < n; ++i) values.push_back(std::string(i % 300, 'x') + std::to_string(i));
    const StringVocabulary vocabulary = Make(values);
    EXPECT_EQ(vocabulary.size(), n);
    for (std::size_t i = 0; i < n; ++i) {
      ASSERT_EQ(Find(vocabulary, values[i]), static_cast<std::int64_t>(i));
      ASSERT_EQ(Find(vocabulary, values[i] + "y"), -1);
    }
    EXPECT_EQ(Find(vocabulary, ""), -1);
    EXPECT_EQ(vocabulary.Find(nullptr, 0), -1);
    EXPECT_EQ(Find(vocabulary, std::string(1, '\0')), -1);
  }
  EXPECT_EQ(StringVocabulary().Find("a", 1), -1);
}

// Where the first eight bytes undo the secret, XXH3 multiplies by zero and forgets the next eight.
TEST(StringVocabularyTest, TwoStringsOfOneHashAreTwoStrings) {
  const std::string zero = "\xb8\xfe\x6c\x39\x23\xa4\x4b\xbe", rest = "the other half's";
  const std::string one = zero + "aaaaaaaa" + rest, two = zero + "bbbbbbbb" + rest;
  ASSERT_EQ(HashUtf8(one.data(), one.size(), 0), HashUtf8(two.data(), two.size(), 0));
  EXPECT_EQ(Find(Make({one}), two), -1);
  const StringVocabulary both = Make({"a", two, one});
  EXPECT_EQ(Find(both, one), 2);
  EXPECT_EQ(Find(both, two), 1);
}

// A thousand strings of one hash make a walk of a thousand slots: another seed parts them.
TEST(StringVocabularyTest, StringsChosenAgainstTheSeedMeetAnother) {
  std::vector<std::string> values;
  for (int i = 0; i < 1000; ++i) {
    std::string middle = std::to_string(10000000 + i);
    values.push_back("\xb8\xfe\x6c\x39\x23\xa4\x4b\xbe" + middle + "the other half's");
    ASSERT_EQ(HashUtf8(values[0].data(), 32, 0), HashUtf8(values.back().data(), 32, 0));
  }
  const StringVocabulary vocabulary = Make(values);
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(Find(vocabulary, values[static_cast<std::size_t>(i)]), i);
}

TEST(StringVocabularyTest, RefusesTwinsAndTheMissingOneAndLeavesTheOldAlone) {
  StringVocabulary vocabulary = Make({"a"});
  for (const std::vector<std::string>& values : {std::vector<std::string>{"b", "c", "b"}, {"b", ""}}) {
    EXPECT_EQ(StringVocabulary::Build(values, &vocabulary).code, StatusCode::kBadSpec);
    EXPECT_EQ(Find(vocabulary, "a"), 0);
  }
}

}  // namespace
}  // namespace mainspring
