#include "predicting.h"

#include <time.h>

#include <algorithm>
#include <utility>

#include "json_number.h"
#include "json_text.h"
#include "predict_key.h"

namespace mainspring::front {
namespace {

constexpr std::string_view kStatus[] = {"\"present\"", "\"not_found\"", "\"outside_max_age\""};

std::int64_t MicrosOf(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace

struct Predicting::Room {
  PredictCall call;
  std::string key;
};

Predicting::Predicting(std::shared_ptr<const EndpointRoles> roles, std::shared_ptr<ModelBook> book)
    : Answering({FrontScope::kPredict, roles->name}, std::move(book)), roles_(std::move(roles)) {
  const PredictSchema& schema = roles_->stable.bundle->schema();
  entity_order_ = SortedByName(schema.entity, &roles_->stable.bundle->parts().keys);
  row_order_ = SortedByName(schema.inputs, nullptr);
  for (std::size_t i = 0; i < n_loops(); ++i) rooms_.push_back(std::make_unique<Room>());
}

Predicting::~Predicting() = default;

// nullptr: the choice depends on a text that only the app can write.
const PredictRole* Predicting::Choose(const PredictCall& call, std::string* key) const {
  if (roles_->canary.bundle == nullptr) return &roles_->stable;
  const PredictSchema& schema = roles_->stable.bundle->schema();
  key->clear();
  const bool is_written = call.by_entity ? AppendRequestKey(call, schema.entity, entity_order_, key)
                                         : AppendRequestKey(call, schema.inputs, row_order_, key);
  if (!is_written) return nullptr;
  return &roles_->Choose(*key);
}

void Predicting::Write(const PredictRole& role, const PredictCall& call, const PredictScores& scores,
                       std::int64_t as_of_us, std::string_view request_id, std::string* out) const {
  const FrontBundle& parts = role.bundle->parts();
  out->assign(R"({"request_id":")").append(request_id).append(R"(","endpoint":")").append(roles_->name);
  out->append(R"(","model_version":")").append(parts.digest).append(R"(","role":")").append(role.name);
  out->append(R"(","predictions":[)");
  const std::size_t n_views = call.by_entity ? parts.lookups.size() : 0;
  for (std::size_t i = 0; i < call.rows; ++i) {
    out->append(i > 0 ? R"(,{"score":)" : R"({"score":)");
    AppendJsonNumber(double{(*scores.scores)[i]}, out);
    out->append(R"(,"feature_status":{)");
    for (std::size_t j = 0; j < n_views; ++j) {
      if (j > 0) out->push_back(',');
      AppendJsonText(parts.lookups[j].view.name, out);
      out->append(":").append(kStatus[(*scores.views)[j].status[i]]);
    }
    out->append(R"(},"feature_age_seconds":{)");
    bool is_first = true;
    for (std::size_t j = 0; j < n_views; ++j) {
      const LookedUp& found = (*scores.views)[j];
      if (found.status[i] == static_cast<std::uint8_t>(RowStatus::kNotFound)) continue;
      if (!std::exchange(is_first, false)) out->push_back(',');
      AppendJsonText(parts.lookups[j].view.name, out);
      out->push_back(':');
      AppendJsonNumber(static_cast<double>(as_of_us - found.event_us[i]) / 1e6, out);
    }
    out->append("}}");
  }
  out->append("]}");
}

bool Predicting::Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
                        MadeAnswer* answer) const {
  const std::int64_t began = NowNanos();
  const std::uint64_t cpu_began = CpuNanos();
  // Whom nobody knows is the app's to charge, and who may choose is known to it.
  if (head.caller.name.empty() || head.has_wish || head.has_other_form || body.size() > kMaxJsonBytes) {
    return false;
  }
  Room& room = *rooms_[loop];
  PredictCall& call = room.call;
  if (!ReadPredictCall(body, roles_->stable.bundle->schema(), roles_->max_rows, &call)) return false;
  const PredictRole* const role = Choose(call, &room.key);
  if (role == nullptr || !role->tally->HasRoomFor(loop, head.caller)) return false;
  const std::int64_t as_of_us = call.has_time ? call.as_of_us : MicrosOf(CLOCK_REALTIME);
  const std::int64_t read = NowNanos();
  PredictScores scores;
  if (!role->bundle->Run(call, as_of_us, loop, &scores)) return false;
  const std::int64_t ran = NowNanos();
  Write(*role, call, scores, as_of_us, scratch->request_id, &scratch->body);
  answer->is_binary = false;
  answer->json_length = scratch->body.size();
  answer->rows = call.rows;
  answer->bundle = role->bundle->parts().digest;
  if (call.by_entity) answer->parts[answer->n_parts++] = {"look up", read, scores.looked_up_ns};
  answer->parts[answer->n_parts++] = {"transform", scores.looked_up_ns, scores.transformed_ns};
  answer->parts[answer->n_parts++] = {"model", scores.transformed_ns, ran};
  double sum = 0;
  for (const float score : *scores.scores) sum += double{score};
  const std::int64_t ended = NowNanos();
  const auto span = [](std::int64_t from, std::int64_t to) { return static_cast<std::uint64_t>(to - from); };
  // As the app: what reading and writing take is not the bundle's.
  role->tally->Answered(
      loop, {head.caller, call.rows, sum, static_cast<double>(ran - read) / 1e9, CpuNanos() - cpu_began});
  counts(loop).Answered(call.rows, span(began, read), span(read, ran), span(ran, ended));
  return true;
}

}  // namespace mainspring::front
