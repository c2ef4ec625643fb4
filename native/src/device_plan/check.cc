#include <cstring>

#include "mainspring/device_plan.h"

namespace mainspring {
namespace {

Status Bad(const char* expected, double got) {
  return {StatusCode::kBadSpec, -1, expected, true, got, "make the plan anew with this release"};
}

// Where `n` items of `size` bytes from `at` on lie within the plan.
bool Lies(const DeviceHeader& h, std::int64_t at, std::int64_t n, std::int64_t size) {
  return at >= static_cast<std::int64_t>(sizeof(DeviceHeader)) && at % 8 == 0 && at <= h.bytes && n >= 0 &&
         n <= (h.bytes - at) / size;
}

bool IsIndex(std::int64_t i, std::int64_t n) { return i >= 0 && i < n; }

bool IsVocabulary(const DeviceHeader& h, const DeviceId& id, const char* plan) {
  const std::int64_t slot = id.kind == kDeviceVocabularyNarrow ? 4 : 8;
  const std::int64_t buckets = static_cast<std::int64_t>(id.bucket_mask) + 1;
  // A pilot is XORed to `bits` bits, so it must have no more.
  if (id.bits < 1 || id.bits > 30 || buckets < 1 || (buckets & (buckets - 1)) != 0 ||
      !Lies(h, id.at, std::int64_t{1} << id.bits, slot) || !Lies(h, id.pilots_at, buckets, 2)) {
    return false;
  }
  for (std::int64_t i = 0; i < buckets; ++i) {
    std::uint16_t pilot;
    std::memcpy(&pilot, plan + id.pilots_at + 2 * i, sizeof(pilot));
    if (pilot >> id.bits != 0) return false;
  }
  return true;
}

bool IsId(const DeviceHeader& h, const DeviceId& id, const char* plan) {
  if (!IsIndex(id.offset, std::int64_t{1} << 31)) return false;
  switch (id.kind) {
    case kDeviceHash:
      return IsIndex(id.source, h.n_ints);
    case kDeviceCross:
      if (id.n < 1 || !Lies(h, id.at, id.n, 8)) return false;
      for (std::int64_t i = 0; i < id.n; ++i) {
        std::int64_t source;
        std::memcpy(&source, plan + id.at + 8 * i, sizeof(source));
        if (!IsIndex(source, h.n_ints)) return false;
      }
      return true;
    case kDeviceVocabularyNarrow:
    case kDeviceVocabularyWide:
      return IsIndex(id.source, h.n_ints) && IsVocabulary(h, id, plan);
    case kDeviceBucketise:
      return IsIndex(id.source, h.n_floats) && IsIndex(id.n, 65537) && Lies(h, id.at, id.n + 1, 4);
    default:
      return false;
  }
}

}  // namespace

Status CheckDevicePlan(const void* data, std::size_t bytes) {
  const char* const plan = static_cast<const char*>(data);
  DeviceHeader h;
  if (plan == nullptr || bytes < sizeof(h))
    return Bad("a plan must have a header", static_cast<double>(bytes));
  std::memcpy(&h, plan, sizeof(h));
  if (h.magic != kDevicePlanMagic) return Bad("these bytes must be a plan", static_cast<double>(h.magic));
  if (h.version != kDevicePlanVersion) {
    return Bad("a plan must be of this release's version", static_cast<double>(h.version));
  }
  if (h.bytes < 0 || static_cast<std::size_t>(h.bytes) != bytes) {
    return Bad("a plan must be as long as it says", static_cast<double>(bytes));
  }
  for (const std::int64_t n : {h.n_floats, h.n_ints, h.n_events, h.n_windows, h.width, h.n_ids}) {
    if (n < 0 || n > 65536) return Bad("a plan must have 0 to 65536 of a kind", static_cast<double>(n));
  }
  if (h.width + h.n_ids == 0) return Bad("a plan must have outputs", 0);
  if (h.dense_at % 16 != 0 || !Lies(h, h.dense_at, h.width, sizeof(DeviceDense)) ||
      !Lies(h, h.windows_at, h.n_windows, sizeof(DeviceWindow)) ||
      !Lies(h, h.ids_at, h.n_ids, sizeof(DeviceId))) {
    return Bad("a plan's tables must lie within it", static_cast<double>(bytes));
  }
  for (std::int64_t i = 0; i < h.width; ++i) {
    DeviceDense dense;
    std::memcpy(&dense, plan + h.dense_at + i * static_cast<std::int64_t>(sizeof(dense)), sizeof(dense));
    if (!IsIndex(dense.source, h.n_floats + h.n_windows) || !IsIndex(dense.kind, kDeviceIndicator + 1)) {
      return Bad("a dense column must be in order", static_cast<double>(i));
    }
  }
  for (std::int64_t i = 0; i < h.n_windows; ++i) {
    DeviceWindow w;
    std::memcpy(&w, plan + h.windows_at + i * static_cast<std::int64_t>(sizeof(w)), sizeof(w));
    if (!IsIndex(w.events, h.n_events) || !IsIndex(w.as_of, h.n_ints) || w.width < 1 ||
        !IsIndex(w.aggregate, 6)) {
      return Bad("a window must be in order", static_cast<double>(i));
    }
  }
  for (std::int64_t i = 0; i < h.n_ids; ++i) {
    DeviceId id;
    std::memcpy(&id, plan + h.ids_at + i * static_cast<std::int64_t>(sizeof(id)), sizeof(id));
    if (!IsId(h, id, plan)) return Bad("an id column must be in order", static_cast<double>(i));
  }
  return {};
}

}  // namespace mainspring
