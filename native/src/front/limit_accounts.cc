#include "limit_accounts.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <utility>

#include "mainspring/hash.h"

namespace mainspring::front {
namespace {

constexpr char kMagic[8] = {'m', 's', 'l', 'i', 'm', 'i', 't', '1'};
constexpr std::uint32_t kSlots = 2 * kLimitAccounts;          // a power of two, so half of them stay empty
constexpr std::uint64_t kNameBytes = std::uint64_t{8} << 20;  // of all callers and endpoints together
constexpr std::uint64_t kSeed = 0x6C696D697473;

Status IoError(const char* expected) {
  return {StatusCode::kIo, -1, expected, true, static_cast<double>(errno), "see the error number"};
}

// Whoever had it and is no more has left it.
void Lock(pthread_mutex_t* mutex) {
  if (pthread_mutex_lock(mutex) == EOWNERDEAD) pthread_mutex_consistent(mutex);
}

class RobustLock {
 public:
  explicit RobustLock(pthread_mutex_t* mutex) : mutex_(mutex) { Lock(mutex_); }
  ~RobustLock() { pthread_mutex_unlock(mutex_); }
  RobustLock(const RobustLock&) = delete;
  RobustLock& operator=(const RobustLock&) = delete;

 private:
  pthread_mutex_t* const mutex_;
};

void BeginMutex(pthread_mutex_t* mutex) {
  pthread_mutexattr_t how;
  pthread_mutexattr_init(&how);
  pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(mutex, &how);
  pthread_mutexattr_destroy(&how);
}

}  // namespace

// Threads read their clocks before they have the lock: time may seem to go back a little.
void LimitBucket::Fill(double now) {
  if (now <= at) return;
  level = std::min(burst, level + (now - at) * rate);
  at = now;
}

void LimitBucket::Open(double new_rate, double new_burst, double now) {
  if (is_there) {
    Fill(now);
    level = std::min(new_burst, level);
  } else {
    level = new_burst;
    at = now;
  }
  rate = new_rate;
  burst = new_burst;
  is_there = true;
}

LimitAccount::LimitAccount() { BeginMutex(&mutex_); }

LimitAccount::Held::Held(LimitAccount* account) : account_(account) {
  Lock(&account_->mutex_);
  state = account_->states_[account_->current_.load(std::memory_order_relaxed)];
}

LimitAccount::Held::~Held() { pthread_mutex_unlock(&account_->mutex_); }

void LimitAccount::Held::Commit() {
  const std::uint32_t next = 1 - account_->current_.load(std::memory_order_relaxed);
  account_->states_[next] = state;
  account_->current_.store(next, std::memory_order_release);
}

// What lies at the beginning; then slots, accounts and names. A slot is 0, or 1 and the account's place.
struct LimitAccounts::Header {
  char magic[8];
  std::uint64_t n_bytes;
  pthread_mutex_t adding;
  std::atomic<std::uint32_t> n_accounts;
  std::uint64_t names_used;
  std::atomic<std::uint32_t> slots[kSlots];
  // Made one after the other: what nobody uses is never touched.
  alignas(64) unsigned char accounts[kLimitAccounts * sizeof(LimitAccount)];
  char names[kNameBytes];
};

void LimitAccounts::Begin(void* memory) {
  auto* const header = static_cast<Header*>(memory);  // all zero
  std::memcpy(header->magic, kMagic, sizeof kMagic);
  header->n_bytes = sizeof(Header);
  BeginMutex(&header->adding);
}

LimitAccounts::LimitAccounts(void* memory, bool is_shared)
    : header_(static_cast<Header*>(memory)), is_shared_(is_shared) {}

LimitAccounts::~LimitAccounts() { munmap(header_, sizeof(Header)); }

std::unique_ptr<LimitAccounts> LimitAccounts::Own() {
  void* const memory = mmap(nullptr, sizeof(Header), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  Begin(memory);
  return std::unique_ptr<LimitAccounts>(new LimitAccounts(memory, false));
}

// Under a name of this process, and then under the path, unless another was first.
Status LimitAccounts::Make(const std::string& path) {
  const std::string own = path + "." + std::to_string(getpid());
  const int fd = open(own.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return IoError("a file for limits");
  Status made;
  // All of it now: room that is missing later would be a signal in the middle of an answer.
  if (const int error = posix_fallocate(fd, 0, sizeof(Header)); error != 0) {
    errno = error;
    made = IoError("room for the limits' accounts");
  } else {
    void* const memory = mmap(nullptr, sizeof(Header), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
      made = IoError("memory of the limits' file");
    } else {
      Begin(memory);
      munmap(memory, sizeof(Header));
      if (link(own.c_str(), path.c_str()) != 0 && errno != EEXIST)
        made = IoError("a name for the limits' file");
    }
  }
  close(fd);
  unlink(own.c_str());
  return made;
}

Status LimitAccounts::Open(const std::string& path, std::unique_ptr<LimitAccounts>* accounts) {
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) {
    if (const Status made = Make(path); !made.ok()) return made;
    fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  }
  if (fd < 0) return IoError("the limits' file");
  struct stat found{};
  void* memory = MAP_FAILED;
  const bool is_whole = fstat(fd, &found) == 0 && static_cast<std::uint64_t>(found.st_size) == sizeof(Header);
  if (is_whole) memory = mmap(nullptr, sizeof(Header), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = errno;
  close(fd);
  if (is_whole && memory == MAP_FAILED) {
    errno = error;
    return IoError("memory of the limits' file");
  }
  const auto* const header = static_cast<const Header*>(memory);
  if (!is_whole || std::memcmp(header->magic, kMagic, sizeof kMagic) != 0 ||
      header->n_bytes != sizeof(Header)) {
    if (is_whole) munmap(memory, sizeof(Header));
    return {StatusCode::kCorrupt,
            -1,
            "a limits' file of this version",
            true,
            static_cast<double>(found.st_size),
            "remove it while nobody serves"};
  }
  accounts->reset(new LimitAccounts(memory, true));
  return {};
}

std::uint32_t LimitAccounts::Size() const { return header_->n_accounts.load(std::memory_order_acquire); }

LimitAccount* LimitAccounts::At(std::uint32_t i) const {
  return reinterpret_cast<LimitAccount*>(header_->accounts) + i;
}

std::string_view LimitAccounts::Caller(const LimitAccount& account) const {
  return {header_->names + account.names_at_, account.caller_size_};
}

std::string_view LimitAccounts::Endpoint(const LimitAccount& account) const {
  return {header_->names + account.names_at_ + account.caller_size_, account.endpoint_size_};
}

// nullptr, and the empty slot where it would be. At least half of the slots are empty.
LimitAccount* LimitAccounts::Seek(std::uint64_t hash, std::string_view caller, std::string_view endpoint,
                                  std::uint32_t* slot) const {
  for (*slot = static_cast<std::uint32_t>(hash) % kSlots;; *slot = (*slot + 1) % kSlots) {
    const std::uint32_t found = header_->slots[*slot].load(std::memory_order_acquire);
    if (found == 0) return nullptr;
    LimitAccount* const account = At(found - 1);
    if (account->hash_ == hash && Caller(*account) == caller && Endpoint(*account) == endpoint)
      return account;
  }
}

LimitAccount* LimitAccounts::Find(std::string_view caller, std::string_view endpoint) {
  const std::uint64_t hash =
      HashUtf8(endpoint.data(), endpoint.size(), HashUtf8(caller.data(), caller.size(), kSeed));
  std::uint32_t slot = 0;
  if (LimitAccount* const account = Seek(hash, caller, endpoint, &slot)) return account;
  const RobustLock lock(&header_->adding);
  if (LimitAccount* const account = Seek(hash, caller, endpoint, &slot)) return account;
  const std::uint32_t n = Size();
  const std::uint64_t used = header_->names_used, names = caller.size() + endpoint.size();
  if (n == kLimitAccounts || names > kNameBytes - used) return nullptr;
  auto* const account = new (header_->accounts + n * sizeof(LimitAccount)) LimitAccount();
  std::copy(caller.begin(), caller.end(), header_->names + used);
  std::copy(endpoint.begin(), endpoint.end(), header_->names + used + caller.size());
  account->hash_ = hash;
  account->names_at_ = used;
  account->caller_size_ = static_cast<std::uint32_t>(caller.size());
  account->endpoint_size_ = static_cast<std::uint32_t>(endpoint.size());
  // Taken before it is found: whoever ends in between wastes one, and nobody gets it twice.
  header_->names_used = used + names;
  header_->n_accounts.store(n + 1, std::memory_order_release);
  header_->slots[slot].store(n + 1, std::memory_order_release);
  return account;
}

}  // namespace mainspring::front
