#include "feature_reads.h"

#include <time.h>

#include <string>
#include <utility>

#include "feature_answer.h"
#include "features_call.h"
#include "mainspring/table.h"

namespace mainspring::front {
namespace {

// Values and keys of one answer: about half a millisecond, most of it digits.
constexpr std::size_t kMaxCells = 4096;
// Of texts in one answer, and of what lies outside of the rows of one view, asked for or not: a row is read
// with its key and texts.
constexpr std::size_t kMaxTextBytes = std::size_t{128} << 10;

std::int64_t NowUs() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

// Whether the column has what the table's key is. If not no row can have it, and the app says so.
bool IsOf(KeyType type, const EntityColumn& column) {
  const auto wanted = type == KeyType::kInt64 ? EntityColumn::Kind::kInts : EntityColumn::Kind::kTexts;
  return column.kind == wanted || column.kind == EntityColumn::Kind::kNulls;
}

}  // namespace

// What one thread keeps from one request to the next. All of it is in proportion to kMaxJsonBytes, kMaxCells
// and kMaxTextBytes.
struct FeatureReads::Reading {
  FeaturesCall call;
  FeaturePlans plans;
  ReadWorkspace workspace;
  std::vector<KeyColumn> keys;
  std::vector<std::uint8_t> is_null;
  std::vector<float> matrix;         // rows side by side
  std::vector<std::uint64_t> cells;  // of any type, one field after the other
  std::vector<std::uint8_t> valid;
  std::vector<StringColumn> texts;
  std::vector<OutputColumn> columns;
  std::vector<std::uint8_t> status;
  std::vector<std::int64_t> event_us;
  std::string ending;

  bool BindKeys(const TableSchema& schema, KeyBatch* batch);
  void BindColumns(const FeaturePart& part, std::size_t rows);
  bool Read(const FeaturePart& part, std::int64_t now_us);
  std::size_t TextBytes(const FeaturePart& part) const;
  void AppendKeys(const FeaturePlan& plan, std::string* out);
  bool AppendPart(const FeaturePart& part, std::string* out);
};

// The request's columns as keys of a table. False: one was not sent, or has values of another type.
bool FeatureReads::Reading::BindKeys(const TableSchema& schema, KeyBatch* batch) {
  const std::size_t rows = call.entities[0].n;
  keys.clear();
  bool has_null = false;
  for (const TableKey& key : schema.keys) {
    const EntityColumn* const column = call.Find(key.name);
    if (column == nullptr || !IsOf(key.type, *column)) return false;
    KeyColumn bound;
    key.type == KeyType::kInt64 ? (void)(bound.ints = column->ints.data())
                                : (void)(bound.texts = column->texts.data());
    keys.push_back(bound);
    if (!column->has_null) continue;
    if (!has_null) is_null.assign(rows, 0);
    has_null = true;
    for (std::size_t i = 0; i < rows; ++i) is_null[i] |= column->is_null[i];
  }
  *batch = {keys.data(), has_null ? is_null.data() : nullptr, rows};
  return true;
}

void FeatureReads::Reading::BindColumns(const FeaturePart& part, std::size_t rows) {
  const std::size_t n = part.fields.size();
  cells.resize(n * rows);
  valid.resize(n * rows);
  if (texts.size() < n) texts.resize(n);
  columns.assign(n, {});
  for (std::size_t j = 0; j < n; ++j) {
    columns[j].valid = &valid[j * rows];
    part.types[j] == FieldType::kString ? (void)(columns[j].strings = &texts[j])
                                        : (void)(columns[j].values = &cells[j * rows]);
  }
}

// Rows of one view for the request's keys. False: the keys are not the view's, or the rows are too long.
bool FeatureReads::Reading::Read(const FeaturePart& part, std::int64_t now_us) {
  const OnlineTable& table = *part.known->view.table;
  ReadBatch batch;
  if (!BindKeys(table.schema(), &batch.keys)) return false;
  const std::size_t rows = batch.keys.n;
  status.resize(rows);
  event_us.resize(rows);
  batch.now_us = now_us;
  batch.max_age_us = table.schema().max_age_us;
  batch.status = status.data();
  batch.event_us = event_us.data();
  batch.max_outside_bytes = kMaxTextBytes;
  if (part.floats == FeaturePart::Floats::kFloat32) {
    matrix.resize(rows * part.fields.size());
    batch.matrix = matrix.data();
  } else {
    BindColumns(part, rows);
    batch.columns = columns.data();
  }
  table.Get(part.selection, batch, &workspace);
  return workspace.outside_bytes() <= batch.max_outside_bytes;
}

std::size_t FeatureReads::Reading::TextBytes(const FeaturePart& part) const {
  std::size_t bytes = 0;
  for (std::size_t j = 0; j < part.types.size(); ++j) {
    if (part.types[j] == FieldType::kString) bytes += texts[j].bytes.size();
  }
  return bytes;
}

// Names of keys and features, and the keys as they came.
void FeatureReads::Reading::AppendKeys(const FeaturePlan& plan, std::string* out) {
  out->append(R"({"metadata":{"feature_names":[)");
  for (std::size_t i = 0; i < call.n_entities; ++i) {
    out->append(i > 0 ? ",\"" : "\"").append(call.entities[i].name).append("\"");
  }
  out->append(plan.names).append(R"(]},"results":[)");
  ending.clear();
  AppendKeyEnding(call.entities[0].n, &ending);
  for (std::size_t i = 0; i < call.n_entities; ++i) {
    out->append(i > 0 ? ",{\"values\":" : "{\"values\":").append(call.entities[i].echo).append(ending);
  }
}

// What was read of one view. False: an event time that cannot be written.
bool FeatureReads::Reading::AppendPart(const FeaturePart& part, std::string* out) {
  const std::size_t rows = status.size(), n = part.fields.size();
  ending.clear();
  if (!AppendEnding(status.data(), event_us.data(), rows, &ending)) return false;
  for (std::size_t j = 0; j < n; ++j) {
    out->append(",{\"values\":");
    if (part.floats == FeaturePart::Floats::kFloat32) {
      AppendFloats(&matrix[j], n, rows, out);
    } else if (part.floats == FeaturePart::Floats::kFloat64) {
      AppendFloats(static_cast<const double*>(columns[j].values), rows, out);
    } else if (part.types[j] == FieldType::kString) {
      AppendTexts(texts[j], columns[j].valid, rows, out);
    } else {
      AppendCells(part.types[j], columns[j].values, columns[j].valid, rows, out);
    }
    out->append(ending);
  }
  return true;
}

FeatureReads::FeatureReads(std::vector<FrontView> views, std::vector<FrontService> services,
                           std::size_t max_rows, std::shared_ptr<ModelBook> book)
    : Answering({FrontScope::kRead, "features"}, std::move(book)), max_rows_(max_rows) {
  for (FrontView& view : views) {
    std::string name = view.name;
    views_.emplace(std::move(name), KnownView(std::move(view)));
  }
  for (FrontService& service : services) {
    std::string name = service.name;
    services_.emplace(std::move(name), std::move(service));
  }
  for (std::size_t i = 0; i < n_loops(); ++i) readings_.push_back(std::make_unique<Reading>());
}

FeatureReads::~FeatureReads() = default;

bool FeatureReads::Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
                          MadeAnswer* answer) const {
  const std::int64_t began = NowNanos();
  if (head.accepts_other || body.size() > kMaxJsonBytes) return false;
  Reading& reading = *readings_[loop];
  const FeaturesCall& call = reading.call;
  if (!ReadFeaturesCall(body, &reading.call)) return false;
  const std::size_t rows = call.entities[0].n;
  if (rows > max_rows_) return false;
  FeaturePlan* const plan = reading.plans.Find(views_, services_, call);
  if (plan == nullptr || rows * (plan->n_features + call.n_entities) > kMaxCells) return false;
  std::int64_t mark = NowNanos();
  const std::int64_t input = mark - began;
  std::int64_t reads = 0, writes = 0;
  const auto passed = [&mark](std::int64_t* sum) {
    const std::int64_t now = NowNanos();
    *sum += now - mark;
    mark = now;
  };
  std::string& out = scratch->body;
  out.clear();
  reading.AppendKeys(*plan, &out);
  const std::int64_t now_us = NowUs();
  std::size_t text_bytes = 0;
  passed(&writes);
  for (const FeaturePart& part : plan->parts) {
    const FrontView& view = part.known->view;
    if (view.is_closed != nullptr && view.is_closed->load()) return false;
    if (!reading.Read(part, now_us)) return false;
    passed(&reads);
    text_bytes += reading.TextBytes(part);
    if (text_bytes > kMaxTextBytes) return false;
    if (!reading.AppendPart(part, &out)) return false;
    passed(&writes);
  }
  out.append("]}");
  answer->is_binary = false;
  answer->json_length = out.size();
  answer->rows = rows;
  const auto nanos = [](std::int64_t span) { return static_cast<std::uint64_t>(span); };
  counts(loop).Answered(rows, nanos(input), nanos(reads), nanos(writes));
  return true;
}

void AddPaths(const std::shared_ptr<const FeatureReads>& reads, std::vector<PathTable::Entry>* by_path) {
  by_path->emplace_back("/v1/features:read", reads);
  by_path->emplace_back("/get-online-features", reads);
}

}  // namespace mainspring::front
