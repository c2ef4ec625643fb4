#include "table_reader.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <type_traits>

namespace mainspring {
namespace {

// Lines of a row that are asked for beforehand; the CPU sees by itself that more follow.
constexpr std::size_t kMaxPrefetched = 16;

// Into the second cache only: the first one's few miss buffers are then not what limits how many lines come
// at once. 256 keys at 4 million rows: 160 -> 80 ns a key (Zen 4, 2026-11, busy machine). Every second line,
// in the hope of the CPU's neighbour prefetch: 195.
void Prefetch(const void* p) { __builtin_prefetch(p, 0, 1); }

// out[i] = the cell of row i, for rows that lie `stride` bytes apart.
template <typename T>
void ScatterCells(const char* rows, std::size_t stride, std::size_t n, void* out) {
  T* const to = static_cast<T*>(out);
  for (std::size_t i = 0; i < n; ++i) std::memcpy(to + i, rows + i * stride, sizeof(T));
}

void ScatterBit(const char* rows, std::size_t stride, std::size_t n, std::size_t bit, std::uint8_t* out) {
  rows += bit / 8;  // little-endian words
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(rows[i * stride]) >> (bit % 8) & 1);
  }
}

// Cells as a Program takes them.
template <typename From, typename To>
void ConvertCells(const char* cells, const char* bits, std::size_t bit, std::size_t stride, std::size_t n,
                  To* out) {
  constexpr To kMissing = std::numeric_limits<To>::has_quiet_NaN ? std::numeric_limits<To>::quiet_NaN()
                                                                 : std::numeric_limits<To>::min();
  bits += bit / 8;
  for (std::size_t i = 0; i < n; ++i) {
    From x;
    std::memcpy(&x, cells + i * stride, sizeof(From));
    const bool is_there = (static_cast<std::uint8_t>(bits[i * stride]) >> (bit % 8) & 1) != 0;
    out[i] = is_there ? static_cast<To>(x) : kMissing;
  }
}

template <typename To>
void Convert(FieldType type, const char* cells, const char* bits, std::size_t bit, std::size_t stride,
             std::size_t n, To* out) {
  if (type == FieldType::kBool) ConvertCells<std::uint8_t>(cells, bits, bit, stride, n, out);
  if (type == FieldType::kInt32) ConvertCells<std::int32_t>(cells, bits, bit, stride, n, out);
  if (type == FieldType::kInt64) ConvertCells<std::int64_t>(cells, bits, bit, stride, n, out);
  if (type == FieldType::kTimestampUs) ConvertCells<std::int64_t>(cells, bits, bit, stride, n, out);
  if constexpr (std::is_floating_point_v<To>) {
    if (type == FieldType::kFloat32) ConvertCells<float>(cells, bits, bit, stride, n, out);
    if (type == FieldType::kFloat64) ConvertCells<double>(cells, bits, bit, stride, n, out);
  }
}

bool IsTooOld(std::int64_t event_us, std::int64_t now_us, std::int64_t max_age_us) {
  // event_us <= now_us: the distance fits into 64 bits without a sign.
  return max_age_us != kNoMaxAge &&
         static_cast<std::uint64_t>(now_us) - static_cast<std::uint64_t>(event_us) >
             static_cast<std::uint64_t>(max_age_us);
}

}  // namespace

struct TableReader::View {
  const FieldSelection& selection;
  const ReadBatch& batch;
  ReadWorkspace* workspace;
  std::uint64_t snapshot;
  std::uint64_t index_word;
  IndexView index;
  std::size_t stride;
  char* rows;      // of one group, as copied
  bool is_direct;  // into the matrix
  char* encoded;   // where the next key goes that needs encoding

  // Whether more was copied than the reader wants: what is left is not read.
  bool IsOver() const { return workspace->outside_bytes_ > batch.max_outside_bytes; }

  char* MatrixRow(std::size_t i) const {
    return reinterpret_cast<char*>(batch.matrix + i * selection.width_);
  }
};

FieldSelection TableReader::Select(const std::vector<std::uint32_t>& fields) const {
  const RowLayout& layout = memory_->layout;
  FieldSelection made;
  made.fields_ = fields;
  std::vector<char> is_needed(layout.row_words(), 0);
  const auto need = [&is_needed](std::size_t at, std::size_t bytes) {
    std::fill(is_needed.begin() + static_cast<std::ptrdiff_t>(at / 8),
              is_needed.begin() + static_cast<std::ptrdiff_t>((at + bytes + 7) / 8), 1);
  };
  need(0, layout.tail_at + layout.tail_bytes);
  for (const std::uint32_t field : fields) {
    need(layout.field_at[field], CellBytes(memory_->schema.fields[field]));
    made.has_strings_ = made.has_strings_ || IsVariable(memory_->schema.fields[field].type);
  }
  bool is_matrix = true;
  std::uint32_t to = 0;
  for (const std::uint32_t field : fields) {
    const FieldType type = memory_->schema.fields[field].type;
    is_matrix = is_matrix && (type == FieldType::kFloat32 || type == FieldType::kFloat32Vector);
    const auto bytes = static_cast<std::uint32_t>(CellBytes(memory_->schema.fields[field]));
    const std::uint32_t from = layout.field_at[field];
    const bool is_next =
        !made.pieces_.empty() && made.pieces_.back().from + made.pieces_.back().bytes == from;
    if (is_next) {
      made.pieces_.back().bytes += bytes;
    } else {
      made.pieces_.push_back({from, to, bytes});
    }
    to += bytes;
  }
  made.width_ = is_matrix ? to / 4 : 0;
  made.is_direct_ = is_matrix && std::all_of(made.pieces_.begin(), made.pieces_.end(), [](const auto& piece) {
                      return piece.from % 8 == 0 && piece.bytes % 8 == 0;
                    });
  for (std::uint32_t word = 0; word < is_needed.size(); ++word) {
    if (is_needed[word] == 0) continue;
    const bool is_next = !made.runs_.empty() && made.runs_.back().first + made.runs_.back().words == word;
    if (is_next) {
      ++made.runs_.back().words;
    } else {
      made.runs_.push_back({word, 1});
    }
    // A row begins on a line or in the middle of one.
    for (const std::uint32_t begin : {0U, 32U}) {
      std::vector<std::uint32_t>& lines = made.prefetch_at_[begin / 32];
      const std::uint32_t at = std::max((begin + word * 8) / 64 * 64, begin) - begin;
      const bool is_asked = !lines.empty() && lines.back() == at;
      if (!is_asked && lines.size() < kMaxPrefetched) lines.push_back(at);
    }
  }
  return made;
}

void TableReader::Get(const FieldSelection& selection, const ReadBatch& batch,
                      ReadWorkspace* workspace) const {
  const std::size_t stride = memory_->layout.row_bytes;
  workspace->outside_bytes_ = 0;
  if (workspace->rows_.size() < kGroup * stride / 8) workspace->rows_.resize(kGroup * stride / 8);
  if (memory_->layout.has_heap && workspace->tails_.size() < kGroup) workspace->tails_.resize(kGroup);
  const bool has_strings = selection.has_strings_ && batch.columns != nullptr;
  const auto for_strings = [&](const auto& act) {
    for (std::size_t j = 0; has_strings && j < selection.fields_.size(); ++j) {
      StringColumn* const strings = batch.columns[j].strings;
      if (strings != nullptr) act(strings);
    }
  };
  for_strings([](StringColumn* strings) {
    strings->offsets.assign(1, 0);
    strings->bytes.clear();
  });
  if (memory_->schema.keys.size() > 1) {
    std::size_t most = 0;
    for (std::size_t first = 0; first < batch.keys.n; first += kMoment) {
      std::size_t bytes = 0;
      for (std::size_t i = first; i < std::min(first + kMoment, batch.keys.n); ++i) {
        bytes += EncodedBytes(memory_->schema.keys, batch.keys.columns, i);
      }
      most = std::max(most, bytes);
    }
    if (workspace->keys_.size() < most) workspace->keys_.resize(most);
  }
  const bool is_direct = selection.is_direct_ && batch.matrix != nullptr && batch.columns == nullptr;
  View view{selection, batch,  workspace, 0, 0, {}, stride, reinterpret_cast<char*>(workspace->rows_.data()),
            is_direct, nullptr};
  for (std::size_t first = 0; first < batch.keys.n; first += kMoment) {
    const std::size_t last = std::min(first + kMoment, batch.keys.n);
    for (;;) {
      const TableHeader* const header = memory_->header;
      const std::uint64_t epoch = Load(&header->epoch);
      // Before the index: rows that this snapshot has are in every index from now on.
      view.snapshot = Load(&header->committed);
      view.index_word = Load(&header->index);
      view.index = IndexView(memory_->arena.base(), view.index_word);
      view.encoded = workspace->keys_.data();
      if (TryGet(&view, first, last) && Load(&header->epoch) == epoch &&
          Load(&header->oldest) <= view.snapshot) {
        break;
      }
      ++workspace->restarts_;
      for_strings([first](StringColumn* strings) {
        strings->offsets.resize(first + 1);
        strings->bytes.resize(static_cast<std::size_t>(strings->offsets.back()));
      });
    }
  }
}

bool TableReader::TryGet(View* view, std::size_t first, std::size_t last) const {
  // Three groups are on their way: the slots of one and the rows of the next come from memory while the third
  // is copied. Each step is a short loop of its own: a prefetch that waits for its page's translation then
  // has the next twenty keys' beside it in the CPU's window. Key by key, all three steps in turn, was slower:
  // 113 ns a key instead of 79 at 10 million rows (Zen 4, 2026-11).
  Group groups[3];
  const std::size_t n_groups = (last - first + kGroup - 1) / kGroup;
  for (std::size_t step = 0; step < n_groups + 2; ++step) {
    if (step < n_groups) {
      Group* const group = &groups[step % 3];
      group->first = first + step * kGroup;
      group->n = std::min(kGroup, last - group->first);
      Begin(view, group);
    }
    if (step >= 1 && step - 1 < n_groups) LookUp(*view, &groups[(step - 1) % 3]);
    if (step < 2) continue;
    const Group& group = groups[(step - 2) % 3];
    if (view->is_direct) {
      if (!FinishDirect(*view, group)) return false;
      continue;
    }
    for (std::size_t i = 0; i < group.n; ++i) {
      if (!Finish(*view, group, i)) return false;
    }
    Scatter(*view, group);
  }
  return true;
}

void TableReader::Begin(View* view, Group* group) const {
  const KeyBatch& keys = view->batch.keys;
  const IndexView index = view->index;
  if (memory_->has_int_key) {
    const std::int64_t* const ints = keys.columns[0].ints + group->first;
    group->keys[0] = reinterpret_cast<const char*>(ints);
    const std::uint64_t seed = memory_->seed;
    for (std::size_t i = 0, n = group->n; i < n; ++i) {
      const std::uint32_t tag = TableMemory::IntTag(static_cast<std::uint64_t>(ints[i]), seed);
      group->tags[i] = tag;
      Prefetch(index.slots + index.Home(tag));
    }
    return;
  }
  for (std::size_t i = 0; i < group->n; ++i) {
    const KeyView key = EncodeKey(memory_->schema.keys, keys.columns, group->first + i, view->encoded);
    if (key.data == view->encoded) view->encoded += key.size;
    group->keys[i] = key.data;
    group->key_sizes[i] = key.size;
    group->tags[i] = memory_->Tag(key.data, key.size);
    Prefetch(index.slots + index.Home(group->tags[i]));
  }
}

void TableReader::LookUp(const View& view, Group* group) const {
  const std::uint8_t* const is_null = view.batch.keys.is_null;
  const IndexView index = view.index;
  const std::size_t mask = index.mask(), row_bytes = memory_->layout.row_bytes;
  const char* const rows = memory_->rows;
  const std::vector<std::uint32_t>* const prefetch_at = view.selection.prefetch_at_;
  const std::uint32_t* const lines[2] = {prefetch_at[0].data(), prefetch_at[1].data()};
  const std::size_t n_lines[2] = {prefetch_at[0].size(), prefetch_at[1].size()};
  for (std::size_t i = 0, n = group->n; i < n; ++i) {
    const std::uint32_t tag = group->tags[i];
    std::size_t place = index.Home(tag);
    std::uint64_t slot;
    while ((slot = Load(index.slots + place)) != 0 && (Slot::Tag(slot) != tag || Slot::Row(slot) == 0)) {
      place = (place + 1) & mask;
    }
    group->rows[i] = Slot::Row(slot);
    group->places[i] = static_cast<std::uint32_t>(place);
    const char* const row = rows + row_bytes * Slot::Row(slot);
    const std::size_t half = reinterpret_cast<std::uintptr_t>(row) / 32 % 2;
    for (std::size_t line = 0; line < n_lines[half]; ++line) Prefetch(row + lines[half][line]);
  }
  for (std::size_t i = 0; is_null != nullptr && i < group->n; ++i) {
    if (is_null[group->first + i] != 0) group->rows[i] = 0;
  }
}

// Whether the key lies in this row, and is the one asked for. Of a row that is written anew meanwhile the
// answer is of no worth.
inline bool TableReader::IsOf(const char* row, const Group& group, std::size_t i) const {
  const RowLayout& layout = memory_->layout;
  std::uint32_t size = layout.tail_bytes;
  if (layout.has_heap) {
    if (Load(Words(row + RowLayout::kHeapAt)) >> 32 > layout.tail_bytes) return false;
    size = static_cast<std::uint32_t>(Load(Words(row + RowLayout::kKeySizeAt)));
  }
  return size == group.key_sizes[i] && size <= layout.tail_bytes &&
         IsSame(row + layout.tail_at, group.keys[i], size);
}

// Most reads: floats straight into the matrix. Whatever is not as usual goes the long way.
bool TableReader::FinishDirect(const View& view, const Group& group) const {
  const char* const int_keys = memory_->has_int_key ? group.keys[0] : nullptr;
  const std::size_t tail_at = memory_->layout.tail_at;
  const std::vector<FieldSelection::Piece>& pieces = view.selection.pieces_;
  for (std::size_t i = 0, n = group.n; i < n; ++i) {
    const std::size_t at = group.first + i;
    if (group.rows[i] == 0) {
      if (!Finish(view, group, i)) return false;
      continue;
    }
    const char* const row = memory_->RowAt(group.rows[i]);
    const std::uint64_t version = Load(Words(row));
    const auto event_us = static_cast<std::int64_t>(Load(Words(row + RowLayout::kEventAt)));
    const auto flags = static_cast<std::uint32_t>(Load(Words(row + RowLayout::kPreviousAt)) >> 32);
    const bool is_usual =
        version != 0 && version <= view.snapshot && (flags & kDeletedFlag) == 0 &&
        (int_keys != nullptr ? Load(Words(row + tail_at)) == FieldOf<std::uint64_t>(int_keys, 8 * i)
                             : IsOf(row, group, i));
    if (!is_usual) {
      if (!Finish(view, group, i)) return false;
      continue;
    }
    char* const to = view.MatrixRow(at);
    for (const FieldSelection::Piece& piece : pieces) {
      LoadWords(to + piece.to, row + piece.from, piece.bytes / 8);
    }
    if (Load(Words(row)) != version) return false;
    if (Judge(view, at, event_us, flags) != RowStatus::kPresent) WriteMissing(view, at);
  }
  return true;
}

bool TableReader::Finish(const View& view, const Group& group, std::size_t i) const {
  char* const row = view.rows + i * view.stride;
  const Found found = Resolve(view, group, i);
  if (found == Found::kRestart) return false;
  const std::uint32_t flags =
      found == Found::kYes ? FieldOf<std::uint32_t>(row, RowLayout::kFlagsAt) : kDeletedFlag;
  const std::int64_t event_us = found == Found::kYes ? FieldOf<std::int64_t>(row, RowLayout::kEventAt) : 0;
  const std::size_t at = group.first + i;
  if (Judge(view, at, event_us, flags) == RowStatus::kPresent) return true;
  std::memcpy(row, memory_->missing_row.data(), view.stride);
  if (view.is_direct) WriteMissing(view, at);
  return true;
}

// What a row counts for at the moment asked about, also into the answer.
inline RowStatus TableReader::Judge(const View& view, std::size_t at, std::int64_t event_us,
                                    std::uint32_t flags) const {
  const ReadBatch& batch = view.batch;
  RowStatus status = RowStatus::kNotFound;
  if ((flags & kDeletedFlag) != 0 || event_us > batch.now_us) {
    event_us = 0;
  } else {
    const std::int64_t ttl_us = TtlSeconds(flags) > 0 ? TtlSeconds(flags) * 1'000'000 : kNoMaxAge;
    const bool is_too_old =
        IsTooOld(event_us, batch.now_us, batch.max_age_us) || IsTooOld(event_us, batch.now_us, ttl_us);
    status = is_too_old ? RowStatus::kOutsideMaxAge : RowStatus::kPresent;
  }
  batch.status[at] = static_cast<std::uint8_t>(status);
  batch.event_us[at] = event_us;
  return status;
}

void TableReader::WriteMissing(const View& view, std::size_t at) const {
  for (const FieldSelection::Piece& piece : view.selection.pieces_) {
    std::memcpy(view.MatrixRow(at) + piece.to, memory_->missing_row.data() + piece.from, piece.bytes);
  }
}

TableReader::Found TableReader::Resolve(const View& view, const Group& group, std::size_t i) const {
  if (group.rows[i] == 0) return Found::kNo;
  const KeyView key =
      memory_->has_int_key ? KeyView{group.keys[0] + 8 * i, 8} : KeyView{group.keys[i], group.key_sizes[i]};
  const std::uint32_t tag = group.tags[i];
  const std::size_t mask = view.index.mask();
  std::size_t place = group.places[i];
  std::uint64_t slot = Slot::Make(tag, group.rows[i]);
  for (;;) {
    std::uint64_t version = 0;
    const Found found = Take(view, Slot::Row(slot), key, i, group.first + i, &version);
    if (found != Found::kOther) return found;
    // Another key with this tag: one in 2^32 / rows. Or the row was used again for another key since we saw
    // the slot; then it is newer than our snapshot, and the slot is another one. (A slot keeps its key for as
    // long as its index lives.)
    if (version > view.snapshot &&
        (Load(&memory_->header->index) != view.index_word || Load(view.index.slots + place) != slot)) {
      return Found::kRestart;
    }
    do {
      place = (place + 1) & mask;
      slot = Load(view.index.slots + place);
      if (slot == 0) return Found::kNo;
    } while (Slot::Tag(slot) != tag || Slot::Row(slot) == 0);
  }
}

// The version of `row` that the snapshot sees, into place i, if `key` is its key. `newest`: the version of
// `row` itself.
TableReader::Found TableReader::Take(const View& view, std::uint32_t row, const KeyView& key, std::size_t i,
                                     std::size_t at, std::uint64_t* newest) const {
  const char* const copy = view.rows + i * view.stride;
  std::uint64_t version = Load(Words(memory_->RowAt(row)));
  if (version == 0 || !Copy(view, row, version, i, at)) return Found::kRestart;
  if (view.IsOver()) return Found::kNo;
  *newest = version;
  const RowLayout& layout = memory_->layout;
  const bool is_outside =
      layout.has_heap && FieldOf<std::uint32_t>(copy, RowLayout::kTailSizeAt) > layout.tail_bytes;
  const char* const tail = is_outside ? view.workspace->tails_[i].data() : copy + layout.tail_at;
  if (!HasKey(copy, tail, key)) return Found::kOther;
  while (version > view.snapshot) {
    const std::uint32_t previous = FieldOf<std::uint32_t>(copy, RowLayout::kPreviousAt);
    if (previous == 0) return Found::kNo;
    const std::uint64_t older = Load(Words(memory_->RowAt(previous)));
    // A row that was used again is newer than the one that replaced it; of one batch both may be.
    if (older == 0 || older > version || !Copy(view, previous, older, i, at)) return Found::kRestart;
    if (view.IsOver()) return Found::kNo;
    version = older;
  }
  return Found::kYes;
}

// What the selection needs of one version of a row. False where it is no longer that version.
bool TableReader::Copy(const View& view, std::uint32_t row, std::uint64_t version, std::size_t i,
                       std::size_t at) const {
  const char* const from = memory_->RowAt(row);
  char* const to = view.rows + i * view.stride;
  if (view.is_direct) {
    // The floats go to their place at once: 256 warm keys take a third less (Zen 4, 2026-11).
    LoadWords(to, from, (memory_->layout.tail_at + memory_->layout.tail_bytes) / 8);
    for (const FieldSelection::Piece& piece : view.selection.pieces_) {
      LoadWords(view.MatrixRow(at) + piece.to, from + piece.from, piece.bytes / 8);
    }
  } else {
    for (const FieldSelection::Run& run : view.selection.runs_) {
      LoadWords(to + std::size_t{8} * run.first, from + std::size_t{8} * run.first, run.words);
    }
  }
  if (Load(Words(from)) != version) return false;
  const RowLayout& layout = memory_->layout;
  if (!layout.has_heap) return true;
  const std::uint32_t tail_size = FieldOf<std::uint32_t>(to, RowLayout::kTailSizeAt);
  if (tail_size <= layout.tail_bytes) return true;
  view.workspace->outside_bytes_ += tail_size;
  if (view.IsOver()) return true;
  std::vector<char>& tail = view.workspace->tails_[i];
  const std::size_t words = (tail_size + 7) / 8;
  if (tail.size() < 8 * words) tail.resize(8 * words);
  LoadWords(tail.data(), memory_->HeapAt(FieldOf<std::uint32_t>(to, RowLayout::kHeapAt)), words);
  // The writer frees a row before it uses the row's heap again.
  return Load(Words(from)) == version;
}

bool TableReader::HasKey(const char* row, const char* tail, const KeyView& key) const {
  if (memory_->has_int_key) return FieldOf<std::uint64_t>(tail, 0) == FieldOf<std::uint64_t>(key.data, 0);
  const bool is_fixed = !memory_->layout.has_heap;
  return SameKey(key, tail,
                 is_fixed ? memory_->layout.tail_bytes : FieldOf<std::uint32_t>(row, RowLayout::kKeySizeAt));
}

void TableReader::Scatter(const View& view, const Group& group) const {
  const FieldSelection& selection = view.selection;
  if (view.batch.matrix != nullptr && !view.is_direct) {
    for (std::size_t i = 0; i < group.n; ++i) {
      const char* const row = view.rows + i * view.stride;
      char* const to = view.MatrixRow(group.first + i);
      for (const FieldSelection::Piece& piece : selection.pieces_) {
        std::memcpy(to + piece.to, row + piece.from, piece.bytes);
      }
    }
  }
  for (std::size_t j = 0; view.batch.columns != nullptr && j < selection.fields_.size(); ++j) {
    ScatterField(view, group, selection.fields_[j], view.batch.columns[j]);
  }
}

void TableReader::ScatterField(const View& view, const Group& group, std::uint32_t index,
                               const OutputColumn& out) const {
  const RowLayout& layout = memory_->layout;
  const TableField& field = memory_->schema.fields[index];
  const char* const cells = view.rows + layout.field_at[index];
  const char* const bits = view.rows + layout.bits_at;
  const std::size_t first = group.first, n = group.n, stride = view.stride;
  if (out.valid != nullptr) ScatterBit(bits, stride, n, index, out.valid + first);
  if (out.values == nullptr && out.strings == nullptr) return;
  if (out.as != ReadAs::kItself) {
    if (out.as == ReadAs::kFloat32) {
      Convert(field.type, cells, bits, index, stride, n, static_cast<float*>(out.values) + first);
    } else if (out.as == ReadAs::kFloat64) {
      Convert(field.type, cells, bits, index, stride, n, static_cast<double*>(out.values) + first);
    } else {
      Convert(field.type, cells, bits, index, stride, n, static_cast<std::int64_t*>(out.values) + first);
    }
    return;
  }
  switch (field.type) {
    case FieldType::kBool:
      ScatterCells<std::uint8_t>(cells, stride, n, static_cast<std::uint8_t*>(out.values) + first);
      break;
    case FieldType::kInt32:
    case FieldType::kFloat32:
      ScatterCells<std::uint32_t>(cells, stride, n, static_cast<std::uint32_t*>(out.values) + first);
      break;
    case FieldType::kInt64:
    case FieldType::kFloat64:
    case FieldType::kTimestampUs:
      ScatterCells<std::uint64_t>(cells, stride, n, static_cast<std::uint64_t*>(out.values) + first);
      break;
    case FieldType::kFloat32Vector: {
      const std::size_t bytes = std::size_t{4} * field.width;
      char* const to = static_cast<char*>(out.values) + bytes * first;
      for (std::size_t i = 0; i < n; ++i) std::memcpy(to + bytes * i, cells + i * stride, bytes);
      break;
    }
    case FieldType::kString:
    case FieldType::kBytes:
      for (std::size_t i = 0; i < n; ++i) {
        const char* const row = view.rows + i * stride;
        const std::uint32_t begin = FieldOf<std::uint32_t>(cells + i * stride, 0);
        const std::uint32_t size = FieldOf<std::uint32_t>(cells + i * stride, 4);
        const bool is_outside = FieldOf<std::uint32_t>(row, RowLayout::kTailSizeAt) > layout.tail_bytes;
        const char* const tail = is_outside ? view.workspace->tails_[i].data() : row + layout.tail_at;
        out.strings->bytes.insert(out.strings->bytes.end(), tail + begin, tail + begin + size);
        out.strings->offsets.push_back(static_cast<std::int64_t>(out.strings->bytes.size()));
      }
      break;
  }
}

}  // namespace mainspring
