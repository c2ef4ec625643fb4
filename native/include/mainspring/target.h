// Which instruction set a program runs on.

#ifndef MAINSPRING_TARGET_H_
#define MAINSPRING_TARGET_H_

#include <array>
#include <cstdint>

#include "mainspring/status.h"

namespace mainspring {

// In ascending order of preference.
enum class Target : std::int32_t { kGeneric = 0, kAvx2 = 1, kAvx512 = 2 };

inline constexpr std::array<Target, 3> kAllTargets = {Target::kGeneric, Target::kAvx2, Target::kAvx512};

// The variable that overrules the choice, for tests and for finding faults.
inline constexpr char kForceTargetVariable[] = "MAINSPRING_FORCE_TARGET";

const char* TargetName(Target target);

// True where this build holds the target's code and this CPU and operating system can run it.
bool IsSupported(Target target);

// The fastest supported target, whatever the environment says.
Target BestTarget();

// `name` is a target's name, or nullptr for "what the environment forces, else the best".
// kUnknownTarget when the name, or the environment's, is unknown or cannot run here. A wrong variable is an
// error even where `name` is given: the process is misconfigured and somebody should hear of it.
Status ChooseTarget(const char* name, Target* target);

}  // namespace mainspring

#endif  // MAINSPRING_TARGET_H_
