#include "mainspring/limits.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace mainspring {
namespace {

constexpr double kDaySeconds = 86'400;
constexpr double kLeastWait = 0.001;

double Seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

}  // namespace

LimitTime LimitTime::Now() { return {Seconds(CLOCK_MONOTONIC), Seconds(CLOCK_REALTIME)}; }

// Threads read their clocks before they have the lock: time may seem to go back a little.
void Limits::Bucket::Fill(double now) {
  if (now <= at) return;
  level = std::min(burst, level + (now - at) * rate);
  at = now;
}

void Limits::Bucket::Open(const std::optional<double>& new_rate, double new_burst, double now) {
  if (!new_rate.has_value()) {
    is_there = false;
    return;
  }
  if (is_there) Fill(now);
  const double size = new_burst > 0 ? new_burst : std::max(1.0, std::ceil(*new_rate));
  level = is_there ? std::min(size, level) : size;
  if (!is_there) at = now;
  rate = *new_rate;
  burst = size;
  is_there = true;
}

void Limits::SetRules(std::vector<LimitRule> rules) {
  const std::lock_guard<std::mutex> lock(mutex_);
  rules_.clear();
  for (LimitRule& rule : rules) {
    const std::string key = KeyOf(rule.caller, rule.endpoint);
    rules_[key] = std::move(rule);
  }
  Changed();
}

void Limits::Throttle(const std::string& caller, const std::string& endpoint, std::optional<LimitRule> rule) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const std::string key = KeyOf(caller, endpoint);
  if (rule.has_value()) {
    throttles_[key] = *std::move(rule);
  } else {
    throttles_.erase(key);
  }
  Changed();
}

void Limits::Changed() {
  ++rules_number_;
  is_on_.store(!rules_.empty() || !throttles_.empty(), std::memory_order_release);
}

std::optional<LimitRefusal> Limits::Admit(std::string_view caller, std::string_view endpoint, LimitTime now,
                                          bool counts_refusal) {
  if (!is_on()) return std::nullopt;
  const std::lock_guard<std::mutex> lock(mutex_);
  Account& account = Find(caller, endpoint, now.monotonic);
  if (!account.is_limited) return std::nullopt;
  const double day = std::floor(now.wall / kDaySeconds);
  if (account.day != static_cast<std::int64_t>(day)) {
    account.day = static_cast<std::int64_t>(day);
    account.requests_today = account.rows_today = 0;
  }
  const auto refused = [&](LimitKind kind, double allowed, double seconds) -> LimitRefusal {
    if (counts_refusal) ++account.refused;
    return {kind, allowed, std::max(seconds, kLeastWait)};
  };
  const std::pair<LimitKind, Bucket*> buckets[] = {{LimitKind::kRequestsPerSecond, &account.requests},
                                                   {LimitKind::kRowsPerSecond, &account.rows}};
  for (const auto& [kind, bucket] : buckets) {
    if (!bucket->is_there) continue;
    bucket->Fill(now.monotonic);
    // A row above an empty bucket is enough: the request's own rows are not known yet.
    if (bucket->level < 1.0) return refused(kind, bucket->rate, (1.0 - bucket->level) / bucket->rate);
  }
  const double until_tomorrow = (day + 1) * kDaySeconds - now.wall;
  if (account.requests_per_day && account.requests_today >= *account.requests_per_day) {
    return refused(LimitKind::kRequestsPerDay, static_cast<double>(*account.requests_per_day),
                   until_tomorrow);
  }
  if (account.rows_per_day && account.rows_today >= *account.rows_per_day) {
    return refused(LimitKind::kRowsPerDay, static_cast<double>(*account.rows_per_day), until_tomorrow);
  }
  if (account.requests.is_there) account.requests.level -= 1.0;
  ++account.requests_today;
  return std::nullopt;
}

void Limits::GiveBack(std::string_view caller, std::string_view endpoint, LimitTime now) {
  if (!is_on()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  Account& account = Find(caller, endpoint, now.monotonic);
  if (!account.is_limited) return;
  Bucket& bucket = account.requests;
  if (bucket.is_there) bucket.level = std::min(bucket.burst, bucket.level + 1.0);
  account.requests_today = std::max<std::int64_t>(0, account.requests_today - 1);
}

void Limits::Charge(std::string_view caller, std::string_view endpoint, std::uint64_t rows, LimitTime now) {
  if (!is_on()) return;
  const std::lock_guard<std::mutex> lock(mutex_);
  Account& account = Find(caller, endpoint, now.monotonic);
  if (!account.is_limited) return;
  account.rows_today += static_cast<std::int64_t>(rows);
  if (account.rows.is_there) account.rows.level -= static_cast<double>(rows);
}

std::vector<LimitedCaller> Limits::Refused() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::vector<LimitedCaller> refused;
  for (const auto& [key, account] : accounts_) {
    if (account.refused == 0) continue;
    const std::size_t end = key.find('\0');
    refused.push_back({key.substr(0, end), key.substr(end + 1), account.refused});
  }
  return refused;
}

const std::string& Limits::KeyOf(std::string_view caller, std::string_view endpoint) {
  key_.assign(caller);
  key_.push_back('\0');
  return key_.append(endpoint);
}

const LimitRule* Limits::RuleOf(std::string_view caller, std::string_view endpoint) {
  const auto throttle = throttles_.find(KeyOf(caller, endpoint));
  if (throttle != throttles_.end()) return &throttle->second;
  for (const auto& [by_caller, by_endpoint] :
       {std::pair(caller, endpoint), std::pair(caller, std::string_view("*")),
        std::pair(std::string_view("*"), endpoint),
        std::pair(std::string_view("*"), std::string_view("*"))}) {
    const auto rule = rules_.find(KeyOf(by_caller, by_endpoint));
    if (rule != rules_.end()) return &rule->second;
  }
  return nullptr;
}

Limits::Account& Limits::Find(std::string_view caller, std::string_view endpoint, double now) {
  Account& account = accounts_[KeyOf(caller, endpoint)];
  if (account.rules_number == rules_number_) return account;
  const LimitRule* const rule = RuleOf(caller, endpoint);
  account.rules_number = rules_number_;
  account.is_limited = rule != nullptr;
  if (rule == nullptr) return account;
  account.requests_per_day = rule->requests_per_day;
  account.rows_per_day = rule->rows_per_day;
  account.requests.Open(rule->requests_per_second, rule->burst_requests, now);
  account.rows.Open(rule->rows_per_second, rule->burst_rows, now);
  return account;
}

}  // namespace mainspring
