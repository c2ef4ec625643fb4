// A feature program: typed columns and event lists in; a dense float32 matrix and int32 ids out, in one pass.
// What each operation means, to the last bit, is in native/reference.py.

#ifndef MAINSPRING_PROGRAM_H_
#define MAINSPRING_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "mainspring/dense_column.h"
#include "mainspring/status.h"
#include "mainspring/target.h"

struct MainspringBags;
struct MainspringEvents;
struct MainspringList;
struct MainspringRow;

namespace mainspring {

enum class Aggregate : std::uint8_t { kSum = 0, kCount, kMean, kMax, kMin, kLast };

// A window is a float column: dense columns may read it.
struct WindowSpec {
  std::int32_t events = 0;  // an event list
  std::int32_t as_of = 0;   // an int column
  std::int64_t width = 1;   // in the unit of the times
  Aggregate aggregate = Aggregate::kSum;
};

enum class IdKind : std::uint8_t { kHash = 0, kCross, kVocabulary, kBucketise };

struct IdSpec {
  IdKind kind = IdKind::kHash;
  std::vector<std::int32_t> sources;  // int columns; of kBucketise one float column
  std::int32_t offset = 0;            // added to every id: ids of several columns may share one table
  std::uint64_t seed = 0;             // of kHash and kCross
  std::int32_t buckets = 2;           // of kHash and kCross, that of the missing value included
  std::vector<std::int64_t> values;   // of kVocabulary
  std::vector<double> boundaries;     // of kBucketise
  bool right = false;                 // of kBucketise: a value on a boundary belongs below it
};

// How much a run is, in values: a row's dense columns, twice its ids, eight times its event lists. One is
// about half a nanosecond. CTR-48 has 88 a row; what it takes on one thread / two, us, both cores idle (Zen
// 4, AVX-512, 2026-11):
//   rows               384      512    1,024    2,048      4,096      8,192     16,384
//   second awake   18 / 13  24 / 14  49 / 29           202 / 113             845 / 444
//   second asleep           29 / 56           116 / 168  217 / 267  436 / 460  956 / 551
// (One thread has become half as fast again since, and so the second's share of the gain smaller.)
// So a thread that is awake helps from some 16,000 values each on, and waking one pays from a million on.
inline constexpr std::size_t kShareWork = std::size_t{1} << 14;
inline constexpr std::size_t kWakeWork = std::size_t{1} << 20;

struct ProgramSpec {
  std::int32_t n_floats = 0;
  std::int32_t n_ints = 0;
  std::int32_t n_events = 0;
  std::vector<WindowSpec> windows;
  std::vector<DenseColumn> dense;  // sources: the float columns, then the windows
  std::vector<IdSpec> ids;
  std::int32_t n_lists = 0;  // ragged lists of ints
  std::vector<IdSpec> bags;  // kHash or kVocabulary; sources: the lists
};

// Columns of one batch. Nothing is copied, so all of it must live while Run runs.
struct ProgramInput {
  const float* const* floats = nullptr;
  const std::int64_t* const* ints = nullptr;
  const MainspringEvents* events = nullptr;  // src/program/program_kernels.h
  std::size_t n_rows = 0;
  const MainspringList* lists = nullptr;  // src/program/program_kernels.h
};

// The ids of ragged lists as torch.nn.EmbeddingBag and TorchRec's KeyedJaggedTensor want them: bag after bag,
// and within one row after row. An id for each value, so how many there are is known before any is made.
struct BagOutput {
  std::int32_t* values = nullptr;
  std::int32_t* offsets = nullptr;  // n_bags() * n_rows + 1: row i of bag j begins at offsets[j * n_rows + i]
};

// Room for the intermediate results of one run, on one thread or several. Made by the program it is for.
class ProgramWorkspace {
 public:
  ProgramWorkspace() = default;
  int threads() const { return static_cast<int>(threads_.size()); }

 private:
  friend class Program;
  struct Thread {
    std::vector<const float*> columns;
    std::vector<float> windows, row_floats;
    std::vector<std::int64_t> row_ints;
    std::vector<std::int32_t> row_ids;
    std::vector<char> events;
  };
  std::vector<Thread> threads_;
  std::vector<std::int64_t> list_firsts_, bag_begins_;  // see MainspringBags
};

// Immutable once compiled; Run may be called from many threads at once, each with its own workspace.
class Program {
 public:
  Program();
  ~Program();
  Program(Program&&) noexcept;
  Program& operator=(Program&&) noexcept;

  // Checks everything first. A refusal's `column` counts dense columns, then ids, then windows, then bags.
  static Status Compile(const ProgramSpec& spec, Target target, Program* program);

  // For up to `threads` of them, at most kMaxThreads.
  ProgramWorkspace MakeWorkspace(int threads = 1) const;

  // At most `threads`, those of the workspace, and as many as the batch is worth (kShareWork).
  // dense: n_rows x width() floats, row-major. ids: n_ids() x ids_stride, id j of row i at [j * ids_stride +
  // i]. No overlap with an input. Neither allocates nor throws; the floating-point environment is put back.
  // kBadShape where a row's events lie outside of their list: `got` is the row, the outputs are not complete.
  Status Run(const ProgramInput& input, ProgramWorkspace* workspace, float* dense, std::int32_t* ids,
             std::size_t ids_stride, int threads = 1, const BagOutput& bags = {}) const noexcept;

  // Measures the lists of a batch, before Run with the same workspace. `size`: how many ids its bags hold;
  // the output must have room for them. kBadShape where a row lies outside of its list: `column` is the list,
  // `got` the row. kOutOfRange where an int32 cannot count them. Writes nothing else.
  Status PrepareBags(const ProgramInput& input, ProgramWorkspace* workspace,
                     std::size_t* size) const noexcept;

  // What no rows of these lists can exceed, whatever their offsets.
  std::size_t MaxBagIds(const ProgramInput& input) const noexcept;

  // The bags alone, after PrepareBags: what goes with RunRow.
  Status RunBags(const ProgramInput& input, ProgramWorkspace* workspace,
                 const BagOutput& bags) const noexcept;

  // One row, its ints, floats and event lists side by side; dense[width()], ids[n_ids()].
  void RunRow(const MainspringRow& row, ProgramWorkspace* workspace, float* dense,
              std::int32_t* ids) const noexcept;

  std::size_t width() const;
  std::size_t n_ids() const;
  std::size_t n_lists() const;
  std::size_t n_bags() const;
  std::size_t Work(std::size_t rows) const;  // see kShareWork; an id of a bag counts as another one does
  Target target() const;

 private:
  struct Compiled;
  static MainspringBags ViewBags(const ProgramInput& input, ProgramWorkspace* workspace,
                                 const BagOutput& bags);

  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace mainspring

#endif  // MAINSPRING_PROGRAM_H_
