// A read of online features, as Feast's clients write it, read as most are written.
//
// As with infer_call.h: every reading of it is the one that serving/http/feature_reads gives, and what is
// wrong or unusual is not understood.

#ifndef MAINSPRING_SRC_FRONT_FEATURES_CALL_H_
#define MAINSPRING_SRC_FRONT_FEATURES_CALL_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "mainspring/table.h"

namespace mainspring::front {

// One list of `entities`: whole numbers, or strings, and nulls between them; n values.
struct EntityColumn {
  // kOther: numbers and strings, which no key has.
  enum class Kind { kNulls, kInts, kTexts, kOther };

  std::string_view name;
  Kind kind = Kind::kNulls;
  std::size_t n = 0;
  bool has_null = false;
  std::vector<std::int64_t> ints;     // 0 at nulls
  std::vector<Text> texts;            // empty at nulls
  std::vector<std::uint8_t> is_null;  //
  std::string echo;                   // the list as the answer has it
};

// A request. Used again, it keeps its room. Views of the body and of `decoded`.
struct FeaturesCall {
  std::string_view asked;  // what says which features, as it was sent: equal text, equal features
  std::vector<std::string_view> references;  // "view:field" each; empty where a service is asked for
  std::string_view service;
  bool full_names = false;
  std::size_t n_entities = 0;
  std::vector<EntityColumn> entities;  // of which the first n_entities are of this request
  std::string decoded;                 // strings that had escapes

  // nullptr: it was not sent.
  const EntityColumn* Find(std::string_view name) const;
};

// Entity columns of a request; the app takes more.
inline constexpr std::size_t kMaxEntities = 64;

// False: not understood; `*call` is then of no use. Every list of `entities` has the same length, 1 at least.
// Memory: in proportion to `json`.
bool ReadFeaturesCall(std::string_view json, FeaturesCall* call);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_FEATURES_CALL_H_
