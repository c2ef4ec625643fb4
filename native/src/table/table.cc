#include "mainspring/table.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "log_writer.h"
#include "recovery.h"
#include "row_stager.h"
#include "sharing.h"
#include "snapshot.h"
#include "table_memory.h"
#include "table_reader.h"
#include "table_scan.h"
#include "table_writer.h"

namespace mainspring {
namespace {

constexpr std::uint64_t kMostRows = (std::uint64_t{1} << 31) - 1;

// A few milliseconds coarse, which a quarantine does not mind.
std::int64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

TableStatus Closed() {
  return Status{StatusCode::kClosed, -1, "a table must be open", false, 0, "open it again"};
}

Status CheckOptions(const TableOptions& options) {
  if (options.max_rows > 0 && options.max_rows <= kMostRows) return {};
  return {StatusCode::kBadSpec,
          -1,
          "`max_rows` must be 1 to 2^31 - 1",
          true,
          static_cast<double>(options.max_rows),
          "split the table"};
}

}  // namespace

struct OnlineTable::Impl final : LogWriter::Client {
  // Memory, and whoever reads it: what a reader of another process gives up when the writer starts anew.
  struct Mapped {
    std::unique_ptr<TableMemory> memory;
    TableReader reader;
    explicit Mapped(std::unique_ptr<TableMemory> from) : memory(std::move(from)), reader(memory.get()) {}
  };

  std::shared_ptr<const Mapped> mapped;  // of a follower: atomically
  TableSchema schema_;
  std::string directory, rows_path;
  TableOptions options;
  bool is_follower = false;
  mutable std::mutex follow_mutex;

  WriterLock lock;
  mutable std::mutex mutex;  // of all below, and of whoever changes the memory
  std::unique_ptr<TableWriter> writer;
  std::unique_ptr<RowStager> stager;
  std::unique_ptr<BatchEncoder> encoder;
  std::uint64_t ticket = 0, older_rows = 0, snapshots = 0;
  std::uint64_t log_bytes_before = 0;  // of logs that the newest snapshot does not know, but for the last
  std::uint64_t next_snapshot_bytes = 0;
  bool is_closed = false;
  std::mutex snapshot_mutex;  // before `mutex`
  std::unique_ptr<LogWriter> log;

  std::condition_variable keeper_wake;
  bool is_keeper_stopping = false, is_snapshot_due = false;
  std::thread keeper;

  const TableSchema& schema() const { return schema_; }

  ~Impl() override { (void)Stop(false); }

  void OnDurable(std::uint64_t version) override {
    writer->Commit(version, NowUs());
    if (is_snapshot_due || log_bytes_before + log->bytes() < next_snapshot_bytes) return;
    is_snapshot_due = true;
    keeper_wake.notify_one();
  }
  void OnFailed(std::uint64_t version) override { writer->UndoAfter(version); }

  TableStatus MakeMemory(const TableSchema& schema, std::uint64_t rows, const std::string& path,
                         Recovered* to) const {
    std::string detail;
    auto memory = std::make_unique<TableMemory>();
    Status status = TableMemory::Create(schema, options.max_rows, options.seed, path, memory.get(), &detail);
    if (!status.ok()) return {status, detail};
    auto made = std::make_unique<TableWriter>(memory.get(), options.quarantine_us);
    status = made->Prepare(std::min(std::max(options.rows, rows), options.max_rows));
    if (!status.ok()) return status;
    to->memory = std::move(memory);
    to->writer = std::move(made);
    return {};
  }

  void Take(Recovered* made) {
    writer = std::move(made->writer);
    stager = std::make_unique<RowStager>(made->memory.get());
    encoder = std::make_unique<BatchEncoder>(made->memory->layout);
    ticket = writer->begun();
    schema_ = made->memory->schema;
    mapped = std::make_shared<const Mapped>(std::move(made->memory));
  }

  // `stage(first, n)` gives n staged rows from row `first` on.
  template <typename Stage>
  TableStatus Apply(std::size_t n, const Stage& stage, UpsertResult* result) {
    writer->Begin(NowUs());
    if (log != nullptr) encoder->Clear();
    std::uint8_t is_kept[RowStager::kRows];
    for (std::size_t first = 0; first < n; first += RowStager::kRows) {
      const std::size_t size = std::min(RowStager::kRows, n - first);
      const StagedRow* const rows = stage(first, size);
      const Status status = writer->Put(rows, size, is_kept);
      if (!status.ok()) {
        writer->Undo();
        return status;
      }
      for (std::size_t i = 0; log != nullptr && i < size; ++i) {
        if (is_kept[i] != 0) encoder->Add(rows[i], writer->OutsideBytes(rows[i].body));
      }
    }
    result->n_changed = writer->n_changed();
    result->n_older = writer->n_older();
    older_rows += result->n_older;
    if (writer->is_empty()) {
      writer->Undo();
    } else {
      ticket = writer->begun();
      if (log != nullptr) {
        log->Append(encoder.get(), ticket);
      } else {
        writer->Commit(ticket, NowUs());
      }
    }
    result->ticket = ticket;
    return {};
  }

  TableStatus CheckWritable() {
    if (is_follower) {
      return {{StatusCode::kNotWritable, -1, "a table that is opened read-only takes no rows", false, 0,
               "write in the process that shares it"},
              "`" + directory + "`"};
    }
    return log == nullptr ? TableStatus() : log->WaitForRoom();
  }

  TableStatus Snapshot() {
    const std::lock_guard<std::mutex> one(snapshot_mutex);
    Moment moment;
    const std::uint64_t log_bytes_now = log->bytes();
    // Everything before the border is on disk and committed.
    TableStatus status = log->Rotate([&](std::uint64_t number, std::uint64_t first_sequence) {
      const TableHeader& header = *mapped->memory->header;
      moment = {header.committed, header.index, header.size, number, first_sequence};
      writer->Pin();
      log_bytes_before += log_bytes_now;
    });
    if (!status.ok()) return status;
    status = WriteSnapshot(directory, *mapped->memory, moment);
    if (status.ok()) status = RemoveTableFilesBefore(directory, moment.log_number);
    const std::lock_guard<std::mutex> lock(mutex);
    writer->Unpin();
    if (status.ok()) {
      ++snapshots;
      log_bytes_before = 0;
    }
    // Where it failed the logs stay, and as much again comes before the next try.
    next_snapshot_bytes = log_bytes_before + options.snapshot_log_bytes;
    return status;
  }

  // Makes snapshots when they are due.
  void Keep() {
    std::unique_lock<std::mutex> lock(mutex);
    for (;;) {
      keeper_wake.wait(lock, [this] { return is_keeper_stopping || is_snapshot_due; });
      if (is_keeper_stopping) return;
      lock.unlock();
      (void)Snapshot();
      lock.lock();
      is_snapshot_due = false;
    }
  }

  TableStatus Stop(bool is_clean) {
    if (writer == nullptr || log == nullptr) {
      const std::lock_guard<std::mutex> lock(mutex);
      is_closed = true;
      return {};
    }
    {
      const std::lock_guard<std::mutex> lock(mutex);
      if (is_closed) return {};
      is_closed = true;
      is_keeper_stopping = true;
    }
    keeper_wake.notify_all();
    if (keeper.joinable()) keeper.join();
    TableStatus status = log->Flush();
    if (is_clean && status.ok() && (log_bytes_before > 0 || log->HasRecords())) status = Snapshot();
    log->Stop();
    if (options.is_shared) {
      const TableStatus unshared = Publish(directory, options.memory_directory, "");
      if (status.ok()) status = unshared;
    }
    lock = WriterLock();
    return status;
  }

  // The rows to read now: those of the writer that lives, if there is one.
  std::shared_ptr<const Mapped> Followed() {
    std::shared_ptr<const Mapped> now = std::atomic_load(&mapped);
    if (Load(&now->memory->header->state) == static_cast<std::uint64_t>(TableState::kLive)) return now;
    std::unique_lock<std::mutex> only(follow_mutex, std::try_to_lock);
    std::string path, detail;
    if (!only.owns_lock() || !FindRows(directory, &path).ok() || path == rows_path) return now;
    auto memory = std::make_unique<TableMemory>();
    if (!TableMemory::Open(path, memory.get(), &detail).ok() || !(memory->schema == now->memory->schema))
      return now;
    rows_path = path;
    now = std::make_shared<const Mapped>(std::move(memory));
    std::atomic_store(&mapped, now);
    return now;
  }
};

OnlineTable::OnlineTable() = default;
OnlineTable::~OnlineTable() = default;
OnlineTable::OnlineTable(OnlineTable&&) noexcept = default;
OnlineTable& OnlineTable::operator=(OnlineTable&&) noexcept = default;

TableStatus OnlineTable::Create(const TableSchema& schema, const TableOptions& options, OnlineTable* table) {
  Status status = CheckTableSchema(schema);
  if (status.ok()) status = CheckOptions(options);
  if (!status.ok()) return status;
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  Recovered made;
  const TableStatus memory = impl->MakeMemory(schema, 0, "", &made);
  if (!memory.ok()) return memory;
  impl->Take(&made);
  table->impl_ = std::move(impl);
  return {};
}

TableStatus OnlineTable::Open(const std::string& directory, const TableSchema* schema,
                              const TableOptions& options, OnlineTable* table) {
  Status checked = schema != nullptr ? CheckTableSchema(*schema) : Status();
  if (checked.ok()) checked = CheckOptions(options);
  if (!checked.ok()) return checked;
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->directory = directory;
  TableStatus status = schema != nullptr ? MakeDirectory(directory) : TableStatus();
  if (status.ok()) status = impl->lock.Take(directory);
  TableFiles files;
  if (status.ok()) status = FindTableFiles(directory, &files);
  if (!status.ok()) return status;
  if (files.snapshots.empty()) {
    if (!files.logs.empty()) {
      return {{StatusCode::kCorrupt, -1, "a table's directory must have a snapshot beside its logs", false, 0,
               "restore the directory from a copy"},
              "`" + directory + "`"};
    }
    if (schema == nullptr) {
      return {
          {StatusCode::kIo, -1, "a directory must hold a table", false, 0, "give a schema to make one there"},
          "`" + directory + "`"};
    }
    Moment moment;
    moment.log_number = moment.first_sequence = 1;
    status = WriteEmptySnapshot(directory, *schema, moment);
    if (!status.ok()) return status;
    files.snapshots.push_back(1);
  }
  if (options.is_shared) impl->rows_path = NewRowsPath(directory, options.memory_directory);
  const auto make = [&impl](const TableSchema& found, std::uint64_t rows, Recovered* to) {
    if (!impl->rows_path.empty()) RemoveFile(impl->rows_path);
    return impl->MakeMemory(found, rows, impl->rows_path, to);
  };
  Recovered recovered;
  status = Recover(directory, files, schema, make, &recovered);
  if (status.ok()) {
    impl->log_bytes_before = recovered.log_bytes;
    impl->next_snapshot_bytes = options.snapshot_log_bytes;
    impl->log = std::make_unique<LogWriter>(
        directory, EncodeSchema(recovered.memory->schema),
        std::chrono::microseconds(std::max<std::int64_t>(options.group_us, 0)), &impl->mutex, impl.get());
    impl->Take(&recovered);
    status = impl->log->Start(recovered.next_log, recovered.next_sequence, impl->ticket);
  }
  if (status.ok()) status = Publish(directory, options.memory_directory, impl->rows_path);
  if (!status.ok()) {
    if (!impl->rows_path.empty()) RemoveFile(impl->rows_path);
    return status;
  }
  impl->keeper = std::thread([raw = impl.get()] { raw->Keep(); });
  table->impl_ = std::move(impl);
  return {};
}

TableStatus OnlineTable::OpenReader(const std::string& directory, OnlineTable* table) {
  auto impl = std::make_unique<Impl>();
  impl->directory = directory;
  impl->is_follower = true;
  TableStatus status;
  // A writer may start anew between the two steps.
  for (int attempt = 0; attempt < 3; ++attempt) {
    status = FindRows(directory, &impl->rows_path);
    if (!status.ok()) return status;
    auto memory = std::make_unique<TableMemory>();
    std::string detail;
    status = {TableMemory::Open(impl->rows_path, memory.get(), &detail), detail};
    if (!status.ok()) continue;
    impl->schema_ = memory->schema;
    impl->mapped = std::make_shared<const Impl::Mapped>(std::move(memory));
    table->impl_ = std::move(impl);
    return {};
  }
  return {status.status, "`" + impl->rows_path + "`: " + status.detail};
}

TableStatus OnlineTable::Upsert(const UpsertBatch& batch, UpsertResult* result) {
  *result = {};
  TableStatus status = impl_->CheckWritable();
  if (!status.ok()) return status;
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->is_closed) return Closed();
  RowStager* const stager = impl_->stager.get();
  std::size_t bytes;
  status = stager->Check(batch, &bytes);
  if (!status.ok() || batch.keys.n == 0) return status;
  return impl_->Apply(
      batch.keys.n, [&](std::size_t first, std::size_t n) { return stager->Stage(batch, first, n); }, result);
}

TableStatus OnlineTable::Delete(const KeyBatch& keys, UpsertResult* result) {
  *result = {};
  TableStatus status = impl_->CheckWritable();
  if (!status.ok()) return status;
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  if (impl_->is_closed) return Closed();
  RowStager* const stager = impl_->stager.get();
  std::size_t bytes;
  status = stager->CheckKeys(keys, &bytes);
  if (!status.ok() || keys.n == 0) return status;
  return impl_->Apply(
      keys.n, [&](std::size_t first, std::size_t n) { return stager->StageDeletions(keys, first, n); },
      result);
}

TableStatus OnlineTable::Wait(std::uint64_t ticket) {
  return impl_->log == nullptr ? TableStatus() : impl_->log->Wait(ticket);
}

TableStatus OnlineTable::Flush() { return impl_->log == nullptr ? TableStatus() : impl_->log->Flush(); }

TableStatus OnlineTable::Snapshot() {
  if (impl_->log == nullptr) {
    return Status{StatusCode::kNotWritable,
                  -1,
                  "a snapshot needs a table that is open for writing in a directory",
                  false,
                  0,
                  "open one with a directory"};
  }
  return impl_->Snapshot();
}

TableStatus OnlineTable::Close() { return impl_->Stop(true); }

Status OnlineTable::Select(const std::vector<std::uint32_t>& fields, FieldSelection* selection) const {
  const std::size_t n_fields = schema().fields.size();
  std::vector<char> is_taken(n_fields, 0);
  for (const std::uint32_t field : fields) {
    if (field >= n_fields || is_taken[field] != 0) {
      return {StatusCode::kBadSpec,
              -1,
              "fields to read must be in the schema, none twice",
              true,
              static_cast<double>(field),
              "correct the list"};
    }
    is_taken[field] = 1;
  }
  *selection = std::atomic_load(&impl_->mapped)->reader.Select(fields);
  return {};
}

void OnlineTable::Get(const FieldSelection& selection, const ReadBatch& batch,
                      ReadWorkspace* workspace) const {
  if (impl_->is_follower) {
    impl_->Followed()->reader.Get(selection, batch, workspace);
  } else {
    impl_->mapped->reader.Get(selection, batch, workspace);
  }
}

TableStatus OnlineTable::Scan(TableScan* scan) const {
  if (impl_->is_follower) {
    return Status{StatusCode::kNotWritable,
                  -1,
                  "a scan needs the process that writes the table",
                  false,
                  0,
                  "scan there, or read the keys that you know"};
  }
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  const TableHeader& header = *impl_->mapped->memory->header;
  impl_->writer->Pin();
  Impl* const impl = impl_.get();
  *scan = TableScan(
      std::make_unique<TableScan::Impl>(impl->mapped->memory.get(), header.committed, header.index, [impl] {
        const std::lock_guard<std::mutex> last(impl->mutex);
        impl->writer->Unpin();
      }));
  return {};
}

const TableSchema& OnlineTable::schema() const { return impl_->schema(); }

TableStats OnlineTable::Stats() const {
  TableStats stats;
  if (impl_->is_follower) {
    const auto now = std::atomic_load(&impl_->mapped);
    stats.rows = Load(&now->memory->header->size);
    stats.row_bytes = now->memory->layout.row_bytes;
    return stats;
  }
  const std::lock_guard<std::mutex> lock(impl_->mutex);
  stats = impl_->writer->Stats();
  stats.older_rows = impl_->older_rows;
  stats.snapshots = impl_->snapshots;
  if (impl_->log != nullptr) stats.log_bytes = impl_->log_bytes_before + impl_->log->bytes();
  return stats;
}

}  // namespace mainspring
