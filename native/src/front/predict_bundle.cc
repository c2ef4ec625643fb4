#include "predict_bundle.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "answering.h"
#include "predict_work.h"

namespace mainspring::front {
namespace {

// About a quarter of a millisecond, as half of what served.cc allows a model: reading and looking up come on
// top of it here.
constexpr std::size_t kMlpWork = std::size_t{1} << 23;
constexpr std::size_t kMlpWorkGeneric = std::size_t{1} << 18;
constexpr std::size_t kTreeRows = std::size_t{1} << 16;
// Keys that are looked up, of all views.
constexpr std::size_t kMaxLookUps = 512;
// Inputs of the program, of all rows: looked up, or sent.
constexpr std::size_t kMaxInputs = std::size_t{1} << 16;
// Of what lies outside of the rows of one view.
constexpr std::size_t kMaxTextBytes = std::size_t{64} << 10;

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();

std::int64_t PlaceOf(const StringVocabulary& vocabulary, Text text) {
  return text.size == 0 ? kMissing : vocabulary.Find(text.data, text.size);
}

FrontType TypeOf(FieldType type) {
  if (type == FieldType::kFloat32) return FrontType::kFloat32;
  return type == FieldType::kFloat64 ? FrontType::kFloat64 : FrontType::kString;
}

bool IsRead(FieldType type) {
  return type == FieldType::kFloat32 || type == FieldType::kFloat64 || type == FieldType::kString;
}

// Whether a column of type `from` can be an input of type `to`: doubles are narrowed, nothing else is cast.
bool IsTaken(FrontType from, FrontType to) {
  return from == to || (from == FrontType::kFloat64 && to == FrontType::kFloat32);
}

}  // namespace

PredictBundle::PredictBundle(FrontBundle from) : parts_(std::move(from)) {}

PredictBundle::~PredictBundle() = default;

std::unique_ptr<const PredictBundle> PredictBundle::Make(FrontBundle from, std::size_t n_loops,
                                                         std::string* wrong) {
  std::unique_ptr<PredictBundle> made(new PredictBundle(std::move(from)));
  *wrong = made->Prepare();
  if (!wrong->empty()) return nullptr;
  made->MakeRoom(n_loops);
  return made;
}

void PredictBundle::MakeRoom(std::size_t n_loops) {
  const std::size_t n_inputs = sources_.size();
  for (std::size_t i = 0; i < n_loops; ++i) {
    auto work = std::make_unique<Work>();
    work->program = parts_.program.program->MakeWorkspace();
    if (parts_.mlp != nullptr) work->mlp = parts_.mlp->MakeWorkspace();
    if (parts_.forest != nullptr) work->forest = parts_.forest->MakeWorkspace();
    work->cells.resize(lookups_.size());
    work->views.resize(lookups_.size());
    work->made.resize(n_inputs);
    work->made_ints.resize(n_inputs);
    work->floats.resize(parts_.program.floats.size());
    work->ints.resize(parts_.program.ints.size() + parts_.program.texts.size());
    works_.push_back(std::move(work));
  }
}

// What is wrong; "" where nothing is.
std::string PredictBundle::Prepare() {
  if (std::string wrong = PrepareSchema(); !wrong.empty()) return wrong;
  std::vector<std::vector<std::uint32_t>> selected(parts_.lookups.size());
  if (std::string wrong = PrepareLookups(&selected); !wrong.empty()) return wrong;
  if (std::string wrong = PrepareFormulas(&selected); !wrong.empty()) return wrong;
  const FrontProgram& program = parts_.program;
  for (const std::string& name : program.floats) {
    if (std::string wrong = FindSource(name, FrontType::kFloat32, &selected); !wrong.empty()) return wrong;
  }
  for (const std::string& name : program.ints) {
    if (std::string wrong = FindSource(name, FrontType::kInt64, &selected); !wrong.empty()) return wrong;
  }
  for (const FrontProgram::Text& text : program.texts) {
    if (std::string wrong = FindSource(text.name, FrontType::kString, &selected); !wrong.empty())
      return wrong;
  }
  for (std::size_t j = 0; j < lookups_.size(); ++j) {
    if (!lookups_[j].table->Select(selected[j], &lookups_[j].selection).ok()) return "a view's fields";
    for (const std::uint32_t field : selected[j]) {
      lookups_[j].types.push_back(lookups_[j].table->schema().fields[field].type);
    }
  }
  entity_policies_ = PoliciesOf(schema_.entity);
  input_policies_ = PoliciesOf(schema_.inputs);
  override_policies_ = PoliciesOf(schema_.overrides);
  return PrepareModel();
}

// Overrides are inputs, request columns and looked-up columns, the last named type being the one that counts;
// but no join keys.
std::string PredictBundle::PrepareSchema() {
  schema_.entity = PredictFields(parts_.entity);
  schema_.inputs = PredictFields(parts_.inputs);
  schema_.has_entities = !parts_.entity.empty();
  std::vector<FrontField> overrides;
  const auto put = [&overrides](const std::string& name, FrontType type) {
    for (FrontField& field : overrides) {
      if (field.name == name) return (void)(field.type = type);
    }
    overrides.push_back({name, type});
  };
  for (const FrontField& field : parts_.inputs) put(field.name, field.type);
  for (const FrontField& field : parts_.entity) put(field.name, field.type);
  for (const FrontLookup& lookup : parts_.lookups) {
    const TableSchema& schema = lookup.view.table->schema();
    for (const std::string& name : lookup.fields) {
      const auto field = std::find_if(schema.fields.begin(), schema.fields.end(),
                                      [&name](const TableField& f) { return f.name == name; });
      if (field == schema.fields.end() || !IsRead(field->type)) return "`" + name + "` of a view";
      put(lookup.view.name + "__" + name, TypeOf(field->type));
    }
  }
  const auto is_key = [this](const FrontField& field) {
    return std::find(parts_.keys.begin(), parts_.keys.end(), field.name) != parts_.keys.end();
  };
  overrides.erase(std::remove_if(overrides.begin(), overrides.end(), is_key), overrides.end());
  schema_.overrides = PredictFields(std::move(overrides));
  return "";
}

std::string PredictBundle::PrepareLookups(std::vector<std::vector<std::uint32_t>>* selected) {
  if (!schema_.has_entities) {
    selected->clear();
    return "";
  }
  for (const FrontLookup& from : parts_.lookups) {
    Lookup lookup;
    lookup.table = from.view.table.get();
    for (const TableKey& key : lookup.table->schema().keys) {
      const std::size_t field = schema_.entity.Find(key.name);
      const FrontType wanted = key.type == KeyType::kInt64 ? FrontType::kInt64 : FrontType::kString;
      if (field == PredictFields::kNone || schema_.entity[field].type != wanted) {
        return "key `" + key.name + "` of view `" + from.view.name + "`";
      }
      lookup.keys.push_back(field);
    }
    lookups_.push_back(std::move(lookup));
  }
  return "";
}

std::string PredictBundle::FindSource(const std::string& name, FrontType type,
                                      std::vector<std::vector<std::uint32_t>>* selected) {
  const std::string wrong = "input `" + name + "` of the program";
  Source source;
  source.row_input = schema_.inputs.Find(name);
  if (source.row_input == PredictFields::kNone || schema_.inputs[source.row_input].type != type) return wrong;
  source.override_index = schema_.overrides.Find(name);
  if (source.override_index != PredictFields::kNone) {
    const FrontType sent = schema_.overrides[source.override_index].type;
    if (!IsTaken(sent, type)) return wrong;
    source.override_is_wide = sent != type;
  }
  // What is derived hides what is looked up, and that what was sent.
  if (schema_.has_entities) {
    FrontType from = type;
    const bool is_found = FindDerived(name, &source, &from) || FindKnown(name, &source, &from, selected);
    if (!is_found || !IsTaken(from, type)) return wrong;
    source.is_wide = from != type;
  }
  sources_.push_back(source);
  return "";
}

// Where a column comes from that is looked up or sent, and its type there.
bool PredictBundle::FindKnown(const std::string& name, Source* source, FrontType* type,
                              std::vector<std::vector<std::uint32_t>>* selected) const {
  for (std::size_t j = 0; j < lookups_.size(); ++j) {
    const FrontLookup& from = parts_.lookups[j];
    for (const std::string& field : from.fields) {
      if (from.view.name + "__" + field != name) continue;
      const std::vector<TableField>& fields = lookups_[j].table->schema().fields;
      std::uint32_t at = 0;
      while (fields[at].name != field) ++at;
      *type = TypeOf(fields[at].type);
      source->kind = Source::Kind::kLookedUp;
      source->index = j;
      std::vector<std::uint32_t>& of_view = (*selected)[j];
      source->column =
          static_cast<std::size_t>(std::find(of_view.begin(), of_view.end(), at) - of_view.begin());
      if (source->column == of_view.size()) of_view.push_back(at);
      return true;
    }
  }
  source->index = schema_.entity.Find(name);
  if (source->index == PredictFields::kNone) return false;
  *type = schema_.entity[source->index].type;
  return true;
}

std::string PredictBundle::PrepareModel() {
  const Program& program = *parts_.program.program;
  if (program.n_bags() > 0) return "a program with bags";
  std::size_t rows = 0;
  if (parts_.mlp != nullptr) {
    const Mlp& mlp = *parts_.mlp;
    if (mlp.dense_width() != program.width() || mlp.n_ids() != program.n_ids()) return "the model's inputs";
    n_outputs_ = mlp.n_outputs();
    const std::size_t work = mlp.target() == Target::kGeneric ? kMlpWorkGeneric : kMlpWork;
    rows = work / std::max<std::size_t>(1, mlp.n_weights());
  } else {
    const Forest& forest = *parts_.forest;
    if (forest.width() != program.width() + program.n_ids()) return "the model's inputs";
    n_outputs_ = forest.n_outputs(false);
    rows = kTreeRows / std::max<std::size_t>(1, forest.n_trees());
  }
  if (parts_.output >= n_outputs_) return "the model's output";
  const std::size_t n_steps = parts_.formulas == nullptr ? 0 : parts_.formulas->spec().steps.size();
  max_rows_ = std::min({rows, kMaxLookUps / std::max<std::size_t>(1, lookups_.size()),
                        kMaxInputs / std::max<std::size_t>(1, sources_.size() + n_steps)});
  return "";
}

std::vector<PredictBundle::Policy> PredictBundle::PoliciesOf(const PredictFields& fields) const {
  std::vector<Policy> policies;
  for (const FrontPolicy& from : parts_.policies) {
    const std::size_t field = fields.Find(from.name);
    if (field != PredictFields::kNone) policies.push_back({field, from.low, from.high, from.refuses_missing});
  }
  return policies;
}

// Whether no value is one that the app judges.
bool PredictBundle::Accepts(const std::vector<Policy>& policies, const PredictFields& fields,
                            const std::vector<PredictColumn>& columns) {
  const auto all = [](const auto& values, const auto& is_accepted) {
    return std::all_of(values.begin(), values.end(), is_accepted);
  };
  for (const Policy& policy : policies) {
    const PredictColumn& column = columns[policy.field];
    if (policy.refuses_missing && column.has_null) return false;
    bool is_accepted = true;
    switch (fields[policy.field].type) {
      case FrontType::kFloat32: {
        // NumPy compares in the column's type.
        const auto low = static_cast<float>(policy.low), high = static_cast<float>(policy.high);
        is_accepted = all(column.floats, [=](float x) { return !(x < low || x > high); });
        break;
      }
      case FrontType::kFloat64:
        is_accepted = all(column.doubles, [&](double x) { return !(x < policy.low || x > policy.high); });
        break;
      case FrontType::kInt64:
        is_accepted = all(column.ints, [&](std::int64_t x) {
          const auto value = static_cast<double>(x);
          return !(value < policy.low || value > policy.high);
        });
        break;
      case FrontType::kString:
        is_accepted =
            !policy.refuses_missing || all(column.texts, [](const Text& text) { return text.size > 0; });
        break;
      case FrontType::kBool:
        break;
    }
    if (!is_accepted) return false;
  }
  return true;
}

// Reads every view. False: one is closed, or its rows are too long.
bool PredictBundle::LookUp(const PredictCall& call, std::int64_t now_us, Work* work) const {
  for (std::size_t j = 0; j < lookups_.size(); ++j) {
    const Lookup& lookup = lookups_[j];
    const FrontView& view = parts_.lookups[j].view;
    if (view.is_closed != nullptr && view.is_closed->load()) return false;
    work->keys.clear();
    bool has_null = false;
    for (const std::size_t field : lookup.keys) {
      const PredictColumn& column = call.columns[field];
      KeyColumn key;
      schema_.entity[field].type == FrontType::kInt64 ? (void)(key.ints = column.ints.data())
                                                      : (void)(key.texts = column.texts.data());
      work->keys.push_back(key);
      if (!column.has_null) continue;
      if (!has_null) work->is_null.assign(call.rows, 0);
      has_null = true;
      for (std::size_t i = 0; i < call.rows; ++i) work->is_null[i] |= column.is_null[i];
    }
    const std::size_t n = lookup.types.size();
    Work::Cells& cells = work->cells[j];
    cells.floats.resize(n);
    cells.doubles.resize(n);
    cells.texts.resize(n);
    cells.valid.resize(n);
    work->columns.assign(n, {});
    for (std::size_t k = 0; k < n; ++k) {
      OutputColumn& out = work->columns[k];
      if (lookup.types[k] == FieldType::kString) {
        cells.valid[k].resize(call.rows);
        out.strings = &cells.texts[k];
        out.valid = cells.valid[k].data();
      } else if (lookup.types[k] == FieldType::kFloat64) {
        cells.doubles[k].resize(call.rows);
        out.values = cells.doubles[k].data();
        out.as = ReadAs::kFloat64;
      } else {
        cells.floats[k].resize(call.rows);
        out.values = cells.floats[k].data();
        out.as = ReadAs::kFloat32;
      }
    }
    LookedUp& found = work->views[j];
    found.status.resize(call.rows);
    found.event_us.resize(call.rows);
    ReadBatch batch;
    batch.keys = {work->keys.data(), has_null ? work->is_null.data() : nullptr, call.rows};
    batch.now_us = now_us;
    batch.max_age_us = lookup.table->schema().max_age_us;
    batch.max_outside_bytes = kMaxTextBytes;
    batch.columns = work->columns.data();
    batch.status = found.status.data();
    batch.event_us = found.event_us.data();
    lookup.table->Get(lookup.selection, batch, &work->read);
    if (work->read.outside_bytes() > kMaxTextBytes) return false;
  }
  return true;
}

// A float input of the program, where it lies or in room of its own.
const float* PredictBundle::FloatsOf(const PredictCall& call, std::size_t input, Work* work) const {
  const Source& source = sources_[input];
  std::vector<float>& made = work->made[input];
  if (!call.by_entity) return call.columns[source.row_input].floats.data();
  if (source.override_index != PredictFields::kNone && call.overrides[source.override_index].n > 0) {
    const PredictColumn& one = call.overrides[source.override_index];
    made.assign(call.rows, source.override_is_wide ? static_cast<float>(one.doubles[0]) : one.floats[0]);
    return made.data();
  }
  if (source.kind == Source::Kind::kDerived) return work->formulas.floats[source.index].data();
  const bool is_looked_up = source.kind == Source::Kind::kLookedUp;
  if (!source.is_wide) {
    return is_looked_up ? work->cells[source.index].floats[source.column].data()
                        : call.columns[source.index].floats.data();
  }
  const std::vector<double>& doubles =
      is_looked_up ? work->cells[source.index].doubles[source.column] : call.columns[source.index].doubles;
  made.resize(call.rows);
  std::transform(doubles.begin(), doubles.end(), made.begin(),
                 [](double x) { return static_cast<float>(x); });
  return made.data();
}

const std::int64_t* PredictBundle::IntsOf(const PredictCall& call, std::size_t input, Work* work) const {
  const Source& source = sources_[input];
  if (!call.by_entity) return call.columns[source.row_input].ints.data();
  if (source.override_index != PredictFields::kNone && call.overrides[source.override_index].n > 0) {
    work->made_ints[input].assign(call.rows, call.overrides[source.override_index].ints[0]);
    return work->made_ints[input].data();
  }
  if (source.kind == Source::Kind::kDerived) return work->formulas.ints[source.index].data();
  return call.columns[source.index].ints.data();
}

// What becomes of a text input: places in its vocabulary.
void PredictBundle::FindTexts(const PredictCall& call, std::size_t text, Work* work) const {
  const std::size_t input = parts_.program.floats.size() + parts_.program.ints.size() + text;
  const Source& source = sources_[input];
  const StringVocabulary& vocabulary = *parts_.program.texts[text].vocabulary;
  std::vector<std::int64_t>& places = work->made_ints[input];
  places.resize(call.rows);
  const auto find_all = [&](const std::vector<Text>& texts) {
    std::transform(texts.begin(), texts.end(), places.begin(),
                   [&](const Text& one) { return PlaceOf(vocabulary, one); });
  };
  if (!call.by_entity) return find_all(call.columns[source.row_input].texts);
  if (source.override_index != PredictFields::kNone && call.overrides[source.override_index].n > 0) {
    const Text one = call.overrides[source.override_index].texts[0];
    return places.assign(call.rows, PlaceOf(vocabulary, one));
  }
  if (source.kind == Source::Kind::kSent) return find_all(call.columns[source.index].texts);
  const Work::Cells& cells = work->cells[source.index];
  const StringColumn& column = cells.texts[source.column];
  for (std::size_t i = 0; i < call.rows; ++i) {
    const auto begin = static_cast<std::size_t>(column.offsets[i]);
    const auto size = static_cast<std::uint32_t>(column.offsets[i + 1] - column.offsets[i]);
    const bool is_there = cells.valid[source.column][i] != 0 && size > 0;
    places[i] = is_there ? PlaceOf(vocabulary, {column.bytes.data() + begin, size}) : kMissing;
  }
}

// Runs the program. False: it refused.
bool PredictBundle::Gather(const PredictCall& call, Work* work) const {
  const FrontProgram& of = parts_.program;
  const std::size_t n_floats = of.floats.size(), n_ints = of.ints.size();
  for (std::size_t i = 0; i < n_floats; ++i) work->floats[i] = FloatsOf(call, i, work);
  for (std::size_t i = 0; i < n_ints; ++i) work->ints[i] = IntsOf(call, n_floats + i, work);
  for (std::size_t i = 0; i < of.texts.size(); ++i) {
    FindTexts(call, i, work);
    work->ints[n_ints + i] = work->made_ints[n_floats + n_ints + i].data();
  }
  ProgramInput input;
  input.floats = work->floats.data();
  input.ints = work->ints.data();
  input.n_rows = call.rows;
  work->dense.resize(call.rows * of.program->width());
  work->ids.resize(call.rows * of.program->n_ids());
  return of.program->Run(input, &work->program, work->dense.data(), work->ids.data(), call.rows).ok();
}

// False: the model refused, or a score is not finite, which is an error that the app words and counts.
bool PredictBundle::RunModel(std::size_t rows, Work* work) const {
  work->outputs.resize(rows * n_outputs_);
  work->scores.resize(rows);
  if (parts_.mlp != nullptr) {
    if (!parts_.mlp->Run(work->dense.data(), work->ids.data(), rows, &work->mlp, work->outputs.data()).ok()) {
      return false;
    }
  } else {
    const std::size_t width = parts_.program.program->width(), n_ids = parts_.program.program->n_ids();
    const float* features = work->dense.data();
    if (n_ids > 0) {
      work->features.resize(rows * (width + n_ids));
      float* to = work->features.data();
      for (std::size_t i = 0; i < rows; ++i) {
        to = std::copy_n(work->dense.data() + i * width, width, to);
        for (std::size_t j = 0; j < n_ids; ++j) *to++ = static_cast<float>(work->ids[j * rows + i]);
      }
      features = work->features.data();
    }
    if (parts_.forest->is_xgboost()) {
      parts_.forest->Run(features, rows, false, &work->forest, work->outputs.data());
    } else {
      work->doubles.resize(rows * n_outputs_);
      parts_.forest->Run(features, rows, false, &work->forest, work->doubles.data());
      std::transform(work->doubles.begin(), work->doubles.end(), work->outputs.begin(),
                     [](double x) { return static_cast<float>(x); });
    }
  }
  for (std::size_t i = 0; i < rows; ++i) work->scores[i] = work->outputs[i * n_outputs_ + parts_.output];
  return std::all_of(work->scores.begin(), work->scores.end(), [](float x) { return std::isfinite(x); });
}

bool PredictBundle::Run(const PredictCall& call, std::int64_t now_us, std::size_t loop,
                        PredictScores* answer) const {
  Work& work = *works_[loop];
  const PredictFields& fields = call.by_entity ? schema_.entity : schema_.inputs;
  if (!Accepts(call.by_entity ? entity_policies_ : input_policies_, fields, call.columns)) return false;
  if (call.has_overrides && !Accepts(override_policies_, schema_.overrides, call.overrides)) return false;
  if (call.by_entity && (!LookUp(call, now_us, &work) || !Derive(call, &work))) return false;
  answer->looked_up_ns = NowNanos();
  if (!Gather(call, &work)) return false;
  answer->transformed_ns = NowNanos();
  if (!RunModel(call.rows, &work)) return false;
  answer->scores = &work.scores;
  answer->views = &work.views;
  return true;
}

}  // namespace mainspring::front
