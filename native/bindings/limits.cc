// Limits: converts and checks rules. All methods need the GIL, and hold it for what takes less than giving it
// up.

#include "mainspring/limits.h"

#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"

namespace mainspring {
namespace {

// As mainspring.native.limits writes it: caller, endpoint, requests_per_second, burst_requests,
// rows_per_second, burst_rows, requests_per_day, rows_per_day.
using RuleTuple =
    std::tuple<std::string, std::string, std::optional<double>, std::optional<double>, std::optional<double>,
               std::optional<double>, std::optional<std::int64_t>, std::optional<std::int64_t>>;

void CheckAbove0(const std::optional<double>& value, const char* name, const LimitRule& rule) {
  if (!value.has_value() || (*value > 0 && *value <= 1e15)) return;
  Raise(StatusCode::kBadSpec, std::string("`") + name + "` for caller `" + rule.caller + "` and endpoint `" +
                                  rule.endpoint + "` is " + std::to_string(*value) +
                                  "; expected a number above 0");
}

void CheckName(const std::string& name, const char* what) {
  if (!name.empty() && name.find('\0') == std::string::npos) return;
  Raise(StatusCode::kBadSpec,
        std::string("a rule's `") + what + "` is empty or has a zero byte; write `*` for all");
}

LimitRule ToRule(RuleTuple from) {
  auto& [caller, endpoint, requests, burst_requests, rows, burst_rows, daily_requests, daily_rows] = from;
  CheckName(caller, "caller");
  CheckName(endpoint, "endpoint");
  LimitRule rule;
  rule.caller = std::move(caller);
  rule.endpoint = std::move(endpoint);
  CheckAbove0(requests, "requests_per_second", rule);
  CheckAbove0(burst_requests, "burst_requests", rule);
  CheckAbove0(rows, "rows_per_second", rule);
  CheckAbove0(burst_rows, "burst_rows", rule);
  CheckAbove0(daily_requests, "requests_per_day", rule);
  CheckAbove0(daily_rows, "rows_per_day", rule);
  rule.requests_per_second = requests;
  rule.rows_per_second = rows;
  rule.burst_requests = burst_requests.value_or(0);
  rule.burst_rows = burst_rows.value_or(0);
  rule.requests_per_day = daily_requests;
  rule.rows_per_day = daily_rows;
  return rule;
}

py::object ToTuple(const std::optional<LimitRefusal>& refusal) {
  static constexpr const char* kNames[] = {"requests_per_second", "rows_per_second", "requests_per_day",
                                           "rows_per_day"};
  if (!refusal.has_value()) return py::none();
  return py::make_tuple(kNames[static_cast<int>(refusal->kind)], refusal->allowed, refusal->seconds);
}

// Needs the GIL; gives it up while a file is made. None: accounts of this process alone.
std::shared_ptr<Limits> Opened(const std::optional<std::string>& shared) {
  if (!shared.has_value()) return std::make_shared<Limits>();
  std::shared_ptr<Limits> limits;
  Status status;
  {
    const py::gil_scoped_release released;
    status = Limits::Open(*shared, &limits);
  }
  Check(status);
  return limits;
}

void SetRules(Limits& limits, std::vector<RuleTuple> rules) {
  std::vector<LimitRule> made;
  for (RuleTuple& rule : rules) made.push_back(ToRule(std::move(rule)));
  limits.SetRules(std::move(made));
}

void Throttle(Limits& limits, const std::string& caller, const std::string& endpoint,
              std::optional<RuleTuple> rule) {
  CheckName(caller, "caller");
  CheckName(endpoint, "endpoint");
  limits.Throttle(caller, endpoint, rule ? std::optional(ToRule(*std::move(rule))) : std::nullopt);
}

py::list Refused(const Limits& limits) {
  py::list list;
  for (const LimitedCaller& one : limits.Refused()) {
    list.append(py::make_tuple(one.caller, one.endpoint, one.refused));
  }
  return list;
}

}  // namespace

void BindLimits(py::module_& module) {
  py::options options;
  options.disable_function_signatures();
  py::class_<Limits, std::shared_ptr<Limits>>(module, "Limits", py::is_final(),
                                              "Accounts of callers. See mainspring.native.limits.")
      .def(py::init(&Opened), py::arg("shared"))
      .def("set_rules", &SetRules, py::arg("rules"))
      .def("throttle", &Throttle, py::arg("caller"), py::arg("endpoint"), py::arg("rule"))
      .def_property_readonly("is_on", &Limits::is_on)
      .def(
          "admit",
          [](Limits& limits, const std::string& caller, const std::string& endpoint, double monotonic,
             double wall) { return ToTuple(limits.Admit(caller, endpoint, {monotonic, wall})); },
          py::arg("caller"), py::arg("endpoint"), py::arg("monotonic"), py::arg("wall"))
      .def(
          "give_back",
          [](Limits& limits, const std::string& caller, const std::string& endpoint, double monotonic,
             double wall) { limits.GiveBack(caller, endpoint, {monotonic, wall}); },
          py::arg("caller"), py::arg("endpoint"), py::arg("monotonic"), py::arg("wall"))
      .def(
          "charge",
          [](Limits& limits, const std::string& caller, const std::string& endpoint, std::uint64_t rows,
             double monotonic, double wall) { limits.Charge(caller, endpoint, rows, {monotonic, wall}); },
          py::arg("caller"), py::arg("endpoint"), py::arg("rows"), py::arg("monotonic"), py::arg("wall"))
      .def("refused", &Refused);
}

}  // namespace mainspring
