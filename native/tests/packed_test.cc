// Sealed copies: what is mapped is the same bytes, and what could change under a reader is refused.

#include "mainspring/packed.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "mainspring/mlp.h"
#include "mainspring/trees.h"

namespace mainspring {
namespace {

constexpr std::size_t kBytes = 3 * 4096 + 64;

std::unique_ptr<PackedMemory> Filled(std::size_t bytes = kBytes) {
  auto memory = std::make_unique<PackedMemory>(bytes);
  for (std::size_t i = 0; i < bytes; ++i) memory->own()[i] = static_cast<char>(i % 251);
  return memory;
}

// Closed at the end.
struct Fd {
  explicit Fd(int file) : fd(file) {}
  ~Fd() { close(fd); }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int fd;
};

int SealedOf(const PackedMemory& memory) {
  int fd = -1;
  EXPECT_TRUE(memory.Seal(&fd).ok());
  return fd;
}

// A file with these bytes and seals, made without the class under test.
int Made(const char* data, std::size_t bytes, int seals) {
  const int fd = memfd_create("test", MFD_ALLOW_SEALING);
  EXPECT_EQ(write(fd, data, bytes), static_cast<ssize_t>(bytes));
  if (seals != 0) EXPECT_EQ(fcntl(fd, F_ADD_SEALS, seals), 0);
  return fd;
}

TEST(PackedTest, OwnMemoryIsZeroAndAligned) {
  const PackedMemory memory(1000);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.data()) % PackedMemory::kAlignment, 0);
  for (std::size_t i = 0; i < 1000; ++i) ASSERT_EQ(memory.data()[i], 0);
  EXPECT_FALSE(memory.is_mapped());
}

TEST(PackedTest, ASealedCopyIsMappedAndOutlivesItsFileAndItsMaker) {
  auto maker = Filled();
  const auto reader = Filled();
  std::shared_ptr<const PackedMemory> mapped;
  {
    const Fd sealed(SealedOf(*maker));
    ASSERT_TRUE(reader->MapSame(sealed.fd, &mapped).ok());
  }
  maker.reset();
  EXPECT_TRUE(mapped->is_mapped());
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapped->data()) % PackedMemory::kAlignment, 0);
  ASSERT_EQ(mapped->bytes(), kBytes);
  EXPECT_EQ(std::memcmp(mapped->data(), reader->data(), kBytes), 0);
  // And what is mapped can be given on.
  const Fd again(SealedOf(*mapped));
  std::shared_ptr<const PackedMemory> second;
  EXPECT_TRUE(mapped->MapSame(again.fd, &second).ok());
}

TEST(PackedTest, NobodyCanChangeOrShortenASealedCopy) {
  const Fd sealed(SealedOf(*Filled()));
  EXPECT_EQ(pwrite(sealed.fd, "x", 1, 0), -1);
  EXPECT_EQ(errno, EPERM);
  for (const off_t size : {off_t{0}, off_t{4096}, off_t{1} << 20}) {
    EXPECT_EQ(ftruncate(sealed.fd, size), -1);
    EXPECT_EQ(errno, EPERM);
  }
  EXPECT_EQ(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, sealed.fd, 0), MAP_FAILED);
  EXPECT_EQ(fcntl(sealed.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
  EXPECT_EQ(fallocate(sealed.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
}

TEST(PackedTest, OtherBytesAreRefusedWhereverTheyDiffer) {
  const auto memory = Filled();
  for (const std::size_t at : {std::size_t{0}, std::size_t{4096}, kBytes - 1}) {
    const auto other = Filled();
    other->own()[at] ^= 1;
    const Fd sealed(SealedOf(*other));
    std::shared_ptr<const PackedMemory> mapped;
    EXPECT_EQ(memory->MapSame(sealed.fd, &mapped).code, StatusCode::kCorrupt);
    EXPECT_EQ(mapped, nullptr);
  }
}

TEST(PackedTest, OtherLengthsAndWhatIsNotSealedAreRefused) {
  const auto memory = Filled();
  std::shared_ptr<const PackedMemory> mapped;
  for (const std::size_t bytes : {std::size_t{64}, kBytes - 1, kBytes + 1}) {
    const Fd sealed(SealedOf(*Filled(bytes)));
    EXPECT_EQ(memory->MapSame(sealed.fd, &mapped).code, StatusCode::kCorrupt) << bytes;
  }
  constexpr int kSeals[] = {F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE};
  for (const int missing : kSeals) {
    int others = 0;
    for (const int seal : kSeals) others |= seal == missing ? 0 : seal;
    const Fd file(Made(memory->data(), kBytes, others));
    EXPECT_EQ(memory->MapSame(file.fd, &mapped).code, StatusCode::kCorrupt) << missing;
  }
  std::string path = testing::TempDir() + "packed_XXXXXX";  // mkstemp's form
  const Fd plain(mkstemp(path.data()));
  unlink(path.c_str());
  ASSERT_EQ(write(plain.fd, memory->data(), kBytes), static_cast<ssize_t>(kBytes));
  EXPECT_EQ(memory->MapSame(plain.fd, &mapped).code, StatusCode::kCorrupt);
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  const Fd from(pipes[0]), to(pipes[1]);
  EXPECT_EQ(memory->MapSame(from.fd, &mapped).code, StatusCode::kCorrupt);
  EXPECT_EQ(memory->MapSame(-1, &mapped).code, StatusCode::kIo);
  EXPECT_EQ(mapped, nullptr);
}

TEST(PackedTest, AHoleReadsAsZerosAndIsCompared) {
  const auto memory = Filled();
  const Fd hollow(memfd_create("test", MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(hollow.fd, kBytes), 0);
  ASSERT_EQ(fcntl(hollow.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
  std::shared_ptr<const PackedMemory> mapped;
  EXPECT_EQ(memory->MapSame(hollow.fd, &mapped).code, StatusCode::kCorrupt);
  EXPECT_TRUE(PackedMemory(kBytes).MapSame(hollow.fd, &mapped).ok());
}

TEST(PackedTest, ANetworkOverASealedCopyAnswersTheSameBitsOnEveryTarget) {
  std::vector<float> weights(40 * 33 + 33 * 3);
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 17) / 16.0f - 0.5f;
  MlpSpec spec;
  spec.dense_width = 40;
  spec.layers = {{40, 33, weights.data(), nullptr, Activation::kGelu},
                 {33, 3, weights.data() + 40 * 33, weights.data(), Activation::kSigmoid}};
  const std::vector<float> x(7 * 40, 0.75f);
  for (const Target target : kAllTargets) {
    if (!IsSupported(target)) continue;
    Mlp own, mapped;
    ASSERT_TRUE(Mlp::Compile(spec, target, &own).ok());
    {
      const Fd sealed(SealedOf(*own.packed()));
      ASSERT_TRUE(own.Over(sealed.fd, &mapped).ok());
    }
    EXPECT_TRUE(mapped.packed()->is_mapped());
    std::vector<float> first(21), second(21);
    MlpWorkspace workspace = own.MakeWorkspace();
    ASSERT_TRUE(own.Run(x.data(), nullptr, 7, &workspace, first.data()).ok());
    own = Mlp();
    ASSERT_TRUE(mapped.Run(x.data(), nullptr, 7, &workspace, second.data()).ok());
    EXPECT_EQ(std::memcmp(first.data(), second.data(), 21 * sizeof(float)), 0);
  }
  Mlp empty, mapped;
  EXPECT_EQ(empty.Over(0, &mapped).code, StatusCode::kBadSpec);
}

// Large enough for bit vectors (narrow), too large for them, and wide: by the number of leaves and of trees.
ForestModel Trees(bool is_xgboost, std::size_t n_trees, std::uint32_t splits) {
  ForestModel model;
  model.is_xgboost = is_xgboost;
  model.width = 5;
  for (std::size_t t = 0; t < n_trees; ++t) {
    std::vector<TreeNode> tree(2 * splits + 1);
    for (std::uint32_t i = 0; i < tree.size(); ++i) {
      TreeNode& node = tree[i];
      node.is_leaf = i >= splits;
      node.value = node.is_leaf ? 0.25 * static_cast<double>(i % 11) - static_cast<double>(t) : 0;
      node.is_strict = is_xgboost;
      node.feature = (i + static_cast<std::uint32_t>(t)) % 5;
      node.threshold = static_cast<float>(i % 7) - 3.0f;
      node.left = 2 * i + 1;
      node.right = 2 * i + 2;
    }
    model.trees.push_back(tree);
    model.output_of.push_back(0);
  }
  return model;
}

template <typename Value>
std::vector<Value> Answers(const Forest& forest, const std::vector<float>& x, std::size_t rows) {
  ForestWorkspace workspace = forest.MakeWorkspace();
  std::vector<Value> out(rows);
  forest.Run(x.data(), rows, false, &workspace, out.data());
  return out;
}

TEST(PackedTest, TreesOverASealedCopyAnswerTheSameBitsOnEveryTarget) {
  constexpr std::size_t kRows = 70;
  std::vector<float> x(kRows * 5);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 13) - 6.5f;
  for (const Target target : kAllTargets) {
    if (!IsSupported(target)) continue;
    for (const bool is_xgboost : {false, true}) {
      for (const std::uint32_t splits : {0u, 7u, 31u, 1000u, 70000u}) {
        const ForestModel model = Trees(is_xgboost, splits > 1000 ? 2 : 40, splits);
        Forest own, other, mapped;
        ASSERT_TRUE(Forest::Make(model, target, &own).ok());
        ASSERT_TRUE(Forest::Make(model, target, &other).ok());
        {
          const Fd sealed(SealedOf(*own.packed()));
          ASSERT_TRUE(other.Over(sealed.fd, &mapped).ok()) << splits;
        }
        EXPECT_TRUE(mapped.packed()->is_mapped());
        for (const std::size_t rows : {std::size_t{1}, std::size_t{3}, kRows}) {
          if (is_xgboost) {
            const auto want = Answers<float>(own, x, rows);
            other = Forest();
            EXPECT_EQ(Answers<float>(mapped, x, rows), want) << splits;
          } else {
            const auto want = Answers<double>(own, x, rows);
            other = Forest();
            EXPECT_EQ(Answers<double>(mapped, x, rows), want) << splits;
          }
        }
      }
    }
  }
  Forest empty, mapped;
  EXPECT_EQ(empty.Over(0, &mapped).code, StatusCode::kBadModel);
}

TEST(PackedTest, TreesOfAnotherModelAreRefused) {
  Forest one, other, mapped;
  ForestModel model = Trees(false, 20, 31);
  ASSERT_TRUE(Forest::Make(model, BestTarget(), &one).ok());
  model.trees[19].back().value += 0.5;
  ASSERT_TRUE(Forest::Make(model, BestTarget(), &other).ok());
  const Fd sealed(SealedOf(*other.packed()));
  EXPECT_EQ(one.Over(sealed.fd, &mapped).code, StatusCode::kCorrupt);
}

}  // namespace
}  // namespace mainspring
