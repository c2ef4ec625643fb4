#include "answering.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <system_error>

namespace mainspring::front {
namespace {

// The longest deadline that the app takes, a day.
constexpr double kMaxDeadlineMs = 86'400'000.0;

constexpr std::size_t kKeptBytes = std::size_t{1} << 20;

// The value of a field that may be there once. False: it is there more often.
bool AtMostOnce(const RequestHead& head, std::string_view name, bool* is_there, std::string_view* value) {
  int times = 0;
  *value = head.Only(name, &times);
  *is_there = times > 0;
  return times < 2;
}

bool IsSent(const RequestHead& head, std::string_view name) {
  int times = 0;
  (void)head.Only(name, &times);
  return times > 0;
}

bool IsJson(std::string_view media_type) { return EqualsIgnoringCase(media_type, "application/json"); }

// Plain decimals only: what else Python's float takes is left to the app.
bool ReadDeadline(std::string_view text, double* millis) {
  for (char c : text) {
    if ((c < '0' || c > '9') && c != '.') return false;
  }
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, *millis);
  return error == std::errc{} && stop == end && *millis > 0 && *millis <= kMaxDeadlineMs;
}

template <std::size_t kN>
std::size_t BucketOf(const std::uint64_t (&edges)[kN], std::uint64_t value) {
  return static_cast<std::size_t>(std::lower_bound(edges, edges + kN, value) - edges);
}

}  // namespace

std::int64_t NowNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::int64_t UnixNanos() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::uint64_t CpuNanos() {
  timespec used;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return static_cast<std::uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(used.tv_nsec);
}

void LoopModelCounts::Answered(std::uint64_t n_rows, std::uint64_t input, std::uint64_t infer,
                               std::uint64_t output) {
  requests.Add(1);
  rows.Add(n_rows);
  input_nanos.Add(input);
  infer_nanos.Add(infer);
  output_nanos.Add(output);
  latency[BucketOf(kFrontEdgesNanos, input + infer + output)].Add(1);
  row_sizes[BucketOf(kFrontRowEdges, n_rows)].Add(1);
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  last_ms.Set(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count()));
}

FrontModelCounts ModelBook::Sum() const {
  static_assert(std::size(kFrontEdgesNanos) + 1 == kFrontLatencyBuckets);
  static_assert(std::size(kFrontRowEdges) + 1 == kFrontRowBuckets);
  FrontModelCounts sum;
  sum.name = name;
  sum.version = version;
  for (const LoopModelCounts& loop : loops) {
    sum.requests += loop.requests.Get();
    sum.rows += loop.rows.Get();
    sum.passed_on += loop.passed_on.Get();
    sum.last_ms = std::max(sum.last_ms, loop.last_ms.Get());
    sum.input_nanos += loop.input_nanos.Get();
    sum.infer_nanos += loop.infer_nanos.Get();
    sum.output_nanos += loop.output_nanos.Get();
    for (std::size_t i = 0; i < kFrontLatencyBuckets; ++i) sum.latency[i] += loop.latency[i].Get();
    for (std::size_t i = 0; i < kFrontRowBuckets; ++i) sum.row_sizes[i] += loop.row_sizes[i].Get();
  }
  return sum;
}

bool IsRequestId(std::string_view id) {
  if (id.empty() || id.size() > 128) return false;
  return std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == ':' || c == '-';
  });
}

bool ReadAskedHead(const RequestHead& head, AskedHead* asked) {
  *asked = {};
  asked->path = head.target;
  bool is_there = false;
  std::string_view value;
  if (!AtMostOnce(head, "content-encoding", &is_there, &value) || is_there) return false;
  if (!AtMostOnce(head, "inference-header-content-length", &asked->has_json_length, &value)) return false;
  if (asked->has_json_length && (!ReadDigits(value, &asked->json_length) || asked->json_length == 0)) {
    return false;
  }
  // Arrow, which the app answers where it is named anywhere; two such fields are the app's to choose from.
  const bool accepts_once = AtMostOnce(head, "accept", &is_there, &value);
  asked->accepts_other = !accepts_once || value.find("arrow") != std::string_view::npos;
  const bool accepts_json = accepts_once && (!is_there || value == "*/*" || IsJson(value));
  const bool sends_once = AtMostOnce(head, "content-type", &is_there, &value);
  const bool sends_json = sends_once && (!is_there || IsJson(value.substr(0, value.find(';'))));
  asked->has_other_form = !accepts_json || !sends_json;
  if (!AtMostOnce(head, "accept-encoding", &is_there, &value)) return false;
  // A quality of 0 would say no: the app knows.
  asked->may_compress = is_there && !value.empty() && !EqualsIgnoringCase(value, "identity");
  if (!AtMostOnce(head, "x-deadline-ms", &is_there, &value)) return false;
  if (is_there && !ReadDeadline(value, &asked->deadline_ms)) return false;
  if (!AtMostOnce(head, "x-request-id", &is_there, &value)) return false;
  if (is_there && IsRequestId(value)) asked->request_id = value;
  asked->has_wish = IsSent(head, "x-mainspring-role") || IsSent(head, "x-mainspring-bundle");
  return true;
}

void Scratch::Trim() {
  if (call.numbers.capacity() * sizeof(double) > kKeptBytes) std::vector<double>().swap(call.numbers);
  if (input.capacity() * sizeof(float) > kKeptBytes) std::vector<float>().swap(input);
  if (floats.capacity() * sizeof(float) > kKeptBytes) std::vector<float>().swap(floats);
  if (doubles.capacity() * sizeof(double) > kKeptBytes) std::vector<double>().swap(doubles);
  if (body.capacity() > kKeptBytes) std::string().swap(body);
}

PathTable::PathTable(std::vector<Entry> by_path) : by_path_(std::move(by_path)) {
  std::sort(by_path_.begin(), by_path_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
}

PathTable::Place PathTable::FirstFrom(std::string_view path) const {
  return std::lower_bound(by_path_.begin(), by_path_.end(), path,
                          [](const auto& entry, std::string_view wanted) { return entry.first < wanted; });
}

const Answering* PathTable::Find(std::string_view target) const {
  const Place found = FirstFrom(target);
  return found != by_path_.end() && found->first == target ? found->second.get() : nullptr;
}

bool PathTable::HasPrefix(std::string_view prefix) const {
  const Place found = FirstFrom(prefix);
  return found != by_path_.end() && found->first.compare(0, prefix.size(), prefix) == 0;
}

bool Answering::AnswerGrpc(const GrpcInfer&, std::size_t, Scratch*, MadeAnswer*) const { return false; }

}  // namespace mainspring::front
