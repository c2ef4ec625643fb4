// Memory of packed models: one allocation, or one mapping of a sealed memfd.

#include "mainspring/packed.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U  // Linux 6.3; older C libraries do not name it
#endif

namespace mainspring {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

Status Refused(const char* expected) {
  return {StatusCode::kIo, -1, expected, true, static_cast<double>(errno), "look up the number in errno.h"};
}

Status NotTheSame(const char* expected) {
  return {StatusCode::kCorrupt, -1, expected, false, 0, "use the model's own memory"};
}

// Without a name, and nothing that could be run. Kernels before 6.3 do not know the flag.
int NewMemory() {
  constexpr unsigned kFlags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const int fd = memfd_create("mainspring-model", kFlags | MFD_NOEXEC_SEAL);
  return fd >= 0 || errno != EINVAL ? fd : memfd_create("mainspring-model", kFlags);
}

bool WriteAll(int fd, const char* data, std::size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = write(fd, data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    data += written;
    bytes -= static_cast<std::size_t>(written);
  }
  return true;
}

}  // namespace

PackedMemory::PackedMemory(std::size_t bytes)
    : data_(
          static_cast<char*>(::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{kAlignment}))),
      bytes_(bytes),
      is_mapped_(false) {
  std::memset(data_, 0, bytes);
}

PackedMemory::~PackedMemory() {
  if (is_mapped_) {
    munmap(data_, bytes_);
  } else {
    ::operator delete(data_, std::align_val_t{kAlignment});
  }
}

Status PackedMemory::Seal(int* fd) const {
  const int made = NewMemory();
  if (made < 0) return Refused("the system must give memory that can be sealed (memfd_create)");
  // Written, not filled through a mapping: no page is left out, and no writable mapping stands against the
  // seal.
  if (!WriteAll(made, data_, bytes_) || fcntl(made, F_ADD_SEALS, kSeals | F_SEAL_SEAL) != 0) {
    const Status refused = Refused("the system must take and seal the model's bytes");
    close(made);
    return refused;
  }
  *fd = made;
  return {};
}

Status PackedMemory::MapSame(int fd, std::shared_ptr<const PackedMemory>* mapped) const {
  // INVARIANT: the seals are looked at first; what the size is then, it stays.
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals < 0 && errno == EBADF) return Refused("a file that is open must be given");
  if (seals < 0 || (seals & kSeals) != kSeals) return NotTheSame("memory that is shared must be sealed");
  struct stat about;
  if (fstat(fd, &about) != 0) return Refused("the system must tell the size of shared memory");
  if (about.st_size < 0 || static_cast<std::size_t>(about.st_size) != bytes_ || bytes_ == 0) {
    return NotTheSame("shared memory must be as long as the model's own");
  }
  // Private: kernels before 6.7 refuse a shared mapping of what is sealed. Pages that nobody writes are the
  // same ones either way.
  void* const data = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) return Refused("the system must map shared memory");
  std::shared_ptr<const PackedMemory> made(new PackedMemory(static_cast<char*>(data), bytes_));
  if (std::memcmp(data, data_, bytes_) != 0) {
    return NotTheSame("shared memory must hold the bytes that this process packed");
  }
  *mapped = std::move(made);
  return {};
}

}  // namespace mainspring
