// What is derived of predictions by entity: formulas over what was sent, looked up and overridden.

#include <algorithm>

#include "predict_work.h"

namespace mainspring::front {

// Each input of the formulas is an int64, or a float or double that is taken as it is.
std::string PredictBundle::PrepareFormulas(std::vector<std::vector<std::uint32_t>>* selected) {
  if (parts_.formulas == nullptr || !schema_.has_entities) return "";
  for (const FormulaInput& input : parts_.formulas->spec().inputs) {
    const auto is_taken = [&](FrontType type) {
      return input.is_whole ? type == FrontType::kInt64
                            : type == FrontType::kFloat32 || type == FrontType::kFloat64;
    };
    const std::string wrong = "input `" + input.name + "` of the formulas";
    Source source;
    FrontType type = FrontType::kBool;
    if (!FindKnown(input.name, &source, &type, selected) || !is_taken(type)) return wrong;
    source.is_wide = type == FrontType::kFloat64;
    source.override_index = schema_.overrides.Find(input.name);
    if (source.override_index != PredictFields::kNone) {
      const FrontType sent = schema_.overrides[source.override_index].type;
      if (!is_taken(sent)) return wrong;
      source.override_is_wide = sent == FrontType::kFloat64;
    }
    formula_inputs_.push_back(source);
  }
  return "";
}

// A column that the formulas make, and its type.
bool PredictBundle::FindDerived(const std::string& name, Source* source, FrontType* type) const {
  if (parts_.formulas == nullptr) return false;
  const std::vector<FormulaOutput>& outputs = parts_.formulas->spec().outputs;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].name != name) continue;
    source->kind = Source::Kind::kDerived;
    source->index = i;
    *type = outputs[i].is_int64 ? FrontType::kInt64 : FrontType::kFloat32;
    return true;
  }
  return false;
}

// A real input, as doubles: a float widens exactly.
const double* PredictBundle::RealsOf(const PredictCall& call, std::size_t input, Work* work) const {
  const Source& source = formula_inputs_[input];
  std::vector<double>& made = work->widened[input];
  if (source.override_index != PredictFields::kNone && call.overrides[source.override_index].n > 0) {
    const PredictColumn& one = call.overrides[source.override_index];
    made.assign(call.rows, source.override_is_wide ? one.doubles[0] : double{one.floats[0]});
    return made.data();
  }
  const bool is_looked_up = source.kind == Source::Kind::kLookedUp;
  if (source.is_wide) {
    return is_looked_up ? work->cells[source.index].doubles[source.column].data()
                        : call.columns[source.index].doubles.data();
  }
  const std::vector<float>& floats =
      is_looked_up ? work->cells[source.index].floats[source.column] : call.columns[source.index].floats;
  made.assign(floats.begin(), floats.end());
  return made.data();
}

const std::int64_t* PredictBundle::WholesOf(const PredictCall& call, std::size_t input, Work* work) const {
  const Source& source = formula_inputs_[input];
  if (source.override_index != PredictFields::kNone && call.overrides[source.override_index].n > 0) {
    std::vector<std::int64_t>& made = work->whole_inputs[input];
    made.assign(call.rows, call.overrides[source.override_index].ints[0]);
    return made.data();
  }
  return call.columns[source.index].ints.data();
}

// False: a time that only Python knows.
bool PredictBundle::Derive(const PredictCall& call, Work* work) const {
  if (parts_.formulas == nullptr) return true;
  const std::vector<FormulaInput>& inputs = parts_.formulas->spec().inputs;
  work->reals.resize(inputs.size());
  work->wholes.resize(inputs.size());
  work->widened.resize(inputs.size());
  work->whole_inputs.resize(inputs.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    inputs[i].is_whole ? (void)(work->wholes[i] = WholesOf(call, i, work))
                       : (void)(work->reals[i] = RealsOf(call, i, work));
  }
  return parts_.formulas->Run(work->wholes.data(), work->reals.data(), call.rows, &work->formulas);
}

}  // namespace mainspring::front
