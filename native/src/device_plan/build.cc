#include <cmath>
#include <cstring>
#include <limits>

#include "mainspring/device_plan.h"
#include "mainspring/float_environment.h"
#include "mainspring/hash.h"
#include "mainspring/program.h"
#include "mainspring/vocabulary.h"

namespace mainspring {
namespace {

constexpr std::size_t kWord = sizeof(std::uint64_t);

// Words that grow at their end. Sections begin at multiples of 16 bytes.
class Image {
 public:
  std::int64_t Append(const void* data, std::size_t bytes) {
    words_.resize((words_.size() + 1) / 2 * 2);
    const std::size_t at = words_.size() * kWord;
    words_.resize(words_.size() + (bytes + kWord - 1) / kWord);
    if (bytes > 0) std::memcpy(reinterpret_cast<char*>(words_.data()) + at, data, bytes);
    return static_cast<std::int64_t>(at);
  }
  template <typename T>
  std::int64_t Append(const std::vector<T>& items) {
    return Append(items.data(), items.size() * sizeof(T));
  }
  void Put(std::int64_t at, const void* data, std::size_t bytes) {
    std::memcpy(reinterpret_cast<char*>(words_.data()) + at, data, bytes);
  }
  std::vector<std::uint64_t> Take() { return std::move(words_); }
  std::size_t bytes() const { return words_.size() * kWord; }

 private:
  std::vector<std::uint64_t> words_;
};

DeviceDense Dense(const DenseColumn& c) {
  const DenseParameters p = PrepareDenseColumn(c);
  const std::int32_t kind = c.indicator          ? kDeviceIndicator
                            : c.log1p && !c.pass ? kDeviceLog1p
                                                 : kDeviceAffine;
  return {c.source, kind, p.fill, p.lower, p.upper, p.mean_high, p.mean_low, p.inverse_scale};
}

// The tables that `id` needs go to the image, and their places into the result.
DeviceId Id(const IdSpec& id, Image* image) {
  DeviceId made = {};
  made.source = id.sources[0];
  made.offset = id.offset;
  switch (id.kind) {
    case IdKind::kHash:
    case IdKind::kCross: {
      made.kind = id.kind == IdKind::kHash ? kDeviceHash : kDeviceCross;
      made.key = HashKey(id.seed);
      made.range = static_cast<std::uint64_t>(id.buckets) - 1;
      made.n = static_cast<std::int64_t>(id.sources.size());
      if (id.kind == IdKind::kCross) {
        made.at = image->Append(std::vector<std::int64_t>(id.sources.begin(), id.sources.end()));
      }
      break;
    }
    case IdKind::kVocabulary: {
      Vocabulary table;
      // It was built once before, by Program::Compile: it cannot be refused here.
      if (!Vocabulary::Build(id.values.data(), id.values.size(), &table).ok()) break;
      made.kind = table.is_narrow() ? kDeviceVocabularyNarrow : kDeviceVocabularyWide;
      made.key = table.key();
      made.base = table.base();
      made.span = table.span();
      made.bits = table.bits();
      made.bucket_mask = table.bucket_mask();
      const std::size_t slot = table.is_narrow() ? sizeof(std::uint32_t) : sizeof(std::uint64_t);
      made.at = image->Append(table.slots(), slot << table.bits());
      made.pilots_at = image->Append(table.pilots(), (table.bucket_mask() + 1) * sizeof(std::uint16_t));
      break;
    }
    case IdKind::kBucketise: {
      made.kind = kDeviceBucketise;
      made.n = static_cast<std::int64_t>(id.boundaries.size());
      std::vector<float> bounds;
      for (const double b : id.boundaries) {
        // As in Program::Compile: kernels count bounds below x.
        const float bound = static_cast<float>(b);
        bounds.push_back(id.right ? bound : std::nextafter(bound, -std::numeric_limits<float>::infinity()));
      }
      bounds.push_back(std::numeric_limits<float>::infinity());  // a search of none may look at one
      made.at = image->Append(bounds);
      break;
    }
  }
  return made;
}

}  // namespace

Status BuildDevicePlan(const ProgramSpec& spec, std::vector<std::uint64_t>* plan) {
  if (spec.n_lists > 0 || !spec.bags.empty()) {
    return {StatusCode::kBadSpec, -1, "a device takes no bags", true, static_cast<double>(spec.bags.size()),
            "run them on the CPU"};
  }
  Program program;
  if (const Status status = Program::Compile(spec, Target::kGeneric, &program); !status.ok()) return status;

  const DefaultFloatEnvironment environment;
  Image image;
  DeviceHeader header = {};
  image.Append(&header, sizeof(header));
  header.magic = kDevicePlanMagic;
  header.version = kDevicePlanVersion;
  header.n_floats = spec.n_floats;
  header.n_ints = spec.n_ints;
  header.n_events = spec.n_events;
  header.n_windows = static_cast<std::int64_t>(spec.windows.size());
  header.width = static_cast<std::int64_t>(spec.dense.size());
  header.n_ids = static_cast<std::int64_t>(spec.ids.size());

  std::vector<DeviceDense> dense;
  for (const DenseColumn& c : spec.dense) dense.push_back(Dense(c));
  header.dense_at = image.Append(dense);
  std::vector<DeviceWindow> windows;
  for (const WindowSpec& w : spec.windows) {
    windows.push_back({w.events, w.as_of, w.width, static_cast<std::int64_t>(w.aggregate)});
  }
  header.windows_at = image.Append(windows);
  std::vector<DeviceId> ids(spec.ids.size());
  header.ids_at = image.Append(ids);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = Id(spec.ids[i], &image);
  image.Put(header.ids_at, ids.data(), ids.size() * sizeof(DeviceId));
  header.bytes = static_cast<std::int64_t>(image.bytes());
  image.Put(0, &header, sizeof(header));
  *plan = image.Take();
  return {};
}

}  // namespace mainspring
