// The memory of a table as its writer and its readers, of this process or another, see it.
//
// Rows are never changed while anybody may read them. A batch gets the next number; each of its rows is
// written to a free place, points to the row it replaces, and takes over that row's slot of the index. When
// the whole batch is there (and on disk), `committed` becomes its number. A reader takes `committed` once and
// goes back along `previous` from rows that are newer: it sees whole batches, and waits for nobody.
//
// A replaced row is used again only after a quarantine far longer than a read takes. A reader that was
// stopped for longer notices, because the row's version is another one after it copied the row, and starts
// again. So every word that readers share with the writer is accessed atomically, and a store of the writer
// releases all that it stored before: whoever sees a row's new content also sees its new version.

#ifndef MAINSPRING_SRC_TABLE_TABLE_MEMORY_H_
#define MAINSPRING_SRC_TABLE_TABLE_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "arena.h"
#include "mainspring/hash.h"
#include "mainspring/status.h"
#include "mainspring/table_schema.h"
#include "row_layout.h"

namespace mainspring {

// On x86 both are plain moves.
template <typename T>
inline T Load(const T* p) {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
template <typename T>
inline void Store(T* p, T x) {
  __atomic_store_n(p, x, __ATOMIC_RELEASE);
}

inline std::uint64_t* Words(char* row) { return reinterpret_cast<std::uint64_t*>(row); }
inline const std::uint64_t* Words(const char* row) { return reinterpret_cast<const std::uint64_t*>(row); }

inline void StoreWords(char* to, const char* from, std::size_t n_words) {
  for (std::size_t i = 0; i < n_words; ++i) {
    std::uint64_t word;
    __builtin_memcpy(&word, from + 8 * i, 8);
    Store(Words(to) + i, word);
  }
}
// Whatever the words were, a load that follows sees at least as new a version. On x86 loads keep their order
// whatever their width, so that pairs of words do as well as single ones, and only the compiler has to be
// held.
inline void LoadWords(char* to, const char* from, std::size_t n_words) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  const auto copy_two = [=](std::size_t i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8 * i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + 8 * i)));
  };
  std::size_t i = 0;
  for (; i + 8 <= n_words; i += 8) {
    copy_two(i);
    copy_two(i + 2);
    copy_two(i + 4);
    copy_two(i + 6);
  }
  for (; i + 2 <= n_words; i += 2) copy_two(i);
  if (i < n_words) __builtin_memcpy(to + 8 * i, from + 8 * i, 8);
  __atomic_thread_fence(__ATOMIC_ACQUIRE);
#else
  for (std::size_t i = 0; i < n_words; ++i) {
    const std::uint64_t word = Load(Words(from) + i);
    __builtin_memcpy(to + 8 * i, &word, 8);
  }
#endif
}

template <typename T>
T FieldOf(const char* row, std::size_t at) {
  T x;
  __builtin_memcpy(&x, row + at, sizeof(T));
  return x;
}

// Whether the first n bytes of the words at `shared` are those at `own`.
inline bool IsSame(const char* shared, const char* own, std::size_t n) {
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    if (Load(Words(shared + i)) != FieldOf<std::uint64_t>(own, i)) return false;
  }
  if (i == n) return true;
  std::uint64_t rest = 0;
  if (n >= 8) {
    rest = FieldOf<std::uint64_t>(own, n - 8) >> (64 - 8 * (n - i));
  } else {
    for (std::size_t j = 0; j < n; ++j) rest |= std::uint64_t{static_cast<unsigned char>(own[j])} << (8 * j);
  }
  return (Load(Words(shared + i)) ^ rest) << (64 - 8 * (n - i)) == 0;
}

// A row's flags: whether it says that its key is gone; above, how many seconds it counts from its event on.
inline constexpr std::uint32_t kDeletedFlag = 1;
constexpr std::int64_t TtlSeconds(std::uint32_t flags) { return flags >> 1; }

enum class TableState : std::uint64_t { kLive = 1, kClosed = 2 };

// At the start of the arena. The first part never changes once a table is made.
struct TableHeader {
  static constexpr std::uint64_t kMagic = 0x314C4254474E534D;  // "MSNGTBL1"
  static constexpr std::size_t kBytes = 65536 * 8;             // with the schema

  std::uint64_t magic;
  std::uint64_t seed;
  std::uint64_t max_rows;
  std::uint64_t rows_at;
  std::uint64_t index_at;
  std::uint64_t heap_at;
  std::uint64_t arena_bytes;
  std::uint64_t schema_bytes;

  alignas(64) std::uint64_t state;
  std::uint64_t committed;  // the newest batch that readers see
  // Grows before an old index is taken away. Who sees it grow starts again.
  std::uint64_t epoch;
  // The newest deletion whose key has lost its slot. A read of an older snapshot might have needed it and
  // starts again. Keys lose their slots only after a quarantine, so that no other read does, however many are
  // deleted.
  std::uint64_t oldest;
  std::uint64_t index;  // (place in the arena) | log2 of the number of slots; places are multiples of 64
  std::uint64_t size;   // keys that readers find, of any age

  alignas(64) char schema[64];
};

inline constexpr std::uint64_t kIndexBitsMask = 63;

struct TableMemory {
  Arena arena;
  TableSchema schema;
  RowLayout layout;
  std::vector<char> missing_row;
  TableHeader* header = nullptr;
  char* rows = nullptr;
  char* heap = nullptr;
  std::uint64_t seed = 0;
  bool has_int_key = false;  // one key part, an integer

  // For a schema that was checked. `path`: a file that others may map; empty: our own memory.
  static Status Create(const TableSchema& schema, std::uint64_t max_rows, std::uint64_t seed,
                       const std::string& path, TableMemory* memory, std::string* detail);
  static Status Open(const std::string& path, TableMemory* memory, std::string* detail);

  char* RowAt(std::uint32_t row) const { return rows + std::size_t{layout.row_bytes} * row; }
  char* HeapAt(std::uint32_t place) const { return heap + std::size_t{place} * kHeapUnit; }

  // The half of the hash that the index knows a key by.
  std::uint32_t Tag(const char* key, std::size_t size) const {
    if (has_int_key) return IntTag(FieldOf<std::uint64_t>(key, 0), seed);
    return static_cast<std::uint32_t>(HashUtf8(key, size, seed) >> 32);
  }
  static std::uint32_t IntTag(std::uint64_t key, std::uint64_t seed) {
    return static_cast<std::uint32_t>(PreMix64(key ^ seed) >> 32);
  }

  static constexpr std::size_t kHeapUnit = 16;
  static constexpr std::size_t kHeapReserve = std::size_t{1} << 36;
};

// A slot of the index: the key's tag above, its newest row below. Row 0 is nobody's: 0 ends a search, a tag
// without a row is a key that is gone. A key's search begins at the top bits of its tag.
struct Slot {
  static std::uint64_t Make(std::uint32_t tag, std::uint32_t row) { return std::uint64_t{tag} << 32 | row; }
  // Any tag but 0 will do: nobody compares it.
  static std::uint64_t Gone() { return Make(1, 0); }
  static std::uint32_t Tag(std::uint64_t slot) { return static_cast<std::uint32_t>(slot >> 32); }
  static std::uint32_t Row(std::uint64_t slot) { return static_cast<std::uint32_t>(slot); }
};

struct IndexView {
  std::uint64_t* slots = nullptr;
  int bits = 0;

  IndexView() = default;
  IndexView(char* base, std::uint64_t word)
      : slots(reinterpret_cast<std::uint64_t*>(base + (word & ~kIndexBitsMask))),
        bits(static_cast<int>(word & kIndexBitsMask)) {}

  std::size_t Home(std::uint32_t tag) const { return tag >> (32 - bits); }
  std::size_t mask() const { return (std::size_t{1} << bits) - 1; }
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_TABLE_MEMORY_H_
