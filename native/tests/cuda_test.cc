// The CUDA library: a clean answer where there is no GPU, the CPU's bits where there is one.

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "mainspring/dense.h"
#include "mainspring/device_plan.h"
#include "mainspring/program.h"
#include "native/cuda/dense.h"
#include "native/cuda/jagged.h"
#include "native/cuda/program.h"
#include "native/src/program/program_kernels.h"

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

// Host vectors on the device; freed at the end.
class Device {
 public:
  ~Device() {
    for (void* p : pointers_) cudaFree(p);
  }
  template <typename T>
  T* Put(const std::vector<T>& host) {
    void* p = nullptr;
    EXPECT_EQ(cudaMalloc(&p, host.size() * sizeof(T) + 1), cudaSuccess);
    EXPECT_EQ(cudaMemcpy(p, host.data(), host.size() * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
    pointers_.push_back(p);
    return static_cast<T*>(p);
  }
  template <typename T>
  static std::vector<T> Get(const T* from, std::size_t n) {
    std::vector<T> host(n);
    EXPECT_EQ(cudaMemcpy(host.data(), from, n * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return host;
  }

 private:
  std::vector<void*> pointers_;
};

mainspring::ProgramSpec ProgramSpecOf(int width) {
  mainspring::ProgramSpec spec;
  spec.n_floats = 2;
  spec.n_ints = 3;
  spec.n_events = 1;
  for (int i = 0; i < 6; ++i)
    spec.windows.push_back({0, 2, 40 + 200 * i, static_cast<mainspring::Aggregate>(i)});
  for (int i = 0; i < width; ++i) {
    mainspring::DenseColumn c;
    c.source = i % 8;
    c.log1p = i % 4 == 1;
    c.indicator = i % 7 == 5;
    c.lower = -kInf;
    c.upper = 30;
    c.fill = i;
    c.scale = 1 + i;
    spec.dense.push_back(c);
  }
  for (int i = 0; i < 11; ++i) {
    mainspring::IdSpec id;
    id.sources = {i % 2};
    id.seed = static_cast<std::uint64_t>(i);
    id.buckets = 1000 + i;
    id.offset = i;
    spec.ids.push_back(id);
  }
  spec.ids[1].kind = spec.ids[2].kind = mainspring::IdKind::kVocabulary;
  for (std::int64_t v = 0; v < 200; v += 2) {
    spec.ids[1].values.push_back(v);
    spec.ids[2].values.push_back(v << 40);
  }
  spec.ids[3].kind = mainspring::IdKind::kCross;
  spec.ids[3].sources = {0, 1, 2};
  spec.ids[4].kind = mainspring::IdKind::kBucketise;
  for (int b = -40; b < 60; ++b) spec.ids[4].boundaries.push_back(b);
  return spec;
}

TEST(CudaProgramTest, GivesTheBitsOfTheCpu) {
  if (!HasDevice()) GTEST_SKIP() << MainspringCudaStatusText(kMainspringCudaNoDevice);
  for (const int width : {1, 16, 33}) {
    const mainspring::ProgramSpec spec = ProgramSpecOf(width);
    std::vector<std::uint64_t> image;
    ASSERT_TRUE(mainspring::BuildDevicePlan(spec, &image).ok());
    MainspringCudaProgram* program = nullptr;
    ASSERT_EQ(MainspringCudaProgramCreate(image.data(), image.size() * 8, &program), kMainspringCudaOk);
    mainspring::Program cpu;
    ASSERT_TRUE(mainspring::Program::Compile(spec, mainspring::BestTarget(), &cpu).ok());
    for (const std::size_t n : {0, 1, 63, 64, 65, 1000, 100003}) {
      std::mt19937_64 random(n);
      std::normal_distribution<float> normal(0.0f, 20.0f);
      std::vector<float> floats(2 * n), values;
      std::vector<std::int64_t> ints(3 * n), times;
      std::vector<std::int32_t> offsets = {0};
      for (float& x : floats) x = random() % 10 == 0 ? NAN : normal(random);
      for (std::int64_t& x : ints) {
        x = random() % 10 == 0 ? std::numeric_limits<std::int64_t>::min()
                               : static_cast<std::int64_t>(random() % 300);
      }
      for (std::size_t row = 0; row < n; ++row) {
        for (std::size_t i = random() % 20; i > 0; --i) {
          times.push_back(static_cast<std::int64_t>(random() % 400) - 100);
          values.push_back(random() % 20 == 0 ? NAN : normal(random));
        }
        offsets.push_back(static_cast<std::int32_t>(times.size()));
      }
      const float* float_columns[] = {floats.data(), floats.data() + n};
      const std::int64_t* int_columns[] = {ints.data(), ints.data() + n, ints.data() + 2 * n};
      const MainspringEvents events = {offsets.data(), 0, times.size(), times.data(), values.data()};
      mainspring::ProgramInput input;
      input.floats = float_columns;
      input.ints = int_columns;
      input.events = &events;
      input.n_rows = n;
      std::vector<float> dense(n * spec.dense.size());
      std::vector<std::int32_t> ids(n * spec.ids.size());
      mainspring::ProgramWorkspace workspace = cpu.MakeWorkspace();
      ASSERT_TRUE(cpu.Run(input, &workspace, dense.data(), ids.data(), n).ok());

      Device device;
      MainspringCudaBatch batch = {};
      batch.n_rows = batch.float_stride = batch.int_stride = batch.ids_stride = n;
      batch.floats = device.Put(floats);
      batch.ints = device.Put(ints);
      batch.events[0] = {device.Put(offsets), 0, times.size(), device.Put(times), device.Put(values)};
      batch.dense = device.Put(std::vector<float>(dense.size()));
      batch.ids = device.Put(std::vector<std::int32_t>(ids.size()));
      batch.bad_row = device.Put(std::vector<unsigned long long>(1));
      ASSERT_EQ(MainspringCudaProgramRun(program, &batch, nullptr), kMainspringCudaOk);
      ASSERT_EQ(cudaDeviceSynchronize(), cudaSuccess);
      EXPECT_EQ(Device::Get(batch.bad_row, 1)[0], ~0ull);
      EXPECT_EQ(Device::Get(batch.ids, ids.size()), ids);
      const std::vector<float> got = Device::Get(batch.dense, dense.size());
      EXPECT_EQ(0, std::memcmp(got.data(), dense.data(), got.size() * sizeof(float))) << width << " " << n;
      if (n < 2) continue;
      offsets[1] = -1;
      batch.events[0].offsets = device.Put(offsets);
      ASSERT_EQ(MainspringCudaProgramRun(program, &batch, nullptr), kMainspringCudaOk);
      EXPECT_EQ(Device::Get(batch.bad_row, 1)[0], 0u);
    }
    MainspringCudaProgramDestroy(program);
  }
}

TEST(CudaProgramTest, RefusesBadArguments) {
  MainspringCudaProgram* program = nullptr;
  EXPECT_EQ(MainspringCudaProgramCreate(nullptr, 0, &program), kMainspringCudaBadArgument);
  EXPECT_EQ(MainspringCudaProgramRun(nullptr, nullptr, nullptr), kMainspringCudaBadArgument);
  MainspringCudaProgramDestroy(nullptr);
  EXPECT_EQ(MainspringCudaVersion(), MAINSPRING_CUDA_VERSION);
  MainspringCudaJagged shape = {};
  EXPECT_EQ(MainspringCudaJaggedToPaddedDense(&shape, nullptr, nullptr, nullptr, nullptr),
            kMainspringCudaBadArgument);
  EXPECT_EQ(MainspringCudaGatherRows(nullptr, 0, nullptr, 1, 1, shape.padding, nullptr, nullptr, nullptr),
            kMainspringCudaBadArgument);
  EXPECT_EQ(MainspringCudaScatterRows(nullptr, nullptr, 1, 0, 1, nullptr, nullptr, nullptr),
            kMainspringCudaBadArgument);
}

TEST(CudaJaggedTest, PadsUnpadsGathersAndScatters) {
  if (!HasDevice()) GTEST_SKIP() << MainspringCudaStatusText(kMainspringCudaNoDevice);
  std::mt19937 random(5);
  constexpr std::size_t kRows = 1001, kLength = 8;
  std::vector<std::int64_t> offsets = {0};
  for (std::size_t i = 0; i < kRows; ++i) offsets.push_back(offsets.back() + random() % (kLength + 1));
  std::vector<std::uint32_t> values(static_cast<std::size_t>(offsets.back()) * 3);
  for (std::uint32_t& v : values) v = static_cast<std::uint32_t>(random());
  Device device;
  MainspringCudaJagged shape = {kRows, device.Put(offsets), 1, values.size() / 3, kLength, 3, {5, 6}};
  auto* dense = device.Put(std::vector<std::uint32_t>(kRows * kLength * 3));
  auto* back = device.Put(std::vector<std::uint32_t>(values.size()));
  auto* bad_row = device.Put(std::vector<unsigned long long>(1));
  ASSERT_EQ(MainspringCudaJaggedToPaddedDense(&shape, device.Put(values), dense, bad_row, nullptr),
            kMainspringCudaOk);
  ASSERT_EQ(MainspringCudaDenseToJagged(&shape, dense, back, bad_row, nullptr), kMainspringCudaOk);
  EXPECT_EQ(Device::Get(back, values.size()), values);
  EXPECT_EQ(Device::Get(bad_row, 1)[0], ~0ull);
  const std::vector<std::uint32_t> padded = Device::Get(dense, kRows * kLength * 3);
  for (std::size_t row = 0; row < kRows; ++row) {
    const std::size_t length = static_cast<std::size_t>(offsets[row + 1] - offsets[row]) * 3;
    for (std::size_t i = length; i < kLength * 3; ++i)
      EXPECT_EQ(padded[row * kLength * 3 + i], i % 2 == 0 ? 5u : 6u);
  }
  std::vector<std::int64_t> order(kRows);
  for (std::size_t i = 0; i < kRows; ++i) order[i] = static_cast<std::int64_t>(kRows - 1 - i);
  auto* indices = device.Put(order);
  auto* turned = device.Put(std::vector<std::uint32_t>(padded.size()));
  auto* again = device.Put(std::vector<std::uint32_t>(padded.size()));
  const std::uint32_t padding[] = {0, 0};
  ASSERT_EQ(
      MainspringCudaGatherRows(dense, kRows, indices, kRows, kLength * 3, padding, turned, bad_row, nullptr),
      kMainspringCudaOk);
  ASSERT_EQ(MainspringCudaScatterRows(turned, indices, kRows, kLength * 3, kRows, again, bad_row, nullptr),
            kMainspringCudaOk);
  EXPECT_EQ(Device::Get(again, padded.size()), padded);
  EXPECT_EQ(Device::Get(bad_row, 1)[0], ~0ull);
}

}  // namespace
