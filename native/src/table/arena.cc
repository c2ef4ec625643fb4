#include "arena.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace mainspring {
namespace {

Status IoError(const char* expected, const char* next_step, std::string* detail) {
  *detail = std::strerror(errno);
  return {StatusCode::kIo, -1, expected, false, 0, next_step};
}

}  // namespace

Arena::~Arena() { Close(); }

Arena::Arena(Arena&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)),
      fd_(std::exchange(other.fd_, -1)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  if (this != &other) {
    Close();
    base_ = std::exchange(other.base_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Arena::Close() {
  if (base_ != nullptr) munmap(base_, bytes_);
  if (fd_ >= 0) close(fd_);
  base_ = nullptr;
  fd_ = -1;
}

Status Arena::Reserve(std::size_t bytes, Arena* arena) {
  void* const base =
      mmap(nullptr, bytes + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) {
    return {StatusCode::kFull,
            -1,
            "a table must find room in the address space",
            true,
            static_cast<double>(bytes),
            "lower `max_rows`, or raise the limit on virtual memory"};
  }
  // Huge pages begin on their own multiples: cut the rest off on both sides.
  char* const from = static_cast<char*>(base);
  const std::size_t skew = reinterpret_cast<std::size_t>(from) % kHugePage;
  const std::size_t before = skew == 0 ? 0 : kHugePage - skew;
  if (before > 0) munmap(from, before);
  munmap(from + before + bytes, kHugePage - before);
  arena->Close();
  arena->base_ = from + before;
  arena->bytes_ = bytes;
  return {};
}

Status Arena::CreateFile(const std::string& path, std::size_t bytes, Arena* arena, std::string* detail) {
  constexpr const char* kExpected = "the shared table's file cannot be made";
  constexpr const char* kNextStep = "check the directory and its free space";
  Arena made;
  made.fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (made.fd_ < 0) return IoError(kExpected, kNextStep, detail);
  if (ftruncate(made.fd_, static_cast<off_t>(bytes)) != 0) return IoError(kExpected, kNextStep, detail);
  void* const base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, made.fd_, 0);
  if (base == MAP_FAILED) return IoError(kExpected, kNextStep, detail);
  made.base_ = static_cast<char*>(base);
  made.bytes_ = bytes;
  *arena = std::move(made);
  return {};
}

Status Arena::OpenFile(const std::string& path, Arena* arena, std::string* detail) {
  constexpr const char* kExpected = "the shared table's file cannot be read";
  constexpr const char* kNextStep = "start the process that writes it first";
  Arena made;
  made.fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat about;
  if (made.fd_ < 0 || fstat(made.fd_, &about) != 0) return IoError(kExpected, kNextStep, detail);
  const std::size_t bytes = static_cast<std::size_t>(about.st_size);
  if (bytes < kPage) {
    return {StatusCode::kCorrupt, -1, "the shared table's file must hold a table", false, 0, kNextStep};
  }
  void* const base = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, made.fd_, 0);
  if (base == MAP_FAILED) return IoError(kExpected, kNextStep, detail);
  made.base_ = static_cast<char*>(base);
  made.bytes_ = bytes;
  *arena = std::move(made);
  return {};
}

Status Arena::Commit(std::size_t at, std::size_t bytes) {
  const Status full = {StatusCode::kFull,
                       -1,
                       "a table must find memory for its rows",
                       true,
                       static_cast<double>(bytes),
                       "make room on the machine, or delete rows"};
  if (at + bytes > bytes_) return full;
  if (is_file()) {
    // A page that the file system cannot supply would end the process when it is touched: ask first.
    return fallocate(fd_, 0, static_cast<off_t>(at), static_cast<off_t>(bytes)) == 0 ? Status{} : full;
  }
  if (mprotect(base_ + at, bytes, PROT_READ | PROT_WRITE) != 0) return full;
  // Only advice, for what fills whole huge pages: small tables stay small.
  const std::size_t begin = (at + kHugePage - 1) / kHugePage * kHugePage,
                    end = (at + bytes) / kHugePage * kHugePage;
  if (begin < end) madvise(base_ + begin, end - begin, MADV_HUGEPAGE);
  return {};
}

void Arena::Release(std::size_t at, std::size_t bytes) {
  if (is_file()) {
    // Where the file system cannot do that, the space stays taken.
    if (fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                  static_cast<off_t>(bytes)) != 0) {
      return;
    }
  } else {
    madvise(base_ + at, bytes, MADV_DONTNEED);
  }
}

}  // namespace mainspring
