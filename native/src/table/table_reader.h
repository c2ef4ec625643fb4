// Reads a batch of keys from a table's memory while its writer goes on.

#ifndef MAINSPRING_SRC_TABLE_TABLE_READER_H_
#define MAINSPRING_SRC_TABLE_TABLE_READER_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "keys.h"
#include "mainspring/table.h"
#include "table_memory.h"

namespace mainspring {

class TableReader {
 public:
  // `memory` must outlive it and stay where it is.
  explicit TableReader(const TableMemory* memory) : memory_(memory) {}

  // `fields` are numbers of the schema, each at most once.
  FieldSelection Select(const std::vector<std::uint32_t>& fields) const;

  // As OnlineTable::Get.
  void Get(const FieldSelection& selection, const ReadBatch& batch, ReadWorkspace* workspace) const;

 private:
  static constexpr std::size_t kGroup = 32;
  // Keys that one moment answers: about a millisecond of reading, a hundredth of the quarantine.
  static constexpr std::size_t kMoment = 4096;

  // Keys on their way: asked for, looked up, copied.
  struct Group {
    std::size_t first, n;
    const char* keys[kGroup];  // of integer keys only the first
    std::uint32_t key_sizes[kGroup];
    std::uint32_t tags[kGroup];
    std::uint32_t rows[kGroup];    // the first row with the key's tag, 0 where there is none
    std::uint32_t places[kGroup];  // its slot
  };
  struct View;

  // Keys first .. last - 1. False where a row was used anew under the reader's hands, so that the answer
  // would mix two states: read again. That takes a reader that stood still for longer than the quarantine.
  bool TryGet(View* view, std::size_t first, std::size_t last) const;
  enum class Found { kYes, kNo, kOther, kRestart };

  void Begin(View* view, Group* group) const;
  void LookUp(const View& view, Group* group) const;
  bool IsOf(const char* row, const Group& group, std::size_t i) const;
  bool FinishDirect(const View& view, const Group& group) const;
  bool Finish(const View& view, const Group& group, std::size_t i) const;
  RowStatus Judge(const View& view, std::size_t at, std::int64_t event_us, std::uint32_t flags) const;
  void WriteMissing(const View& view, std::size_t at) const;
  Found Resolve(const View& view, const Group& group, std::size_t i) const;
  Found Take(const View& view, std::uint32_t row, const KeyView& key, std::size_t i, std::size_t at,
             std::uint64_t* newest) const;
  bool Copy(const View& view, std::uint32_t row, std::uint64_t version, std::size_t i, std::size_t at) const;
  bool HasKey(const char* row, const char* tail, const KeyView& key) const;
  void Scatter(const View& view, const Group& group) const;
  void ScatterField(const View& view, const Group& group, std::uint32_t index, const OutputColumn& out) const;

  const TableMemory* const memory_;
};

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TABLE_TABLE_READER_H_
