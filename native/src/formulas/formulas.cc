#include "mainspring/formulas.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace mainspring {
namespace {

constexpr std::size_t kMaxSteps = 4096;
constexpr std::int64_t kMinuteUs = 60'000'000, kHourUs = 3'600'000'000, kDayUs = 86'400'000'000;
// Midnight before the year 10000.
constexpr std::int64_t kCalendarEndUs = 253'402'300'800'000'000;
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Wraps as NumPy's int64 does.
std::int64_t Add(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
}
std::int64_t Subtract(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) - static_cast<std::uint64_t>(b));
}

// By a divisor above 0, rounded down as Python does.
std::int64_t FloorDivide(std::int64_t a, std::int64_t by) { return a / by - (a % by < 0 ? 1 : 0); }
std::int64_t Modulo(std::int64_t a, std::int64_t by) { return a % by + (a % by < 0 ? by : 0); }

// numpy.mod by a divisor above 0. It may round to the divisor.
double Modulo(double a, double by) {
  const double rest = std::fmod(a, by);
  return rest < 0 ? rest + by : rest;
}

// The Gregorian year of a day since 1970 that is not before it (Howard Hinnant, "chrono-compatible low-level
// date algorithms").
std::int64_t YearOf(std::int64_t day) {
  const std::int64_t z = day + 719'468, era = z / 146'097, of_era = z % 146'097;
  const std::int64_t year = (of_era - of_era / 1460 + of_era / 36'524 - of_era / 146'096) / 365;
  const std::int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
  return year + era * 400 + ((5 * of_year + 2) / 153 >= 10 ? 1 : 0);
}

// False: it is not known.
bool LocalMinutes(const FormulaClock& clock, std::int64_t us, std::int64_t* minutes) {
  const std::int64_t hour = FloorDivide(us, kHourUs);
  if (hour < clock.from_hours.front() || hour >= clock.end_hour) return false;
  const auto after = std::upper_bound(clock.from_hours.begin(), clock.from_hours.end(), hour);
  *minutes = FloorDivide(us, kMinuteUs) +
             clock.minutes[static_cast<std::size_t>(after - clock.from_hours.begin()) - 1];
  return true;
}

// What a step takes, `w`hole or `r`eal, and what it gives.
struct Shape {
  const char* takes;
  bool gives_whole;
};
constexpr Shape kShapes[] = {{"", true},    {"", false},   {"", true},    {"", false},   {"ww", true},
                             {"ww", true},  {"w", true},   {"w", true},   {"w", false},  {"rr", false},
                             {"rr", false}, {"rr", false}, {"rr", false}, {"rr", false}, {"rr", false},
                             {"w", true},   {"w", true},   {"w", false},  {"r", false}};
static_assert(sizeof kShapes / sizeof kShapes[0] == kFormulaOps);

Status Bad(std::size_t at, const char* expected, double got) {
  return {StatusCode::kBadSpec, static_cast<std::int32_t>(at), expected, true, got, "declare it anew"};
}

bool IsClock(const FormulaClock* clock) {
  return clock != nullptr && !clock->from_hours.empty() &&
         clock->from_hours.size() == clock->minutes.size() &&
         std::is_sorted(clock->from_hours.begin(), clock->from_hours.end());
}

}  // namespace

Status Formulas::Compile(FormulaSpec spec, Formulas* formulas) {
  std::vector<std::uint8_t> is_whole;
  const std::size_t n = spec.steps.size();
  if (n > kMaxSteps) return Bad(n, "at most 4096 steps", static_cast<double>(n));
  for (std::size_t i = 0; i < n; ++i) {
    const FormulaStep& step = spec.steps[i];
    const auto op = static_cast<std::size_t>(step.op);
    if (op >= kFormulaOps) return Bad(i, "a known step", static_cast<double>(op));
    const std::int32_t taken[] = {step.a, step.b};
    const char* const takes = kShapes[op].takes;
    for (std::size_t k = 0; takes[k] != '\0'; ++k) {
      if (taken[k] < 0 || static_cast<std::size_t>(taken[k]) >= i) return Bad(i, "an earlier step", taken[k]);
      if ((is_whole[static_cast<std::size_t>(taken[k])] != 0) != (takes[k] == 'w')) {
        return Bad(i, "steps of the kind that it takes", taken[k]);
      }
    }
    is_whole.push_back(kShapes[op].gives_whole ? 1 : 0);
    switch (step.op) {
      case FormulaOp::kWholeColumn:
      case FormulaOp::kRealColumn: {
        const auto input = static_cast<std::size_t>(step.a);
        const bool is_there = step.a >= 0 && input < spec.inputs.size();
        if (!is_there || spec.inputs[input].is_whole != kShapes[op].gives_whole) {
          return Bad(i, "an input of its kind", step.a);
        }
        break;
      }
      case FormulaOp::kFloorDivide:
      case FormulaOp::kModulo:
        if (step.whole <= 0) return Bad(i, "a divisor above 0", static_cast<double>(step.whole));
        break;
      case FormulaOp::kEntry:
      case FormulaOp::kRealEntry:
        if (step.table == nullptr || step.table->empty()) return Bad(i, "a table with an entry", 0);
        break;
      case FormulaOp::kLocalMinutes:
        if (!IsClock(step.clock.get())) return Bad(i, "a clock whose hours grow", 0);
        break;
      default:
        break;
    }
  }
  for (std::size_t i = 0; i < spec.outputs.size(); ++i) {
    const FormulaOutput& output = spec.outputs[i];
    const bool is_there = output.step >= 0 && static_cast<std::size_t>(output.step) < n;
    if (!is_there || (output.is_int64 && is_whole[static_cast<std::size_t>(output.step)] == 0)) {
      return Bad(i, "an output of a step, int64 of a whole one", output.step);
    }
  }
  formulas->spec_ = std::move(spec);
  formulas->is_whole_ = std::move(is_whole);
  return {};
}

// False: a time that is not known.
bool Formulas::RunStep(std::size_t at, const std::int64_t* const* wholes, const double* const* reals,
                       std::size_t rows, FormulaWorkspace* workspace) const {
  const FormulaStep& step = spec_.steps[at];
  std::vector<double>& real = workspace->reals[at];
  std::vector<std::int64_t>& whole = workspace->wholes[at];
  is_whole_[at] != 0 ? whole.resize(rows) : real.resize(rows);
  const char* const takes = kShapes[static_cast<std::size_t>(step.op)].takes;
  const auto whole_of = [&](std::int32_t of) {
    return workspace->wholes[static_cast<std::size_t>(of)].data();
  };
  const auto real_of = [&](std::int32_t of) { return workspace->reals[static_cast<std::size_t>(of)].data(); };
  const std::int64_t* const wa = takes[0] == 'w' ? whole_of(step.a) : nullptr;
  const double* const ra = takes[0] == 'r' ? real_of(step.a) : nullptr;
  const bool has_two = takes[0] != '\0' && takes[1] != '\0';
  const std::int64_t* const wb = has_two && takes[1] == 'w' ? whole_of(step.b) : nullptr;
  const double* const rb = has_two && takes[1] == 'r' ? real_of(step.b) : nullptr;
  const auto make_whole = [&](const auto& of) {
    for (std::size_t i = 0; i < rows; ++i) whole[i] = of(i);
    return true;
  };
  const auto make_real = [&](const auto& of) {
    for (std::size_t i = 0; i < rows; ++i) real[i] = of(i);
    return true;
  };
  switch (step.op) {
    case FormulaOp::kWholeColumn:
      return make_whole([from = wholes[step.a]](std::size_t i) { return from[i]; });
    case FormulaOp::kRealColumn:
      return make_real([from = reals[step.a]](std::size_t i) { return from[i]; });
    case FormulaOp::kWholeNumber:
      return make_whole([&](std::size_t) { return step.whole; });
    case FormulaOp::kRealNumber:
      return make_real([&](std::size_t) { return step.real; });
    case FormulaOp::kAddWhole:
      return make_whole([&](std::size_t i) { return Add(wa[i], wb[i]); });
    case FormulaOp::kSubtractWhole:
      return make_whole([&](std::size_t i) { return Subtract(wa[i], wb[i]); });
    case FormulaOp::kFloorDivide:
      return make_whole([&](std::size_t i) { return FloorDivide(wa[i], step.whole); });
    case FormulaOp::kModulo:
      return make_whole([&](std::size_t i) { return Modulo(wa[i], step.whole); });
    case FormulaOp::kWiden:
      return make_real([&](std::size_t i) { return static_cast<double>(wa[i]); });
    case FormulaOp::kAdd:
      return make_real([&](std::size_t i) { return ra[i] + rb[i]; });
    case FormulaOp::kSubtract:
      return make_real([&](std::size_t i) { return ra[i] - rb[i]; });
    case FormulaOp::kMultiply:
      return make_real([&](std::size_t i) { return ra[i] * rb[i]; });
    case FormulaOp::kDivide:
      return make_real([&](std::size_t i) { return ra[i] / rb[i]; });
    case FormulaOp::kRatio:
      return make_real([&](std::size_t i) { return rb[i] > 0 ? ra[i] / rb[i] : kNaN; });
    case FormulaOp::kIsBelow:
      return make_real([&](std::size_t i) {
        return std::isnan(ra[i]) || std::isnan(rb[i]) ? kNaN : ra[i] < rb[i] ? 1.0 : 0.0;
      });
    case FormulaOp::kLocalMinutes:
      for (std::size_t i = 0; i < rows; ++i) {
        if (!LocalMinutes(*step.clock, wa[i], &whole[i])) return false;
      }
      return true;
    case FormulaOp::kYear:
      for (std::size_t i = 0; i < rows; ++i) {
        if (wa[i] < 0 || wa[i] >= kCalendarEndUs) return false;
        whole[i] = YearOf(wa[i] / kDayUs);
      }
      return true;
    case FormulaOp::kEntry: {
      const std::vector<double>& table = *step.table;
      const auto size = static_cast<std::int64_t>(table.size());
      return make_real([&](std::size_t i) { return table[static_cast<std::size_t>(Modulo(wa[i], size))]; });
    }
    case FormulaOp::kRealEntry: {
      const std::vector<double>& table = *step.table;
      return make_real([&, size = static_cast<double>(table.size())](std::size_t i) {
        return std::isfinite(ra[i]) ? table[static_cast<std::size_t>(Modulo(ra[i], size)) % table.size()]
                                    : kNaN;
      });
    }
  }
  return false;
}

bool Formulas::Run(const std::int64_t* const* wholes, const double* const* reals, std::size_t rows,
                   FormulaWorkspace* workspace) const {
  workspace->reals.resize(spec_.steps.size());
  workspace->wholes.resize(spec_.steps.size());
  workspace->floats.resize(spec_.outputs.size());
  workspace->ints.resize(spec_.outputs.size());
  for (std::size_t i = 0; i < spec_.steps.size(); ++i) {
    if (!RunStep(i, wholes, reals, rows, workspace)) return false;
  }
  for (std::size_t i = 0; i < spec_.outputs.size(); ++i) {
    const FormulaOutput& output = spec_.outputs[i];
    const auto step = static_cast<std::size_t>(output.step);
    if (output.is_int64) {
      workspace->ints[i] = workspace->wholes[step];
      continue;
    }
    std::vector<float>& made = workspace->floats[i];
    made.resize(rows);
    const auto narrow = [&](const auto& from) {
      // Through a double: NumPy's way from a whole number to a float32 here, too.
      std::transform(from.begin(), from.end(), made.begin(),
                     [](auto x) { return static_cast<float>(static_cast<double>(x)); });
    };
    IsWhole(output.step) ? narrow(workspace->wholes[step]) : narrow(workspace->reals[step]);
  }
  return true;
}

}  // namespace mainspring
