// Gradient-boosted trees: models of LightGBM and XGBoost, read from their own files and run.

#ifndef MAINSPRING_TREES_H_
#define MAINSPRING_TREES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "mainspring/packed.h"
#include "mainspring/packed_array.h"
#include "mainspring/status.h"
#include "mainspring/target.h"

namespace mainspring {

// What is wrong with a model, in words; kOk and no words where nothing is.
struct [[nodiscard]] ModelError {
  StatusCode code = StatusCode::kOk;
  std::string message;

  bool ok() const { return code == StatusCode::kOk; }
};

// How a missing value (NaN) meets a split.
enum class Missing : std::uint8_t {
  kNone,  // NaN counts as 0
  kZero,  // NaN and |x| <= 1e-35 take the default side
  kNaN,   // NaN takes the default side
};

// A node as the libraries describe it. Of a leaf only `value` and `cover` count.
struct TreeNode {
  bool is_leaf = false;
  bool is_categorical = false;
  bool default_left = false;
  bool is_strict = false;  // left where x < threshold (XGBoost), else where x <= threshold (LightGBM)
  Missing missing = Missing::kNaN;
  std::uint32_t feature = 0;
  std::uint32_t left = 0, right = 0;
  std::uint32_t bits_begin = 0, bits_words = 0;  // of the set of categories, in ForestModel::bits
  double threshold = 0;
  double value = 0;
  double cover =
      0;  // training rows that came here, or the sum of their weights; 0 where the file leaves it out
};

// What is done to the sums of the leaves.
enum class Link : std::uint8_t {
  kIdentity,
  kSigmoid,       // of each output: 1 / (1 + exp(-parameter x))
  kSoftmax,       // over the outputs
  kArgmax,        // the largest output's index: one number a row
  kExp,           //
  kSignedSquare,  // sign(x) x^2
  kLog1pExp,      //
  kStep,          // x > 0
};

// A model as its file says, before it is laid out for speed.
struct ForestModel {
  bool is_xgboost = false;  // sums in float32, from `base` on; else in float64, from 0 on
  std::uint32_t width = 0;  // features
  std::uint32_t n_outputs = 1;
  // LightGBM's random forest: sums are divided by the trees of an output, unless they are asked for raw.
  bool is_average = false;
  Link link = Link::kIdentity;
  double parameter = 1;
  std::string objective;
  std::vector<std::string> feature_names;
  std::vector<float> base;  // one margin an output
  std::vector<std::vector<TreeNode>> trees;
  std::vector<std::uint32_t> output_of;  // tree -> output
  std::vector<std::uint32_t> bits;
};

// LightGBM's model text (`Booster.model_to_string`). kBadModel where it is none, or damaged;
// kUnsupportedModel where it asks for what we do not do. Whatever the bytes, one of the two or a model: never
// more memory than a constant times the text.
ModelError ReadLightGbm(std::string_view text, ForestModel* model);

// XGBoost's model as JSON (`Booster.save_raw("json")`). The same promises.
ModelError ReadXgboost(std::string_view text, ForestModel* model);

template <typename Leaf>
struct Bitvectors;

// A cache line of 32-bit values.
struct alignas(64) TreesLine {
  static constexpr std::size_t kLength = 16;
  std::uint32_t value[kLength];
};

// Scratch of one run; one for each thread.
class ForestWorkspace {
 public:
  ForestWorkspace() = default;

 private:
  friend class Forest;
  std::vector<double> slots_;  // also as floats
  std::vector<double> sums_;   // also as floats
  std::vector<TreesLine> columns_, leaves_;
};

// Laid out and ready. Immutable: Run may be called from many threads, each with a workspace of its own.
class Forest {
 public:
  Forest() = default;

  // Checks every node: children exist, each is reached once from the root, features are below `width`.
  // All targets give the same bits. kUnknownTarget where this CPU cannot run it.
  static ModelError Make(ForestModel model, Target target, Forest* forest);

  // The same forest over the sealed copy `fd` of its packed arrays, which other processes may have mapped;
  // see PackedMemory::MapSame. `forest` may not be this one.
  Status Over(int fd, Forest* forest) const;

  // features: n_rows x width, row-major. out: n_rows x n_outputs (n_rows x 1 for kArgmax, unless `raw`), no
  // overlap. `raw` leaves the link out. Neither allocates nor throws; the caller's floating-point environment
  // is put back.
  //
  // A LightGBM model answers in double and compares in double; floats are compared as the doubles they are.
  // An XGBoost model knows floats only.
  void Run(const float* features, std::size_t n_rows, bool raw, ForestWorkspace* workspace,
           double* out) const noexcept;
  void Run(const double* features, std::size_t n_rows, bool raw, ForestWorkspace* workspace,
           double* out) const noexcept;
  void Run(const float* features, std::size_t n_rows, bool raw, ForestWorkspace* workspace,
           float* out) const noexcept;

  ForestWorkspace MakeWorkspace() const;

  Target target() const { return target_; }
  bool is_xgboost() const { return is_xgboost_; }
  std::size_t width() const { return width_; }
  std::size_t n_outputs(bool raw) const { return link_ == Link::kArgmax && !raw ? 1 : n_sums_; }
  std::size_t n_trees() const { return depth_.size(); }
  std::size_t n_nodes() const { return n_nodes_; }
  const std::string& objective() const { return objective_; }
  const std::vector<std::string>& feature_names() const { return feature_names_; }
  // Nodes, leaves, bit vectors: what is large, as this target reads it. nullptr before Make.
  const std::shared_ptr<const PackedMemory>& packed() const { return memory_; }

  // A node: to its first child, or the second where the slot's value is greater than the threshold. Children
  // lie side by side, `step` nodes further on; a leaf's step is 0 and its threshold +inf, so it stays.
  struct Narrow {
    float threshold;
    std::uint16_t slot, step;
  };
  struct Wide {
    double threshold;
    std::uint32_t slot, step;
  };

  // What the nodes compare: a feature, its negative, or whether a category is in a set.
  enum class SlotKind : std::uint8_t {
    kPlain,         // x
    kMinus,         // -x
    kNaNAsZero,     // x, 0 for NaN
    kZeroAsNaN,     // x, NaN for |x| <= 1e-35
    kMinusZeroNaN,  // -x, NaN for |x| <= 1e-35
    kIsNumber,      // 1, 0 for NaN
    kIsNotZero,     // 1, 0 for NaN and |x| <= 1e-35
    kInSet,         // LightGBM: 1 in the set, 0 outside, negative or NaN
    kInSetLeft,     // XGBoost: 1 in the set, 0 outside, invalid or NaN
    kInSetRight,    // XGBoost: 1 in the set or NaN, 0 outside or invalid
  };
  static constexpr std::size_t kSlotKinds = 10;
  struct Slot {
    SlotKind kind;
    std::uint32_t feature;
    std::uint32_t bits_begin, bits_words;
  };

 private:
  template <typename Node, typename Leaf>
  struct Layout {
    PackedArray<Node> nodes;
    PackedArray<Leaf> values;                      // of nodes that are leaves
    std::shared_ptr<const Bitvectors<Leaf>> bits;  // of narrow layouts
  };

  template <std::size_t kStride, typename Value, typename Input>
  void Fill(const Input* rows, std::size_t n_rows, Value* slots) const;
  template <typename Leaf, typename LeafOf>
  void Add(std::size_t first, std::size_t n, const LeafOf& leaf_of, Leaf* sums) const;
  template <typename Node, typename Leaf, typename Value>
  void SumRow(const Layout<Node, Leaf>& layout, const Value* slots, ForestWorkspace* workspace,
              Leaf* sums) const;
  template <typename Node, typename Leaf, typename Value>
  void SumTree(const Layout<Node, Leaf>& layout, std::size_t tree, const Value* slots, std::size_t n_rows,
               Leaf* sums) const;
  template <typename Leaf>
  void SumSmallTree(const Bitvectors<Leaf>& bits, std::size_t tree, const float* columns, std::size_t n_rows,
                    Leaf* sums) const;
  template <typename Node, typename Leaf, typename Value, typename Input>
  void SumBlock(const Layout<Node, Leaf>& layout, const Input* features, std::size_t n_rows,
                ForestWorkspace* workspace, Leaf* sums) const;
  template <typename Node, typename Leaf, typename Value, typename Input, typename Output>
  void RunWith(const Layout<Node, Leaf>& layout, const Input* features, std::size_t n_rows, bool raw,
               ForestWorkspace* workspace, Output* out) const;
  template <typename Sum, typename Output>
  void Finish(const Sum* sums, bool raw, Output* out) const;

  Target target_ = Target::kGeneric;
  bool is_xgboost_ = false, is_average_ = false;
  Link link_ = Link::kIdentity;
  double parameter_ = 1;
  std::size_t width_ = 0, n_sums_ = 1, n_nodes_ = 0;
  std::string objective_;
  std::vector<std::string> feature_names_;
  std::vector<float> base_;
  PackedArray<std::uint32_t> root_, depth_, output_of_, bits_;
  std::vector<Slot> slots_;
  std::size_t kind_end_[kSlotKinds] = {};  // slots are ordered by kind
  // Floats: the narrow layout where it fits. Doubles, and what does not fit: the wide one.
  Layout<Narrow, double> narrow_;
  Layout<Wide, double> wide_;
  Layout<Narrow, float> narrow_float_;
  Layout<Wide, float> wide_float_;
  std::shared_ptr<const PackedMemory> memory_;
};

}  // namespace mainspring

#endif  // MAINSPRING_TREES_H_
