#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

namespace mainspring {
namespace {

std::atomic<int> syncs_to_failure{-1};

}  // namespace

void FailSyncAfter(int n) { syncs_to_failure = n; }

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = other.fd_;
    other.fd_ = -1;
  }
  return *this;
}

void File::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

TableStatus MappedFile::Open(const std::string& path) {
  const File file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat about;
  if (!file.is_open() || fstat(file.fd(), &about) != 0) return FileError(path);
  if (about.st_size == 0) return {};
  void* const base =
      mmap(nullptr, static_cast<std::size_t>(about.st_size), PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (base == MAP_FAILED) return FileError(path);
  madvise(base, static_cast<std::size_t>(about.st_size), MADV_SEQUENTIAL);
  data_ = static_cast<const char*>(base);
  size_ = static_cast<std::size_t>(about.st_size);
  return {};
}

TableStatus FileError(const std::string& path) {
  const bool is_full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
  const std::string detail = "`" + path + "`: " + std::strerror(errno);
  if (is_full) {
    return {
        {StatusCode::kFull, -1, "a table's files must find room on the disk", false, 0, "make room there"},
        detail};
  }
  return {{StatusCode::kIo, -1, "a table's files must be readable and writable", false, 0,
           "check the directory and its disk"},
          detail};
}

TableStatus WriteAll(int fd, const char* data, std::size_t size, const std::string& path) {
  while (size > 0) {
    const ssize_t n = write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FileError(path);
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return {};
}

TableStatus SyncData(int fd, const std::string& path) {
  if (syncs_to_failure >= 0 && syncs_to_failure-- == 0) {
    errno = EIO;
    return FileError(path);
  }
  return fdatasync(fd) == 0 ? TableStatus() : FileError(path);
}

TableStatus SyncDirectory(const std::string& directory) {
  const File file(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return file.is_open() && fsync(file.fd()) == 0 ? TableStatus() : FileError(directory);
}

TableStatus MakeDirectory(const std::string& directory) {
  if (mkdir(directory.c_str(), 0755) == 0 || errno == EEXIST) return {};
  return FileError(directory);
}

TableStatus ListDirectory(const std::string& directory, std::vector<std::string>* names) {
  DIR* const listing = opendir(directory.c_str());
  if (listing == nullptr) return FileError(directory);
  while (const dirent* const entry = readdir(listing)) names->push_back(entry->d_name);
  closedir(listing);
  return {};
}

TableStatus WriteWholeFile(const std::string& directory, const std::string& name, const std::string& bytes) {
  const std::string path = directory + "/" + name, temporary = path + ".tmp";
  const File file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file.is_open()) return FileError(temporary);
  TableStatus status = WriteAll(file.fd(), bytes.data(), bytes.size(), temporary);
  if (status.ok()) status = SyncData(file.fd(), temporary);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) status = FileError(path);
  if (status.ok()) status = SyncDirectory(directory);
  if (!status.ok()) RemoveFile(temporary);
  return status;
}

bool ReadSmallFile(const std::string& path, std::string* bytes) {
  const File file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  char room[4096];
  const ssize_t n = file.is_open() ? read(file.fd(), room, sizeof(room)) : -1;
  if (n < 0) return false;
  bytes->assign(room, static_cast<std::size_t>(n));
  return true;
}

void RemoveFile(const std::string& path) { unlink(path.c_str()); }

}  // namespace mainspring
