#include "endpoint_roles.h"

#include <algorithm>
#include <utility>

namespace mainspring::front {

std::shared_ptr<const EndpointRoles> EndpointRoles::Make(FrontEndpoint endpoint, std::size_t n_loops,
                                                         std::string* wrong) {
  auto made = std::make_shared<EndpointRoles>();
  const auto counted = [&](const char* name, const std::string& digest) {
    return std::make_shared<PredictTally>(endpoint.name, endpoint.version, digest, name, n_loops);
  };
  made->max_rows = endpoint.max_rows;
  // False: the bundle's parts do not belong together.
  const auto put = [&](const char* name, FrontBundle from, PredictRole* role) {
    const std::string digest = from.digest;
    role->name = name;
    role->bundle = PredictBundle::Make(std::move(from), n_loops, wrong);
    if (role->bundle == nullptr) return false;
    role->tally = counted(name, digest);
    made->chosen.push_back({"chosen", role->bundle, counted("chosen", digest)});
    made->max_rows = std::min(made->max_rows, role->bundle->max_rows());
    return true;
  };
  if (!put("stable", std::move(endpoint.stable), &made->stable)) return nullptr;
  if (endpoint.canary.has_value()) {
    if (!put("canary", std::move(*endpoint.canary), &made->canary)) return nullptr;
    if (!(made->canary.bundle->schema() == made->stable.bundle->schema())) {
      *wrong = "the canary's fields";
      return nullptr;
    }
  }
  made->name = std::move(endpoint.name);
  made->canary_percent = endpoint.canary_percent;
  made->infers = endpoint.infers;
  return made;
}

const PredictRole& EndpointRoles::Choose(std::string_view key) const {
  return canary.bundle != nullptr && GoesToCanary(name, key, canary_percent) ? canary : stable;
}

std::vector<std::shared_ptr<PredictTally>> EndpointRoles::tallies() const {
  std::vector<std::shared_ptr<PredictTally>> all{stable.tally};
  if (canary.tally != nullptr) all.push_back(canary.tally);
  for (const PredictRole& role : chosen) all.push_back(role.tally);
  return all;
}

std::vector<std::size_t> SortedByName(const PredictFields& fields, const std::vector<std::string>* names) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (names == nullptr || std::find(names->begin(), names->end(), fields[i].name) != names->end()) {
      order.push_back(i);
    }
  }
  std::sort(order.begin(), order.end(),
            [&fields](std::size_t a, std::size_t b) { return fields[a].name < fields[b].name; });
  return order;
}

}  // namespace mainspring::front
