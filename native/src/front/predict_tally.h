// What the front's predictions add to the app's books: by endpoint, version of traffic, bundle and role.

#ifndef MAINSPRING_SRC_FRONT_PREDICT_TALLY_H_
#define MAINSPRING_SRC_FRONT_PREDICT_TALLY_H_

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "mainspring/front_predict.h"

namespace mainspring::front {

// As many as serving/stats.py keeps.
inline constexpr std::size_t kTallyLatencies = 4096;

class PredictTally {
 public:
  PredictTally(std::string endpoint, std::uint64_t version, std::string digest, std::string role,
               std::size_t n_loops);

  void Answered(std::size_t loop, std::uint64_t rows, double scores_sum, double seconds,
                std::uint64_t cpu_nanos);

  // Takes what there is: every answer is in one drain and in no other. `requests` is 0 where there is
  // nothing.
  FrontPredictions Drain();

 private:
  // A lock of each loop's own: it waits for a drain only.
  struct alignas(64) Part {
    std::mutex mutex;
    FrontPredictions sums;
    std::size_t oldest = 0;  // of the latencies, once they are as many as are kept
  };

  const std::string endpoint_, digest_, role_;
  const std::uint64_t version_;
  std::vector<Part> parts_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_PREDICT_TALLY_H_
