// What a list of feature references means: which tables to ask for which fields, and what the answer calls
// them.

#ifndef MAINSPRING_SRC_FRONT_FEATURE_PLAN_H_
#define MAINSPRING_SRC_FRONT_FEATURE_PLAN_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "features_call.h"
#include "mainspring/front.h"

namespace mainspring::front {

// A view and where its fields are. Immutable.
struct KnownView {
  explicit KnownView(FrontView from);

  FrontView view;
  std::map<std::string, std::uint32_t, std::less<>> fields;
};

using KnownViews = std::map<std::string, KnownView, std::less<>>;
using KnownServices = std::map<std::string, FrontService, std::less<>>;

// A view and a field of it.
using Reference = std::pair<std::string_view, std::string_view>;

// The features of one view, in the order asked.
struct FeaturePart {
  // Alike: floats of one type only, which the app prints by themselves and not as Python's.
  enum class Floats { kMixed, kFloat32, kFloat64 };

  const KnownView* known = nullptr;
  std::vector<std::uint32_t> fields;
  std::vector<FieldType> types;
  FieldSelection selection;
  Floats floats = Floats::kMixed;
};

struct FeaturePlan {
  std::string names;  // ,"name" for each feature, in the order of the answer
  std::vector<FeaturePart> parts;
  std::size_t n_features = 0;
};

// Features of one name, and views, fields or types that are not known here: false.
bool MakeFeaturePlan(const KnownViews& views, const std::vector<Reference>& references, bool full_names,
                     FeaturePlan* plan);

// The plans of one thread for the questions it was asked last, as a caller asks for the same features again
// and again.
class FeaturePlans {
 public:
  // nullptr: not understood, or longer than anybody should ask here. Good until the next call.
  FeaturePlan* Find(const KnownViews& views, const KnownServices& services, const FeaturesCall& call);

 private:
  struct Kept {
    std::size_t hash = 0;
    bool full_names = false;
    std::string text;
    std::unique_ptr<FeaturePlan> plan;
  };
  std::vector<Kept> kept_;
  std::size_t next_ = 0;  // whose place the next one takes
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_FEATURE_PLAN_H_
