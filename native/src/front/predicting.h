// Predictions of one endpoint: who answers, by sticky choice, what the answer says, and what is counted of
// it.

#ifndef MAINSPRING_SRC_FRONT_PREDICTING_H_
#define MAINSPRING_SRC_FRONT_PREDICTING_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "answering.h"
#include "endpoint_roles.h"

namespace mainspring::front {

class Predicting final : public Answering {
 public:
  Predicting(std::shared_ptr<const EndpointRoles> roles, std::shared_ptr<ModelBook> book);
  ~Predicting() override;

  bool Answer(const AskedHead& head, std::string_view body, std::size_t loop, Scratch* scratch,
              MadeAnswer* answer) const override;

  bool charges_callers() const override { return true; }

  std::string path() const { return "/v1/endpoints/" + roles_->name + ":predict"; }

 private:
  struct Room;

  const PredictRole* Choose(const PredictCall& call, std::string* key) const;
  void Write(const PredictRole& role, const PredictCall& call, const PredictScores& scores,
             std::int64_t as_of_us, std::string_view request_id, std::string* out) const;

  const std::shared_ptr<const EndpointRoles> roles_;
  std::vector<std::size_t> entity_order_, row_order_;  // of the fields that stick a request, sorted by name
  std::vector<std::unique_ptr<Room>> rooms_;           // one for each loop, used by it alone
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_PREDICTING_H_
