// How much each caller may ask of each endpoint: token buckets and daily quotas, one account for all who
// answer.
//
// The front's loops and the app of one process take from the same accounts, and so do several processes that
// open the same ones; rules are each process's own. A request is taken whole or not
// at all; its rows are charged once they are known and may overdraw a bucket: the next requests wait longer.

#ifndef MAINSPRING_LIMITS_H_
#define MAINSPRING_LIMITS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "mainspring/status.h"

namespace mainspring {

namespace front {
class LimitAccount;
class LimitAccounts;
struct LimitState;
}  // namespace front

// What is not there is not limited. "*" is every caller, every endpoint, each for itself.
struct LimitRule {
  std::string caller = "*", endpoint = "*";
  std::optional<double> requests_per_second, rows_per_second;  // above 0
  double burst_requests = 0, burst_rows = 0;                   // 0: those of one second, at least 1
  std::optional<std::int64_t> requests_per_day, rows_per_day;  // of UTC
};

enum class LimitKind { kRequestsPerSecond, kRowsPerSecond, kRequestsPerDay, kRowsPerDay };

// Why a request was not taken.
struct LimitRefusal {
  LimitKind kind = LimitKind::kRequestsPerSecond;
  double allowed = 0;  // by the rule
  double seconds = 0;  // until it may be taken, at least 0.001
};

// Two clocks in seconds: one that never goes back, and Unix time, whose days quotas are of.
struct LimitTime {
  double monotonic = 0, wall = 0;
  static LimitTime Now();
};

struct LimitedCaller {
  std::string caller, endpoint;
  std::uint64_t refused = 0;
};

// Thread-safe; locks are held for some 0.1 us. Memory: an account for each pair that asked under a rule.
class Limits {
 public:
  // Accounts of this process alone.
  Limits();
  // Those of all processes that open this path, made by the first of them; it is then some 30 MB. Of more
  // than 65,536 pairs, each process counts the later ones for itself. kIo, kCorrupt.
  static Status Open(const std::string& path, std::shared_ptr<Limits>* limits);
  ~Limits();
  Limits(const Limits&) = delete;
  Limits& operator=(const Limits&) = delete;

  // The rules in force from now on, all at once; of those for a pair the one that names more counts, the
  // caller first. What was used up stays used up.
  void SetRules(std::vector<LimitRule> rules);
  // One pair under a rule of its own in place of those, in this process; none: under them again. Where
  // accounts are shared it begins with what they say, and what it takes is not told to them.
  void Throttle(const std::string& caller, const std::string& endpoint, std::optional<LimitRule> rule);

  // Whether anybody is limited.
  bool is_on() const { return is_on_.load(std::memory_order_acquire); }

  // Takes one request, or nothing and says why. A refusal is counted if `counts_refusal`.
  std::optional<LimitRefusal> Admit(std::string_view caller, std::string_view endpoint, LimitTime now,
                                    bool counts_refusal = true);
  // Takes back that a request was taken: somebody else will take it.
  void GiveBack(std::string_view caller, std::string_view endpoint, LimitTime now);
  // Takes the rows of a request that was taken. Never refuses.
  void Charge(std::string_view caller, std::string_view endpoint, std::uint64_t rows, LimitTime now);

  // Pairs that were refused, and how often, since the accounts began, by whichever process.
  std::vector<LimitedCaller> Refused() const;

 private:
  // What a rule grants one pair.
  struct Terms {
    std::optional<double> requests_per_second, rows_per_second;
    double burst_requests = 0, burst_rows = 0;
    std::optional<std::int64_t> requests_per_day, rows_per_day;
  };

  // What this process knows of a pair: its terms by the rules here, and where what is left of them is.
  struct Pair {
    std::uint64_t rules_number = 0;  // of the rules that it was looked up under
    bool is_limited = false;
    Terms terms;
    front::LimitAccount* account = nullptr;
    std::unique_ptr<front::LimitAccount> own;  // throttled, or without room among the shared ones
  };

  // A pair under its terms. Without an account it has no limits.
  struct Found {
    front::LimitAccount* account = nullptr;
    Terms terms;
  };

  explicit Limits(std::unique_ptr<front::LimitAccounts> accounts);

  Found Find(std::string_view caller, std::string_view endpoint);
  static void OpenBuckets(const Terms& terms, double now, front::LimitState* state);
  // All need the lock.
  void LookUp(std::string_view caller, std::string_view endpoint, Pair* pair);
  const LimitRule* RuleOf(std::string_view caller, std::string_view endpoint);
  const std::string& KeyOf(std::string_view caller, std::string_view endpoint);
  void Changed();

  const std::unique_ptr<front::LimitAccounts> accounts_;
  mutable std::mutex mutex_;
  std::atomic<bool> is_on_{false};
  std::uint64_t rules_number_ = 1;
  std::unordered_map<std::string, LimitRule> rules_, throttles_;
  std::unordered_map<std::string, Pair> pairs_;
  std::string key_;  // scratch
};

}  // namespace mainspring

#endif  // MAINSPRING_LIMITS_H_
