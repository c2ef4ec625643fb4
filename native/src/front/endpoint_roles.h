// An endpoint under one version of its traffic: which bundles answer, in which role, and who counts for them.

#ifndef MAINSPRING_SRC_FRONT_ENDPOINT_ROLES_H_
#define MAINSPRING_SRC_FRONT_ENDPOINT_ROLES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mainspring/front_predict.h"
#include "predict_bundle.h"
#include "predict_tally.h"

namespace mainspring::front {

// A bundle in its role, with who counts for it.
struct PredictRole {
  std::string name;  // as serving/traffic.py calls it
  std::shared_ptr<const PredictBundle> bundle;
  std::shared_ptr<PredictTally> tally;
};

// Shared by all that answers for the endpoint. Immutable, but for what tallies count and each loop has.
struct EndpointRoles {
  std::string name;
  std::size_t max_rows = 0;  // in a request: what is allowed, and what holds up no loop
  PredictRole stable,
      canary;  // `canary` without a bundle: there is none; else its schema is that of `stable`
  std::uint32_t canary_percent = 0;
  std::vector<PredictRole> chosen;  // the same bundles, where a caller names one: no part of what is compared
  bool infers = false;              // answers infer requests, too

  // nullptr where its parts do not belong together, with what is wrong.
  static std::shared_ptr<const EndpointRoles> Make(FrontEndpoint endpoint, std::size_t n_loops,
                                                   std::string* wrong);

  // Who answers a request that `key` sticks.
  const PredictRole& Choose(std::string_view key) const;
  // All who count.
  std::vector<std::shared_ptr<PredictTally>> tallies() const;
};

// Places of fields, sorted by name: of those among `names`, or of all where it is nullptr.
std::vector<std::size_t> SortedByName(const PredictFields& fields, const std::vector<std::string>* names);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_ENDPOINT_ROLES_H_
