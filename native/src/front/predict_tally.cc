#include "predict_tally.h"

#include <utility>

namespace mainspring::front {
namespace {

void Add(const FrontUse& use, FrontUse* sum) {
  sum->requests += use.requests;
  sum->rows += use.rows;
  sum->cpu_nanos += use.cpu_nanos;
}

}  // namespace

PredictTally::PredictTally(std::string endpoint, std::uint64_t version, std::string digest, std::string role,
                           std::size_t n_loops)
    : endpoint_(std::move(endpoint)),
      digest_(std::move(digest)),
      role_(std::move(role)),
      version_(version),
      parts_(n_loops) {}

bool PredictTally::HasRoomFor(std::size_t loop, const Caller& caller) {
  Part& part = parts_[loop];
  const std::lock_guard<std::mutex> lock(part.mutex);
  return part.uses.size() < kTallyCallers || part.uses.find(caller) != part.uses.end();
}

void PredictTally::Answered(std::size_t loop, const Predicted& answer) {
  Part& part = parts_[loop];
  const std::lock_guard<std::mutex> lock(part.mutex);
  FrontPredictions& sums = part.sums;
  ++sums.requests;
  sums.rows += answer.rows;
  sums.scores_sum += answer.scores_sum;
  if (sums.latency_seconds.size() < kTallyLatencies) {
    sums.latency_seconds.push_back(answer.seconds);
  } else {
    sums.latency_seconds[part.oldest++ % kTallyLatencies] = answer.seconds;
  }
  auto found = part.uses.find(answer.caller);
  if (found == part.uses.end()) {
    found = part.uses.emplace(ByCaller::Key(answer.caller.name, answer.caller.project), FrontUse()).first;
  }
  Add({"", "", 1, answer.rows, answer.cpu_nanos}, &found->second);
}

FrontPredictions PredictTally::Drain() {
  FrontPredictions all;
  all.endpoint = endpoint_;
  all.version = version_;
  all.digest = digest_;
  all.role = role_;
  Uses uses;
  for (Part& part : parts_) {
    FrontPredictions taken;
    Uses used;
    {
      const std::lock_guard<std::mutex> lock(part.mutex);
      std::swap(taken, part.sums);
      std::swap(used, part.uses);
      part.oldest = 0;
    }
    all.requests += taken.requests;
    all.rows += taken.rows;
    all.scores_sum += taken.scores_sum;
    all.latency_seconds.insert(all.latency_seconds.end(), taken.latency_seconds.begin(),
                               taken.latency_seconds.end());
    for (const auto& [caller, use] : used) Add(use, &uses[caller]);
  }
  for (auto& [caller, use] : uses) {
    use.caller = caller.first;
    use.project = caller.second;
    all.used.push_back(std::move(use));
  }
  return all;
}

}  // namespace mainspring::front
