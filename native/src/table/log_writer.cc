#include "log_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <random>
#include <utility>

namespace mainspring {
namespace {

// Waiting for the disk: from here on a group begins at once, and from there on upserts wait.
constexpr std::size_t kGroupBytes = std::size_t{8} << 20, kRoomBytes = std::size_t{64} << 20;

TableStatus Stopped() {
  return Status{StatusCode::kClosed, -1, "a table must be open", false, 0, "open it again"};
}

}  // namespace

LogWriter::LogWriter(std::string directory, std::string schema, std::chrono::microseconds group,
                     std::mutex* table, Client* client)
    : directory_(std::move(directory)),
      schema_(std::move(schema)),
      group_(group),
      table_(table),
      client_(client) {}

LogWriter::~LogWriter() { Stop(); }

void LogWriter::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    is_stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

TableStatus LogWriter::Begin(std::uint64_t number, std::uint64_t first_sequence) {
  std::random_device random;
  FileHeader header;
  header.number = number;
  header.first_sequence = first_sequence;
  header.salt = std::uint64_t{random()} << 32 | random();
  const std::string name = FileName(FileKind::kLog, number);
  const std::string bytes = EncodeFileHeader(FileKind::kLog, header, schema_);
  const std::string path = directory_ + "/" + name;
  TableStatus status = WriteWholeFile(directory_, name, bytes);
  File file;
  if (status.ok()) {
    file = File(open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (!file.is_open()) status = FileError(path);
  }
  if (!status.ok()) {
    // The log before this one goes on: a recovery must not find a successor that begins too early.
    RemoveFile(path);
    return status;
  }
  file_ = std::move(file);
  path_ = path;
  number_ = number;
  salt_ = header.salt;
  offset_ = bytes.size();
  first_sequence_ = next_sequence_ = durable_sequence_ = first_sequence;
  return {};
}

TableStatus LogWriter::Start(std::uint64_t number, std::uint64_t first_sequence, std::uint64_t version) {
  last_version_ = durable_version_ = version;
  const TableStatus status = Begin(number, first_sequence);
  if (status.ok()) thread_ = std::thread([this] { Run(); });
  return status;
}

TableStatus LogWriter::WaitForRoom() {
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return pending_.size() < kRoomBytes || is_stopping_ || !broken_.ok(); });
  if (!broken_.ok()) return broken_;
  return is_stopping_ ? Stopped() : TableStatus();
}

void LogWriter::Append(BatchEncoder* batch, std::uint64_t version) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (pending_.empty()) pending_since_ = Clock::now();
    next_sequence_ += batch->Seal(next_sequence_, salt_, pending_.empty());
    pending_ += batch->bytes();
    last_version_ = version;
  }
  wake_.notify_one();
}

TableStatus LogWriter::Wait(std::uint64_t version) {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto failure = [this, version]() -> const Failure* {
    for (const Failure& one : failures_) {
      if (one.first <= version && version <= one.last) return &one;
    }
    return nullptr;
  };
  const auto is_known = [this, version, &failure] {
    return failure() != nullptr || durable_version_ >= version || version > last_version_;
  };
  if (!is_known()) {
    is_hurried_ = true;
    wake_.notify_one();
    done_.wait(lock, is_known);
  }
  const Failure* const found = failure();
  if (found == nullptr) return {};
  untold_ = {};
  return found->status;
}

TableStatus LogWriter::Flush() {
  std::uint64_t last;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    last = last_version_;
  }
  const TableStatus status = Wait(last);
  const std::lock_guard<std::mutex> lock(mutex_);
  TableStatus untold = std::exchange(untold_, {});
  return status.ok() ? untold : status;
}

TableStatus LogWriter::Rotate(const std::function<void(std::uint64_t, std::uint64_t)>& at_border) {
  Border border{&at_border, false, {}};
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [this] { return border_ == nullptr || is_stopping_; });
  if (is_stopping_) return Stopped();
  if (!broken_.ok()) return broken_;
  border_ = &border;
  wake_.notify_one();
  done_.wait(lock, [&border] { return border.is_done; });
  return border.status;
}

bool LogWriter::HasRecords() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return next_sequence_ > first_sequence_;
}

std::uint64_t LogWriter::bytes() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return offset_ + pending_.size();
}

void LogWriter::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    const auto has_work = [this] { return is_stopping_ || border_ != nullptr || !pending_.empty(); };
    wake_.wait(lock, has_work);
    if (!pending_.empty()) {
      wake_.wait_until(lock, pending_since_ + group_, [this] {
        return is_stopping_ || is_hurried_ || border_ != nullptr || pending_.size() >= kGroupBytes;
      });
      is_hurried_ = false;
      Bring(&lock, false);
      continue;
    }
    if (border_ != nullptr) {
      lock.unlock();
      Turn();
      lock.lock();
      done_.notify_all();
      continue;
    }
    return;
  }
}

// What waits, to the disk. `lock` is ours, and given up meanwhile.
void LogWriter::Bring(std::unique_lock<std::mutex>* lock, bool has_table_lock) {
  std::string group = std::move(written_);
  group.clear();
  group.swap(pending_);
  const std::uint64_t version = last_version_, sequence = next_sequence_;
  done_.notify_all();  // there is room
  lock->unlock();
  bool is_lost = false;
  const TableStatus status = WriteGroup(group, &is_lost);
  {
    std::unique_lock<std::mutex> table_lock(*table_, std::defer_lock);
    if (!has_table_lock) table_lock.lock();
    if (status.ok()) {
      client_->OnDurable(version);
    } else {
      Fail(status, is_lost);
    }
  }
  lock->lock();
  if (status.ok()) {
    offset_ += group.size();
    durable_version_ = version;
    durable_sequence_ = sequence;
  }
  if (group.capacity() <= kRoomBytes) written_ = std::move(group);
  done_.notify_all();
}

// `is_lost`: nobody knows what is on disk now.
TableStatus LogWriter::WriteGroup(const std::string& group, bool* is_lost) {
  TableStatus status = WriteAll(file_.fd(), group.data(), group.size(), path_);
  if (!status.ok()) return status;
  status = SyncData(file_.fd(), path_);
  // After a failed sync the kernel may call the same pages clean: a second one that succeeds proves nothing.
  *is_lost = !status.ok();
  return status;
}

// With the table's lock.
void LogWriter::Fail(const TableStatus& status, bool is_lost) {
  const std::lock_guard<std::mutex> lock(mutex_);
  // What came meanwhile rests on what failed.
  pending_.clear();
  failures_.push_back({durable_version_ + 1, last_version_, status});
  untold_ = status;
  next_sequence_ = durable_sequence_;
  client_->OnFailed(durable_version_);
  const bool is_cut = ftruncate(file_.fd(), static_cast<off_t>(offset_)) == 0;
  if (is_lost || !is_cut) broken_ = status;
}

// From one log to the next. The table's lock keeps others from adding to what waits, or this might never
// come.
void LogWriter::Turn() {
  const std::lock_guard<std::mutex> table_lock(*table_);
  std::unique_lock<std::mutex> lock(mutex_);
  if (!pending_.empty()) Bring(&lock, true);
  Border* const border = std::exchange(border_, nullptr);
  border->status = broken_.ok() ? Begin(number_ + 1, next_sequence_) : broken_;
  if (border->status.ok()) (*border->act)(number_, next_sequence_);
  border->is_done = true;
}

}  // namespace mainspring
