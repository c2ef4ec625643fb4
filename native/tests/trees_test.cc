// Boosted trees without Python: small models by hand against a walk of the nodes as they were read, every
// batch shape, and damaged files. tests/test_native_trees.py compares whole models with the libraries.

#include "mainspring/trees.h"

#include <gtest/gtest.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace mainspring {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

constexpr char kText[] = R"(tree
version=v4
num_class=1
num_tree_per_iteration=1
max_feature_idx=2
objective=regression
feature_names=a b c

Tree=0
num_leaves=4
num_cat=1
split_feature=0 1 2
threshold=0.5 -1.25 0
decision_type=8 6 1
left_child=1 -1 -2
right_child=2 -3 -4
leaf_value=1 2 4 8
cat_boundaries=0 2
cat_threshold=5 1
is_linear=0

Tree=1
num_leaves=1
num_cat=0
leaf_value=100

end of trees
)";

constexpr char kJson[] = R"({"learner": {"feature_names": [], "learner_model_param": {"num_feature": "2",
"num_class": "0", "num_target": "1", "base_score": "[2.5E-1]"}, "objective": {"name": "reg:squarederror"},
"gradient_booster": {"name": "gbtree", "model": {"tree_info": [0], "trees": [{"left_children": [1, -1, 3, -1, -1],
"right_children": [2, -1, 4, -1, -1], "split_indices": [0, 0, 1, 0, 0], "split_conditions": [0.5, 1, 0, 2, 4],
"default_left": [true, false, false, false, false], "split_type": [0, 0, 1, 0, 0], "categories": [3, 40],
"categories_nodes": [2], "categories_segments": [0], "categories_sizes": [2],
"tree_param": {"size_leaf_vector": "1"}}]}}}, "version": [3, 2, 0]})";

Forest MakeForest(const ForestModel& model, Target target = BestTarget()) {
  Forest forest;
  const ModelError error = Forest::Make(model, target, &forest);
  EXPECT_TRUE(error.ok()) << error.message;
  return forest;
}

TEST(TreesTest, LightGbmByHand) {
  ForestModel model;
  const ModelError error = ReadLightGbm(kText, &model);
  ASSERT_TRUE(error.ok()) << error.message;
  const Forest forest = MakeForest(model);
  EXPECT_EQ(forest.n_trees(), 2u);
  EXPECT_EQ(forest.n_nodes(), 8u);
  ForestWorkspace workspace = forest.MakeWorkspace();
  const auto predict = [&](double a, double b, double c) {
    const double row[] = {a, b, c};
    const float single[] = {static_cast<float>(a), static_cast<float>(b), static_cast<float>(c)};
    double out = 0, from_floats = 0;
    forest.Run(row, 1, false, &workspace, &out);
    forest.Run(single, 1, false, &workspace, &from_floats);
    EXPECT_EQ(out, from_floats);
    return out - 100;
  };
  EXPECT_EQ(predict(0.5, -1.25, 0), 1);  // left, left
  EXPECT_EQ(predict(0.5, -1.2, 0), 4);
  EXPECT_EQ(predict(0, 0, 0), 1);     // zero is missing at the second split, which goes left
  EXPECT_EQ(predict(0, kNaN, 0), 1);  // and so is NaN
  EXPECT_EQ(predict(0, 1e-34, 0), 4);
  EXPECT_EQ(predict(kNaN, 0, 0), 2);  // NaN goes right at the first split
  EXPECT_EQ(predict(kInf, 0, 2), 2);  // in the set
  EXPECT_EQ(predict(1, 0, 1), 8);     // not in the set
  EXPECT_EQ(predict(1, 0, 32), 2);    // in its second word
  EXPECT_EQ(predict(1, 0, 64), 8);    // beyond it
  EXPECT_EQ(predict(1, 0, -1), 8);
  EXPECT_EQ(predict(1, 0, kNaN), 8);
  EXPECT_EQ(predict(1, 0, 1e300), 8);
}

TEST(TreesTest, XgboostByHand) {
  ForestModel model;
  const ModelError error = ReadXgboost(kJson, &model);
  ASSERT_TRUE(error.ok()) << error.message;
  const Forest forest = MakeForest(model);
  ForestWorkspace workspace = forest.MakeWorkspace();
  const auto predict = [&](float a, float b) {
    const float row[] = {a, b};
    float out = 0;
    forest.Run(row, 1, false, &workspace, &out);
    return out - 0.25f;
  };
  const auto nan = static_cast<float>(kNaN);
  EXPECT_EQ(predict(0.49999997f, 0), 1);
  EXPECT_EQ(predict(nan, 0), 1);
  EXPECT_EQ(predict(0.5f, 0), 2);  // not less; not in the set, so left
  EXPECT_EQ(predict(0.5f, 3), 4);
  EXPECT_EQ(predict(0.5f, 40), 4);
  EXPECT_EQ(predict(0.5f, nan), 4);  // missing goes right
  EXPECT_EQ(predict(0.5f, -3), 2);   // no category
  EXPECT_EQ(predict(0.5f, 1e9f), 2);
}

// A random tree, or one where each split is below the one before; its nodes are walked below as the libraries
// would.
std::vector<TreeNode> RandomTree(std::mt19937* random, std::size_t n_splits, bool is_xgboost,
                                 std::uint32_t width, bool is_chain = false) {
  std::vector<TreeNode> nodes(1);
  nodes[0].is_leaf = true;
  std::vector<std::uint32_t> leaves = {0};
  const double thresholds[] = {0, -0.5, 0.25, 1, -1, 1e-40, kInf, -kInf, 3e38};
  std::size_t which = 0;
  for (std::size_t i = 0; i < n_splits; ++i) {
    if (!is_chain) which = (*random)() % leaves.size();
    if (is_chain && (*random)() % 2 == 0) which = leaves.size() - 1;  // the right child, else the left
    const std::uint32_t at = leaves[which];
    TreeNode& node = nodes[at];
    node.is_leaf = false;
    node.is_strict = is_xgboost;
    node.missing = is_xgboost ? Missing::kNaN : static_cast<Missing>((*random)() % 3);
    node.default_left = (*random)() % 2;
    node.feature = (*random)() % width;
    node.threshold = static_cast<float>(thresholds[(*random)() % 9]);
    node.left = static_cast<std::uint32_t>(nodes.size());
    node.right = node.left + 1;
    leaves[which] = node.left;
    leaves.push_back(node.right);
    nodes.resize(nodes.size() + 2);
  }
  for (std::uint32_t leaf : leaves) {
    nodes[leaf].is_leaf = true;
    nodes[leaf].value = static_cast<double>((*random)() % 1000) / 8;
  }
  return nodes;
}

double Walk(const std::vector<TreeNode>& tree, const float* row) {
  const TreeNode* node = &tree[0];
  while (!node->is_leaf) {
    double x = row[node->feature];
    if (std::isnan(x) && node->missing == Missing::kNone) x = 0;
    const bool is_zero = std::abs(x) <= double{1e-35f};
    const bool is_missing = std::isnan(x) || (is_zero && node->missing == Missing::kZero);
    const bool is_left = is_missing        ? node->default_left
                         : node->is_strict ? x < node->threshold
                                           : x <= node->threshold;
    node = &tree[is_left ? node->left : node->right];
  }
  return node->value;
}

std::vector<Target> Targets() {
  std::vector<Target> targets;
  for (Target target : kAllTargets) {
    if (IsSupported(target)) targets.push_back(target);
  }
  return targets;
}

constexpr float kValues[] = {0,
                             -0.0f,
                             0.25f,
                             -0.5f,
                             1,
                             -1,
                             static_cast<float>(kNaN),
                             1e-40f,
                             3e38f,
                             2e-35f,
                             0.3f,
                             -7.0f,
                             static_cast<float>(kInf),
                             -static_cast<float>(kInf)};

// Batches around the vectors, the eight rows walked together and the block: equal to Walk.
void ExpectWalk(const ForestModel& model, Target target, std::mt19937* random) {
  const std::size_t width = model.width, n_outputs = model.n_outputs;
  const Forest forest = MakeForest(model, target);
  ForestWorkspace workspace = forest.MakeWorkspace();
  for (std::size_t n_rows : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 16, 17, 31, 33, 63, 64, 65, 130}) {
    std::vector<float> x(n_rows * width);
    for (float& v : x) v = kValues[(*random)() % 14];
    const std::vector<double> wide(x.begin(), x.end());
    std::vector<double> got(n_rows * n_outputs + 1, 77), same(n_rows * n_outputs, 0);
    std::vector<float> single(n_rows * n_outputs);
    if (model.is_xgboost) {
      forest.Run(x.data(), n_rows, true, &workspace, single.data());
      std::copy(single.begin(), single.end(), got.begin());
    } else {
      forest.Run(x.data(), n_rows, true, &workspace, got.data());
      forest.Run(wide.data(), n_rows, true, &workspace, same.data());
      for (std::size_t i = 0; i < same.size(); ++i) ASSERT_EQ(got[i], same[i]);
    }
    EXPECT_EQ(got.back(), 77);
    for (std::size_t r = 0; r < n_rows; ++r) {
      std::vector<double> want(n_outputs, 0.5);  // sums of eighths: exact in float too
      for (std::size_t t = 0; t < model.trees.size(); ++t) {
        want[t % n_outputs] += Walk(model.trees[t], x.data() + r * width);
      }
      for (std::size_t i = 0; i < n_outputs; ++i) ASSERT_EQ(got[r * n_outputs + i], want[i]) << r;
    }
  }
}

// Trees of every depth, chains among them, with and without a kernel that needs no walk: the numbers of
// splits lie around 32, 64, 128 and 256 leaves, alone and mixed, and the features in one table of slots or in
// many.
TEST(TreesTest, EqualsAPlainWalk) {
  std::mt19937 random(1);
  const auto mixed = [](std::size_t t) { return t * t % 40; };
  const auto full_word = [](std::size_t t) { return 31 - t % 2; };
  const auto full_words = [](std::size_t t) { return 63 - t % 3; };
  const auto around = [](std::size_t t) { return std::size_t{31} << (t % 2) | t % 3; };
  const auto many_words = [](std::size_t t) { return (std::size_t{32} << t % 4) - 2 + t % 3; };
  const auto large = [](std::size_t t) { return t % 20 == 7 ? std::size_t{300} : std::size_t{12}; };
  const auto none = [](std::size_t) { return std::size_t{0}; };
  using SizeOf = std::size_t (*)(std::size_t);
  for (const SizeOf size_of : {SizeOf(mixed), SizeOf(full_word), SizeOf(full_words), SizeOf(around),
                               SizeOf(many_words), SizeOf(large), SizeOf(none)}) {
    for (bool is_xgboost : {false, true}) {
      for (std::uint32_t n_outputs : {1, 3}) {
        for (std::uint32_t width : {2, 5, 60}) {
          ForestModel model;
          model.is_xgboost = is_xgboost;
          model.width = width;
          model.n_outputs = n_outputs;
          model.base.assign(n_outputs, 0.5f);
          for (std::size_t t = 0; t < 42; ++t) {
            model.trees.push_back(RandomTree(&random, size_of(t), is_xgboost, width, t / 2 % 3 == 0));
            model.output_of.push_back(static_cast<std::uint32_t>(t % n_outputs));
          }
          for (Target target : Targets()) ExpectWalk(model, target, &random);
        }
      }
    }
  }
}

// 0.1 is no float: with it a block of rows must be compared in double, without it the answers are the same.
TEST(TreesTest, DoublesThatAreFloats) {
  ForestModel model;
  model.width = 3;
  model.base = {0};
  for (std::size_t t = 0; t < 9; ++t) {
    std::vector<TreeNode> tree(3);
    tree[0].feature = static_cast<std::uint32_t>(t % 3);
    tree[0].missing = Missing::kNone;
    tree[0].threshold = t < 3 ? 0.1 : t < 6 ? 1e-310 : 1e300;
    tree[0].left = 1;
    tree[0].right = 2;
    tree[1].is_leaf = tree[2].is_leaf = true;
    tree[2].value = static_cast<double>(1 << t);
    model.trees.push_back(tree);
    model.output_of.push_back(0);
  }
  const double values[] = {double{0.1f}, kNaN, 0, 1, -kInf, kInf, 1e-40f};
  std::mt19937 random(6);
  for (Target target : Targets()) {
    const Forest forest = MakeForest(model, target);
    ForestWorkspace workspace = forest.MakeWorkspace();
    for (const double other : {0.1, 1e-310, 1e-311, 2e300, -1e300}) {
      for (std::size_t at : {0, 1, 190, 191, 192, 389, 390}) {
        std::vector<double> x(391), got(130);
        for (double& v : x) v = values[random() % 7];
        if (at < 390) x[at] = other;
        forest.Run(x.data(), 130, true, &workspace, got.data());
        for (std::size_t r = 0; r < 130; ++r) {
          double want = 0;
          for (const std::vector<TreeNode>& tree : model.trees) {
            const double v = x[3 * r + tree[0].feature];
            want += tree[std::isnan(v)            ? (0 <= tree[0].threshold ? 1 : 2)
                         : v <= tree[0].threshold ? 1
                                                  : 2]
                        .value;
          }
          ASSERT_EQ(got[r], want) << TargetName(target) << " " << other << " at " << at << ", row " << r;
        }
      }
    }
  }
}

#if defined(__x86_64__)
// Thresholds and features below the smallest normal number, and a sum that has to be rounded.
TEST(TreesTest, FloatEnvironmentIsDefaultInsideAndKeptOutside) {
  constexpr unsigned kFlushToZero = 0x8000, kDenormalsAreZero = 0x40, kInexact = 0x20;
  std::mt19937 random(5);
  ForestModel model;
  model.is_xgboost = true;
  model.width = 1;
  model.base = {0.1f};
  for (std::size_t t = 0; t < 20; ++t) {
    model.trees.push_back(RandomTree(&random, 12, true, 1));
    model.output_of.push_back(0);
  }
  const std::vector<float> x(20, 1e-40f);
  for (Target target : Targets()) {
    const Forest forest = MakeForest(model, target);
    ForestWorkspace workspace = forest.MakeWorkspace();
    for (std::size_t n_rows : {1, 20}) {
      std::vector<float> want(n_rows), got(n_rows);
      forest.Run(x.data(), n_rows, false, &workspace, want.data());
      const unsigned saved = _mm_getcsr(), plain = saved & ~0x3Fu;
      for (const unsigned set : {plain, plain | kInexact, plain | kFlushToZero | kDenormalsAreZero}) {
        _mm_setcsr(set);
        forest.Run(x.data(), n_rows, false, &workspace, got.data());
        const unsigned after = _mm_getcsr();
        _mm_setcsr(saved);
        EXPECT_EQ(after, set);
        EXPECT_EQ(got, want);
      }
    }
  }
}
#endif

TEST(TreesTest, TargetsThatCannotRunAreRefused) {
  ForestModel model;
  Forest forest;
  for (Target target : kAllTargets) {
    if (IsSupported(target)) continue;
    EXPECT_EQ(Forest::Make(model, target, &forest).code, StatusCode::kUnknownTarget);
  }
  EXPECT_EQ(Forest::Make(model, static_cast<Target>(99), &forest).code, StatusCode::kUnknownTarget);
}

TEST(TreesTest, NodesThatAreNoTreeAreRefused) {
  std::mt19937 random(2);
  ForestModel model;
  model.width = 5;
  model.trees = {RandomTree(&random, 6, false, 5)};
  model.output_of = {0};
  const auto refused = [](ForestModel broken) {
    Forest forest;
    return Forest::Make(std::move(broken), BestTarget(), &forest).code == StatusCode::kBadModel;
  };
  EXPECT_FALSE(refused(model));
  ForestModel broken = model;
  broken.trees[0][0].left = 0;
  EXPECT_TRUE(refused(broken));
  broken = model;
  broken.trees[0][0].right = 1000;
  EXPECT_TRUE(refused(broken));
  broken = model;
  broken.trees[0][0].feature = 5;
  EXPECT_TRUE(refused(broken));
  broken = model;
  broken.trees[0][0].is_categorical = true;
  broken.trees[0][0].bits_words = 1;
  EXPECT_TRUE(refused(broken));
  broken = model;
  broken.output_of = {1};
  EXPECT_TRUE(refused(broken));
  broken = model;
  broken.trees[0].clear();
  EXPECT_TRUE(refused(broken));
}

// A deep and wide forest in the layout for what does not fit 16 bits.
TEST(TreesTest, ForestsBeyondSixteenBits) {
  std::mt19937 random(3);
  ForestModel model;
  model.width = 40000;
  model.base = {0};
  for (bool is_xgboost : {false, true}) {
    model.is_xgboost = is_xgboost;
    model.trees.clear();
    model.output_of.clear();
    for (std::size_t t = 0; t < 2; ++t) {
      model.trees.push_back(RandomTree(&random, 120000, is_xgboost, 40000));
      model.output_of.push_back(0);
    }
    const Forest forest = MakeForest(model);
    ForestWorkspace workspace = forest.MakeWorkspace();
    std::vector<float> x(9 * 40000);
    for (float& v : x) v = static_cast<float>(random() % 3) - 1;
    std::vector<double> got(9);
    std::vector<float> single(9);
    if (is_xgboost) {
      forest.Run(x.data(), 9, true, &workspace, single.data());
      got.assign(single.begin(), single.end());
    } else {
      forest.Run(x.data(), 9, true, &workspace, got.data());
    }
    for (std::size_t r = 0; r < 9; ++r) {
      const double want =
          Walk(model.trees[0], x.data() + r * 40000) + Walk(model.trees[1], x.data() + r * 40000);
      EXPECT_EQ(got[r], want);
    }
  }
}

// Bytes changed, cut out, doubled and moved: an error in words, or a model that runs. Under ASan this is the
// fuzzer.
TEST(TreesTest, DamagedFilesAreRefusedOrRun) {
  std::mt19937 random(4);
  const std::string files[] = {kText, kJson};
  const std::string pieces[] = {"-1", "9",           "1e999", "nan",  "inf",     "[",   "]",
                                "{",  "}",           "\"",    ",",    "\n",      "=",   " ",
                                "0",  "99999999999", "true",  "null", "\\u00e9", "-0.0"};
  std::size_t accepted = 0;
  for (int round = 0; round < 40000; ++round) {
    const std::size_t which = random() % 2;
    std::string text = files[which];
    for (std::size_t change = random() % 4 + 1; change > 0 && !text.empty(); --change) {
      const std::size_t at = random() % text.size(), n = random() % 20 + 1;
      switch (random() % 6) {
        case 0:
          text[at] = static_cast<char>(random());
          break;
        case 1:
          text.insert(at, pieces[random() % 20]);
          break;
        case 2:
          text.replace(at, random() % 3, pieces[random() % 20]);
          break;
        case 3:
          text.erase(at, n);
          break;
        case 4:
          text.insert(random() % text.size(), text.substr(at, n));
          break;
        default:
          if (random() % 8 == 0) text.resize(at);
          break;
      }
    }
    ForestModel model;
    ModelError error = which == 0 ? ReadLightGbm(text, &model) : ReadXgboost(text, &model);
    Forest forest;
    if (error.ok()) error = Forest::Make(std::move(model), BestTarget(), &forest);
    if (!error.ok()) {
      ASSERT_TRUE(error.code == StatusCode::kBadModel || error.code == StatusCode::kUnsupportedModel);
      ASSERT_FALSE(error.message.empty());
      continue;
    }
    ++accepted;
    if (forest.width() > 4096) continue;
    ForestWorkspace workspace = forest.MakeWorkspace();
    const std::vector<float> x(9 * forest.width(), 0.25f);
    std::vector<double> out(9 * forest.n_outputs(false));
    std::vector<float> single(out.size());
    if (forest.is_xgboost()) {
      forest.Run(x.data(), 9, false, &workspace, single.data());
    } else {
      forest.Run(x.data(), 9, false, &workspace, out.data());
    }
  }
  EXPECT_GT(accepted, 1000u);
  EXPECT_LT(accepted, 39000u);
}

}  // namespace
}  // namespace mainspring
