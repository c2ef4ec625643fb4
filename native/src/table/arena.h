// One reserved range of addresses that a table lives in: nothing in it ever moves, so readers need no lock.

#ifndef MAINSPRING_SRC_TABLE_ARENA_H_
#define MAINSPRING_SRC_TABLE_ARENA_H_

#include <cstddef>
#include <string>

#include "mainspring/status.h"

namespace mainspring {

// Either memory of this process, or a file that others map too. Pages read as zeros until they are written.
// What was given back stays readable (as zeros): a reader that is late must not crash, it finds out
// afterwards.
class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;

  // Address space only.
  static Status Reserve(std::size_t bytes, Arena* arena);

  // A new sparse file; `path` must not exist. kIo with the system's words in `detail`.
  static Status CreateFile(const std::string& path, std::size_t bytes, Arena* arena, std::string* detail);

  // Another process's file, read-only, all of it.
  static Status OpenFile(const std::string& path, Arena* arena, std::string* detail);

  // Makes [at, at + bytes) writable; both multiples of kPage. kFull where the memory or the disk is not
  // there.
  Status Commit(std::size_t at, std::size_t bytes);

  // Gives the memory of [at, at + bytes) back.
  void Release(std::size_t at, std::size_t bytes);

  char* base() const { return base_; }
  std::size_t bytes() const { return bytes_; }
  bool is_file() const { return fd_ >= 0; }

  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

 private:
  void Close();

  char* base_ = nullptr;
  std::size_t bytes_ = 0;
  int fd_ = -1;
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_ARENA_H_
