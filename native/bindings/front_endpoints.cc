// Endpoints of the front: converts, checks names and types.

#include "front_endpoints.h"

#include <pybind11/stl.h>

#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bindings.h"
#include "models.h"

namespace mainspring {
namespace {

using FieldTuple = std::tuple<std::string, std::string>;                            // name, type
using LookupTuple = std::tuple<std::string, py::object, std::vector<std::string>>;  // view, table, fields
using PolicyTuple = std::tuple<std::string, double, double, bool>;  // name, low, high, refuses missing ones

std::vector<FrontField> ToFields(const py::handle& from) {
  static const std::map<std::string, FrontType> kTypes = {{"float32", FrontType::kFloat32},
                                                          {"float64", FrontType::kFloat64},
                                                          {"int64", FrontType::kInt64},
                                                          {"bool", FrontType::kBool},
                                                          {"string", FrontType::kString}};
  std::vector<FrontField> fields;
  for (auto& [name, type] : from.cast<std::vector<FieldTuple>>()) {
    const auto found = kTypes.find(type);
    if (found == kTypes.end()) {
      Raise(StatusCode::kBadDtype, "field `" + name + "` has type `" + type +
                                       "`, which the front does not read; leave its endpoint to the app");
    }
    fields.push_back({name, found->second});
  }
  return fields;
}

FrontLookup ToLookup(LookupTuple from) {
  auto& [name, object, fields] = from;
  CheckPlain(name, "view");
  TableParts parts = TableOf(object);
  if (parts.table == nullptr) {
    Raise(StatusCode::kBadDtype, "`table` of view `" + name + "` must be a native OnlineTable, got `" +
                                     TypeName(object.ptr()) + "`; leave it to the app");
  }
  return {{std::move(name), std::move(parts.table), std::move(parts.is_closed)}, std::move(fields)};
}

FrontBundle ToBundle(const py::dict& from) {
  FrontBundle bundle;
  bundle.digest = from["digest"].cast<std::string>();
  CheckPlain(bundle.digest, "digest");
  bundle.entity = ToFields(from["entity"]);
  bundle.keys = from["keys"].cast<std::vector<std::string>>();
  bundle.inputs = ToFields(from["inputs"]);
  for (LookupTuple& lookup : from["lookups"].cast<std::vector<LookupTuple>>()) {
    bundle.lookups.push_back(ToLookup(std::move(lookup)));
  }
  for (auto& [name, low, high, refuses] : from["policies"].cast<std::vector<PolicyTuple>>()) {
    bundle.policies.push_back({name, low, high, refuses});
  }
  bundle.output = from["output"].cast<std::size_t>();
  bundle.program = FrontProgramOf(from["program"]);
  if (bundle.program.program == nullptr) {
    Raise(StatusCode::kBadDtype, "`program` of bundle `" + bundle.digest +
                                     "` must be a native Program of columns and vocabularies; leave its"
                                     " endpoint to the app");
  }
  const py::object formulas = from["derives"];
  bundle.formulas = FormulasOf(formulas);
  if (bundle.formulas == nullptr && !formulas.is_none()) {
    Raise(StatusCode::kBadDtype, "`derives` of bundle `" + bundle.digest +
                                     "` must be native Formulas, got `" + TypeName(formulas.ptr()) +
                                     "`; leave its endpoint to the app");
  }
  const py::object model = from["model"];
  bundle.mlp = MlpOf(model);
  bundle.forest = ForestOf(model);
  if (bundle.mlp == nullptr && bundle.forest == nullptr) {
    Raise(StatusCode::kBadDtype, "`model` of bundle `" + bundle.digest +
                                     "` must be a native Mlp or Trees, got `" + TypeName(model.ptr()) +
                                     "`; leave its endpoint to the app");
  }
  return bundle;
}

}  // namespace

void CheckPlain(const std::string& text, const std::string& what) {
  bool is_plain = !text.empty() && text.size() <= 256;
  for (char c : text) is_plain = is_plain && c >= 0x20 && c <= 0x7E && c != '"' && c != '\\';
  if (!is_plain) {
    Raise(StatusCode::kBadSpec, "`" + what +
                                    "` must be 1 to 256 printable ASCII characters without quotes and"
                                    " backslashes; leave such a model to the app");
  }
}

void CheckPath(const std::string& text, const std::string& what) {
  CheckPlain(text, what);
  if (text.find_first_of(" /%?#") == std::string::npos) return;
  Raise(StatusCode::kBadSpec, "`" + what + "` must have no blank, `/`, `%`, `?` and `#`, got `" + text +
                                  "`; leave such a model to the app");
}

FrontEndpoint ToEndpoint(const py::dict& from) {
  FrontEndpoint endpoint;
  endpoint.name = from["name"].cast<std::string>();
  CheckPath(endpoint.name, "name");
  endpoint.version = from["version"].cast<std::uint64_t>();
  endpoint.max_rows = from["max_rows"].cast<std::size_t>();
  if (endpoint.max_rows == 0) {
    Raise(StatusCode::kBadSpec, "`max_rows` of `" + endpoint.name + "` is 0; allow at least 1");
  }
  endpoint.canary_percent = from["canary_percent"].cast<std::uint32_t>();
  endpoint.infers = from["infers"].cast<bool>();
  endpoint.stable = ToBundle(from["stable"].cast<py::dict>());
  const py::object canary = from["canary"];
  if (!canary.is_none()) endpoint.canary = ToBundle(canary.cast<py::dict>());
  return endpoint;
}

}  // namespace mainspring
