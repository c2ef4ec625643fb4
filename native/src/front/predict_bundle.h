// One bundle, ready to answer: look up, transform, run the model; on any loop, without Python.

#ifndef MAINSPRING_SRC_FRONT_PREDICT_BUNDLE_H_
#define MAINSPRING_SRC_FRONT_PREDICT_BUNDLE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mainspring/front_predict.h"
#include "predict_call.h"

namespace mainspring::front {

// What was looked up of one view, each (rows,).
struct LookedUp {
  std::vector<std::uint8_t> status;  // of RowStatus
  std::vector<std::int64_t> event_us;
};

// A bundle's answer; good until its next one on the same loop.
struct PredictScores {
  const std::vector<float>* scores = nullptr;  // (rows,), finite
  const std::vector<LookedUp>* views =
      nullptr;  // of the lookups, in their order; those of rows are of no use
  std::int64_t looked_up_ns = 0, transformed_ns = 0;  // when that was done, on NowNanos
};

class PredictBundle {
 public:
  // nullptr where its parts do not belong together, with what is wrong: only the app can answer for it then.
  static std::unique_ptr<const PredictBundle> Make(FrontBundle from, std::size_t n_loops, std::string* wrong);
  ~PredictBundle();

  const FrontBundle& parts() const { return parts_; }
  const PredictSchema& schema() const { return schema_; }
  // A longer request would hold up the loop.
  std::size_t max_rows() const { return max_rows_; }

  // False: the app must answer, because a value is one that it judges, a table is closed or has other keys,
  // texts are long, or the model failed. Nothing was done then.
  // Threads: one at a time on each loop.
  bool Run(const PredictCall& call, std::int64_t now_us, std::size_t loop, PredictScores* answer) const;

 private:
  explicit PredictBundle(FrontBundle from);
  void MakeRoom(std::size_t n_loops);

  struct Work;
  // Where an input of the program comes from.
  struct Source {
    enum class Kind { kSent, kLookedUp, kDerived } kind = Kind::kSent;  // of predictions by entity
    std::size_t index = 0;      // of a field of `entity`, of a lookup, or of an output of the formulas
    std::size_t column = 0;     // of the lookup's selection
    bool is_wide = false;       // a double, to be made a float
    std::size_t row_input = 0;  // its field of `inputs`
    std::size_t override_index = PredictFields::kNone;
    bool override_is_wide = false;
  };
  struct Lookup {
    const OnlineTable* table = nullptr;
    std::vector<std::size_t> keys;  // fields of `entity`, in the table's order
    FieldSelection selection;
    std::vector<FieldType> types;  // of the selection
  };
  struct Policy {
    std::size_t field = 0;
    double low = 0, high = 0;
    bool refuses_missing = false;
  };

  std::string Prepare();
  std::string PrepareSchema();
  std::string PrepareLookups(std::vector<std::vector<std::uint32_t>>* selected);
  std::string FindSource(const std::string& name, FrontType type,
                         std::vector<std::vector<std::uint32_t>>* selected);
  bool FindKnown(const std::string& name, Source* source, FrontType* type,
                 std::vector<std::vector<std::uint32_t>>* selected) const;
  bool FindDerived(const std::string& name, Source* source, FrontType* type) const;
  std::string PrepareFormulas(std::vector<std::vector<std::uint32_t>>* selected);
  std::string PrepareModel();
  std::vector<Policy> PoliciesOf(const PredictFields& fields) const;
  static bool Accepts(const std::vector<Policy>& policies, const PredictFields& fields,
                      const std::vector<PredictColumn>& columns);

  bool LookUp(const PredictCall& call, std::int64_t now_us, Work* work) const;
  bool Derive(const PredictCall& call, Work* work) const;
  const double* RealsOf(const PredictCall& call, std::size_t input, Work* work) const;
  const std::int64_t* WholesOf(const PredictCall& call, std::size_t input, Work* work) const;
  bool Gather(const PredictCall& call, Work* work) const;
  const float* FloatsOf(const PredictCall& call, std::size_t input, Work* work) const;
  const std::int64_t* IntsOf(const PredictCall& call, std::size_t input, Work* work) const;
  void FindTexts(const PredictCall& call, std::size_t text, Work* work) const;
  bool RunModel(std::size_t rows, Work* work) const;

  const FrontBundle parts_;
  PredictSchema schema_;
  std::vector<Source> sources_;         // of floats, ints, texts
  std::vector<Source> formula_inputs_;  // is_wide: a double, which is taken as it is
  std::vector<Lookup> lookups_;
  std::vector<Policy> entity_policies_, input_policies_, override_policies_;
  std::size_t max_rows_ = 0, n_outputs_ = 0;
  mutable std::vector<std::unique_ptr<Work>> works_;  // one for each loop, used by it alone
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_PREDICT_BUNDLE_H_
