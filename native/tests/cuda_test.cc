// The CUDA library: a clean answer where there is no GPU, the CPU's bits where there is one.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "mainspring/dense.h"
#include "native/cuda/dense.h"

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

// A spec in the C ABI's form, and the same for the CPU.
struct Spec {
  explicit Spec(std::size_t width)
      : source(width),
        indicator(width),
        log1p(width),
        fill(width),
        lower(width),
        upper(width),
        mean(width),
        scale(width),
        columns(width) {
    std::mt19937 random(static_cast<unsigned>(width));
    std::normal_distribution<double> normal;
    for (std::size_t i = 0; i < width; ++i) {
      source[i] = static_cast<int32_t>(i % 5);
      indicator[i] = i % 4 == 3;
      log1p[i] = i % 4 == 1;
      fill[i] = normal(random);
      lower[i] = i % 3 == 0 ? -kInf : -3.0;
      upper[i] = i % 5 == 0 ? kInf : 50.0;
      mean[i] = normal(random);
      scale[i] = 1.0 + i;
      columns[i] = {source[i], indicator[i] != 0, log1p[i] != 0, fill[i],
                    lower[i],  upper[i],          mean[i],       scale[i]};
    }
  }

  MainspringCudaDenseSpec Abi() const {
    return {source.size(), source.data(), indicator.data(), log1p.data(), fill.data(),
            lower.data(),  upper.data(),  mean.data(),      scale.data()};
  }

  std::vector<int32_t> source;
  std::vector<uint8_t> indicator, log1p;
  std::vector<double> fill, lower, upper, mean, scale;
  std::vector<mainspring::DenseColumn> columns;
};

bool HasDevice() {
  int32_t count = 0;
  return MainspringCudaDeviceCount(&count) == kMainspringCudaOk && count > 0;
}

TEST(CudaDenseTest, SaysCleanlyThatThereIsNoDevice) {
  if (HasDevice()) GTEST_SKIP() << "this machine has a GPU";
  int32_t count = 7;
  EXPECT_EQ(MainspringCudaDeviceCount(&count), kMainspringCudaNoDevice);
  EXPECT_EQ(count, 0);
  const Spec spec(4);
  const MainspringCudaDenseSpec abi = spec.Abi();
  auto* program = reinterpret_cast<MainspringCudaDense*>(&count);
  EXPECT_EQ(MainspringCudaDenseCreate(&abi, &program), kMainspringCudaNoDevice);
  EXPECT_EQ(program, nullptr);
}

TEST(CudaDenseTest, RefusesBadArgumentsBeforeItAsksForADevice) {
  EXPECT_EQ(MainspringCudaDeviceCount(nullptr), kMainspringCudaBadArgument);
  const Spec spec(4);
  MainspringCudaDenseSpec abi = spec.Abi();
  MainspringCudaDense* program = nullptr;
  EXPECT_EQ(MainspringCudaDenseCreate(&abi, nullptr), kMainspringCudaBadArgument);
  EXPECT_EQ(MainspringCudaDenseCreate(nullptr, &program), kMainspringCudaBadArgument);
  abi.width = 0;
  EXPECT_EQ(MainspringCudaDenseCreate(&abi, &program), kMainspringCudaBadArgument);
  abi = spec.Abi();
  abi.scale = nullptr;
  EXPECT_EQ(MainspringCudaDenseCreate(&abi, &program), kMainspringCudaBadArgument);
  EXPECT_EQ(MainspringCudaDenseRun(nullptr, nullptr, 0, 0, nullptr, nullptr), kMainspringCudaBadArgument);
  MainspringCudaDenseDestroy(nullptr);
}

TEST(CudaDenseTest, EveryStatusHasItsText) {
  for (int32_t status = kMainspringCudaOk; status <= kMainspringCudaDeviceError; ++status) {
    EXPECT_STRNE(MainspringCudaStatusText(status), MainspringCudaStatusText(-1));
  }
}

TEST(CudaDenseTest, GivesTheBitsOfTheCpu) {
  if (!HasDevice()) GTEST_SKIP() << MainspringCudaStatusText(kMainspringCudaNoDevice);
  for (std::size_t width : {1, 3, 16, 31, 32, 33, 100}) {
    const Spec spec(width);
    const MainspringCudaDenseSpec abi = spec.Abi();
    MainspringCudaDense* program = nullptr;
    ASSERT_EQ(MainspringCudaDenseCreate(&abi, &program), kMainspringCudaOk);
    mainspring::DenseProgram cpu;
    ASSERT_TRUE(
        mainspring::DenseProgram::Compile(spec.columns.data(), width, mainspring::BestTarget(), &cpu).ok());
    for (std::size_t n_rows : {1, 31, 63, 64, 65, 1000, 100003}) {
      std::mt19937 random(static_cast<unsigned>(n_rows));
      std::normal_distribution<float> normal(0.0f, 20.0f);
      std::vector<float> columns(5 * n_rows);
      for (float& x : columns) x = random() % 10 == 0 ? NAN : normal(random);
      columns[0] = 1e-40f;
      std::vector<const float*> pointers;
      for (std::size_t i = 0; i < 5; ++i) pointers.push_back(columns.data() + i * n_rows);
      std::vector<float> want(n_rows * width), got(n_rows * width);
      ASSERT_TRUE(cpu.Run(pointers.data(), n_rows, want.data()).ok());
      float *device_columns = nullptr, *device_out = nullptr;
      ASSERT_EQ(cudaMalloc(&device_columns, columns.size() * sizeof(float)), cudaSuccess);
      ASSERT_EQ(cudaMalloc(&device_out, got.size() * sizeof(float)), cudaSuccess);
      cudaMemcpy(device_columns, columns.data(), columns.size() * sizeof(float), cudaMemcpyHostToDevice);
      EXPECT_EQ(MainspringCudaDenseRun(program, device_columns, n_rows, n_rows, device_out, nullptr),
                kMainspringCudaOk);
      EXPECT_EQ(cudaMemcpy(got.data(), device_out, got.size() * sizeof(float), cudaMemcpyDeviceToHost),
                cudaSuccess);
      EXPECT_EQ(0, std::memcmp(got.data(), want.data(), got.size() * sizeof(float)))
          << width << " " << n_rows;
      cudaFree(device_columns);
      cudaFree(device_out);
    }
    MainspringCudaDenseDestroy(program);
  }
}

}  // namespace
