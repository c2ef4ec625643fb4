// A compiled program as one block of bytes that a GPU can read where it lies: what the CUDA library takes,
// and the Triton kernels. Made from the spec by the code that compiles it for the CPU, so that the two cannot
// drift apart; whoever passes it on needs to know nothing of what is inside.

#ifndef MAINSPRING_DEVICE_PLAN_H_
#define MAINSPRING_DEVICE_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "mainspring/status.h"

namespace mainspring {

struct ProgramSpec;

// Little-endian, in 64-bit words; every position is in bytes from the beginning and a multiple of 8.
inline constexpr std::int64_t kDevicePlanMagic = 0x314E414C50534D44;  // "DMSPLAN1"
// Counts up with every change of what follows.
inline constexpr std::int64_t kDevicePlanVersion = 1;

struct DeviceHeader {
  std::int64_t magic, version, bytes;
  std::int64_t n_floats, n_ints, n_events, n_windows, width, n_ids;
  std::int64_t dense_at, windows_at, ids_at;
};

enum DeviceDenseKind : std::int32_t { kDeviceAffine = 0, kDeviceLog1p, kDeviceIndicator };

// Two 16-byte loads. A source from n_floats on is a window.
struct alignas(16) DeviceDense {
  std::int32_t source, kind;
  float fill, lower, upper, mean_high, mean_low, inverse_scale;
};

struct DeviceWindow {
  std::int64_t events, as_of, width, aggregate;
};

enum DeviceIdKind : std::int64_t {
  kDeviceHash = 0,
  kDeviceCross,
  kDeviceVocabularyNarrow,
  kDeviceVocabularyWide,
  kDeviceBucketise,
};

// Sixteen words. `n`: sources of a cross, bounds of kDeviceBucketise. `at`: int64 sources of a cross, slots
// of a vocabulary (uint32 or uint64), float bounds. The rest as in mainspring/vocabulary.h.
struct DeviceId {
  std::int64_t kind, source, n, offset;
  std::uint64_t key, range;
  std::int64_t base;
  std::uint64_t span;
  std::int64_t at, pilots_at, bits;
  std::uint64_t bucket_mask;
  std::int64_t reserved[4];
};

static_assert(sizeof(DeviceHeader) == 96 && sizeof(DeviceDense) == 32 && sizeof(DeviceWindow) == 32 &&
                  sizeof(DeviceId) == 128,
              "the layout is part of the ABI");

// The refusals of Program::Compile, word for word.
Status BuildDevicePlan(const ProgramSpec& spec, std::vector<std::uint64_t>* plan);

// Whether no kernel that follows the plan can leave it or its batch: nothing of the sender is trusted.
Status CheckDevicePlan(const void* plan, std::size_t bytes);

}  // namespace mainspring

#endif  // MAINSPRING_DEVICE_PLAN_H_
