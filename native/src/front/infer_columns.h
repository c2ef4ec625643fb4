// An infer request of the v2 protocol for an endpoint: a tensor of one dimension for each input column.
//
// As with infer_call.h: every reading of it is the one that serving/protocols/v2 gives, and what is wrong or
// unusual is not understood.

#ifndef MAINSPRING_SRC_FRONT_INFER_COLUMNS_H_
#define MAINSPRING_SRC_FRONT_INFER_COLUMNS_H_

#include <cstddef>
#include <string_view>
#include <vector>

#include "predict_call.h"

namespace mainspring::front {

// The one output of an endpoint, (rows,) FP32, as serving/models/endpoint_models.py names it.
inline constexpr std::string_view kScoreOutput = "score";

// A request. Used again, it keeps its room. `columns` is one by row, of the fields in their order.
struct InferColumns {
  PredictCall columns;
  bool wants_binary = false;  // the answer
  std::string_view id;        // to be written as it is

  // Binary tensors, whose bytes follow the JSON part in the order in which that names them.
  struct Raw {
    std::size_t field = 0, n_bytes = 0;
  };
  std::vector<Raw> raws;
};

// Reads the JSON part and the `binary` that follows it. `fields` are float32, int64 and string. False: not
// understood, `*call` is then of no use; among others where a number is infinite, which a bundle judges, and
// where a text is no UTF-8. At least one row, at most `max_rows`.
// Memory: in proportion to the body.
bool ReadInferColumns(std::string_view json, std::string_view binary, const PredictFields& fields,
                      std::size_t max_rows, InferColumns* call);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_INFER_COLUMNS_H_
