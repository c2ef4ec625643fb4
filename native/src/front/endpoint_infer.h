// Infer requests of the v2 protocol for one endpoint: its bundles by row, in the protocol's words.

#ifndef MAINSPRING_SRC_FRONT_ENDPOINT_INFER_H_
#define MAINSPRING_SRC_FRONT_ENDPOINT_INFER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "answering.h"
#include "endpoint_roles.h"

namespace mainspring::front {

// By traffic, or by one bundle that the path names.
class EndpointInfer final : public Answering {
 public:
  // Finds the book of the endpoint under a version, which is a bundle's digest.
  using Books = std::function<std::shared_ptr<ModelBook>(const std::string& version)>;

  // `chosen`: of `roles->chosen`; nullptr: traffic chooses.
  EndpointInfer(std::shared_ptr<const EndpointRoles> roles, const PredictRole* chosen, const Books& books);
  ~EndpointInfer() override;

  bool Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
              MadeAnswer* answer) const override;

  bool charges_callers() const override { return true; }

 private:
  struct Room;

  const PredictRole* Choose(Room* room) const;

  const std::shared_ptr<const EndpointRoles> roles_;
  const PredictRole* const chosen_;
  const std::shared_ptr<ModelBook> canary_book_;  // nullptr: no canary is asked here
  const std::vector<std::size_t> order_;          // of the columns, sorted by name
  std::vector<std::unique_ptr<Room>> rooms_;      // one for each loop, used by it alone
};

// The paths of an endpoint; none if it does not infer.
void AddPaths(const std::shared_ptr<const EndpointRoles>& roles, const EndpointInfer::Books& books,
              std::vector<PathTable::Entry>* by_path);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_ENDPOINT_INFER_H_
