#include "table_writer.h"

#include <algorithm>
#include <cstring>

namespace mainspring {
namespace {

constexpr int kMinIndexBits = 8;
constexpr std::size_t kGroup = 32;
// Of replaced rows in a row, so that no upsert pays for many at once.
constexpr std::size_t kRecycledAtOnce = 64;

constexpr std::size_t RoundUp(std::size_t x, std::size_t unit) { return (x + unit - 1) / unit * unit; }

// Only the writer stores, so its own loads need no order.
std::uint64_t Peek(const std::uint64_t* p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }

}  // namespace

TableWriter::TableWriter(TableMemory* memory, std::int64_t quarantine_us)
    : memory_(memory), quarantine_us_(quarantine_us), heap_(memory) {}

Status TableWriter::Prepare(std::uint64_t rows) {
  int bits = kMinIndexBits;
  while ((std::uint64_t{1} << bits) / 4 * 3 < rows) ++bits;
  std::uint64_t word;
  const Status status = TakeIndex(bits, &word);
  if (!status.ok()) return status;
  index_ = IndexView(memory_->arena.base(), word);
  Store(&memory_->header->index, word);
  return {};
}

std::uint64_t TableWriter::Begin(std::int64_t now_us) {
  now_us_ = now_us;
  batches_.emplace_back();
  batches_.back().version = next_version_++;
  return batches_.back().version;
}

KeyView TableWriter::KeyOf(const StagedRow& row) const {
  const RowLayout& layout = memory_->layout;
  const char* const data = row.tail != nullptr ? row.tail : row.body + layout.tail_at - 8;
  if (!layout.has_heap) return {data, layout.tail_bytes};
  return {data, FieldOf<std::uint32_t>(row.body, RowLayout::kKeySizeAt - 8)};
}

std::size_t TableWriter::OutsideBytes(const char* body) const {
  const RowLayout& layout = memory_->layout;
  if (!layout.has_heap) return 0;
  const std::uint32_t size = FieldOf<std::uint32_t>(body, RowLayout::kTailSizeAt - 8);
  return size > layout.tail_bytes ? RoundUp(size, 8) : 0;
}

Status TableWriter::Put(const StagedRow* rows, std::size_t n, std::uint8_t* is_kept) {
  std::uint32_t tags[kGroup];
  for (std::size_t first = 0; first < n; first += kGroup) {
    const std::size_t size = std::min(kGroup, n - first);
    for (std::size_t i = 0; i < size; ++i) {
      const KeyView key = KeyOf(rows[first + i]);
      tags[i] = memory_->Tag(key.data, key.size);
      __builtin_prefetch(index_.slots + index_.Home(tags[i]));
    }
    for (std::size_t i = 0; i < size; ++i) {
      const std::uint64_t slot = Peek(index_.slots + index_.Home(tags[i]));
      if (Slot::Row(slot) != 0) __builtin_prefetch(memory_->RowAt(Slot::Row(slot)));
    }
    for (std::size_t i = 0; i < size; ++i) {
      const Status status = PutOne(rows[first + i], tags[i], is_kept + first + i);
      if (!status.ok()) return status;
    }
  }
  return {};
}

Status TableWriter::PutOne(const StagedRow& staged, std::uint32_t tag, std::uint8_t* is_kept) {
  *is_kept = 0;
  Batch& batch = batches_.back();
  const bool is_deletion = (FieldOf<std::uint32_t>(staged.body, RowLayout::kFlagsAt - 8) & kDeletedFlag) != 0;
  const KeyView key = KeyOf(staged);
  std::uint32_t replaced;
  std::size_t place = Find(tag, key, &replaced);
  bool was_there = false, was_changed = false;
  if (replaced != 0) {
    const char* const row = memory_->RowAt(replaced);
    was_there = (FieldOf<std::uint32_t>(row, RowLayout::kFlagsAt) & kDeletedFlag) == 0;
    was_changed = FieldOf<std::uint64_t>(row, 0) == batch.version;
    const auto event = FieldOf<std::int64_t>(row, RowLayout::kEventAt);
    const auto created = FieldOf<std::int64_t>(row, RowLayout::kCreatedAt);
    const auto new_event = FieldOf<std::int64_t>(staged.body, RowLayout::kEventAt - 8);
    const auto new_created = FieldOf<std::int64_t>(staged.body, RowLayout::kCreatedAt - 8);
    const bool is_older = new_event != event ? new_event < event : new_created < created;
    if (was_there && !is_deletion && is_older) {
      ++batch.n_older;
      return {};
    }
  }
  if (is_deletion && !was_there) return {};
  if (replaced == 0 && used_slots_ + 1 > (index_.mask() + 1) / 4 * 3) {
    const Status status = GrowIndex();
    if (!status.ok()) return status;
    place = Find(tag, key, &replaced);
  }

  std::uint32_t at;
  Status status = TakeRow(&at);
  if (!status.ok()) return status;
  std::uint32_t heap_place = 0;
  if (const std::size_t outside = OutsideBytes(staged.body); outside > 0) {
    status = heap_.Take(outside, &heap_place);
    if (!status.ok()) {
      free_rows_.push_back(at);
      return status;
    }
    StoreWords(memory_->HeapAt(heap_place), staged.tail, outside / 8);
  }
  char* const row = memory_->RowAt(at);
  const RowLayout& layout = memory_->layout;
  StoreWords(row + 8, staged.body, layout.row_words() - 1);
  const std::uint32_t flags = FieldOf<std::uint32_t>(staged.body, RowLayout::kFlagsAt - 8);
  Store(Words(row) + RowLayout::kPreviousAt / 8, std::uint64_t{flags} << 32 | replaced);
  if (layout.has_heap) {
    const std::uint32_t tail_size = FieldOf<std::uint32_t>(staged.body, RowLayout::kTailSizeAt - 8);
    Store(Words(row) + RowLayout::kHeapAt / 8, std::uint64_t{tail_size} << 32 | heap_place);
  }
  Store(Words(row), batch.version);
  Store(index_.slots + place, Slot::Make(tag, at));

  if (replaced == 0) {
    ++used_slots_;
    ++live_slots_;
  }
  batch.changes.push_back({tag, at, replaced});
  batch.more_keys += static_cast<std::int64_t>(!is_deletion) - static_cast<std::int64_t>(was_there);
  if (!was_changed) ++batch.n_changed;
  *is_kept = 1;
  return {};
}

// The slot of the key, or where it would go; its newest row, or 0.
std::size_t TableWriter::Find(std::uint32_t tag, const KeyView& key, std::uint32_t* row) const {
  std::size_t place = index_.Home(tag);
  for (std::uint64_t slot; (slot = Peek(index_.slots + place)) != 0; place = (place + 1) & index_.mask()) {
    if (Slot::Tag(slot) != tag || Slot::Row(slot) == 0 || !HasKey(Slot::Row(slot), key)) continue;
    *row = Slot::Row(slot);
    return place;
  }
  *row = 0;
  return place;
}

std::size_t TableWriter::FindRow(std::uint32_t tag, std::uint32_t row) const {
  std::size_t place = index_.Home(tag);
  while (Peek(index_.slots + place) != Slot::Make(tag, row)) place = (place + 1) & index_.mask();
  return place;
}

bool TableWriter::HasKey(std::uint32_t row, const KeyView& key) const {
  const char* const at = memory_->RowAt(row);
  const RowLayout& layout = memory_->layout;
  if (!layout.has_heap) return SameKey(key, at + layout.tail_at, layout.tail_bytes);
  const std::uint32_t tail_size = FieldOf<std::uint32_t>(at, RowLayout::kTailSizeAt);
  const char* const tail = tail_size > layout.tail_bytes
                               ? memory_->HeapAt(FieldOf<std::uint32_t>(at, RowLayout::kHeapAt))
                               : at + layout.tail_at;
  return SameKey(key, tail, FieldOf<std::uint32_t>(at, RowLayout::kKeySizeAt));
}

Status TableWriter::TakeRow(std::uint32_t* row) {
  if (free_rows_.empty()) Recycle();
  if (!free_rows_.empty()) {
    *row = free_rows_.back();
    free_rows_.pop_back();
    return {};
  }
  if (next_row_ > memory_->header->max_rows) {
    return {StatusCode::kFull,
            -1,
            "a table must hold no more rows than `max_rows`",
            true,
            static_cast<double>(memory_->header->max_rows),
            "open it with more, or delete rows"};
  }
  const std::uint64_t end = (std::uint64_t{next_row_} + 1) * memory_->layout.row_bytes;
  if (end > rows_ready_bytes_) {
    std::size_t piece = NextPiece(rows_ready_bytes_, end);
    const std::size_t range = memory_->header->index_at - memory_->header->rows_at;
    piece = std::min(piece, range - rows_ready_bytes_);
    const Status status = memory_->arena.Commit(memory_->header->rows_at + rows_ready_bytes_, piece);
    if (!status.ok()) return status;
    rows_ready_bytes_ += piece;
  }
  *row = next_row_++;
  return {};
}

// An array for the keys that are there, half full at most. Keys that are gone are left out.
Status TableWriter::GrowIndex() {
  int bits = index_.bits;
  const auto is_as_large = [bits](const OldIndex& old) {
    return static_cast<int>(old.word & kIndexBitsMask) == bits;
  };
  // The same size again only where that cannot use up the range.
  const bool is_waiting = std::any_of(old_indexes_.begin(), old_indexes_.end(), is_as_large);
  if (live_slots_ + 1 > (index_.mask() + 1) / 2 || is_waiting) ++bits;
  std::uint64_t word;
  const Status status = TakeIndex(bits, &word);
  if (!status.ok()) return status;
  const IndexView grown(memory_->arena.base(), word);
  for (std::size_t from = 0; from <= index_.mask(); ++from) {
    const std::uint64_t slot = Peek(index_.slots + from);
    if (Slot::Row(slot) == 0) continue;
    std::size_t to = grown.Home(Slot::Tag(slot));
    while (Peek(grown.slots + to) != 0) to = (to + 1) & grown.mask();
    Store(grown.slots + to, slot);
  }
  old_indexes_.push_back({Peek(&memory_->header->index), now_us_});
  index_ = grown;
  used_slots_ = live_slots_;
  Store(&memory_->header->index, word);
  return {};
}

Status TableWriter::TakeIndex(int bits, std::uint64_t* word) {
  const auto fits = [bits](std::uint64_t old) { return static_cast<int>(old & kIndexBitsMask) == bits; };
  const auto free = std::find_if(free_indexes_.begin(), free_indexes_.end(), fits);
  const std::size_t bytes = RoundUp(std::size_t{8} << bits, Arena::kPage);
  if (free != free_indexes_.end()) {
    *word = *free;
    free_indexes_.erase(free);
    const Status status = memory_->arena.Commit(*word & ~kIndexBitsMask, bytes);
    if (!status.ok()) return status;
    // Not every file system could take the old slots away.
    const IndexView view(memory_->arena.base(), *word);
    for (std::size_t i = 0; i <= view.mask(); ++i) Store(view.slots + i, std::uint64_t{0});
    return {};
  }
  const std::size_t unit = bytes >= Arena::kHugePage ? Arena::kHugePage : Arena::kPage;
  const std::size_t at = RoundUp(memory_->header->index_at + index_next_, unit);
  if (at + bytes > memory_->header->heap_at) {
    return {StatusCode::kFull,    -1, "a table's index must fit into its range", false, 0,
            "open the table anew"};
  }
  const Status status = memory_->arena.Commit(at, bytes);
  if (!status.ok()) return status;
  index_next_ = at + bytes - memory_->header->index_at;
  *word = at | static_cast<std::uint64_t>(bits);
  return {};
}

void TableWriter::Undo() {
  Batch& batch = batches_.back();
  for (auto change = batch.changes.rbegin(); change != batch.changes.rend(); ++change) {
    const std::size_t place = FindRow(change->tag, change->row);
    Store(index_.slots + place,
          change->replaced != 0 ? Slot::Make(change->tag, change->replaced) : Slot::Gone());
    if (change->replaced == 0) --live_slots_;
    retired_.push_back({change->row, now_us_});
  }
  batches_.pop_back();
}

void TableWriter::UndoAfter(std::uint64_t version) {
  while (!batches_.empty() && batches_.back().version > version) Undo();
}

void TableWriter::Commit(std::uint64_t through, std::int64_t now_us) {
  now_us_ = now_us;
  TableHeader* const header = memory_->header;
  while (!batches_.empty() && batches_.front().version <= through) {
    const Batch& batch = batches_.front();
    Store(&header->size, header->size + static_cast<std::uint64_t>(batch.more_keys));
    Store(&header->committed, batch.version);
    for (const Change& change : batch.changes) {
      if (change.replaced != 0) retired_.push_back({change.replaced, now_us});
      if ((FieldOf<std::uint32_t>(memory_->RowAt(change.row), RowLayout::kFlagsAt) & kDeletedFlag) != 0) {
        graves_.push_back({change.row, batch.version, now_us});
      }
    }
    batches_.pop_front();
  }
  Recycle();
}

// Nobody's from now on: a reader that still copies it will see that.
void TableWriter::Free(std::uint32_t row) {
  char* const at = memory_->RowAt(row);
  Store(Words(at), std::uint64_t{0});
  if (const std::size_t outside = OutsideBytes(at + 8); outside > 0) {
    heap_.GiveBack(FieldOf<std::uint32_t>(at, RowLayout::kHeapAt), outside);
  }
  free_rows_.push_back(row);
}

void TableWriter::Recycle() {
  if (pins_ > 0) return;
  const std::int64_t until = now_us_ - quarantine_us_;
  for (std::size_t i = 0; i < kRecycledAtOnce && !retired_.empty() && retired_.front().since_us <= until;
       ++i) {
    Free(retired_.front().row);
    retired_.pop_front();
  }
  TableHeader* const header = memory_->header;
  for (std::size_t i = 0; i < kRecycledAtOnce && !graves_.empty() && graves_.front().since_us <= until; ++i) {
    const Grave grave = graves_.front();
    graves_.pop_front();
    const char* const row = memory_->RowAt(grave.row);
    const bool is_grave = FieldOf<std::uint64_t>(row, 0) == grave.version &&
                          (FieldOf<std::uint32_t>(row, RowLayout::kFlagsAt) & kDeletedFlag) != 0;
    if (!is_grave) continue;
    const StagedRow staged = {row + 8, OutsideBytes(row + 8) > 0
                                           ? memory_->HeapAt(FieldOf<std::uint32_t>(row, RowLayout::kHeapAt))
                                           : nullptr};
    const KeyView key = KeyOf(staged);
    const std::uint32_t tag = memory_->Tag(key.data, key.size);
    std::uint32_t newest;
    const std::size_t place = Find(tag, key, &newest);
    if (newest != grave.row) continue;      // its key came back
    Store(&header->oldest, grave.version);  // graves lie in the order of their versions
    Store(index_.slots + place, Slot::Gone());
    --live_slots_;
    Free(grave.row);
  }
  if (!old_indexes_.empty() && old_indexes_.front().since_us <= until) {
    const std::uint64_t word = old_indexes_.front().word;
    old_indexes_.pop_front();
    Store(&header->epoch, header->epoch + 1);
    const std::size_t bytes = std::size_t{8} << (word & kIndexBitsMask);
    memory_->arena.Release(word & ~kIndexBitsMask, RoundUp(bytes, Arena::kPage));
    free_indexes_.push_back(word);
  }
}

TableStats TableWriter::Stats() const {
  TableStats stats;
  stats.rows = Load(&memory_->header->size);
  stats.row_bytes = memory_->layout.row_bytes;
  stats.rows_bytes = std::uint64_t{next_row_} * memory_->layout.row_bytes;
  stats.index_bytes = (index_.mask() + 1) * 8;
  stats.heap_bytes = memory_->layout.has_heap ? heap_.bytes() : 0;
  stats.replaced_rows = retired_.size() + free_rows_.size();
  return stats;
}

}  // namespace mainspring
