// The bytes that a model is laid out in: its own, or memory that other processes of the host have mapped,
// too.

#ifndef MAINSPRING_PACKED_H_
#define MAINSPRING_PACKED_H_

#include <cstddef>
#include <memory>

#include "mainspring/status.h"

namespace mainspring {

// Immutable once filled. Whoever has a pointer to it may be on any thread.
class PackedMemory {
 public:
  // What a model puts into it begins on a cache line.
  static constexpr std::size_t kAlignment = 64;

  // Its own, zeros: what lies between arrays is the same in every process. Throws std::bad_alloc.
  explicit PackedMemory(std::size_t bytes);
  ~PackedMemory();
  PackedMemory(const PackedMemory&) = delete;
  PackedMemory& operator=(const PackedMemory&) = delete;

  // A copy that nobody can change, shorten or lengthen any more (a sealed memfd). It has no name and ends
  // with the last process that has it open or mapped. `fd` is the caller's to close. kIo with errno in `got`.
  Status Seal(int* fd) const;

  // Maps the sealed copy `fd`, which stays the caller's, if it holds these bytes and no others: all are
  // compared. kCorrupt where it does not, or is no memory that is sealed (it could be shortened under a
  // reader, which is SIGBUS); kIo with errno in `got`.
  Status MapSame(int fd, std::shared_ptr<const PackedMemory>* mapped) const;

  char* own() { return data_; }  // to fill, where it is not mapped
  const char* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }
  bool is_mapped() const { return is_mapped_; }

 private:
  PackedMemory(char* data, std::size_t bytes) : data_(data), bytes_(bytes), is_mapped_(true) {}

  char* data_;
  std::size_t bytes_;
  bool is_mapped_;
};

}  // namespace mainspring

#endif  // MAINSPRING_PACKED_H_
