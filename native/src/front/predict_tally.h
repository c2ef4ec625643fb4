// What the front's predictions add to the app's books: by endpoint, version of traffic, bundle and role, and
// of those by caller.

#ifndef MAINSPRING_SRC_FRONT_PREDICT_TALLY_H_
#define MAINSPRING_SRC_FRONT_PREDICT_TALLY_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "callers.h"
#include "mainspring/front_predict.h"

namespace mainspring::front {

// As many as serving/stats.py keeps.
inline constexpr std::size_t kTallyLatencies = 4096;
// Callers that are told apart until the next drain, on each loop; more are the app's to answer.
inline constexpr std::size_t kTallyCallers = 1024;

// What there is to count of one answer.
struct Predicted {
  Caller caller;
  std::uint64_t rows = 0;
  double scores_sum = 0, seconds = 0;
  std::uint64_t cpu_nanos = 0;
};

class PredictTally {
 public:
  PredictTally(std::string endpoint, std::uint64_t version, std::string digest, std::string role,
               std::size_t n_loops);

  // Whether an answer to this caller can be counted. On the loop's own thread, and true until it counts one:
  // a drain only makes room.
  bool HasRoomFor(std::size_t loop, const Caller& caller);
  void Answered(std::size_t loop, const Predicted& answer);

  // Takes what there is: every answer is in one drain and in no other. `requests` is 0 where there is
  // nothing.
  FrontPredictions Drain();

 private:
  // By name and project, found without making strings of what a request shows.
  struct ByCaller {
    using is_transparent = void;
    using Key = std::pair<std::string, std::string>;
    static Caller Of(const Key& key) { return {key.first, key.second}; }
    static const Caller& Of(const Caller& caller) { return caller; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      const Caller one = Of(a), other = Of(b);
      return one.name != other.name ? one.name < other.name : one.project < other.project;
    }
  };
  using Uses = std::map<ByCaller::Key, FrontUse, ByCaller>;

  // A lock of each loop's own: it waits for a drain only.
  struct alignas(64) Part {
    std::mutex mutex;
    FrontPredictions sums;
    Uses uses;
    std::size_t oldest = 0;  // of the latencies, once they are as many as are kept
  };

  const std::string endpoint_, digest_, role_;
  const std::uint64_t version_;
  std::vector<Part> parts_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_PREDICT_TALLY_H_
