#include "spans.h"

#include <algorithm>
#include <iterator>
#include <random>
#include <utility>

#include "answering.h"

namespace mainspring::front {
namespace {

constexpr std::size_t kTraceDigits = 32, kParentDigits = 16;
constexpr char kHex[] = "0123456789abcdef";

bool IsHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool IsZero(std::string_view digits) { return digits.find_first_not_of('0') == std::string_view::npos; }

}  // namespace

TraceIds::TraceIds() {
  std::random_device device;
  state_ = std::uint64_t{device()} << 32 | device();
}

std::uint64_t TraceIds::Next() {
  std::uint64_t z = state_ += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return z ^ z >> 31;
}

double TraceIds::NextShare() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

void TraceIds::AppendId(int numbers, std::string* out) {
  for (int i = 0; i < numbers; ++i) {
    const std::uint64_t number = std::max<std::uint64_t>(1, Next());
    for (int shift = 60; shift >= 0; shift -= 4) out->push_back(kHex[number >> shift & 15]);
  }
}

bool ReadTraceParent(std::string_view value, TraceParent* parent) {
  // version-trace-parent-flags, and in later versions what is not known yet.
  constexpr std::size_t kTraceAt = 3, kParentAt = 36, kFlagsAt = 53, kSize = 55;
  if (value.size() < kSize || value[2] != '-' || value[35] != '-' || value[52] != '-') return false;
  const std::string_view version = value.substr(0, 2), flags = value.substr(kFlagsAt, 2);
  parent->trace_id = value.substr(kTraceAt, kTraceDigits);
  parent->parent_id = value.substr(kParentAt, kParentDigits);
  if (!IsHex(version) || !IsHex(parent->trace_id) || !IsHex(parent->parent_id) || !IsHex(flags)) return false;
  if (value.size() > kSize && (value[kSize] != '-' || version == "00")) return false;
  if (version == "ff" || IsZero(parent->trace_id) || IsZero(parent->parent_id)) return false;
  // The lowest bit of the last digit.
  parent->is_sampled = ((flags[1] <= '9' ? flags[1] - '0' : flags[1] - 'a' + 10) & 1) != 0;
  return true;
}

bool Tracing::Begin(const RequestHead& head, double share, TraceIds* ids) {
  is_sampled = false;
  if (share < 0) return true;
  int times = 0;
  const std::string_view value = head.Only("traceparent", &times);
  if (times > 1) return false;
  TraceParent parent;
  const bool is_decided = times == 1 && ReadTraceParent(value, &parent);
  is_sampled = is_decided ? parent.is_sampled : ids->NextShare() < share;
  if (!is_sampled) return true;
  began = NowNanos();
  trace_id.clear();
  parent_id.clear();
  if (is_decided) {
    trace_id.assign(parent.trace_id);
    parent_id.assign(parent.parent_id);
  } else {
    ids->AppendId(2, &trace_id);
  }
  return true;
}

void SpanBuffer::Limit(std::size_t max_waiting) {
  const std::lock_guard<std::mutex> lock(mutex_);
  max_waiting_ = max_waiting;
}

void SpanBuffer::Add(FrontSpan span) {
  const std::lock_guard<std::mutex> lock(mutex_);
  waiting_.size() < max_waiting_ ? waiting_.push_back(std::move(span)) : (void)(dropped_ += span.n_spans());
}

void SpanBuffer::Drain(std::vector<FrontSpan>* out, std::uint64_t* dropped) {
  std::vector<FrontSpan> taken;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    taken.swap(waiting_);
    *dropped += std::exchange(dropped_, 0);
  }
  out->insert(out->end(), std::make_move_iterator(taken.begin()), std::make_move_iterator(taken.end()));
}

}  // namespace mainspring::front
