// The table on disk: what is acknowledged comes back, damage is told, a torn end is cut off.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../src/table/crc32c.h"
#include "../src/table/files.h"
#include "../src/table/log_format.h"
#include "../src/table/recovery.h"
#include "table_testing.h"

namespace mainspring {
namespace {

constexpr std::int64_t kNow = 1 << 30;

class TableStore : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = testing::TempDir() + "table.XXXXXX";
    ASSERT_NE(mkdtemp(path.data()), nullptr);
    root_ = path;
    directory_ = root_ + "/t";
    options_.max_rows = 1 << 20;
  }
  void TearDown() override {
    FailSyncAfter(-1);
    const int rc = std::system(("rm -rf '" + root_ + "'").c_str());
    EXPECT_EQ(rc, 0);
  }

  TableStatus Open(OnlineTable* table, const TableSchema* schema = nullptr) {
    return OnlineTable::Open(directory_, schema, options_, table);
  }
  void OpenFloats(OnlineTable* table) {
    const TableSchema schema = FloatSchema(3);
    const TableStatus status = Open(table, &schema);
    ASSERT_TRUE(status.ok()) << status.status.expected << " " << status.detail;
  }

  std::string Newest(FileKind kind) {
    TableFiles files;
    EXPECT_TRUE(FindTableFiles(directory_, &files).ok());
    const auto& numbers = kind == FileKind::kLog ? files.logs : files.snapshots;
    return directory_ + "/" + FileName(kind, numbers.back());
  }

  // A directory like this one at this moment, as after a crash.
  std::string Copied(const std::string& name) {
    const std::string to = root_ + "/" + name;
    EXPECT_EQ(std::system(("rm -rf '" + to + "' && cp -r '" + directory_ + "' '" + to + "'").c_str()), 0);
    return to;
  }

  std::string root_, directory_;
  TableOptions options_;
};

std::string ReadBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}
void WriteBytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

TEST(Crc32c, KnownAnswersAndBothWaysAgree) {
  EXPECT_EQ(Crc32c("123456789", 9, 0), 0xE3069283u);
  EXPECT_EQ(PlainCrc32c("123456789", 9, 0), 0xE3069283u);
  std::string bytes(1000, '\0');
  std::mt19937 random(1);
  for (char& c : bytes) c = static_cast<char>(random());
  for (std::size_t size = 0; size < 100; ++size) {
    EXPECT_EQ(Crc32c(bytes.data() + 1, size, 7), PlainCrc32c(bytes.data() + 1, size, 7));
    EXPECT_EQ(Crc32c(bytes.data() + size, 900, Crc32c(bytes.data(), size, 0)),
              Crc32c(bytes.data(), size + 900, 0));
  }
}

TEST_F(TableStore, ComesBackFromLogAndFromSnapshot) {
  for (const bool is_clean : {false, true}) {
    OnlineTable table;
    OpenFloats(&table);
    for (int i = 0; i < 1000; ++i) PutFloats(&table, i, 10 + i, 0, static_cast<float>(i));
    DeleteInt(&table, 5);
    ASSERT_TRUE(table.Flush().ok());
    const TableStatus closed = is_clean ? table.Close() : TableStatus();
    ASSERT_TRUE(closed.ok());
    table = OnlineTable();
    OpenFloats(&table);
    EXPECT_EQ(table.Stats().rows, 999u);
    for (int i = 0; i < 1000; ++i) {
      if (i == 5) {
        EXPECT_TRUE(std::isnan(GetFloat(table, i, kNow)));
      } else {
        EXPECT_EQ(GetFloat(table, i, kNow), static_cast<float>(i));
      }
    }
    // An older row is still older.
    EXPECT_EQ(PutFloats(&table, 7, 3, 0, -1.0f).n_older, 1u);
  }
}

TEST_F(TableStore, OpeningAndClosingWritesNothingAnew) {
  OnlineTable table;
  OpenFloats(&table);
  for (int i = 0; i < 100; ++i) PutFloats(&table, i, 10, 0, static_cast<float>(i));
  ASSERT_TRUE(table.Close().ok());
  const std::string snapshot = Newest(FileKind::kSnapshot);
  const std::string bytes = ReadBytes(snapshot);
  struct stat before{}, after{};
  ASSERT_EQ(stat(snapshot.c_str(), &before), 0);
  for (int i = 0; i < 3; ++i) {
    table = OnlineTable();
    OpenFloats(&table);
    EXPECT_EQ(table.Stats().rows, 100u);
    // Killed or closed.
    const TableStatus closed = i % 2 == 0 ? table.Close() : TableStatus();
    ASSERT_TRUE(closed.ok());
  }
  ASSERT_EQ(stat(snapshot.c_str(), &after), 0);
  EXPECT_EQ(after.st_ino, before.st_ino);
  EXPECT_EQ(ReadBytes(snapshot), bytes);
  TableFiles files;
  ASSERT_TRUE(FindTableFiles(directory_, &files).ok());
  EXPECT_EQ(files.snapshots.size(), 1u);
  EXPECT_EQ(files.logs.size(), 1u);
  // And a row that comes then is there the next time.
  table = OnlineTable();
  OpenFloats(&table);
  PutFloats(&table, 7, 20, 0, 5.0f);
  ASSERT_TRUE(table.Flush().ok());
  table = OnlineTable();
  OpenFloats(&table);
  EXPECT_EQ(GetFloat(table, 7, kNow), 5.0f);
}

TEST_F(TableStore, VisibleOnceOnDisk) {
  options_.group_us = 3'600'000'000;
  OnlineTable table;
  OpenFloats(&table);
  const UpsertResult result = PutFloats(&table, 1, 1, 1, 1.0f);
  EXPECT_TRUE(std::isnan(GetFloat(table, 1, kNow)));
  EXPECT_TRUE(table.Wait(result.ticket).ok());
  EXPECT_EQ(GetFloat(table, 1, kNow), 1.0f);
}

TEST_F(TableStore, StringsComeBack) {
  const TableSchema schema = StringSchema();
  OnlineTable table;
  ASSERT_TRUE(Open(&table, &schema).ok());
  for (std::size_t i = 0; i < 300; ++i) {
    ASSERT_TRUE(PutString(&table, "key" + std::to_string(i), 1, std::string(i * 7, 'x')).ok());
  }
  ASSERT_TRUE(table.Close().ok());
  table = OnlineTable();
  ASSERT_TRUE(Open(&table).ok());
  for (std::size_t i = 0; i < 300; ++i) {
    std::string got;
    EXPECT_EQ(GetString(table, "key" + std::to_string(i), kNow, &got), RowStatus::kPresent);
    EXPECT_EQ(got, std::string(i * 7, 'x'));
  }
}

TEST_F(TableStore, OneWriterAndTheSameSchema) {
  OnlineTable table, other;
  OpenFloats(&table);
  const TableSchema schema = FloatSchema(4), same = FloatSchema(3);
  EXPECT_EQ(Open(&other, &same).status.code, StatusCode::kBusy);
  table = OnlineTable();
  EXPECT_EQ(Open(&other, &schema).status.code, StatusCode::kBadSpec);
  EXPECT_TRUE(Open(&other, nullptr).ok());
  directory_ = root_ + "/nothing";
  EXPECT_EQ(Open(&table, nullptr).status.code, StatusCode::kIo);
  ASSERT_EQ(mkdir(directory_.c_str(), 0755), 0);
  EXPECT_EQ(Open(&table, nullptr).status.code, StatusCode::kIo);
}

TEST_F(TableStore, SnapshotsByThemselvesWhileRowsComeAndOldFilesGo) {
  options_.snapshot_log_bytes = 100'000;
  OnlineTable table;
  OpenFloats(&table);
  for (int i = 0; i < 20'000; ++i) PutFloats(&table, i % 3000, i, 0, static_cast<float>(i));
  ASSERT_TRUE(table.Flush().ok());
  ASSERT_TRUE(table.Snapshot().ok());
  EXPECT_GT(table.Stats().snapshots, 0u);
  for (int i = 0; i < 100; ++i) PutFloats(&table, i, 1 << 20, 0, 0.5f);
  ASSERT_TRUE(table.Flush().ok());
  TableFiles files;
  ASSERT_TRUE(FindTableFiles(directory_, &files).ok());
  EXPECT_EQ(files.snapshots.size(), 1u);
  directory_ = Copied("crash");
  OnlineTable again;
  OpenFloats(&again);
  EXPECT_EQ(again.Stats().rows, 3000u);
  EXPECT_EQ(GetFloat(again, 50, kNow), 0.5f);
  EXPECT_EQ(GetFloat(again, 150, kNow), 18150.0f);
}

// Cut anywhere, the log gives back exactly the batches that lie before the cut.
TEST_F(TableStore, ALogThatIsCutGivesBackWhatIsWhole) {
  OnlineTable table;
  OpenFloats(&table);
  std::vector<std::size_t> ends;
  struct stat about;
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(table.Wait(PutFloats(&table, i, 1, 1, 1.0f).ticket).ok());
    ASSERT_EQ(stat(Newest(FileKind::kLog).c_str(), &about), 0);
    ends.push_back(static_cast<std::size_t>(about.st_size));
  }
  const std::string log = Newest(FileKind::kLog), bytes = ReadBytes(log);
  const std::string original = directory_;
  std::mt19937 random(11);
  const std::size_t begin = ends[0] - (ends[1] - ends[0]);
  for (int round = 0; round < 60; ++round) {
    const std::size_t cut = begin + random() % (bytes.size() - begin + 1);
    directory_ = original;
    directory_ = Copied("cut");
    WriteBytes(Newest(FileKind::kLog), bytes.substr(0, cut));
    const auto whole = std::upper_bound(ends.begin(), ends.end(), cut) - ends.begin();
    OnlineTable again;
    OpenFloats(&again);
    ASSERT_EQ(again.Stats().rows, static_cast<std::uint64_t>(whole)) << cut;
    // It goes on from there, and what comes then is not lost either.
    ASSERT_TRUE(again.Wait(PutFloats(&again, 1000, 1, 1, 1.0f).ticket).ok());
    again = OnlineTable();
    OpenFloats(&again);
    ASSERT_EQ(again.Stats().rows, static_cast<std::uint64_t>(whole) + 1);
  }
}

// A changed byte is told with its file and place, except in the last group, which may never have been whole.
TEST_F(TableStore, AChangedByteIsFound) {
  OnlineTable table;
  OpenFloats(&table);
  struct stat about;
  std::size_t last = 0;
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(stat(Newest(FileKind::kLog).c_str(), &about), 0);
    last = static_cast<std::size_t>(about.st_size);
    ASSERT_TRUE(table.Wait(PutFloats(&table, i, 1, 1, 1.0f).ticket).ok());
  }
  ASSERT_TRUE(table.Snapshot().ok());
  for (int i = 20; i < 40; ++i) ASSERT_TRUE(table.Wait(PutFloats(&table, i, 1, 1, 1.0f).ticket).ok());
  const std::string original = directory_;
  std::mt19937 random(13);
  for (const FileKind kind : {FileKind::kLog, FileKind::kSnapshot}) {
    directory_ = original;
    const std::string bytes = ReadBytes(Newest(kind));
    for (int round = 0; round < 60; ++round) {
      const std::size_t at = random() % bytes.size();
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ (1 << random() % 8));
      directory_ = original;
      directory_ = Copied("flip");
      const std::string path = Newest(kind);
      WriteBytes(path, changed);
      OnlineTable again;
      const TableStatus status = Open(&again);
      if (status.ok()) {
        // Padding of the header, or the end.
        const bool is_end = kind == FileKind::kLog && at >= last;
        ASSERT_TRUE(is_end || again.Stats().rows == 40) << at;
        ASSERT_GE(again.Stats().rows, 39u);
      } else {
        ASSERT_EQ(status.status.code, StatusCode::kCorrupt);
        ASSERT_NE(status.detail.find(path), std::string::npos) << status.detail;
        ASSERT_NE(status.detail.find("at byte"), std::string::npos) << status.detail;
      }
    }
  }
}

// A power cut may leave a later part of a group and lose an earlier one: nobody was told of either.
TEST_F(TableStore, AHoleInTheLastGroupIsATornEnd) {
  options_.group_us = 3'600'000'000;
  OnlineTable table;
  OpenFloats(&table);
  ASSERT_TRUE(table.Wait(PutFloats(&table, 1, 1, 1, 1.0f).ticket).ok());
  struct stat about;
  ASSERT_EQ(stat(Newest(FileKind::kLog).c_str(), &about), 0);
  for (int i = 0; i < 20; ++i) PutFloats(&table, 100 + i, 1, 1, 1.0f);
  ASSERT_TRUE(table.Flush().ok());
  directory_ = Copied("hole");
  std::string bytes = ReadBytes(Newest(FileKind::kLog));
  std::fill_n(bytes.begin() + about.st_size, 100, '\0');
  WriteBytes(Newest(FileKind::kLog), bytes);
  OnlineTable again;
  OpenFloats(&again);
  EXPECT_EQ(again.Stats().rows, 1u);
}

TEST_F(TableStore, AMissingFileIsTold) {
  OnlineTable table;
  OpenFloats(&table);
  PutFloats(&table, 1, 1, 1, 1.0f);
  table = OnlineTable();
  OpenFloats(&table);
  PutFloats(&table, 2, 1, 1, 1.0f);
  table = OnlineTable();
  RemoveFile(directory_ + "/" + FileName(FileKind::kLog, 1));
  const TableStatus status = Open(&table);
  EXPECT_EQ(status.status.code, StatusCode::kCorrupt);
  EXPECT_NE(status.detail.find(FileName(FileKind::kLog, 1)), std::string::npos);
  RemoveFile(directory_ + "/" + FileName(FileKind::kSnapshot, 1));
  EXPECT_EQ(Open(&table).status.code, StatusCode::kCorrupt);
}

TEST_F(TableStore, AFailedSyncAcknowledgesNothingAndStopsTheWriter) {
  OnlineTable table;
  OpenFloats(&table);
  ASSERT_TRUE(table.Wait(PutFloats(&table, 1, 1, 1, 1.0f).ticket).ok());
  FailSyncAfter(0);
  const UpsertResult lost = PutFloats(&table, 1, 2, 1, 2.0f);
  EXPECT_EQ(table.Wait(lost.ticket).status.code, StatusCode::kIo);
  EXPECT_EQ(GetFloat(table, 1, kNow), 1.0f);
  UpsertResult result;
  EXPECT_EQ(Put(&table, {2}, {1}, {1.0f}, &result).status.code, StatusCode::kIo);
  table = OnlineTable();
  OpenFloats(&table);
  EXPECT_EQ(GetFloat(table, 1, kNow), 1.0f);
  EXPECT_EQ(table.Stats().rows, 1u);
}

TEST_F(TableStore, AnErrorNobodyWaitedForIsToldByFlushOnce) {
  OnlineTable table;
  OpenFloats(&table);
  options_.group_us = 0;
  FailSyncAfter(0);
  const UpsertResult lost = PutFloats(&table, 1, 2, 1, 2.0f);
  EXPECT_EQ(table.Flush().status.code, StatusCode::kIo);
  EXPECT_EQ(table.Wait(lost.ticket).status.code, StatusCode::kIo);
}

TEST_F(TableStore, ReadersFollowGrowthAndTheNextWriter) {
  options_.is_shared = true;
  OnlineTable table, reader;
  EXPECT_EQ(OnlineTable::OpenReader(directory_, &reader).status.code, StatusCode::kIo);
  OpenFloats(&table);
  ASSERT_TRUE(OnlineTable::OpenReader(directory_, &reader).ok());
  for (int i = 0; i < 5000; ++i) PutFloats(&table, i, 1, 1, static_cast<float>(i));
  ASSERT_TRUE(table.Flush().ok());
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(GetFloat(reader, i, kNow), static_cast<float>(i));
  UpsertResult result;
  EXPECT_EQ(Put(&reader, {2}, {1}, {1.0f}, &result).status.code, StatusCode::kNotWritable);
  EXPECT_EQ(reader.Snapshot().status.code, StatusCode::kNotWritable);
  ASSERT_TRUE(table.Close().ok());
  table = OnlineTable();
  EXPECT_EQ(GetFloat(reader, 9, kNow), 9.0f);  // what it has, it keeps
  OpenFloats(&table);
  ASSERT_TRUE(table.Wait(PutFloats(&table, 9, 2, 2, 0.5f).ticket).ok());
  EXPECT_EQ(GetFloat(reader, 9, kNow), 0.5f);
  EXPECT_EQ(reader.Stats().rows, 5000u);
}

TEST_F(TableStore, ReadersSeeWholeBatchesWhileSnapshotsAreMade) {
  options_.snapshot_log_bytes = 200'000;
  options_.group_us = 500;
  options_.quarantine_us = 5000;
  options_.is_shared = true;
  OnlineTable table, reader;
  OpenFloats(&table);
  ASSERT_TRUE(OnlineTable::OpenReader(directory_, &reader).ok());
  std::vector<std::int64_t> keys(100), times(100);
  for (std::size_t i = 0; i < 100; ++i) keys[i] = static_cast<std::int64_t>(i);
  UpsertResult result;
  ASSERT_TRUE(Put(&table, keys, times, std::vector<float>(100), &result).ok());
  ASSERT_TRUE(table.Flush().ok());
  std::atomic<bool> is_done{false};
  std::thread watcher([&] {
    const KeyColumn column{keys.data(), nullptr, nullptr};
    FieldSelection selection;
    ASSERT_TRUE(reader.Select({0, 1, 2}, &selection).ok());
    std::vector<float> matrix(300);
    std::vector<std::uint8_t> status(100);
    std::vector<std::int64_t> events(100);
    ReadWorkspace workspace;
    ReadBatch batch;
    batch.keys = {&column, nullptr, 100};
    batch.now_us = kNow;
    batch.matrix = matrix.data();
    batch.status = status.data();
    batch.event_us = events.data();
    while (!is_done) {
      reader.Get(selection, batch, &workspace);
      for (const float x : matrix) ASSERT_EQ(x, matrix[0]);
    }
  });
  for (int round = 1; round < 400 || (table.Stats().snapshots < 2 && round < 1'000'000); ++round) {
    std::fill(times.begin(), times.end(), round);
    const TableStatus status =
        Put(&table, keys, times, std::vector<float>(100, static_cast<float>(round)), &result);
    EXPECT_TRUE(status.ok()) << status.status.expected << " " << status.detail << " in round " << round;
    if (!status.ok()) break;
    const TableStatus waited = round % 16 == 0 ? table.Wait(result.ticket) : TableStatus();
    EXPECT_TRUE(waited.ok());
  }
  EXPECT_TRUE(table.Flush().ok());
  is_done = true;
  watcher.join();
  EXPECT_GT(table.Stats().snapshots, 0u);
}

TEST_F(TableStore, ABatchOfManyRecordsIsOneBatch) {
  OnlineTable table;
  OpenFloats(&table);
  constexpr std::size_t kRows = 60'000;
  std::vector<std::int64_t> keys(kRows), times(kRows, 1);
  for (std::size_t i = 0; i < kRows; ++i) keys[i] = static_cast<std::int64_t>(i);
  UpsertResult result;
  ASSERT_TRUE(Put(&table, keys, times, std::vector<float>(kRows, 1.0f), &result).ok());
  ASSERT_TRUE(table.Wait(result.ticket).ok());
  directory_ = Copied("cut");
  const std::string log = Newest(FileKind::kLog), bytes = ReadBytes(log);
  ASSERT_GT(bytes.size(), 2 * BatchEncoder::kRecordBytes);
  WriteBytes(log, bytes.substr(0, bytes.size() - 8));
  OnlineTable again;
  OpenFloats(&again);
  EXPECT_EQ(again.Stats().rows, 0u);
}

// Bytes of any kind, with sums that are right and without: refused or read, never beyond the end.
TEST(TableFormat, DecodersSurviveAnything) {
  std::mt19937 random(5);
  const TableSchema schema = StringSchema();
  const RowLayout layout = LayOut(schema);
  const std::string encoded = EncodeSchema(schema);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 3 == 0 ? random() : 0);
    FileHeader header;
    std::string text;
    TableSchema decoded;
    RecordHeader record{};
    (void)DecodeFileHeader(FileKind::kLog, bytes.data(), bytes.size(), &header, &text);
    (void)DecodeSchema(bytes.data(), bytes.size(), &decoded);
    std::string damaged = encoded;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    damaged.resize(random() % 2 == 0 ? damaged.size() : random() % damaged.size());
    (void)DecodeSchema(damaged.data(), damaged.size(), &decoded);
    (void)ReadRecord(bytes.data(), bytes.size(), bytes.size() / 16 * 8, 0, &record);
    // As if the sum were right.
    std::vector<std::uint64_t> payload(random() % 40);
    for (std::uint64_t& word : payload) word = random() % 4;
    record.bytes = payload.size() * 8;
    record.rows = random() % 5;
    std::vector<StagedRow> rows;
    const bool is_good =
        DecodeRows(schema, layout, reinterpret_cast<const char*>(payload.data()), record, &rows);
    ASSERT_TRUE(!is_good || rows.size() == record.rows);
  }
}

}  // namespace
}  // namespace mainspring
