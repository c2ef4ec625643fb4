// A prediction as callers ask for it, read as most are written: entities or rows, overrides, a time.
//
// As with infer_call.h: every reading of it is the one that serving/admission.py gives, and what is wrong or
// unusual is not understood.

#ifndef MAINSPRING_SRC_FRONT_PREDICT_CALL_H_
#define MAINSPRING_SRC_FRONT_PREDICT_CALL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mainspring/front_predict.h"
#include "mainspring/table.h"

namespace mainspring::front {

// Cells of one request: what is read and computed of them must not hold up the loop.
inline constexpr std::size_t kMaxPredictCells = 4096;

// Named fields, found by name: first where the one before it lets us expect it.
class PredictFields {
 public:
  PredictFields() = default;
  explicit PredictFields(std::vector<FrontField> fields);

  static constexpr std::size_t kNone = ~std::size_t{0};

  // kNone: there is no such field.
  std::size_t Find(std::string_view name, std::size_t expected = 0) const;
  std::size_t size() const { return fields_.size(); }
  const FrontField& operator[](std::size_t i) const { return fields_[i]; }
  bool operator==(const PredictFields& other) const { return fields_ == other.fields_; }

 private:
  std::vector<FrontField> fields_;
  std::vector<std::size_t> by_name_;
};

// What the bundles of an endpoint ask callers for.
struct PredictSchema {
  PredictFields entity, inputs, overrides;
  bool has_entities = false;  // else they are the app's

  bool operator==(const PredictSchema& other) const {
    return entity == other.entity && inputs == other.inputs && overrides == other.overrides &&
           has_entities == other.has_entities;
  }
};

// The values of one field, those of its type's list; of bools none are kept.
// Missing: NaN in floats and doubles, `is_null` and an empty text in texts.
struct PredictColumn {
  std::vector<float> floats;
  std::vector<double> doubles;
  std::vector<std::int64_t> ints;
  std::vector<Text> texts;
  std::vector<std::uint8_t> is_null;   // of texts
  std::vector<std::string_view> sent;  // how each number or null was sent; empty for a text
  std::size_t n = 0;
  bool has_null = false;

  void Clear();
};

// A request. Used again, it keeps its room. Views of the body and of `decoded`.
struct PredictCall {
  bool by_entity = false;
  std::size_t rows = 0;
  bool has_time = false;
  std::int64_t as_of_us = 0;
  std::vector<PredictColumn> columns;  // of `entity` or `inputs` of the schema; more may be left from before
  std::vector<PredictColumn> overrides;  // of `overrides`: one value, or none where it was not sent
  bool has_overrides = false;
  std::string decoded;  // texts that had escapes
};

// False: not understood; `*call` is then of no use. At least one row, at most `max_rows`.
// Memory: in proportion to `json`.
bool ReadPredictCall(std::string_view json, const PredictSchema& schema, std::size_t max_rows,
                     PredictCall* call);

// "2013-12-01T12:13:20Z", with a fraction of 1 to 6 digits or none, of the years 1970 to 9999, as UTC
// microseconds. False for everything else, of which the app knows much more.
bool ReadUtcTime(std::string_view text, std::int64_t* us);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_PREDICT_CALL_H_
