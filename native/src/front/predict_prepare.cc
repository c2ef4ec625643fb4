// What a bundle is made of, checked and brought together once, before it answers.

#include <algorithm>
#include <utility>

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

}  // namespace mainspring::front
