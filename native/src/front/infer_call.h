// An infer request of the v2 protocol for a model of one matrix, read as most are written.
//
// What is read here is a part of the protocol, and every reading of it is the one that serving/protocols/v2
// gives. Everything else, right or wrong, is not understood: the app behind the front answers it, and words
// every refusal.

#ifndef MAINSPRING_SRC_FRONT_INFER_CALL_H_
#define MAINSPRING_SRC_FRONT_INFER_CALL_H_

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace mainspring::front {

// What a model takes and gives: one matrix each.
struct InferNames {
  std::string_view input, output;
  bool takes_double = false;  // FP64, else FP32
  std::size_t width = 0;
  std::size_t max_rows = 0;
};

// A request. `numbers` keeps its room from one to the next.
struct InferCall {
  std::size_t rows = 0;
  bool is_binary = false;     // the matrix follows the JSON part; else it is in `numbers`
  bool wants_binary = false;  // the answer
  std::string_view id;        // to be written as it is
  std::vector<double> numbers;
};

// Reads the JSON part, which `n_binary` bytes follow. False: not understood; `*call` is then of no use.
// Memory: in proportion to `json`. Numbers are rounded once, to double.
bool ReadInferCall(std::string_view json, std::size_t n_binary, const InferNames& names, InferCall* call);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_INFER_CALL_H_
