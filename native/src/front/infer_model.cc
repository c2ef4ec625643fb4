#include "mainspring/infer_model.h"

#include <utility>

#include "answering.h"
#include "served.h"

namespace mainspring {

InferCounts::InferCounts(std::string name, std::string version)
    : book_(std::make_shared<front::ModelBook>(std::move(name), std::move(version), 1)) {}

FrontModelCounts InferCounts::Sum() const { return book_->Sum(); }

struct InferModel::State {
  State(FrontModel model, std::shared_ptr<front::ModelBook> book, double seconds)
      : served(std::move(model), std::move(book), seconds) {}

  const front::Served served;
  front::Scratch scratch;
};

InferModel::InferModel(FrontModel model, const InferCounts& counts, double seconds)
    : state_(std::make_unique<State>(std::move(model), counts.book(), seconds)) {}

InferModel::~InferModel() = default;

bool InferModel::Answer(std::string_view body, std::optional<std::uint64_t> json_length,
                        InferAnswer* answer) {
  front::AskedHead head;
  head.has_json_length = json_length.has_value();
  head.json_length = json_length.value_or(0);
  front::MadeAnswer made;
  front::Scratch& scratch = state_->scratch;
  scratch.Trim();  // of what the last call needed, whose answer ends here
  if (!state_->served.Answer(head, body, 0, &scratch, &made)) return false;
  answer->body = scratch.body;
  answer->json_length.reset();
  if (made.is_binary) answer->json_length = made.json_length;
  answer->rows = made.rows;
  return true;
}

}  // namespace mainspring
