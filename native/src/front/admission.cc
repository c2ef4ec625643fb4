#include "admission.h"

namespace mainspring::front {
namespace {

bool AreOn(const Limits* limits) { return limits != nullptr && limits->is_on(); }

}  // namespace

bool LetIn(const RequestHead& head, const Door& door, const Callers& callers, bool is_told,
           AskedHead* asked) {
  return ReadAskedHead(head, asked) && KnowCaller(head, door.scope, callers, is_told, asked);
}

bool KnowCaller(const RequestHead& head, FrontScope scope, const Callers& callers, bool is_told,
                AskedHead* asked) {
  if (!callers.needs_key() && !is_told && !AreOn(callers.limits())) return true;
  asked->caller = callers.Identify(head, scope, UnixNanos() / 1000);
  return !asked->caller.name.empty();
}

Taken::Taken(const Callers& callers, const Door& door, std::string_view caller)
    : caller_(caller), target_(door.target) {
  if (!AreOn(callers.limits())) return;
  // Limits that came into force since the head was read: who asks was of no matter then.
  is_taken_ =
      !caller.empty() && !callers.limits()->Admit(caller, target_, LimitTime::Now(), false).has_value();
  if (is_taken_) limits_ = callers.limits();
}

Taken::~Taken() {
  if (limits_ != nullptr) limits_->GiveBack(caller_, target_, LimitTime::Now());
}

void Taken::Answered(std::uint64_t rows) {
  if (limits_ != nullptr) limits_->Charge(caller_, target_, rows, LimitTime::Now());
  limits_ = nullptr;
}

}  // namespace mainspring::front
