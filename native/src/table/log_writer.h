// The log of a table: batches go in, a thread brings them to the disk in groups.

#ifndef MAINSPRING_SRC_TABLE_LOG_WRITER_H_
#define MAINSPRING_SRC_TABLE_LOG_WRITER_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "files.h"
#include "log_format.h"

namespace mainspring {

// Locks are taken in one order: the table's, then this one's.
class LogWriter {
 public:
  // Whose rows these are. Both are called by the log's thread, which holds the table's lock.
  class Client {
   public:
    virtual ~Client() = default;
    virtual void OnDurable(std::uint64_t version) = 0;  // batches up to it
    virtual void OnFailed(std::uint64_t version) = 0;   // batches after it will never be
  };

  LogWriter(std::string directory, std::string schema, std::chrono::microseconds group, std::mutex* table,
            Client* client);
  ~LogWriter();  // writes what is there

  // Begins log `number`; its thread runs from now on.
  // Versions up to `version` are on disk already.
  TableStatus Start(std::uint64_t number, std::uint64_t first_sequence, std::uint64_t version);

  // Waits until there is room for another batch. Without the table's lock.
  TableStatus WaitForRoom();

  // Queues a batch. With the table's lock.
  void Append(BatchEncoder* batch, std::uint64_t version);

  TableStatus Wait(std::uint64_t version);
  TableStatus Flush();

  // Begins the next log when all is on disk; `at_border` runs then, under both locks, with its number and
  // first sequence.
  TableStatus Rotate(const std::function<void(std::uint64_t, std::uint64_t)>& at_border);

  void Stop();

  bool HasRecords() const;

  // Bytes in this log, those waiting included.
  std::uint64_t bytes() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Failure {
    std::uint64_t first, last;
    TableStatus status;
  };
  struct Border {
    const std::function<void(std::uint64_t, std::uint64_t)>* act;
    bool is_done = false;
    TableStatus status;
  };

  void Run();
  void Bring(std::unique_lock<std::mutex>* lock, bool has_table_lock);
  TableStatus WriteGroup(const std::string& group, bool* is_lost);
  void Fail(const TableStatus& status, bool is_lost);
  void Turn();
  TableStatus Begin(std::uint64_t number, std::uint64_t first_sequence);

  const std::string directory_, schema_;
  const std::chrono::microseconds group_;
  std::mutex* const table_;
  Client* const client_;

  // The thread's own.
  File file_;
  std::string path_;
  std::uint64_t number_ = 0;
  std::uint64_t salt_ = 0;
  std::string written_;  // its memory is used again

  mutable std::mutex mutex_;  // of all below
  std::condition_variable wake_, done_;
  std::string pending_;
  Clock::time_point pending_since_;
  bool is_hurried_ = false, is_stopping_ = false;
  std::uint64_t offset_ = 0;  // on disk
  std::uint64_t next_sequence_ = 0, durable_sequence_ = 0, first_sequence_ = 0;
  std::uint64_t last_version_ = 0, durable_version_ = 0;
  std::vector<Failure> failures_;
  TableStatus untold_, broken_;
  Border* border_ = nullptr;
  std::thread thread_;
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_LOG_WRITER_H_
