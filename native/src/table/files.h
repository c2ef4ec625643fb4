// Files as a table needs them: whole writes, syncs, names that appear at once or not at all.

#ifndef MAINSPRING_SRC_TABLE_FILES_H_
#define MAINSPRING_SRC_TABLE_FILES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "mainspring/table.h"

namespace mainspring {

// An open file, closed at the end.
class File {
 public:
  File() = default;
  explicit File(int fd) : fd_(fd) {}
  ~File() { Close(); }
  File(File&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  File& operator=(File&& other) noexcept;
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void Close();

 private:
  int fd_ = -1;
};

// A file's bytes, read-only.
class MappedFile {
 public:
  MappedFile() = default;
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  TableStatus Open(const std::string& path);
  const char* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  const char* data_ = nullptr;
  std::size_t size_ = 0;
};

// kFull where the disk is, else kIo, with the system's words for `errno`.
TableStatus FileError(const std::string& path);

TableStatus WriteAll(int fd, const char* data, std::size_t size, const std::string& path);
TableStatus SyncData(int fd, const std::string& path);
TableStatus SyncDirectory(const std::string& directory);
// For tests: lets so many syncs pass, then one fails as a broken disk does. -1: none fails.
void FailSyncAfter(int n);

TableStatus MakeDirectory(const std::string& directory);
// The names in it.
TableStatus ListDirectory(const std::string& directory, std::vector<std::string>* names);
// The file is there with all its bytes, or not at all.
TableStatus WriteWholeFile(const std::string& directory, const std::string& name, const std::string& bytes);
bool ReadSmallFile(const std::string& path, std::string* bytes);
void RemoveFile(const std::string& path);

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_FILES_H_
