#include "endpoint_infer.h"

#include <utility>

#include "infer_columns.h"
#include "infer_envelope.h"
#include "json_number.h"
#include "predict_key.h"

namespace mainspring::front {
namespace {

void Write(const std::string& endpoint, const std::string& digest, const InferColumns& call,
           const std::vector<float>& scores, std::string* out, MadeAnswer* answer) {
  const std::size_t n_bytes = scores.size() * sizeof(float);
  out->assign(R"({"model_name":")").append(endpoint).append(R"(","model_version":")").append(digest);
  out->append(R"(","outputs":[{"name":")").append(kScoreOutput).append(R"(","datatype":"FP32","shape":[)");
  out->append(std::to_string(scores.size())).append("],");
  if (call.wants_binary) {
    out->append(R"("parameters":{"binary_data_size":)").append(std::to_string(n_bytes)).append("}");
  } else {
    out->append(R"("data":[)");
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (i > 0) out->push_back(',');
      AppendJsonNumber(scores[i], out);
    }
    out->append("]");
  }
  out->append("}]");
  if (!call.id.empty()) out->append(R"(,"id":")").append(call.id).append("\"");
  out->append("}");
  answer->is_binary = call.wants_binary;
  answer->json_length = out->size();
  if (call.wants_binary) out->append(reinterpret_cast<const char*>(scores.data()), n_bytes);
}

}  // namespace

struct EndpointInfer::Room {
  InferColumns call;
  std::string key;
};

EndpointInfer::EndpointInfer(std::shared_ptr<const EndpointRoles> roles, const PredictRole* chosen,
                             const Books& books)
    : Answering({FrontScope::kPredict, roles->name},
                books((chosen == nullptr ? roles->stable : *chosen).bundle->parts().digest)),
      roles_(std::move(roles)),
      chosen_(chosen),
      canary_book_(chosen == nullptr && roles_->canary.bundle != nullptr
                       ? books(roles_->canary.bundle->parts().digest)
                       : nullptr),
      order_(SortedByName(roles_->stable.bundle->schema().inputs, nullptr)) {
  for (std::size_t i = 0; i < n_loops(); ++i) rooms_.push_back(std::make_unique<Room>());
}

EndpointInfer::~EndpointInfer() = default;

// nullptr: the choice depends on a text that only the app can write.
const PredictRole* EndpointInfer::Choose(Room* room) const {
  if (chosen_ != nullptr) return chosen_;
  if (roles_->canary.bundle == nullptr) return &roles_->stable;
  room->key.clear();
  const PredictFields& fields = roles_->stable.bundle->schema().inputs;
  if (!AppendColumnsKey(room->call.columns, fields, order_, &room->key)) return nullptr;
  return &roles_->Choose(room->key);
}

bool EndpointInfer::Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
                           MadeAnswer* answer) const {
  const std::int64_t began = NowNanos();
  const std::uint64_t cpu_began = CpuNanos();
  // Whom nobody knows is the app's to charge, and who may choose is known to it.
  if (head.caller.name.empty() || head.has_wish) return false;
  Room& room = *rooms_[loop];
  std::string_view json, binary;
  if (!SplitInferBody(head, body, &json, &binary) ||
      !ReadInferColumns(json, binary, roles_->stable.bundle->schema().inputs, roles_->max_rows, &room.call)) {
    return false;
  }
  const std::size_t rows = room.call.columns.rows;
  const PredictRole* const role = Choose(&room);
  if (role == nullptr || !role->tally->HasRoomFor(loop, head.caller)) return false;
  const std::int64_t read = NowNanos();
  PredictScores scores;
  if (!role->bundle->Run(room.call.columns, 0, loop, &scores)) return false;
  const std::int64_t ran = NowNanos();
  Write(roles_->name, role->bundle->parts().digest, room.call, *scores.scores, &scratch->body, answer);
  if (head.may_compress && scratch->body.size() >= kCompressBytes) return false;
  answer->rows = rows;
  answer->model = roles_->name;
  answer->bundle = role->bundle->parts().digest;
  answer->parts[0] = {"infer", read, ran};
  answer->parts[1] = {"transform", scores.looked_up_ns, scores.transformed_ns};
  answer->parts[2] = {"model", scores.transformed_ns, ran};
  answer->n_parts = 3;
  double sum = 0;
  for (const float score : *scores.scores) sum += double{score};
  const std::int64_t ended = NowNanos();
  const auto span = [](std::int64_t from, std::int64_t to) { return static_cast<std::uint64_t>(to - from); };
  role->tally->Answered(
      loop, {head.caller, rows, sum, static_cast<double>(ran - read) / 1e9, CpuNanos() - cpu_began});
  LoopModelCounts& counted = role == &roles_->canary ? canary_book_->loops[loop] : counts(loop);
  counted.Answered(rows, span(began, read), span(read, ran), span(ran, ended));
  return true;
}

void AddPaths(const std::shared_ptr<const EndpointRoles>& roles, const EndpointInfer::Books& books,
              std::vector<PathTable::Entry>* by_path) {
  if (!roles->infers) return;
  const std::string path = "/v2/models/" + roles->name;
  by_path->emplace_back(path + "/infer", std::make_shared<const EndpointInfer>(roles, nullptr, books));
  for (const PredictRole& role : roles->chosen) {
    const auto one = std::make_shared<const EndpointInfer>(roles, &role, books);
    const std::string& digest = role.bundle->parts().digest;
    by_path->emplace_back(path + "/versions/" + digest + "/infer", one);
    // As tritonclient writes it.
    const std::size_t colon = digest.find(':');
    if (colon == std::string::npos) continue;
    by_path->emplace_back(
        path + "/versions/" + digest.substr(0, colon) + "%3A" + digest.substr(colon + 1) + "/infer", one);
  }
}

}  // namespace mainspring::front
