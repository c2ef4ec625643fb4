#include "sharing.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <random>
#include <vector>

namespace mainspring {
namespace {

constexpr const char* kShared = "shared";  // holds the path

// The same for every process that has the directory, whatever it calls it.
std::string RowsPrefix(const std::string& directory) {
  struct stat about{};
  if (stat(directory.c_str(), &about) != 0) about = {};
  char name[64];
  std::snprintf(name, sizeof(name), "mainspring-rows-%llx-%llx-",
                static_cast<unsigned long long>(about.st_dev), static_cast<unsigned long long>(about.st_ino));
  return name;
}

// Tells readers that nobody goes on writing there.
void End(const std::string& rows_path) {
  const File file(open(rows_path.c_str(), O_RDWR | O_CLOEXEC));
  struct stat about;
  if (!file.is_open() || fstat(file.fd(), &about) != 0) return;
  if (about.st_size < static_cast<off_t>(sizeof(TableHeader))) return;
  void* const base = mmap(nullptr, sizeof(TableHeader), PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0);
  if (base == MAP_FAILED) return;
  Store(&static_cast<TableHeader*>(base)->state, static_cast<std::uint64_t>(TableState::kClosed));
  munmap(base, sizeof(TableHeader));
}

}  // namespace

TableStatus WriterLock::Take(const std::string& directory) {
  const std::string path = directory + "/lock";
  File file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file.is_open()) return FileError(path);
  if (flock(file.fd(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FileError(path);
    return {{StatusCode::kBusy, -1, "one process writes a table", false, 0,
             "open it read-only, or close it there first"},
            "`" + path + "` is held by another"};
  }
  file_ = std::move(file);
  return {};
}

std::string NewRowsPath(const std::string& directory, const std::string& memory_directory) {
  std::random_device random;
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%08x%08x", random(), random());
  return (memory_directory.empty() ? directory : memory_directory) + "/" + RowsPrefix(directory) + digits;
}

TableStatus Publish(const std::string& directory, const std::string& memory_directory,
                    const std::string& rows_path) {
  std::string before;
  ReadSmallFile(directory + "/" + kShared, &before);
  if (rows_path.empty()) {
    RemoveFile(directory + "/" + kShared);
  } else {
    const TableStatus status = WriteWholeFile(directory, kShared, rows_path);
    if (!status.ok()) return status;
  }
  std::vector<std::string> old;
  if (!before.empty()) old.push_back(before);
  const std::string prefix = RowsPrefix(directory);
  for (const std::string& place : {directory, memory_directory}) {
    std::vector<std::string> names;
    if (place.empty() || !ListDirectory(place, &names).ok()) continue;
    for (const std::string& name : names) {
      if (name.compare(0, prefix.size(), prefix) == 0) old.push_back(place + "/" + name);
    }
  }
  for (const std::string& path : old) {
    if (path == rows_path) continue;
    End(path);
    RemoveFile(path);
  }
  return {};
}

TableStatus FindRows(const std::string& directory, std::string* rows_path) {
  if (ReadSmallFile(directory + "/" + kShared, rows_path) && !rows_path->empty()) return {};
  return {{StatusCode::kIo, -1, "a table must be shared by the process that writes it", false, 0,
           "open it there with `shared=True` first"},
          "`" + directory + "`"};
}

}  // namespace mainspring
