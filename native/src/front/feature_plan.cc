#include "feature_plan.h"

#include <algorithm>
#include <utility>

#include "json_text.h"

namespace mainspring::front {
namespace {

// Of each thread: what a caller may make it keep is bounded.
constexpr std::size_t kMaxPlans = 64;
constexpr std::size_t kMaxTextBytes = std::size_t{32} << 10;

// What the app's views have, too; other types JSON cannot carry, or Feast writes them in ways of its own.
bool IsAnswered(FieldType type) {
  return type == FieldType::kBool || type == FieldType::kInt64 || type == FieldType::kFloat32 ||
         type == FieldType::kFloat64 || type == FieldType::kString;
}

FeaturePart* PartOf(const KnownView& known, FeaturePlan* plan) {
  for (FeaturePart& part : plan->parts) {
    if (part.known == &known) return &part;
  }
  plan->parts.emplace_back();
  plan->parts.back().known = &known;
  return &plan->parts.back();
}

// The field, in its view's part.
bool AddReference(const KnownViews& views, const Reference& reference, FeaturePlan* plan) {
  const auto known = views.find(reference.first);
  if (known == views.end()) return false;
  const auto field = known->second.fields.find(reference.second);
  if (field == known->second.fields.end()) return false;
  const FieldType type = known->second.view.table->schema().fields[field->second].type;
  if (!IsAnswered(type)) return false;
  FeaturePart* const part = PartOf(known->second, plan);
  part->fields.push_back(field->second);
  part->types.push_back(type);
  return true;
}

// What a request asks for. False: a service that is not known, a reference that is none.
bool FindReferences(const KnownServices& services, const FeaturesCall& call, std::vector<Reference>* found) {
  if (call.references.empty()) {
    const auto service = services.find(call.service);
    if (service == services.end()) return false;
    found->assign(service->second.features.begin(), service->second.features.end());
    return true;
  }
  for (const std::string_view text : call.references) {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return false;
    found->emplace_back(text.substr(0, colon), text.substr(colon + 1));
  }
  return true;
}

FeaturePart::Floats FloatsOf(const std::vector<FieldType>& types) {
  const auto are_all = [&types](FieldType wanted) {
    return std::all_of(types.begin(), types.end(), [wanted](FieldType type) { return type == wanted; });
  };
  if (are_all(FieldType::kFloat32)) return FeaturePart::Floats::kFloat32;
  return are_all(FieldType::kFloat64) ? FeaturePart::Floats::kFloat64 : FeaturePart::Floats::kMixed;
}

}  // namespace

KnownView::KnownView(FrontView from) : view(std::move(from)) {
  const std::vector<TableField>& of_table = view.table->schema().fields;
  for (std::uint32_t i = 0; i < of_table.size(); ++i) fields.emplace(of_table[i].name, i);
}

bool MakeFeaturePlan(const KnownViews& views, const std::vector<Reference>& references, bool full_names,
                     FeaturePlan* plan) {
  for (const Reference& reference : references) {
    if (!AddReference(views, reference, plan)) return false;
  }
  std::vector<std::string> names;
  for (FeaturePart& part : plan->parts) {
    const FrontView& view = part.known->view;
    for (const std::uint32_t field : part.fields) {
      const std::string& name = view.table->schema().fields[field].name;
      names.push_back(full_names ? view.name + "__" + name : name);
      plan->names.push_back(',');
      AppendJsonText(names.back(), &plan->names);
    }
    part.floats = FloatsOf(part.types);
  }
  std::sort(names.begin(), names.end());
  if (std::adjacent_find(names.begin(), names.end()) != names.end()) return false;
  for (FeaturePart& part : plan->parts) {
    if (!part.known->view.table->Select(part.fields, &part.selection).ok()) return false;
  }
  plan->n_features = names.size();
  return true;
}

FeaturePlan* FeaturePlans::Find(const KnownViews& views, const KnownServices& services,
                                const FeaturesCall& call) {
  const std::string_view text = call.asked;
  if (text.size() > kMaxTextBytes) return nullptr;
  const std::size_t hash = std::hash<std::string_view>{}(text);
  for (const Kept& kept : kept_) {
    if (kept.hash == hash && kept.full_names == call.full_names && kept.text == text) return kept.plan.get();
  }
  std::vector<Reference> references;
  auto plan = std::make_unique<FeaturePlan>();
  if (!FindReferences(services, call, &references) ||
      !MakeFeaturePlan(views, references, call.full_names, plan.get())) {
    return nullptr;
  }
  if (kept_.size() < kMaxPlans) kept_.emplace_back();
  Kept& place = kept_[next_++ % kMaxPlans];
  place = {hash, call.full_names, std::string(text), std::move(plan)};
  return place.plan.get();
}

}  // namespace mainspring::front
