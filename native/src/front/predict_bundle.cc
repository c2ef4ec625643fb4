#include "predict_bundle.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "answering.h"
#include "predict_work.h"

namespace mainspring::front {
namespace {

// Of what lies outside of the rows of one view.
constexpr std::size_t kMaxTextBytes = std::size_t{64} << 10;

constexpr std::int64_t kMissing = std::numeric_limits<std::int64_t>::min();

std::int64_t PlaceOf(const StringVocabulary& vocabulary, Text text) {
  return text.size == 0 ? kMissing : vocabulary.Find(text.data, text.size);
}

}  // namespace

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
