// Who asks, told by an API key: only those that are surely known and may ask. All others are the app's to
// judge.

#ifndef MAINSPRING_SRC_FRONT_CALLERS_H_
#define MAINSPRING_SRC_FRONT_CALLERS_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "http_head.h"
#include "mainspring/front.h"

namespace mainspring::front {

// What a request needs, and whose limits it counts against.
struct Door {
  FrontScope scope = FrontScope::kPredict;
  std::string target;
};

// Everybody who shows neither key nor token, where none is demanded.
inline constexpr std::string_view kAnonymous = "anonymous";

// Who asks, valid as long as the keys are. Without a name: whoever is the app's to judge.
struct Caller {
  std::string_view name, project;
};

// The keys that count. Immutable.
class Callers {
 public:
  Callers() = default;
  explicit Callers(FrontGuard guard);

  // Whom the head shows; nobody for an unknown or revoked key, a token, a key without the scope, two fields
  // that could tell. `now_us` is Unix time.
  Caller Identify(const RequestHead& head, FrontScope scope, std::int64_t now_us) const;

  // Whether nobody is answered who shows no key.
  bool needs_key() const { return needs_key_; }
  // nullptr: nobody is limited.
  Limits* limits() const { return limits_.get(); }

 private:
  const FrontKey* Find(std::string_view key, std::int64_t now_us) const;

  bool needs_key_ = false;
  std::unordered_map<std::string, FrontKey> keys_;  // by id
  std::shared_ptr<Limits> limits_;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_CALLERS_H_
