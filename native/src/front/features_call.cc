#include "features_call.h"

#include "json_reader.h"
#include "json_text.h"

namespace mainspring::front {
namespace {

class FeaturesReader {
 public:
  FeaturesReader(std::string_view json, FeaturesCall* call) : json_(json), size_(json.size()), call_(*call) {}

  bool Read() {
    call_.asked = call_.service = {};
    call_.references.clear();
    call_.full_names = false;
    call_.n_entities = 0;
    call_.decoded.clear();
    bool has_features = false, has_service = false, has_entities = false, has_full_names = false;
    bool has_time = false, has_metadata = false, ignored = false;
    const bool is_read = ReadObject(&json_, [&](std::string_view name) {
      if (name == "features") return First(&has_features) && (json_.Null() || Features());
      if (name == "entities") return First(&has_entities) && Entities();
      if (name == "full_feature_names") return First(&has_full_names) && json_.Bool(&call_.full_names);
      if (name == "feature_service") return First(&has_service) && (json_.Null() || Service());
      // Features as they were once are the app's to read.
      if (name == "as_of") return First(&has_time) && json_.Null();
      return name == "include_feature_view_version_metadata" && First(&has_metadata) && json_.Bool(&ignored);
    });
    const bool is_one_asked = call_.references.empty() != call_.service.empty();
    return is_read && json_.AtEnd() && has_entities && is_one_asked;
  }

 private:
  bool Features() {
    const char* const begin = json_.at();
    if (!json_.Take('[')) return false;
    do {
      std::string_view reference;
      if (!json_.Text(&reference)) return false;
      call_.references.push_back(reference);
    } while (json_.Take(','));
    if (!json_.Take(']')) return false;
    return Asked(begin);
  }

  bool Service() {
    const char* const begin = json_.at();
    return json_.Text(&call_.service) && Asked(begin);
  }

  bool Asked(const char* begin) {
    call_.asked = std::string_view(begin, static_cast<std::size_t>(json_.at() - begin));
    return true;
  }

  bool Entities() {
    return ReadObject(&json_,
                      [&](std::string_view name) {
                        if (call_.n_entities == kMaxEntities || call_.Find(name) != nullptr) return false;
                        if (call_.entities.size() == call_.n_entities) call_.entities.emplace_back();
                        EntityColumn& column = call_.entities[call_.n_entities];
                        if (!Column(name, &column) || column.n != call_.entities[0].n) return false;
                        ++call_.n_entities;
                        return true;
                      }) &&
           call_.n_entities > 0;
  }

  // A list of one value at least.
  bool Column(std::string_view name, EntityColumn* column) {
    column->name = name;
    column->kind = EntityColumn::Kind::kNulls;
    column->n = 0;
    column->has_null = false;
    column->ints.clear();
    column->texts.clear();
    column->is_null.clear();
    column->echo.assign("[");
    if (!json_.Take('[')) return false;
    do {
      if (column->n > 0) column->echo.push_back(',');
      if (!Value(column)) return false;
      ++column->n;
    } while (json_.Take(','));
    column->echo.push_back(']');
    return json_.Take(']');
  }

  bool Value(EntityColumn* column) {
    std::int64_t number = 0;
    Text text{"", 0};
    bool is_null = false;
    const char next = json_.Peek();
    if (next == '"') {
      if (!String(&text, &column->echo)) return false;
      Mark(EntityColumn::Kind::kTexts, column);
    } else if (next == 'n') {
      if (!json_.Null()) return false;
      is_null = column->has_null = true;
      column->echo.append("null");
    } else {
      std::string_view sent;
      if (!json_.Int64(&number, &sent)) return false;
      column->echo.append(sent);
      Mark(EntityColumn::Kind::kInts, column);
    }
    column->ints.push_back(number);
    column->texts.push_back(text);
    column->is_null.push_back(is_null ? 1 : 0);
    return true;
  }

  void Mark(EntityColumn::Kind kind, EntityColumn* column) {
    if (column->kind == EntityColumn::Kind::kNulls) column->kind = kind;
    if (column->kind != kind) column->kind = EntityColumn::Kind::kOther;
  }

  bool String(Text* text, std::string* echo) {
    std::string_view inside;
    bool is_plain = false;
    if (!json_.RawText(&inside, &is_plain)) return false;
    if (is_plain || inside.find('\\') == std::string_view::npos) {
      if (!is_plain && !IsUtf8(inside)) return false;
      // Without escapes it is written as it was sent.
      echo->append("\"").append(inside).append("\"");
      *text = {inside.data(), static_cast<std::uint32_t>(inside.size())};
      return true;
    }
    // Room for all that may come, once: texts before this one must stay where they are.
    call_.decoded.reserve(size_);
    const std::size_t begin = call_.decoded.size();
    if (!AppendDecoded(inside, &call_.decoded)) return false;
    const std::string_view decoded = std::string_view(call_.decoded).substr(begin);
    AppendJsonText(decoded, echo);
    *text = {decoded.data(), static_cast<std::uint32_t>(decoded.size())};
    return true;
  }

  JsonReader json_;
  const std::size_t size_;
  FeaturesCall& call_;
};

}  // namespace

const EntityColumn* FeaturesCall::Find(std::string_view name) const {
  for (std::size_t i = 0; i < n_entities; ++i) {
    if (entities[i].name == name) return &entities[i];
  }
  return nullptr;
}

bool ReadFeaturesCall(std::string_view json, FeaturesCall* call) { return FeaturesReader(json, call).Read(); }

}  // namespace mainspring::front
