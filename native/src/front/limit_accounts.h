// What callers have left, where every process that answers finds it: memory of this process, or a file that
// several map.
//
// A process may end at any instant, killed or not. An account's lock is then given on by the system, and its
// state is the one before or after a step, never half of one: states are two, and which of them counts is one
// store.

#ifndef MAINSPRING_SRC_FRONT_LIMIT_ACCOUNTS_H_
#define MAINSPRING_SRC_FRONT_LIMIT_ACCOUNTS_H_

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "mainspring/status.h"

namespace mainspring::front {

// Fills by `rate` a second up to `burst`. `level` below 0 is what was overdrawn.
struct LimitBucket {
  double rate = 0, burst = 0, level = 0, at = 0;
  bool is_there = false;

  void Fill(double now);
  // As a rule has it from now on. What was used up stays used up, and what filled up under the rule before
  // stays, too.
  void Open(double new_rate, double new_burst, double now);
};

// What one pair of caller and endpoint has left. It outlives the rules, so that a change refills nothing.
struct LimitState {
  LimitBucket requests, rows;
  std::int64_t day = 0, requests_today = 0, rows_today = 0;
  std::uint64_t refused = 0;
};

class LimitAccount {
 public:
  LimitAccount();

  // The state, while this exists; what Commit was not called for is as if it had not been. Waits for whoever
  // has it, unless that process is gone.
  class Held {
   public:
    explicit Held(LimitAccount* account);
    ~Held();
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    LimitState state;
    void Commit();

   private:
    LimitAccount* const account_;
  };

 private:
  friend class LimitAccounts;

  pthread_mutex_t mutex_;
  std::atomic<std::uint32_t> current_{0};  // which of the two counts
  std::uint32_t caller_size_ = 0, endpoint_size_ = 0;
  std::uint64_t names_at_ = 0, hash_ = 0;
  LimitState states_[2];
};

// So many pairs at most; Find gives more of them nothing.
inline constexpr std::uint32_t kLimitAccounts = std::uint32_t{1} << 16;

class LimitAccounts {
 public:
  // Of this process alone. Memory: of the accounts that there are. nullptr: the system gives none.
  static std::unique_ptr<LimitAccounts> Own();
  // Of all that open this path; made by the first of them, some 30 MB. kIo with the error's number, kCorrupt
  // for a file that is not one of this version.
  static Status Open(const std::string& path, std::unique_ptr<LimitAccounts>* accounts);
  ~LimitAccounts();
  LimitAccounts(const LimitAccounts&) = delete;
  LimitAccounts& operator=(const LimitAccounts&) = delete;

  bool is_shared() const { return is_shared_; }

  // The account of a pair, made if there is none; it stays where it is. nullptr: there is no more room.
  LimitAccount* Find(std::string_view caller, std::string_view endpoint);

  // Calls `each(caller, endpoint, account)`.
  template <typename Each>
  void ForEach(const Each& each) {
    const std::uint32_t n = Size();
    for (std::uint32_t i = 0; i < n; ++i) {
      LimitAccount* const account = At(i);
      each(Caller(*account), Endpoint(*account), account);
    }
  }

 private:
  struct Header;

  LimitAccounts(void* memory, bool is_shared);
  static Status Make(const std::string& path);
  static void Begin(void* memory);

  LimitAccount* Seek(std::uint64_t hash, std::string_view caller, std::string_view endpoint,
                     std::uint32_t* slot) const;
  std::uint32_t Size() const;
  LimitAccount* At(std::uint32_t i) const;
  std::string_view Caller(const LimitAccount& account) const;
  std::string_view Endpoint(const LimitAccount& account) const;

  Header* const header_;
  const bool is_shared_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_LIMIT_ACCOUNTS_H_
