#include "mainspring/target.h"

#include <cstdlib>
#include <cstring>
#include <string>

namespace mainspring {
namespace {

struct Forced {
  bool is_set = false;
  Status status;
  Target target = Target::kGeneric;
};

Status Find(const char* name, const char* unknown, const char* unsupported, Target* found) {
  for (Target target : kAllTargets) {
    if (std::strcmp(name, TargetName(target)) != 0) continue;
    if (!IsSupported(target)) return {StatusCode::kUnknownTarget, -1, unsupported};
    *found = target;
    return {};
  }
  return {StatusCode::kUnknownTarget, -1, unknown};
}

// The one environment variable that native code reads, once. Empty counts as not set.
const Forced& ForcedTarget() {
  static const Forced forced = [] {
    Forced result;
    const char* value = std::getenv(kForceTargetVariable);
    if (value == nullptr || *value == '\0') return result;
    result.is_set = true;
    // Kept for the life of the process, so that the status can point to them.
    static const std::string unknown =
        "MAINSPRING_FORCE_TARGET is `" + std::string(value) +
        "`, expected `generic`, `avx2` or `avx512`; correct it or unset it, then start again";
    static const std::string unsupported = "MAINSPRING_FORCE_TARGET is `" + std::string(value) +
                                           "`, which this CPU cannot run; unset it, then start again";
    result.status = Find(value, unknown.c_str(), unsupported.c_str(), &result.target);
    return result;
  }();
  return forced;
}

#if defined(__x86_64__)
bool HasAvx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
         __builtin_cpu_supports("bmi2");
}
#endif

}  // namespace

const char* TargetName(Target target) {
  switch (target) {
    case Target::kGeneric:
      return "generic";
    case Target::kAvx2:
      return "avx2";
    case Target::kAvx512:
      return "avx512";
  }
  return "unknown";
}

bool IsSupported(Target target) {
#if defined(__x86_64__)
  // libgcc asks the operating system too (XGETBV), so a kernel without AVX state says no here.
  switch (target) {
    case Target::kGeneric:
      return true;
    case Target::kAvx2:
      return HasAvx2();
    case Target::kAvx512:
      return HasAvx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
  return false;
#else
  return target == Target::kGeneric;
#endif
}

Target BestTarget() {
  Target best = Target::kGeneric;
  for (Target target : kAllTargets) {
    if (IsSupported(target)) best = target;
  }
  return best;
}

Status ChooseTarget(const char* name, Target* target) {
  const Forced& forced = ForcedTarget();
  if (!forced.status.ok()) return forced.status;
  if (name != nullptr) {
    return Find(name, "`target` is not a target of this build; take one from `targets.available()`",
                "`target` names instructions that this CPU lacks; take one from `targets.available()`",
                target);
  }
  *target = forced.is_set ? forced.target : BestTarget();
  return {};
}

}  // namespace mainspring
