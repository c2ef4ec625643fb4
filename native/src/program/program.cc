#include "mainspring/program.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <utility>

#include "lists.h"
#include "mainspring/dense.h"
#include "mainspring/float_environment.h"
#include "mainspring/hash.h"
#include "mainspring/pool.h"
#include "mainspring/vocabulary.h"
#include "program_kernels.h"

namespace mainspring {
namespace {

constexpr std::size_t kPad = 16;
constexpr std::size_t kWindowFloats = 1 << 16;  // of all windows of a block
constexpr std::int64_t kMaxId = std::numeric_limits<std::int32_t>::max();

std::size_t Padded(std::size_t n) { return (n + kPad - 1) / kPad * kPad; }

Status Bad(std::size_t column, const char* expected, double got, const char* next_step) {
  return {StatusCode::kBadSpec, static_cast<std::int32_t>(column), expected, true, got, next_step};
}

bool IsIndex(std::int32_t i, std::size_t n) { return i >= 0 && static_cast<std::size_t>(i) < n; }

// run[i]: how many entries from i on rise by one.
std::vector<std::int32_t> Runs(const std::int32_t* values, std::size_t n, std::size_t padded) {
  std::vector<std::int32_t> run(padded, 1);
  for (std::size_t i = n; i-- > 0;) {
    if (i + 1 < n && values[i + 1] == values[i] + 1) run[i] = run[i + 1] + 1;
  }
  return run;
}

// The arrays behind a MainspringKeyed.
struct Keyed {
  std::vector<std::int32_t> source, source_run, id, id_run;
  std::vector<std::uint64_t> key, range, offset;

  void Add(std::int32_t from, std::int32_t to, std::uint64_t k, std::uint64_t r, std::uint64_t o) {
    source.push_back(from), id.push_back(to), key.push_back(k), range.push_back(r), offset.push_back(o);
  }

  MainspringKeyed Seal() {
    const std::size_t n = source.size(), padded = Padded(n);
    source_run = Runs(source.data(), n, padded);
    id_run = Runs(id.data(), n, padded);
    source.resize(padded), id.resize(padded), key.resize(padded), range.resize(padded), offset.resize(padded);
    return {n, source.data(), source_run.data(), id.data(), id_run.data(), key.data()};
  }
};

// The arrays behind a MainspringNarrowRow.
struct NarrowRow {
  Keyed keyed;
  std::vector<std::uint64_t> base, beyond;
  std::vector<std::int32_t> key, bits, largest, offset;
  std::vector<const MainspringVocabulary*> tables;

  MainspringNarrowRow Seal(const std::vector<MainspringVocabulary>& vocabularies) {
    for (const MainspringVocabulary& v : vocabularies) {
      if (v.is_narrow == 0) continue;
      keyed.Add(v.source, v.id, 0, 0, 0);
      base.push_back(static_cast<std::uint64_t>(v.base)), beyond.push_back(v.span + 1);
      key.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(v.key)));
      bits.push_back(static_cast<std::int32_t>(v.bits));
      largest.push_back(static_cast<std::int32_t>((std::uint32_t{1} << v.bits) - 1));
      offset.push_back(v.offset);
      tables.push_back(&v);
    }
    const std::size_t padded = Padded(tables.size());
    base.resize(padded), beyond.resize(padded);
    for (auto* array : {&key, &bits, &largest, &offset}) array->resize(padded);
    return {keyed.Seal(), base.data(),    beyond.data(), key.data(),
            bits.data(),  largest.data(), offset.data(), tables.data()};
  }
};

struct Group {
  std::vector<std::int64_t> width;
  std::vector<std::uint8_t> aggregate;
  std::vector<std::int32_t> window;
};

}  // namespace

// What the plan's pointers point to. Never moved once sealed.
struct Program::Compiled {
  Target target = Target::kGeneric;
  std::size_t n_ids = 0;
  MainspringPlan plan = {};
  DenseProgram dense;
  std::vector<std::int32_t> dense_run;
  Keyed hashes;
  std::vector<Vocabulary> vocabularies;
  std::vector<MainspringVocabulary> tables;
  NarrowRow narrow_row;
  std::vector<std::vector<float>> bounds;
  std::vector<MainspringBuckets> buckets;
  std::vector<std::vector<std::int32_t>> cross_sources;
  std::vector<MainspringCross> crosses;
  std::vector<Group> groups;
  std::vector<MainspringWindows> windows;
  std::unique_ptr<Compiled> bags;  // a program of its own, of lists for ints; null where there are none

  Status AddWindows(const ProgramSpec& spec);
  Status AddDense(const ProgramSpec& spec);
  Status AddId(const ProgramSpec& spec, std::size_t i);
  Status AddBags(const ProgramSpec& spec);
  Status AddBuckets(const IdSpec& id, std::size_t column, std::int32_t i);
  Status AddVocabulary(const IdSpec& id, std::size_t column, std::int32_t i);
  void Seal(const ProgramSpec& spec);

  // each(list, bag), of the program of bags.
  template <typename Each>
  void EachBag(const Each& each) const {
    for (std::size_t i = 0; i < plan.hashes.keyed.n; ++i) {
      each(static_cast<std::size_t>(plan.hashes.keyed.source[i]), plan.hashes.keyed.id[i]);
    }
    for (std::size_t i = 0; i < plan.n_vocabularies; ++i) {
      each(static_cast<std::size_t>(plan.vocabularies[i].source), plan.vocabularies[i].id);
    }
  }
};

Status Program::Compiled::AddWindows(const ProgramSpec& spec) {
  const std::size_t before = spec.dense.size() + spec.ids.size();
  for (std::size_t i = 0; i < spec.windows.size(); ++i) {
    const WindowSpec& w = spec.windows[i];
    if (!IsIndex(w.events, static_cast<std::size_t>(spec.n_events))) {
      return Bad(before + i, "`events` must be the index of an event list", w.events,
                 "name one of the inputs");
    }
    if (!IsIndex(w.as_of, static_cast<std::size_t>(spec.n_ints))) {
      return Bad(before + i, "`as_of` must be the index of an int column", w.as_of, "name one of the inputs");
    }
    if (w.width <= 0) {
      return Bad(before + i, "`width` must be positive", static_cast<double>(w.width),
                 "use the unit of the times");
    }
    std::size_t at = 0;
    while (at < windows.size() && (windows[at].events != w.events || windows[at].as_of != w.as_of)) ++at;
    if (at == windows.size()) {
      windows.push_back({w.events, w.as_of, 0, nullptr, nullptr, nullptr});
      groups.emplace_back();
    }
    groups[at].width.push_back(w.width);
    groups[at].aggregate.push_back(static_cast<std::uint8_t>(w.aggregate));
    groups[at].window.push_back(static_cast<std::int32_t>(i));
  }
  return {};
}

Status Program::Compiled::AddDense(const ProgramSpec& spec) {
  if (spec.dense.empty()) return {};
  const std::size_t n_sources = static_cast<std::size_t>(spec.n_floats) + spec.windows.size();
  for (std::size_t i = 0; i < spec.dense.size(); ++i) {
    if (!IsIndex(spec.dense[i].source, n_sources)) {
      return Bad(i, "`source` must be a float column or a window", spec.dense[i].source,
                 "name one of the inputs");
    }
  }
  return DenseProgram::Compile(spec.dense.data(), spec.dense.size(), target, &dense);
}

Status Program::Compiled::AddBuckets(const IdSpec& id, std::size_t column, std::int32_t i) {
  std::vector<float> rising;
  for (const double b : id.boundaries) {
    const float bound = static_cast<float>(b);
    if (!std::isfinite(bound)) return Bad(column, "`boundaries` must be finite float32", b, "leave it out");
    if (!rising.empty() && !(rising.back() < bound)) {
      return Bad(column, "`boundaries` must rise strictly as float32", b,
                 "sort them and leave out the equal ones");
    }
    rising.push_back(bound);
  }
  const std::size_t n = rising.size();
  if (n > kMaxDenseWidth) {
    return Bad(column, "`boundaries` must be at most 65536", static_cast<double>(n), "use fewer");
  }
  // The kernel counts bounds below x. A bound that x may equal is below it after one step down.
  if (!id.right) {
    for (float& b : rising) b = std::nextafter(b, -std::numeric_limits<float>::infinity());
  }
  rising.resize((n / 32 + 1) * 32, std::numeric_limits<float>::infinity());
  buckets.push_back({id.sources[0], i, id.offset, static_cast<std::uint32_t>(n), nullptr});
  bounds.push_back(std::move(rising));
  return {};
}

Status Program::Compiled::AddVocabulary(const IdSpec& id, std::size_t column, std::int32_t i) {
  Vocabulary vocabulary;
  if (Status status = Vocabulary::Build(id.values.data(), id.values.size(), &vocabulary); !status.ok()) {
    status.column = static_cast<std::int32_t>(column);
    return status;
  }
  tables.push_back({id.sources[0], i, id.offset, vocabulary.is_narrow(),
                    static_cast<std::uint32_t>(vocabulary.bits()), nullptr, nullptr, vocabulary.bucket_mask(),
                    vocabulary.key(), vocabulary.base(), vocabulary.span()});
  vocabularies.push_back(std::move(vocabulary));
  return {};
}

Status Program::Compiled::AddId(const ProgramSpec& spec, std::size_t i) {
  const IdSpec& id = spec.ids[i];
  const std::size_t column = spec.dense.size() + i;
  const bool is_cross = id.kind == IdKind::kCross, is_bucketise = id.kind == IdKind::kBucketise;
  if (id.sources.empty() || (id.sources.size() > 1 && !is_cross)) {
    return Bad(column, "it must have one source, a cross one or more", static_cast<double>(id.sources.size()),
               "name the columns");
  }
  const std::size_t n = static_cast<std::size_t>(is_bucketise ? spec.n_floats : spec.n_ints);
  for (const std::int32_t source : id.sources) {
    if (!IsIndex(source, n)) return Bad(column, "`source` must be an input", source, "name one of its kind");
  }
  const bool is_hash = id.kind == IdKind::kHash || is_cross;
  if (is_hash && id.buckets < 2) {
    return Bad(column, "`buckets` must be 2 or more, that of the missing value included", id.buckets,
               "use more");
  }
  const std::size_t listed = is_bucketise ? id.boundaries.size() : id.values.size();
  const std::int64_t size = is_hash ? id.buckets : static_cast<std::int64_t>(listed) + 2;
  if (id.offset < 0 || id.offset > kMaxId - size) {
    return Bad(column, "`offset` must be 0 or more, and every id an int32", id.offset, "use a smaller one");
  }

  const std::int32_t to = static_cast<std::int32_t>(i);
  const std::uint64_t range = static_cast<std::uint64_t>(id.buckets) - 1;
  switch (id.kind) {
    case IdKind::kHash:
      hashes.Add(id.sources[0], to, HashKey(id.seed), range, static_cast<std::uint64_t>(id.offset));
      return {};
    case IdKind::kCross:
      crosses.push_back({nullptr, id.sources.size(), to, id.offset, HashKey(id.seed), range});
      cross_sources.push_back(id.sources);
      return {};
    case IdKind::kVocabulary:
      return AddVocabulary(id, column, to);
    case IdKind::kBucketise:
      return AddBuckets(id, column, to);
  }
  return Bad(column, "`kind` must be known", static_cast<double>(id.kind), "correct it");
}

Status Program::Compiled::AddBags(const ProgramSpec& spec) {
  if (spec.bags.empty()) return {};
  const std::size_t before = spec.dense.size() + spec.ids.size() + spec.windows.size();
  ProgramSpec alone;
  alone.n_ints = spec.n_lists;
  alone.ids = spec.bags;
  bags = std::make_unique<Compiled>();
  for (std::size_t i = 0; i < alone.ids.size(); ++i) {
    const IdKind kind = alone.ids[i].kind;
    if (kind != IdKind::kHash && kind != IdKind::kVocabulary) {
      return Bad(before + i, "a bag must be a hash or a vocabulary", static_cast<double>(kind),
                 "use one of them");
    }
    if (Status status = bags->AddId(alone, i); !status.ok()) {
      status.column += static_cast<std::int32_t>(before);
      return status;
    }
  }
  bags->Seal(alone);
  return {};
}

void Program::Compiled::Seal(const ProgramSpec& spec) {
  n_ids = spec.ids.size();
  plan.n_floats = static_cast<std::size_t>(spec.n_floats);
  plan.n_ints = static_cast<std::size_t>(spec.n_ints);
  plan.n_events = static_cast<std::size_t>(spec.n_events);
  plan.n_windows = spec.windows.size();
  if (!spec.dense.empty()) dense.Describe(&plan.dense);
  dense_run = Runs(plan.dense.source, spec.dense.size(), Padded(spec.dense.size()));
  plan.dense_run = dense_run.data();
  plan.hashes = {hashes.Seal(), hashes.range.data(), hashes.offset.data()};
  for (std::size_t i = 0; i < tables.size(); ++i) {
    tables[i].slots = vocabularies[i].slots();
    tables[i].pilots = vocabularies[i].pilots();
  }
  plan.n_vocabularies = tables.size();
  plan.vocabularies = tables.data();
  plan.narrow_row = narrow_row.Seal(tables);
  plan.n_wide = tables.size() - plan.narrow_row.keyed.n;
  for (std::size_t i = 0; i < buckets.size(); ++i) buckets[i].bounds = bounds[i].data();
  plan.n_buckets = buckets.size();
  plan.buckets = buckets.data();
  for (std::size_t i = 0; i < crosses.size(); ++i) crosses[i].sources = cross_sources[i].data();
  plan.n_crosses = crosses.size();
  plan.crosses = crosses.data();
  for (std::size_t i = 0; i < windows.size(); ++i) {
    windows[i].n = groups[i].window.size();
    windows[i].width = groups[i].width.data();
    windows[i].aggregate = groups[i].aggregate.data();
    windows[i].window = groups[i].window.data();
  }
  plan.n_groups = windows.size();
  plan.groups = windows.data();
  // As many as leave the windows of a block in the second cache.
  const std::size_t block_rows = kWindowFloats / std::max<std::size_t>(plan.n_windows, 1) / 64 * 64;
  plan.block_rows = std::clamp<std::size_t>(block_rows, kMainspringLeastBlockRows, kMainspringMostBlockRows);
}

Program::Program() = default;
Program::~Program() = default;
Program::Program(Program&&) noexcept = default;
Program& Program::operator=(Program&&) noexcept = default;

Status Program::Compile(const ProgramSpec& spec, Target target, Program* program) {
  const DefaultFloatEnvironment environment;
  if (!IsSupported(target)) {
    return {StatusCode::kUnknownTarget,           -1, "`target` must be one that this CPU supports", false, 0,
            "take one from `targets.available()`"};
  }
  for (const std::int32_t n : {spec.n_floats, spec.n_ints, spec.n_events, spec.n_lists}) {
    if (n >= 0 && static_cast<std::size_t>(n) <= kMaxDenseWidth) continue;
    return {StatusCode::kBadSpec,   -1,        "a program must have at most 65536 inputs of a type", true,
            static_cast<double>(n), "split it"};
  }
  const std::size_t outputs = spec.dense.size() + spec.ids.size() + spec.bags.size();
  if (outputs == 0 || outputs > kMaxDenseWidth || spec.windows.size() > kMaxDenseWidth) {
    return {StatusCode::kBadSpec,         -1,        "a program must have 1 to 65536 outputs", true,
            static_cast<double>(outputs), "split it"};
  }
  auto made = std::make_unique<Compiled>();
  made->target = target;
  if (const Status status = made->AddWindows(spec); !status.ok()) return status;
  if (const Status status = made->AddDense(spec); !status.ok()) return status;
  for (std::size_t i = 0; i < spec.ids.size(); ++i) {
    if (const Status status = made->AddId(spec, i); !status.ok()) return status;
  }
  if (const Status status = made->AddBags(spec); !status.ok()) return status;
  made->Seal(spec);
  program->compiled_ = std::move(made);
  return {};
}

ProgramWorkspace Program::MakeWorkspace(int threads) const {
  const MainspringPlan& plan = compiled_->plan;
  ProgramWorkspace workspace;
  workspace.threads_.resize(static_cast<std::size_t>(std::clamp(threads, 1, kMaxThreads)));
  for (ProgramWorkspace::Thread& t : workspace.threads_) {
    t.columns.resize(plan.n_floats + plan.n_windows);
    t.windows.resize(plan.n_windows * plan.block_rows);
    t.row_floats.resize(Padded(plan.n_floats + plan.n_windows));
    t.row_ints.resize(Padded(plan.n_ints));
    t.row_ids.resize(Padded(compiled_->n_ids));
    t.events.resize(plan.n_events * sizeof(MainspringEventList));
  }
  if (compiled_->bags != nullptr) {
    workspace.list_firsts_.resize(n_lists());
    workspace.bag_begins_.resize(n_bags() + 1);
  }
  return workspace;
}

namespace {

template <typename Thread>
MainspringWorkspace View(Thread* t) {
  return {t->columns.data(),    t->windows.data(), t->row_ints.data(),
          t->row_floats.data(), t->row_ids.data(), reinterpret_cast<MainspringEventList*>(t->events.data())};
}

std::int64_t RunRows(Target target, const MainspringPlan& plan, const MainspringBatch& batch,
                     const MainspringWorkspace& workspace) {
  const DefaultFloatEnvironment environment;
  switch (target) {
    case Target::kGeneric:
      return MainspringProgramRowsGeneric(&plan, &batch, &workspace);
#if defined(__x86_64__)
    case Target::kAvx2:
      return MainspringProgramRowsAvx2(&plan, &batch, &workspace);
    case Target::kAvx512:
      return MainspringProgramRowsAvx512(&plan, &batch, &workspace);
#else
    default:
      break;
#endif
  }
  return -1;
}

std::int64_t RunBagRows(Target target, const MainspringPlan& plan, const MainspringBags& bags) {
  switch (target) {
    case Target::kGeneric:
      return MainspringProgramBagsGeneric(&plan, &bags);
#if defined(__x86_64__)
    case Target::kAvx2:
      return MainspringProgramBagsAvx2(&plan, &bags);
    case Target::kAvx512:
      return MainspringProgramBagsAvx512(&plan, &bags);
#else
    default:
      break;
#endif
  }
  return -1;
}

Status BadRow(std::int64_t row, std::int32_t list = -1) {
  return {StatusCode::kBadShape,
          list,
          "`offsets` must rise and stay within their list",
          true,
          static_cast<double>(row),
          "give n_rows + 1 rising offsets"};
}

// Pieces of a batch that threads take one after another: so the faster one, or the only one awake, does more.
constexpr std::size_t kPieceRows = kMainspringMostBlockRows;

struct Shared {
  Target target;
  const MainspringPlan* plan;
  MainspringBatch whole;
  std::size_t piece_rows;
  const MainspringWorkspace* workspaces;
  const MainspringPlan* bag_plan;  // or null
  MainspringBags bags;
  std::atomic<std::size_t> next_row{0};
  std::atomic<std::int64_t> bad_row{std::numeric_limits<std::int64_t>::max()};

  static void Work(void* context, int i) {
    auto* const self = static_cast<Shared*>(context);
    MainspringBatch piece = self->whole;
    for (;;) {
      piece.first_row = self->next_row.fetch_add(self->piece_rows, std::memory_order_relaxed);
      if (piece.first_row >= self->whole.n_rows) return;
      piece.n_rows = std::min(self->piece_rows, self->whole.n_rows - piece.first_row);
      std::int64_t bad = RunRows(self->target, *self->plan, piece, self->workspaces[i]);
      if (self->bag_plan != nullptr && bad < 0) {
        MainspringBags bags = self->bags;
        bags.first_row = piece.first_row, bags.n_rows = piece.n_rows;
        bad = RunBagRows(self->target, *self->bag_plan, bags);
      }
      if (bad < 0) continue;
      // The first of all: pieces before this one are taken already, and will be looked at.
      std::int64_t least = self->bad_row.load();
      while (bad < least && !self->bad_row.compare_exchange_weak(least, bad)) {
      }
      self->next_row.store(self->whole.n_rows);
    }
  }
};

}  // namespace

Status Program::Run(const ProgramInput& input, ProgramWorkspace* w, float* dense, std::int32_t* ids,
                    std::size_t ids_stride, int max_threads, const BagOutput& bags) const noexcept {
  const MainspringPlan& plan = compiled_->plan;
  MainspringBatch batch;
  batch.floats = input.floats;
  batch.ints = input.ints;
  batch.events = input.events;
  batch.first_row = 0;
  batch.n_rows = input.n_rows;
  batch.dense = dense;
  batch.ids = ids;
  batch.ids_stride = ids_stride;
  const std::size_t widest = std::max(plan.dense.width, compiled_->n_ids);
  batch.use_streaming_stores = input.n_rows * widest * sizeof(float) >= kStreamingBytes;

  const bool has_bags = compiled_->bags != nullptr;
  const std::size_t work =
      Work(input.n_rows) + (has_bags ? 2 * static_cast<std::size_t>(w->bag_begins_.back()) : 0);
  MainspringWorkspace workspaces[kMaxThreads];
  const std::size_t threads =
      std::min({static_cast<std::size_t>(std::max(max_threads, 1)), w->threads_.size(), work / kShareWork});
  std::int64_t bad_row = -1;
  if (threads < 2) {
    workspaces[0] = View(&w->threads_[0]);
    bad_row = RunRows(compiled_->target, plan, batch, workspaces[0]);
    if (has_bags && bad_row < 0) return RunBags(input, w, bags);
  } else {
    for (std::size_t i = 0; i < threads; ++i) workspaces[i] = View(&w->threads_[i]);
    // Smaller pieces where there are few rows, or the last one would keep everybody waiting.
    const std::size_t even = (input.n_rows / (4 * threads) + 127) / 128 * 128;
    Shared shared{compiled_->target,
                  &plan,
                  batch,
                  std::min(kPieceRows, even),
                  workspaces,
                  has_bags ? &compiled_->bags->plan : nullptr,
                  has_bags ? ViewBags(input, w, bags) : MainspringBags{}};
    RunTogether(static_cast<int>(threads), work >= kWakeWork, Shared::Work, &shared);
    if (has_bags) bags.offsets[n_bags() * input.n_rows] = static_cast<std::int32_t>(w->bag_begins_.back());
    const std::int64_t bad = shared.bad_row.load();
    if (bad != std::numeric_limits<std::int64_t>::max()) bad_row = bad;
  }
  return bad_row < 0 ? Status() : BadRow(bad_row);
}

Status Program::PrepareBags(const ProgramInput& input, ProgramWorkspace* w,
                            std::size_t* size) const noexcept {
  *size = 0;
  if (compiled_->bags == nullptr) return {};
  for (std::size_t i = 0; i < n_lists(); ++i) {
    const std::int64_t bad = FirstBadRow(input.lists[i], input.n_rows);
    if (bad >= 0) return BadRow(bad, static_cast<std::int32_t>(i));
    w->list_firsts_[i] = ListOffset(input.lists[i], 0);
  }
  std::int64_t* const begins = w->bag_begins_.data();
  compiled_->bags->EachBag([&](std::size_t list, std::int32_t bag) {
    const std::int64_t end = ListOffset(input.lists[list], input.n_rows);
    begins[bag + 1] = std::max(end - w->list_firsts_[list], std::int64_t{0});
  });
  begins[0] = 0;
  for (std::size_t i = 0; i < n_bags(); ++i) begins[i + 1] += begins[i];
  *size = static_cast<std::size_t>(begins[n_bags()]);
  if (begins[n_bags()] <= kMaxId) return {};
  return {StatusCode::kOutOfRange,
          -1,
          "the bags of a batch must hold at most 2^31 - 1 ids",
          true,
          static_cast<double>(*size),
          "split the batch"};
}

std::size_t Program::MaxBagIds(const ProgramInput& input) const noexcept {
  std::size_t most = 0;
  if (compiled_->bags == nullptr) return most;
  compiled_->bags->EachBag([&](std::size_t list, std::int32_t) { most += input.lists[list].size; });
  return most;
}

MainspringBags Program::ViewBags(const ProgramInput& input, ProgramWorkspace* w, const BagOutput& bags) {
  return {input.lists,  w->list_firsts_.data(), w->bag_begins_.data(), 0,
          input.n_rows, input.n_rows,           bags.values,           bags.offsets};
}

Status Program::RunBags(const ProgramInput& input, ProgramWorkspace* w,
                        const BagOutput& bags) const noexcept {
  if (compiled_->bags == nullptr) return {};
  const std::int64_t bad =
      input.n_rows == 0 ? -1 : RunBagRows(compiled_->target, compiled_->bags->plan, ViewBags(input, w, bags));
  bags.offsets[n_bags() * input.n_rows] = static_cast<std::int32_t>(w->bag_begins_.back());
  return bad < 0 ? Status() : BadRow(bad);
}

void Program::RunRow(const MainspringRow& row, ProgramWorkspace* w, float* dense,
                     std::int32_t* ids) const noexcept {
  const MainspringPlan& plan = compiled_->plan;
  const MainspringWorkspace workspace = View(&w->threads_[0]);
  const DefaultFloatEnvironment environment;
  switch (compiled_->target) {
    case Target::kGeneric:
      return MainspringProgramRowGeneric(&plan, &row, &workspace, dense, ids);
#if defined(__x86_64__)
    case Target::kAvx2:
      return MainspringProgramRowAvx2(&plan, &row, &workspace, dense, ids);
    case Target::kAvx512:
      return MainspringProgramRowAvx512(&plan, &row, &workspace, dense, ids);
#else
    default:
      return;
#endif
  }
}

std::size_t Program::width() const { return compiled_->plan.dense.width; }
std::size_t Program::n_ids() const { return compiled_->n_ids; }
std::size_t Program::n_lists() const { return compiled_->bags == nullptr ? 0 : compiled_->bags->plan.n_ints; }
std::size_t Program::n_bags() const { return compiled_->bags == nullptr ? 0 : compiled_->bags->n_ids; }
std::size_t Program::Work(std::size_t rows) const {
  return rows * (width() + 2 * n_ids() + 8 * compiled_->plan.n_events);
}
Target Program::target() const { return compiled_->target; }

}  // namespace mainspring
