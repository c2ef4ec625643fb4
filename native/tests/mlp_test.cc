// The network without Python: each target this CPU has against doubles and one another, and what is refused.

#include "mainspring/mlp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace mainspring {
namespace {

// Weights, and the spec that points to them.
struct Network {
  std::vector<std::vector<float>> arrays;
  MlpSpec spec;

  const float* Random(std::mt19937* random, std::size_t n) {
    std::normal_distribution<float> normal(0.0f, 0.3f);
    arrays.emplace_back(n);
    for (float& x : arrays.back()) x = normal(*random);
    return arrays.back().data();
  }
};

Network Make(const std::vector<std::size_t>& widths, Activation activation) {
  std::mt19937 random(static_cast<unsigned>(widths.size()));
  Network network;
  network.spec.dense_width = widths[0];
  for (std::size_t i = 0; i + 1 < widths.size(); ++i) {
    network.spec.layers.push_back({widths[i], widths[i + 1],
                                   network.Random(&random, widths[i] * widths[i + 1]),
                                   network.Random(&random, widths[i + 1]), activation});
  }
  return network;
}

std::vector<float> Forward(const MlpSpec& spec, Target target, const std::vector<float>& x,
                           const std::vector<std::int32_t>& ids, std::size_t n_rows) {
  Mlp mlp;
  const Status status = Mlp::Compile(spec, target, &mlp);
  EXPECT_TRUE(status.ok()) << status.expected;
  MlpWorkspace workspace = mlp.MakeWorkspace();
  std::vector<float> out(n_rows * mlp.n_outputs() + 16, 77.0f);
  EXPECT_TRUE(mlp.Run(x.data(), ids.data(), n_rows, &workspace, out.data()).ok());
  for (std::size_t i = n_rows * mlp.n_outputs(); i < out.size(); ++i) EXPECT_EQ(out[i], 77.0f);
  out.resize(n_rows * mlp.n_outputs());
  return out;
}

class MlpTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    if (!IsSupported(GetParam())) GTEST_SKIP() << "this CPU has no " << TargetName(GetParam());
  }
};

TEST_P(MlpTest, EqualsDoublesNearlyAndTheGenericTargetBitForBit) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (const auto& widths : std::vector<std::vector<std::size_t>>{
           {1, 1}, {3, 7, 8, 2}, {64, 128, 64, 1}, {33, 31, 17, 5}, {16, 32, 100, 16}, {70, 7, 70}}) {
    const Network network = Make(widths, Activation::kRelu);
    for (std::size_t n_rows : {0, 1, 2, 5, 6, 7, 12, 13, 47, 48, 49, 97}) {
      std::vector<float> x(n_rows * widths[0]);
      for (float& v : x) v = normal(random);
      const auto got = Forward(network.spec, GetParam(), x, {}, n_rows);
      const auto plain = Forward(network.spec, Target::kGeneric, x, {}, n_rows);
      ASSERT_TRUE(got.empty() || std::memcmp(got.data(), plain.data(), got.size() * sizeof(float)) == 0);
      for (std::size_t r = 0; r < n_rows; ++r) {
        std::vector<double> y(x.begin() + static_cast<std::ptrdiff_t>(r * widths[0]),
                              x.begin() + static_cast<std::ptrdiff_t>((r + 1) * widths[0]));
        for (const MlpLayer& l : network.spec.layers) {
          std::vector<double> next(l.bias, l.bias + l.outputs);
          for (std::size_t j = 0; j < l.outputs; ++j) {
            for (std::size_t i = 0; i < l.inputs; ++i) next[j] += double{l.weights[j * l.inputs + i]} * y[i];
            next[j] = std::max(next[j], 0.0);
          }
          y = next;
        }
        for (std::size_t j = 0; j < y.size(); ++j) {
          ASSERT_NEAR(got[r * y.size() + j], y[j], 2e-5 * (1 + std::abs(y[j]))) << r << " " << j;
        }
      }
    }
  }
}

TEST_P(MlpTest, ActivationsAgreeOnEveryTarget) {
  for (std::int32_t a = 0; a < kActivations; ++a) {
    const Network network = Make({1, 1}, static_cast<Activation>(a));
    std::vector<float> x;
    for (std::uint32_t bits = 0; bits < 0xFFF00000u; bits += 99991) {
      float v;
      std::memcpy(&v, &bits, sizeof(v));
      x.push_back(v);  // every kind of float, NaN and infinities included
    }
    const auto got = Forward(network.spec, GetParam(), x, {}, x.size());
    const auto plain = Forward(network.spec, Target::kGeneric, x, {}, x.size());
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_TRUE((std::isnan(got[i]) && std::isnan(plain[i])) ||
                  std::memcmp(&got[i], &plain[i], sizeof(float)) == 0)
          << a << " " << x[i];
    }
  }
}

TEST_P(MlpTest, TablesAreLookedUpAndWrongIdsRefused) {
  std::mt19937 random(6);
  Network network = Make({5, 4}, Activation::kTanh);
  network.spec.dense_width = 2;
  network.spec.n_ids = 2;
  network.spec.tables = {{1, 4, 3, network.Random(&random, 12), false},
                         {0, 2, 4, network.Random(&random, 8), true}};
  const std::vector<float> x(14, 0.5f);
  std::vector<std::int32_t> ids = {0, 1, 0, 1, 0, 1, 1, 3, 2, 1, 0, 3, 2, 1};
  const auto got = Forward(network.spec, GetParam(), x, ids, 7);
  const MlpLayer& l = network.spec.layers[0];
  for (std::size_t r = 0; r < 7; ++r) {
    const float* const looked_up = network.spec.tables[0].weights + 3 * ids[7 + r];
    const float whole[] = {0.5f, 0.5f, looked_up[0], looked_up[1], looked_up[2]};
    for (std::size_t j = 0; j < 4; ++j) {
      double y = l.bias[j];
      for (std::size_t i = 0; i < 5; ++i) y += double{l.weights[j * 5 + i]} * whole[i];
      y += network.spec.tables[1].weights[4 * ids[r] + static_cast<std::int32_t>(j)];
      EXPECT_NEAR(got[r * 4 + j], std::tanh(y), 1e-6);
    }
  }
  Mlp mlp;
  ASSERT_TRUE(Mlp::Compile(network.spec, GetParam(), &mlp).ok());
  MlpWorkspace workspace = mlp.MakeWorkspace();
  std::vector<float> out(28, 77.0f);
  for (std::int32_t wrong : {4, -1, std::numeric_limits<std::int32_t>::min()}) {
    ids[10] = wrong;
    const Status status = mlp.Run(x.data(), ids.data(), 7, &workspace, out.data());
    EXPECT_EQ(status.code, StatusCode::kBadSpec);
    EXPECT_EQ(status.got, 3);
    EXPECT_EQ(out[0], 77.0f);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, MlpTest, testing::ValuesIn(kAllTargets),
                         [](const auto& tested) { return TargetName(tested.param); });

TEST(MlpCompileTest, Refusals) {
  const auto refused = [](const MlpSpec& spec) {
    Mlp mlp;
    return Mlp::Compile(spec, Target::kGeneric, &mlp).code == StatusCode::kBadSpec;
  };
  Network network = Make({5, 4}, Activation::kRelu);
  EXPECT_FALSE(refused(network.spec));
  MlpSpec spec = network.spec;
  spec.dense_width = 4;
  EXPECT_TRUE(refused(spec));
  spec = network.spec;
  spec.layers.clear();
  EXPECT_TRUE(refused(spec));
  spec = network.spec;
  spec.layers[0].activation = static_cast<Activation>(6);
  EXPECT_TRUE(refused(spec));
  spec = network.spec;
  spec.tables = {{0, 1, 4, network.arrays[0].data(), true}};
  EXPECT_TRUE(refused(spec));  // no ids
  spec.n_ids = 1;
  EXPECT_FALSE(refused(spec));
  network.arrays[0][3] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(refused(network.spec));
  Mlp empty;
  MlpWorkspace workspace;
  EXPECT_EQ(empty.Run(nullptr, nullptr, 0, &workspace, nullptr).code, StatusCode::kBadSpec);
}

}  // namespace
}  // namespace mainspring
