#include "mainspring/limits.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "limit_accounts.h"

namespace mainspring {
namespace {

constexpr double kDaySeconds = 86'400;
constexpr double kLeastWait = 0.001;

double Seconds(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::unique_ptr<front::LimitAccounts> OwnAccounts() {
  auto accounts = front::LimitAccounts::Own();
  if (accounts == nullptr) throw std::bad_alloc();
  return accounts;
}

// Brings a bucket under a rule's rate, unless it is. A rule without one leaves it as it is: it fills on, and
// what another process counts, which follows a change of the rules a moment later, is not forgotten.
void OpenBucket(const std::optional<double>& rate, double burst, double now, front::LimitBucket* bucket) {
  if (!rate.has_value()) return;
  const double size = burst > 0 ? burst : std::max(1.0, std::ceil(*rate));
  const bool is_open = bucket->is_there && bucket->rate == *rate && bucket->burst == size;
  if (!is_open) bucket->Open(*rate, size, now);
}

}  // namespace

LimitTime LimitTime::Now() { return {Seconds(CLOCK_MONOTONIC), Seconds(CLOCK_REALTIME)}; }

Limits::Limits() : Limits(OwnAccounts()) {}

Limits::Limits(std::unique_ptr<front::LimitAccounts> accounts) : accounts_(std::move(accounts)) {}

Limits::~Limits() = default;

Status Limits::Open(const std::string& path, std::shared_ptr<Limits>* limits) {
  std::unique_ptr<front::LimitAccounts> accounts;
  if (const Status status = front::LimitAccounts::Open(path, &accounts); !status.ok()) return status;
  limits->reset(new Limits(std::move(accounts)));
  return {};
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
  const Found found = Find(caller, endpoint);
  if (found.account == nullptr) return std::nullopt;
  const Terms& terms = found.terms;
  front::LimitAccount::Held held(found.account);
  front::LimitState& state = held.state;
  OpenBuckets(found.terms, now.monotonic, &state);
  const double day = std::floor(now.wall / kDaySeconds);
  if (state.day != static_cast<std::int64_t>(day)) {
    state.day = static_cast<std::int64_t>(day);
    state.requests_today = state.rows_today = 0;
  }
  const auto refused = [&](LimitKind kind, double allowed, double seconds) -> LimitRefusal {
    if (counts_refusal) ++state.refused;
    held.Commit();
    return {kind, allowed, std::max(seconds, kLeastWait)};
  };
  const auto lacks = [&](const std::optional<double>& rate, front::LimitBucket* bucket) {
    if (!rate.has_value()) return false;
    bucket->Fill(now.monotonic);
    // A row above an empty bucket is enough: the request's own rows are not known yet.
    return bucket->level < 1.0;
  };
  const auto wait = [](const front::LimitBucket& bucket) { return (1.0 - bucket.level) / bucket.rate; };
  if (lacks(terms.requests_per_second, &state.requests)) {
    return refused(LimitKind::kRequestsPerSecond, state.requests.rate, wait(state.requests));
  }
  if (lacks(terms.rows_per_second, &state.rows)) {
    return refused(LimitKind::kRowsPerSecond, state.rows.rate, wait(state.rows));
  }
  const double until_tomorrow = (day + 1) * kDaySeconds - now.wall;
  if (terms.requests_per_day && state.requests_today >= *terms.requests_per_day) {
    return refused(LimitKind::kRequestsPerDay, static_cast<double>(*terms.requests_per_day), until_tomorrow);
  }
  if (terms.rows_per_day && state.rows_today >= *terms.rows_per_day) {
    return refused(LimitKind::kRowsPerDay, static_cast<double>(*terms.rows_per_day), until_tomorrow);
  }
  if (terms.requests_per_second) state.requests.level -= 1.0;
  ++state.requests_today;
  held.Commit();
  return std::nullopt;
}

void Limits::GiveBack(std::string_view caller, std::string_view endpoint, LimitTime now) {
  if (!is_on()) return;
  const Found found = Find(caller, endpoint);
  if (found.account == nullptr) return;
  front::LimitAccount::Held held(found.account);
  OpenBuckets(found.terms, now.monotonic, &held.state);
  front::LimitBucket& bucket = held.state.requests;
  if (found.terms.requests_per_second) bucket.level = std::min(bucket.burst, bucket.level + 1.0);
  held.state.requests_today = std::max<std::int64_t>(0, held.state.requests_today - 1);
  held.Commit();
}

void Limits::Charge(std::string_view caller, std::string_view endpoint, std::uint64_t rows, LimitTime now) {
  if (!is_on()) return;
  const Found found = Find(caller, endpoint);
  if (found.account == nullptr) return;
  front::LimitAccount::Held held(found.account);
  OpenBuckets(found.terms, now.monotonic, &held.state);
  held.state.rows_today += static_cast<std::int64_t>(rows);
  if (found.terms.rows_per_second) held.state.rows.level -= static_cast<double>(rows);
  held.Commit();
}

std::vector<LimitedCaller> Limits::Refused() const {
  std::vector<LimitedCaller> refused;
  accounts_->ForEach([&](std::string_view caller, std::string_view endpoint, front::LimitAccount* account) {
    const std::uint64_t n = front::LimitAccount::Held(account).state.refused;
    if (n > 0) refused.push_back({std::string(caller), std::string(endpoint), n});
  });
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [key, pair] : pairs_) {
    if (pair.own == nullptr) continue;
    const std::uint64_t n = front::LimitAccount::Held(pair.own.get()).state.refused;
    if (n == 0) continue;
    const std::size_t end = key.find('\0');
    const std::string caller = key.substr(0, end), endpoint = key.substr(end + 1);
    const auto same = std::find_if(refused.begin(), refused.end(), [&](const LimitedCaller& one) {
      return one.caller == caller && one.endpoint == endpoint;
    });
    same == refused.end() ? refused.push_back({caller, endpoint, n}) : (void)(same->refused += n);
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

Limits::Found Limits::Find(std::string_view caller, std::string_view endpoint) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Pair& pair = pairs_[KeyOf(caller, endpoint)];
  if (pair.rules_number != rules_number_) LookUp(caller, endpoint, &pair);
  if (!pair.is_limited) return {};
  return {pair.account, pair.terms};
}

void Limits::LookUp(std::string_view caller, std::string_view endpoint, Pair* pair) {
  const LimitRule* const rule = RuleOf(caller, endpoint);
  pair->rules_number = rules_number_;
  pair->is_limited = rule != nullptr;
  if (rule == nullptr) return;
  pair->terms = {rule->requests_per_second, rule->rows_per_second,  rule->burst_requests,
                 rule->burst_rows,          rule->requests_per_day, rule->rows_per_day};
  front::LimitAccount* const shared = accounts_->Find(caller, endpoint);
  const bool is_throttled = throttles_.find(KeyOf(caller, endpoint)) != throttles_.end();
  if (shared != nullptr && !(is_throttled && accounts_->is_shared())) {
    pair->account = shared;
    return;
  }
  if (pair->own == nullptr) pair->own = std::make_unique<front::LimitAccount>();
  if (shared != nullptr && pair->account != pair->own.get()) {
    const front::LimitState state = front::LimitAccount::Held(shared).state;
    front::LimitAccount::Held held(pair->own.get());
    const std::uint64_t refused = held.state.refused;
    held.state = state;
    held.state.refused = refused;
    held.Commit();
  }
  pair->account = pair->own.get();
}

// Brings what is left under the terms.
void Limits::OpenBuckets(const Terms& terms, double now, front::LimitState* state) {
  OpenBucket(terms.requests_per_second, terms.burst_requests, now, &state->requests);
  OpenBucket(terms.rows_per_second, terms.burst_rows, now, &state->rows);
}

}  // namespace mainspring
