// LightGBM's model text. What it means is written in LightGBM's include/LightGBM/tree.h (`NumericalDecision`,
// `CategoricalDecision`) and src/boosting/gbdt_model_text.cpp; what we refuse is listed in native/README.md.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "json.h"
#include "mainspring/trees.h"

namespace mainspring {
namespace {

using Fields = std::map<std::string_view, std::string_view>;

constexpr std::uint32_t kMaxWidth = 1 << 20;
constexpr std::uint32_t kMaxOutputs = 1 << 16;

ModelError Bad(std::string message) {
  return {StatusCode::kBadModel, std::move(message) + "; write the model again with `Booster.save_model`"};
}
ModelError Unsupported(std::string message) {
  return {StatusCode::kUnsupportedModel,
          std::move(message) + "; keep LightGBM's own predictor for this model"};
}

// LightGBM's predictor takes |x| <= 1e-35 for 0 before it looks at a split (c_api.cpp,
// `RowPairFunctionFromDenseMatric`). The same, said by the threshold: all of these values go where 0 goes.
double AroundZero(double threshold) {
  constexpr double kZero = 1e-35f;
  if (threshold >= 0 && threshold < kZero) return kZero;
  if (threshold < 0 && threshold >= -kZero) return std::nextafter(-kZero, -1.0);
  return threshold;
}

template <typename T>
bool Parse(std::string_view token, T* value) {
  const auto [stop, error] = std::from_chars(token.data(), token.data() + token.size(), *value);
  return error == std::errc{} && stop == token.data() + token.size();
}

// The next word of `text`, which is cut off; empty at the end.
std::string_view NextWord(std::string_view* text) {
  const std::size_t begin = text->find_first_not_of(' ');
  if (begin == std::string_view::npos) return *text = {}, std::string_view();
  const std::size_t end = std::min(text->find(' ', begin), text->size());
  const std::string_view word = text->substr(begin, end - begin);
  text->remove_prefix(end);
  return word;
}

class Reader {
 public:
  Reader(std::string_view text, ForestModel* model) : text_(text), model_(model) {}

  ModelError Read() {
    if (text_.size() > kMaxModelBytes) return Bad("a model text must have at most 536870912 bytes");
    std::string_view line;
    if (!Line(&line) || line != "tree") return Bad("a model text must begin with the line `tree`");
    if (ModelError error = Head(); !error.ok()) return error;
    for (; line_.substr(0, 5) == "Tree=";) {
      if (ModelError error = Tree(); !error.ok()) return error;
    }
    if (line_ != "end of trees") return Bad("a model text must go on to the line `end of trees`");
    if (model_->trees.empty()) return Bad("a model must have trees, got none");
    if (model_->trees.size() % model_->n_outputs != 0) {
      return Bad("the trees must come in rounds of " + std::to_string(model_->n_outputs) + ", got " +
                 std::to_string(model_->trees.size()));
    }
    return {};
  }

 private:
  bool Line(std::string_view* line) {
    if (text_.empty()) return false;
    const std::size_t end = std::min(text_.find('\n'), text_.size());
    *line = text_.substr(0, end);
    text_.remove_prefix(std::min(end + 1, text_.size()));
    if (!line->empty() && line->back() == '\r') line->remove_suffix(1);
    return true;
  }

  // key=value lines up to the next tree or the end of trees, which is then in line_.
  ModelError Section(Fields* fields) {
    for (line_ = {}; Line(&line_); line_ = {}) {
      if (line_.substr(0, 5) == "Tree=" || line_ == "end of trees") return {};
      if (line_.empty()) continue;
      const std::size_t equals = line_.find('=');
      const std::string_view key = line_.substr(0, equals);
      const std::string_view value =
          equals == std::string_view::npos ? std::string_view() : line_.substr(equals + 1);
      if (!fields->emplace(key, value).second) return Bad("key " + Quoted(key) + " comes twice");
    }
    return {};
  }

  template <typename T>
  bool Scalar(const Fields& fields, std::string_view key, T* value) {
    const auto found = fields.find(key);
    return found != fields.end() && Parse(found->second, value);
  }

  ModelError Head() {
    Fields fields;
    if (ModelError error = Section(&fields); !error.ok()) return error;
    if (fields["version"] != "v3" && fields["version"] != "v4") {
      return Unsupported("`version` must be `v3` or `v4`, got " + Quoted(fields["version"]));
    }
    std::uint32_t per_round = 0, largest = 0, n_classes = 0;
    if (!Scalar(fields, "num_class", &n_classes) || !Scalar(fields, "num_tree_per_iteration", &per_round) ||
        per_round == 0 || per_round > kMaxOutputs) {
      return Bad("`num_class` and `num_tree_per_iteration` must be numbers from 1 to 65536");
    }
    if (!Scalar(fields, "max_feature_idx", &largest) || largest >= kMaxWidth) {
      return Bad("`max_feature_idx` must be a number below 1048576");
    }
    model_->width = largest + 1;
    model_->n_outputs = per_round;
    model_->is_average = fields.count("average_output") != 0;
    std::string_view names = fields["feature_names"];
    for (std::string_view name = NextWord(&names); !name.empty(); name = NextWord(&names)) {
      model_->feature_names.emplace_back(name);
    }
    if (model_->feature_names.size() != model_->width) {
      return Bad("`feature_names` must have one name a feature (" + std::to_string(model_->width) +
                 "), got " + std::to_string(model_->feature_names.size()));
    }
    return Objective(fields["objective"]);
  }

  ModelError Objective(std::string_view text) {
    const std::string_view whole = text;
    const std::string_view name = NextWord(&text);
    model_->objective = std::string(name);
    double sigmoid = 1;
    bool is_sqrt = false;
    for (std::string_view word = NextWord(&text); !word.empty(); word = NextWord(&text)) {
      const std::string_view value = word.substr(std::min(word.find(':') + 1, word.size()));
      if (word == "sqrt") {
        is_sqrt = true;
      } else if (word.substr(0, 8) == "sigmoid:") {
        if (!Parse(value, &sigmoid) || !std::isfinite(sigmoid) || sigmoid <= 0) {
          return Bad("the objective's sigmoid must be a positive number, got " + Quoted(value));
        }
      } else if (word.substr(0, 10) == "num_class:") {
        std::uint32_t n = 0;
        if (!Parse(value, &n) || n != model_->n_outputs) {
          return Bad("the objective's num_class must be `num_tree_per_iteration`, got " + Quoted(value));
        }
      } else if (word.find(':') == std::string_view::npos) {
        return Unsupported("objective " + Quoted(whole) + " is not known");
      }
    }
    model_->parameter = sigmoid;
    const auto is_one_of = [name](std::initializer_list<std::string_view> names) {
      for (std::string_view n : names) {
        if (name == n) return true;
      }
      return false;
    };
    // gbdt: without an objective (a custom one at training) the raw scores are all there is.
    if (is_one_of({"", "custom", "lambdarank", "rank_xendcg"})) {
      model_->link = Link::kIdentity;
    } else if (is_one_of({"regression", "regression_l1", "huber", "fair", "quantile", "mape"})) {
      model_->link = is_sqrt ? Link::kSignedSquare : Link::kIdentity;
    } else if (is_one_of({"poisson", "gamma", "tweedie"})) {
      model_->link = Link::kExp;
    } else if (is_one_of({"binary", "multiclassova"})) {
      model_->link = Link::kSigmoid;
    } else if (name == "cross_entropy") {
      model_->link = Link::kSigmoid;
      model_->parameter = 1;
    } else if (name == "cross_entropy_lambda") {
      model_->link = Link::kLog1pExp;
    } else if (name == "multiclass") {
      model_->link = Link::kSoftmax;
    } else {
      return Unsupported("objective " + Quoted(whole) + " is not known");
    }
    return {};
  }

  std::string Place() const { return "tree " + std::to_string(model_->trees.size()) + ": "; }

  template <typename T>
  ModelError List(const Fields& fields, const char* key, std::size_t n, std::vector<T>* list) {
    const auto found = fields.find(key);
    std::string_view text = found == fields.end() ? std::string_view() : found->second;
    for (std::string_view word = NextWord(&text); !word.empty(); word = NextWord(&text)) {
      T value;
      if (list->size() == n || !Parse(word, &value)) {
        return Bad(Place() + "`" + key + "` must have " + std::to_string(n) + " numbers, got " +
                   Quoted(word));
      }
      list->push_back(value);
    }
    if (list->size() == n) return {};
    return Bad(Place() + "`" + key + "` must have " + std::to_string(n) + " numbers, got " +
               std::to_string(list->size()));
  }

  ModelError Tree() {
    Fields fields;
    if (ModelError error = Section(&fields); !error.ok()) return error;
    std::uint32_t n_leaves = 0, n_sets = 0;
    if (!Scalar(fields, "num_leaves", &n_leaves) || n_leaves == 0 || n_leaves > (1u << 28)) {
      return Bad(Place() + "`num_leaves` must be a number from 1 on");
    }
    if (!Scalar(fields, "num_cat", &n_sets) || n_sets > (1u << 28)) {
      return Bad(Place() + "`num_cat` must be a number");
    }
    if (fields.count("is_linear") != 0 && fields["is_linear"] != "0") {
      return Unsupported(Place() + "leaves with linear models (`linear_tree`) are not supported");
    }
    const std::size_t n = n_leaves - 1;
    std::vector<double> values, thresholds, leaf_rows, split_rows;
    std::vector<std::uint32_t> features, kinds, boundaries, words;
    std::vector<std::int32_t> left, right;
    ModelError error = List(fields, "leaf_value", n_leaves, &values);
    if (error.ok()) error = List(fields, "split_feature", n, &features);
    if (error.ok()) error = List(fields, "threshold", n, &thresholds);
    if (error.ok()) error = List(fields, "decision_type", n, &kinds);
    if (error.ok()) error = List(fields, "left_child", n, &left);
    if (error.ok()) error = List(fields, "right_child", n, &right);
    // Only contributions need them, and `Booster.refit` or another tool may have left them out.
    if (error.ok() && fields.count("leaf_count") != 0)
      error = List(fields, "leaf_count", n_leaves, &leaf_rows);
    if (error.ok() && fields.count("internal_count") != 0)
      error = List(fields, "internal_count", n, &split_rows);
    if (error.ok() && n_sets > 0)
      error = List(fields, "cat_boundaries", std::size_t{n_sets} + 1, &boundaries);
    if (error.ok() && n_sets > 0) {
      for (std::size_t i = 0; i < n_sets; ++i) {
        if (boundaries[i] > boundaries[i + 1] || boundaries[0] != 0) {
          return Bad(Place() + "`cat_boundaries` must rise from 0");
        }
      }
      error = List(fields, "cat_threshold", boundaries[n_sets], &words);
    }
    if (!error.ok()) return error;

    const std::size_t first_word = model_->bits.size();
    if (first_word + words.size() > std::numeric_limits<std::uint32_t>::max()) {
      return Bad(Place() + "there are too many categories");
    }
    model_->bits.insert(model_->bits.end(), words.begin(), words.end());
    // Splits first, then leaves: child -1 is the first leaf.
    std::vector<TreeNode> nodes(n + n_leaves);
    for (std::size_t i = 0; i < n; ++i) {
      TreeNode& node = nodes[i];
      const auto child = [n, n_leaves](std::int32_t c, std::uint32_t* to) {
        const std::int64_t at = c >= 0 ? c : static_cast<std::int64_t>(n) - 1 - c;
        *to = static_cast<std::uint32_t>(at);
        return c >= 0 ? static_cast<std::size_t>(c) < n : at < static_cast<std::int64_t>(n + n_leaves);
      };
      if (!child(left[i], &node.left) || !child(right[i], &node.right)) {
        return Bad(Place() + "a child of split " + std::to_string(i) + " does not exist");
      }
      if (kinds[i] > 15 || kinds[i] >> 2 == 3) {
        return Unsupported(Place() + "`decision_type` " + std::to_string(kinds[i]) + " is not known");
      }
      node.feature = features[i];
      node.is_categorical = kinds[i] & 1;
      node.default_left = kinds[i] & 2;
      node.missing = static_cast<Missing>(kinds[i] >> 2);
      node.threshold = AroundZero(thresholds[i]);
      if (!split_rows.empty()) node.cover = split_rows[i];
      if (!node.is_categorical) continue;
      if (!(thresholds[i] >= 0 && thresholds[i] < n_sets)) {
        return Bad(Place() + "split " + std::to_string(i) + " names a set of categories that does not exist");
      }
      const auto set = static_cast<std::size_t>(thresholds[i]);
      node.bits_begin = static_cast<std::uint32_t>(first_word + boundaries[set]);
      node.bits_words = boundaries[set + 1] - boundaries[set];
    }
    for (std::size_t i = 0; i < n_leaves; ++i) {
      nodes[n + i].is_leaf = true;
      nodes[n + i].value = values[i];
      if (!leaf_rows.empty()) nodes[n + i].cover = leaf_rows[i];
    }
    model_->output_of.push_back(static_cast<std::uint32_t>(model_->trees.size() % model_->n_outputs));
    model_->trees.push_back(std::move(nodes));
    return {};
  }

  std::string_view text_, line_;
  ForestModel* const model_;
};

}  // namespace

ModelError ReadLightGbm(std::string_view text, ForestModel* model) {
  *model = ForestModel();
  ModelError error = Reader(text, model).Read();
  if (!error.ok()) *model = ForestModel();
  return error;
}

}  // namespace mainspring
