// What the front must know of an endpoint to answer its predictions: which bundles answer, what callers send
// them, where the rest is looked up, and what computes the score.

#ifndef MAINSPRING_FRONT_PREDICT_H_
#define MAINSPRING_FRONT_PREDICT_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mainspring/formulas.h"
#include "mainspring/mlp.h"
#include "mainspring/program.h"
#include "mainspring/string_vocabulary.h"
#include "mainspring/table.h"
#include "mainspring/trees.h"

namespace mainspring {

// One view of online features: its keys, fields and age are the table's.
struct FrontView {
  std::string name;
  std::shared_ptr<const OnlineTable> table;
  std::shared_ptr<const std::atomic<bool>> is_closed;  // then the app refuses; nullptr: never
};

enum class FrontType : std::uint8_t { kFloat32, kFloat64, kInt64, kBool, kString };

struct FrontField {
  std::string name;
  FrontType type = FrontType::kFloat32;
};

inline bool operator==(const FrontField& a, const FrontField& b) {
  return a.name == b.name && a.type == b.type;
}

// Values of a column that the app judges: those outside, and the missing ones where it refuses them.
struct FrontPolicy {
  std::string name;
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool refuses_missing = false;
};

// A view that is looked up. What it gives is called view__field.
struct FrontLookup {
  FrontView view;
  std::vector<std::string> fields;
};

// A program of columns and ids, with names for its inputs: floats, then ints. An int is made of each string,
// its place in a vocabulary, and those follow the ints.
struct FrontProgram {
  struct Text {
    std::string name;
    std::shared_ptr<const StringVocabulary> vocabulary;
  };

  std::shared_ptr<const Program> program;
  std::vector<std::string> floats, ints;
  std::vector<Text> texts;
};

// A model with all that makes its input. One of the two pointers to models.
struct FrontBundle {
  std::string digest;
  std::vector<FrontField> entity;  // what one entity has, join keys among it; none: entities are the app's
  std::vector<std::string> keys;   // join keys
  std::vector<FrontField> inputs;  // the program's: what a row has
  std::vector<FrontLookup> lookups;
  std::vector<FrontPolicy> policies;
  std::shared_ptr<const Formulas> formulas;  // what is derived of predictions by entity; nullptr: nothing
  FrontProgram program;
  std::shared_ptr<const Mlp> mlp;
  std::shared_ptr<const Forest> forest;
  std::size_t output = 0;  // of those that the model gives, the score
};

// An endpoint under one version of its traffic.
struct FrontEndpoint {
  std::string name;
  std::uint64_t version = 0;
  std::size_t max_rows = 0;  // in a request; more is for the app to refuse
  FrontBundle stable;
  std::optional<FrontBundle> canary;  // asked for the same fields as `stable`
  std::uint32_t canary_percent = 0;
  bool infers = false;  // it answers infer requests of the v2 protocol, too, which name it as a model
};

// What one caller used of a bundle; "" for `project`: it has none, and the bundle's pays.
struct FrontUse {
  std::string caller, project;
  std::uint64_t requests = 0, rows = 0, cpu_nanos = 0;
};

// What one bundle answered under one version of traffic, in one role, since it was asked last.
struct FrontPredictions {
  std::string endpoint, digest, role;
  std::uint64_t version = 0;
  std::uint64_t requests = 0, rows = 0;
  std::vector<FrontUse> used;  // each caller and project once; adds up to `requests` and `rows`
  double scores_sum = 0;
  std::vector<double> latency_seconds;  // of the newest requests, 4,096 of each thread at most
};

// Whether a prediction that `key` sticks is among the `percent` of 100 of the endpoint's that go to the
// canary: the choice of serving/traffic.py.
bool GoesToCanary(std::string_view endpoint, std::string_view key, std::uint32_t percent);

}  // namespace mainspring

#endif  // MAINSPRING_FRONT_PREDICT_H_
