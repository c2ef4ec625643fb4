#include "predict_tally.h"

#include <utility>

namespace mainspring::front {

PredictTally::PredictTally(std::string endpoint, std::uint64_t version, std::string digest, std::string role,
                           std::size_t n_loops)
    : endpoint_(std::move(endpoint)),
      digest_(std::move(digest)),
      role_(std::move(role)),
      version_(version),
      parts_(n_loops) {}

void PredictTally::Answered(std::size_t loop, std::uint64_t rows, double scores_sum, double seconds,
                            std::uint64_t cpu_nanos) {
  Part& part = parts_[loop];
  const std::lock_guard<std::mutex> lock(part.mutex);
  FrontPredictions& sums = part.sums;
  ++sums.requests;
  sums.rows += rows;
  sums.cpu_nanos += cpu_nanos;
  sums.scores_sum += scores_sum;
  if (sums.latency_seconds.size() < kTallyLatencies) {
    sums.latency_seconds.push_back(seconds);
  } else {
    sums.latency_seconds[part.oldest++ % kTallyLatencies] = seconds;
  }
}

FrontPredictions PredictTally::Drain() {
  FrontPredictions all;
  all.endpoint = endpoint_;
  all.version = version_;
  all.digest = digest_;
  all.role = role_;
  for (Part& part : parts_) {
    FrontPredictions taken;
    {
      const std::lock_guard<std::mutex> lock(part.mutex);
      std::swap(taken, part.sums);
      part.oldest = 0;
    }
    all.requests += taken.requests;
    all.rows += taken.rows;
    all.cpu_nanos += taken.cpu_nanos;
    all.scores_sum += taken.scores_sum;
    all.latency_seconds.insert(all.latency_seconds.end(), taken.latency_seconds.begin(),
                               taken.latency_seconds.end());
  }
  return all;
}

}  // namespace mainspring::front
