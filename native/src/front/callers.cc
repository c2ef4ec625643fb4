#include "callers.h"

#include <algorithm>
#include <utility>

#include "sha256.h"

namespace mainspring::front {
namespace {

constexpr std::string_view kBearer = "bearer ", kPrefix = "msk_";
constexpr std::size_t kMaxIdBytes = 64;

// As keys are made. What Python would strip or decode in another one is left to the app.
bool IsKeyText(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

// The one credential that the head shows; "" with `*is_shown` for one that is no key, or for two.
std::string_view KeyOf(const RequestHead& head, bool* is_shown) {
  int tokens = 0, keys = 0;
  std::string_view credential = head.Only("authorization", &tokens);
  const std::string_view key = head.Only("x-api-key", &keys);
  *is_shown = tokens + keys > 0;
  if (tokens + keys != 1) return {};
  if (tokens == 1) {
    if (!EqualsIgnoringCase(credential.substr(0, kBearer.size()), kBearer)) return {};
    credential.remove_prefix(kBearer.size());
    while (!credential.empty() && credential.front() == ' ') credential.remove_prefix(1);
  } else {
    credential = key;
  }
  return credential.substr(0, kPrefix.size()) == kPrefix && IsKeyText(credential) ? credential
                                                                                  : std::string_view();
}

}  // namespace

Callers::Callers(FrontGuard guard) : needs_key_(guard.needs_key), limits_(std::move(guard.limits)) {
  for (FrontKey& key : guard.keys) {
    std::string id = key.id;
    keys_.insert_or_assign(std::move(id), std::move(key));
  }
}

const FrontKey* Callers::Find(std::string_view key, std::int64_t now_us) const {
  key.remove_prefix(kPrefix.size());
  const std::size_t end = key.find('_');
  if (end == std::string_view::npos || end > kMaxIdBytes || end + 1 == key.size()) return nullptr;
  const auto found = keys_.find(std::string(key.substr(0, end)));
  // Who asks for an id that is not there waits as long as who has a wrong secret.
  static const FrontKey kNobody{};
  const FrontKey& known = found == keys_.end() ? kNobody : found->second;
  const bool is_right = EqualsInConstantTime(Sha256(key.substr(end + 1)), known.secret_sha256);
  if (found == keys_.end() || !is_right) return nullptr;
  return known.expires_us == 0 || now_us < known.expires_us ? &known : nullptr;
}

Caller Callers::Identify(const RequestHead& head, FrontScope scope, std::int64_t now_us) const {
  bool is_shown = false;
  const std::string_view key = KeyOf(head, &is_shown);
  if (!is_shown) return needs_key_ ? Caller{} : Caller{kAnonymous, {}};
  const FrontKey* const known = key.empty() ? nullptr : Find(key, now_us);
  if (known == nullptr) return {};
  // Where no key is demanded one of another scope may do what nobody in particular may.
  const bool may = scope == FrontScope::kPredict ? known->may_predict : known->may_read;
  return may || !needs_key_ ? Caller{known->caller, known->project} : Caller{};
}

}  // namespace mainspring::front
