// The room of one loop for the predictions of one bundle.

#ifndef MAINSPRING_SRC_FRONT_PREDICT_WORK_H_
#define MAINSPRING_SRC_FRONT_PREDICT_WORK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "predict_bundle.h"

namespace mainspring::front {

// What one loop keeps from one request to the next.
struct PredictBundle::Work {
  ProgramWorkspace program;
  MlpWorkspace mlp;
  ForestWorkspace forest;
  ReadWorkspace read;
  std::vector<KeyColumn> keys;
  std::vector<std::uint8_t> is_null;
  std::vector<OutputColumn> columns;
  struct Cells {
    std::vector<std::vector<float>> floats;  // of each field of the selection, or empty
    std::vector<std::vector<double>> doubles;
    std::vector<StringColumn> texts;
    std::vector<std::vector<std::uint8_t>> valid;  // of texts
  };
  std::vector<Cells> cells;              // of each lookup
  std::vector<LookedUp> views;           //
  std::vector<std::vector<float>> made;  // floats that were made here, by input
  std::vector<std::vector<std::int64_t>> made_ints;
  std::vector<const float*> floats;
  std::vector<const std::int64_t*> ints;
  FormulaWorkspace formulas;
  std::vector<std::vector<double>> widened;  // inputs of the formulas that were made here
  std::vector<std::vector<std::int64_t>> whole_inputs;
  std::vector<const double*> reals;
  std::vector<const std::int64_t*> wholes;
  std::vector<float> dense, features, outputs, scores;
  std::vector<std::int32_t> ids;
  std::vector<double> doubles;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_PREDICT_WORK_H_
