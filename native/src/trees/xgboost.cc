// XGBoost's JSON. The schema is doc/model.schema of XGBoost; what a split means is written in its
// src/predictor/predict_fn.h and src/common/categorical.h.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "json.h"
#include "mainspring/trees.h"

namespace mainspring {
namespace {

constexpr std::uint32_t kMaxWidth = 1 << 20;
constexpr std::uint32_t kMaxOutputs = 1 << 16;
constexpr std::size_t kMaxNodes = std::size_t{1} << 28;
constexpr double kMaxCategory = 1 << 24;
// A set costs a bit for every category up to its largest, which takes a few bytes of text.
constexpr std::size_t kMaxWords = std::size_t{1} << 24;

ModelError Bad(std::string message) {
  return {StatusCode::kBadModel,
          std::move(message) + "; write the model again with `Booster.save_model(\"model.json\")`"};
}
ModelError Unsupported(std::string message) {
  return {StatusCode::kUnsupportedModel,
          std::move(message) + "; keep XGBoost's own predictor for this model"};
}

const Json kNothing;

// The value at the end of a path of names; a null where there is none.
template <typename... Names>
const Json& At(const Json& from, Names... names) {
  const Json* at = &from;
  for (const char* name : {names...}) {
    at = at->Find(name);
    if (at == nullptr) return kNothing;
  }
  return *at;
}

// A whole number, as XGBoost writes parameters: in a string.
bool Whole(const Json& value, std::uint32_t largest, std::uint32_t* number) {
  if (value.Is(Json::Kind::kNumber)) {
    if (!(value.number >= 0 && value.number <= largest) || value.number != std::floor(value.number)) {
      return false;
    }
    *number = static_cast<std::uint32_t>(value.number);
    return true;
  }
  const char *begin = value.text.data(), *end = begin + value.text.size();
  const auto [stop, error] = std::from_chars(begin, end, *number);
  return value.Is(Json::Kind::kString) && error == std::errc{} && stop == end && *number <= largest;
}

// A list of numbers, each whole and within [least, most].
bool AreWhole(const std::vector<double>& list, double least, double most) {
  for (double x : list) {
    if (!(x >= least && x <= most) || x != std::floor(x)) return false;
  }
  return true;
}

struct Objective {
  const char* name;
  Link link;
  enum { kAsIs, kLogit, kLog } margin;  // how `base_score` becomes a margin
};
constexpr Objective kObjectives[] = {
    {"reg:squarederror", Link::kIdentity, Objective::kAsIs},
    {"reg:squaredlogerror", Link::kIdentity, Objective::kAsIs},
    {"reg:pseudohubererror", Link::kIdentity, Objective::kAsIs},
    {"reg:absoluteerror", Link::kIdentity, Objective::kAsIs},
    {"reg:quantileerror", Link::kIdentity, Objective::kAsIs},
    {"reg:logistic", Link::kSigmoid, Objective::kLogit},
    {"binary:logistic", Link::kSigmoid, Objective::kLogit},
    {"binary:logitraw", Link::kIdentity, Objective::kAsIs},
    {"binary:hinge", Link::kStep, Objective::kAsIs},
    {"count:poisson", Link::kExp, Objective::kLog},
    {"reg:gamma", Link::kExp, Objective::kLog},
    {"reg:tweedie", Link::kExp, Objective::kLog},
    {"multi:softprob", Link::kSoftmax, Objective::kAsIs},
    {"multi:softmax", Link::kArgmax, Objective::kAsIs},
    {"rank:ndcg", Link::kIdentity, Objective::kAsIs},
    {"rank:map", Link::kIdentity, Objective::kAsIs},
    {"rank:pairwise", Link::kIdentity, Objective::kAsIs},
};

class Reader {
 public:
  explicit Reader(ForestModel* model) : model_(model) {}

  ModelError Read(std::string_view text) {
    Json file;
    if (const std::string wrong = ReadJson(text, &file); !wrong.empty()) {
      return Bad("an XGBoost model must be JSON: " + wrong);
    }
    const Json& learner = At(file, "learner");
    if (!learner.Is(Json::Kind::kObject)) return Bad("an XGBoost model must have an object `learner`");
    model_->is_xgboost = true;
    ModelError error = Head(learner);
    if (error.ok()) error = Booster(At(learner, "gradient_booster"));
    return error;
  }

 private:
  ModelError Head(const Json& learner) {
    const Json& param = At(learner, "learner_model_param");
    std::uint32_t n_classes = 0, n_targets = 1;
    if (!Whole(At(param, "num_feature"), kMaxWidth, &model_->width) || model_->width == 0) {
      return Bad("`num_feature` must be a number from 1 to 1048576");
    }
    if (!Whole(At(param, "num_class"), kMaxOutputs, &n_classes)) {
      return Bad("`num_class` must be a number up to 65536");
    }
    if (param.Find("num_target") != nullptr && !Whole(At(param, "num_target"), kMaxOutputs, &n_targets)) {
      return Bad("`num_target` must be a number up to 65536");
    }
    if (n_classes > 1 && n_targets > 1) return Unsupported("several targets of several classes");
    model_->n_outputs = std::max({n_classes, n_targets, 1u});
    for (const Json& name : At(learner, "feature_names").items) {
      if (name.Is(Json::Kind::kString)) model_->feature_names.push_back(name.text);
    }
    if (!model_->feature_names.empty() && model_->feature_names.size() != model_->width) {
      return Bad("`feature_names` must have one name a feature (" + std::to_string(model_->width) +
                 "), got " + std::to_string(model_->feature_names.size()));
    }
    const Json& name = At(learner, "objective", "name");
    if (!name.Is(Json::Kind::kString)) return Bad("`objective.name` must be a string");
    for (const Objective& o : kObjectives) {
      if (name.text != o.name) continue;
      model_->objective = name.text;
      model_->link = o.link;
      return BaseScore(At(param, "base_score"), o);
    }
    return Unsupported("objective " + Quoted(name.text) + " is not known");
  }

  // "5E-1", since XGBoost 3.1 "[5E-1]" with one number for each output or for all.
  ModelError BaseScore(const Json& value, const Objective& objective) {
    std::string_view text = value.text;
    if (text.size() >= 2 && text.front() == '[' && text.back() == ']') text = text.substr(1, text.size() - 2);
    std::vector<float> scores;
    bool is_whole = false;
    while (scores.size() < model_->n_outputs) {
      float score;
      const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), score);
      if (error != std::errc{} || !std::isfinite(score)) break;
      text.remove_prefix(static_cast<std::size_t>(stop - text.data()));
      scores.push_back(score);
      is_whole = text.empty();
      if (is_whole || text.front() != ',') break;
      text.remove_prefix(1);
    }
    if (!is_whole || (scores.size() != 1 && scores.size() != model_->n_outputs)) {
      return Bad("`base_score` must be a number, or one for each of " + std::to_string(model_->n_outputs) +
                 " outputs, got " + Quoted(value.text));
    }
    for (float& score : scores) {
      if (objective.margin == Objective::kLogit) {
        if (!(score > 0 && score < 1)) return Bad("`base_score` must lie between 0 and 1");
        score = -std::log(1.0f / score - 1.0f);
      } else if (objective.margin == Objective::kLog) {
        if (!(score > 0)) return Bad("`base_score` must be positive");
        score = std::log(score);
      }
    }
    scores.resize(model_->n_outputs, scores[0]);
    model_->base = std::move(scores);
    return {};
  }

  ModelError Booster(const Json& booster) {
    const Json& name = At(booster, "name");
    if (!name.Is(Json::Kind::kString)) return Bad("`gradient_booster.name` must be a string");
    if (name.text != "gbtree") return Unsupported("booster " + Quoted(name.text) + " is not supported");
    const Json& trees = At(booster, "model", "trees");
    const std::vector<double>& outputs = At(booster, "model", "tree_info").numbers;
    if (!trees.Is(Json::Kind::kArray)) return Bad("a model must have trees, got none");
    if (outputs.size() != trees.items.size() || !AreWhole(outputs, 0, model_->n_outputs - 1.0)) {
      return Bad("`tree_info` must name an output for each of " + std::to_string(trees.items.size()) +
                 " trees");
    }
    for (const Json& tree : trees.items) {
      if (ModelError error = Tree(tree); !error.ok()) return error;
    }
    for (double output : outputs) model_->output_of.push_back(static_cast<std::uint32_t>(output));
    return {};
  }

  std::string Place() const { return "tree " + std::to_string(model_->trees.size()) + ": "; }

  ModelError Tree(const Json& tree) {
    std::uint32_t vector = 1;
    const Json& param = At(tree, "tree_param");
    if (param.Find("size_leaf_vector") != nullptr &&
        !Whole(At(param, "size_leaf_vector"), kMaxOutputs, &vector)) {
      return Bad(Place() + "`size_leaf_vector` must be a number");
    }
    if (vector > 1) return Unsupported(Place() + "leaves with several values (`multi_output_tree`)");
    const std::vector<double>& left = At(tree, "left_children").numbers;
    const std::vector<double>& right = At(tree, "right_children").numbers;
    const std::vector<double>& features = At(tree, "split_indices").numbers;
    const std::vector<double>& conditions = At(tree, "split_conditions").numbers;
    const std::vector<double>& defaults = At(tree, "default_left").numbers;
    const std::vector<double>& types = At(tree, "split_type").numbers;
    const std::vector<double>& covers = At(tree, "sum_hessian").numbers;  // only contributions need them
    const std::size_t n = left.size();
    if (n == 0 || n > kMaxNodes) return Bad(Place() + "there must be nodes, got " + std::to_string(n));
    if (right.size() != n || features.size() != n || conditions.size() != n || defaults.size() != n ||
        (!types.empty() && types.size() != n)) {
      return Bad(
          Place() +
          "`right_children`, `split_indices`, `split_conditions`, `default_left` and `split_type` must "
          "have one entry a node (" +
          std::to_string(n) + ")");
    }
    // A removed node keeps a sign in its feature, an unused one any number: only splits are checked.
    if (!AreWhole(left, -1, n - 1.0) || !AreWhole(right, -1, n - 1.0)) {
      return Bad(Place() + "a child does not exist");
    }
    std::vector<TreeNode> nodes(n);
    for (std::size_t i = 0; i < n; ++i) {
      TreeNode& node = nodes[i];
      node.is_leaf = left[i] < 0;
      const auto condition = static_cast<float>(conditions[i]);
      if (covers.size() == n) node.cover = static_cast<float>(covers[i]);
      if (node.is_leaf) {
        node.value = condition;
        continue;
      }
      if (right[i] < 0 || !(features[i] >= 0 && features[i] < model_->width)) {
        return Bad(Place() + "split " + std::to_string(i) + " must have two children and a feature below " +
                   std::to_string(model_->width));
      }
      node.left = static_cast<std::uint32_t>(left[i]);
      node.right = static_cast<std::uint32_t>(right[i]);
      node.feature = static_cast<std::uint32_t>(features[i]);
      node.threshold = condition;
      node.is_strict = true;
      node.default_left = defaults[i] != 0;
      node.is_categorical = !types.empty() && types[i] == 1;
      if (!types.empty() && types[i] != 0 && types[i] != 1) {
        return Unsupported(Place() + "`split_type` must be 0 or 1");
      }
    }
    if (ModelError error = Categories(tree, &nodes); !error.ok()) return error;
    model_->trees.push_back(std::move(nodes));
    return {};
  }

  ModelError Categories(const Json& tree, std::vector<TreeNode>* nodes) {
    const std::vector<double>& owners = At(tree, "categories_nodes").numbers;
    const std::vector<double>& begins = At(tree, "categories_segments").numbers;
    const std::vector<double>& sizes = At(tree, "categories_sizes").numbers;
    const std::vector<double>& values = At(tree, "categories").numbers;
    if (begins.size() != owners.size() || sizes.size() != owners.size() ||
        !AreWhole(owners, 0, static_cast<double>(nodes->size()) - 1) ||
        !AreWhole(values, 0, kMaxCategory - 1)) {
      return Bad(Place() + "the sets of categories do not belong together");
    }
    for (std::size_t i = 0; i < owners.size(); ++i) {
      const double begin = begins[i], size = sizes[i];
      if (!(begin >= 0 && size >= 0 && begin + size <= static_cast<double>(values.size())) ||
          begin != std::floor(begin) || size != std::floor(size)) {
        return Bad(Place() + "a set of categories reaches beyond `categories`");
      }
      TreeNode& node = (*nodes)[static_cast<std::size_t>(owners[i])];
      const auto first = static_cast<std::size_t>(begin), end = first + static_cast<std::size_t>(size);
      std::uint32_t largest = 0;
      for (std::size_t j = first; j < end; ++j) {
        largest = std::max(largest, static_cast<std::uint32_t>(values[j]));
      }
      const std::size_t words = end > first ? largest / 32 + std::size_t{1} : 0;
      if (model_->bits.size() + words > kMaxWords) {
        return Unsupported(Place() + "more than 536870912 bits of categories");
      }
      node.bits_begin = static_cast<std::uint32_t>(model_->bits.size());
      node.bits_words = static_cast<std::uint32_t>(words);
      model_->bits.resize(model_->bits.size() + words);
      for (std::size_t j = first; j < end; ++j) {
        const auto category = static_cast<std::uint32_t>(values[j]);
        model_->bits[node.bits_begin + category / 32] |= std::uint32_t{1} << category % 32;
      }
    }
    return {};
  }

  ForestModel* const model_;
};

}  // namespace

ModelError ReadXgboost(std::string_view text, ForestModel* model) {
  *model = ForestModel();
  ModelError error = Reader(model).Read(text);
  if (!error.ok()) *model = ForestModel();
  return error;
}

}  // namespace mainspring
