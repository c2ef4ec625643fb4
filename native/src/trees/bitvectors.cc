#include "bitvectors.h"

#include <algorithm>
#include <limits>
#include <map>

namespace mainspring {
namespace {

constexpr std::size_t kMaxLeaves = std::size_t{kMainspringTreesWordLeaves} * kMainspringTreesWords;
// Trees that one row walks at once (forest_run.cc).
constexpr std::size_t kWalkedTogether = 8;

// Cycles, measured on Sapphire Rapids (2026-11): of a step of a walk where eight go together, and of a split
// with one word and with two. Fewer rows than `few_rows` are each run alone.
struct Costs {
  double step;
  std::size_t lanes, table;             // of one row; no lanes: it is walked
  double group_split[2], row_split[2];  // a split of all lanes; a split for one row of a block
  std::size_t few_rows;
};

Costs CostsOf(Target target) {
  switch (target) {
    case Target::kGeneric:
      return {3, 0, 1, {0, 0}, {0.5, 0.8}, 3};
    case Target::kAvx2:
      return {3, kMainspringTreesAvx2Lanes, kMainspringTreesAvx2Table, {2.5, 3.5}, {0.2, 0.28}, 5};
    case Target::kAvx512:
      return {3, kMainspringTreesAvx512Lanes, kMainspringTreesAvx512Table, {4, 6}, {0.16, 0.16}, 8};
  }
  return {};
}

struct SmallSplit {
  float threshold;
  std::uint32_t slot;
  std::uint64_t kept;
};

// The splits of one tree, which strike out the leaves below their first child; leaves are numbered first
// child first.
std::vector<SmallSplit> SplitsOf(const Forest::Narrow* nodes, std::size_t n,
                                 std::vector<std::size_t>* leaves) {
  std::vector<std::size_t> below(n, 1), first(n, 0);
  for (std::size_t i = n; i-- > 0;) {
    if (nodes[i].step != 0) below[i] = below[i + nodes[i].step] + below[i + nodes[i].step + 1];
  }
  std::vector<SmallSplit> splits;
  leaves->assign(below[0], 0);
  for (std::size_t i = 0; i < n; ++i) {
    if (nodes[i].step == 0) {
      (*leaves)[first[i]] = i;
      continue;
    }
    const std::size_t child = i + nodes[i].step;
    first[child] = first[i];
    first[child + 1] = first[i] + below[child];
    const std::uint64_t struck = ((std::uint64_t{1} << below[child]) - 1) << first[i];
    splits.push_back({nodes[i].threshold, nodes[i].slot, ~struck});
  }
  return splits;
}

// Fills a Bitvectors tree by tree, then job by job.
template <typename Leaf>
class Builder {
 public:
  using Tree = typename Bitvectors<Leaf>::Tree;

  Builder(const std::vector<Forest::Narrow>& nodes, const std::vector<Leaf>& leaves,
          const std::vector<std::uint32_t>& roots, const std::vector<std::uint32_t>& depths, Target target)
      : nodes_(nodes), leaves_(leaves), roots_(roots), depths_(depths), costs_(CostsOf(target)) {
    made_->target = target;
    made_->few_rows = costs_.few_rows;
  }

  std::shared_ptr<const Bitvectors<Leaf>> Build() {
    for (std::size_t t = 0; t < roots_.size(); ++t) AddTree(t);
    for (std::size_t t = 0; t < roots_.size(); t += made_->jobs.back().n_trees) AddJob(t);
    for (std::size_t i = 0; i < made_->groups.size(); ++i) {
      MainspringTreesGroup& group = made_->groups[i];
      group.spans = made_->spans.data() + offsets_[i].span;
      group.thresholds = made_->thresholds.data() + offsets_[i].lane;
      group.places = made_->places.data() + offsets_[i].lane;
      group.kept = made_->kept.data() + offsets_[i].kept;
    }
    if (made_->has_walked_tree) made_->few_rows = std::max(made_->few_rows, kWalkedTogether);
    return made_;
  }

 private:
  struct Offsets {
    std::size_t span, lane, kept;
  };
  // Of trees side by side: how many splits a lane needs room for, by table.
  struct Room {
    std::size_t n_trees = 0, words = 1, n_splits = 0;
    std::map<std::uint32_t, std::uint32_t> of_table;
  };

  // Splits, leaves, and whether a block of rows walks it nevertheless.
  void AddTree(std::size_t t) {
    const std::size_t root = roots_[t];
    const std::size_t n = (t + 1 < roots_.size() ? roots_[t + 1] : nodes_.size()) - root;
    const std::size_t n_leaves = (n + 1) / 2;
    Tree tree;
    tree.first_split = made_->splits.size();
    tree.first_value = made_->values.size();
    splits_.emplace_back();
    is_small_.push_back(n_leaves <= kMaxLeaves);
    if (is_small_[t]) {
      std::vector<std::size_t> order;
      splits_[t] = SplitsOf(nodes_.data() + root, n, &order);
      for (const std::size_t leaf : order) made_->values.push_back(leaves_[root + leaf]);
      const std::size_t words = n_leaves <= kMainspringTreesWordLeaves ? 1 : 2;
      tree.n_splits = splits_[t].size();
      const double cost = static_cast<double>(tree.n_splits) * costs_.row_split[words - 1];
      if (cost <= costs_.step * depths_[t]) {
        tree.words = words;
        for (const SmallSplit& s : splits_[t]) {
          made_->splits.push_back(
              {s.threshold, s.slot * kMainspringTreesBlockRows, {Word(s.kept, 0), Word(s.kept, 1)}});
        }
      }
    }
    made_->has_walked_tree |= tree.words == 0;
    made_->trees.push_back(tree);
  }

  void AddJob(std::size_t first) {
    const Room room = RoomOf(first);
    const double cost = static_cast<double>(room.n_splits) * costs_.group_split[room.words - 1];
    if (room.n_trees > 0 && cost <= CostOfWalks(first, room.n_trees)) {
      made_->jobs.push_back({first, room.n_trees, false, made_->groups.size()});
      AddGroup(first, room);
    } else {
      made_->jobs.push_back({first, std::min(kWalkedTogether, roots_.size() - first), true, 0});
    }
  }

  // As many small trees from `first` on as there are lanes.
  Room RoomOf(std::size_t first) const {
    Room room;
    for (std::size_t t = first; t < roots_.size() && room.n_trees < costs_.lanes && is_small_[t]; ++t) {
      std::map<std::uint32_t, std::uint32_t> own;
      for (const SmallSplit& s : splits_[t]) ++own[TableOf(s)];
      for (const auto& [table, n] : own) room.of_table[table] = std::max(room.of_table[table], n);
      if (splits_[t].size() >= kMainspringTreesWordLeaves) room.words = 2;
      ++room.n_trees;
    }
    for (const auto& [table, n] : room.of_table) room.n_splits += n;
    return room;
  }

  double CostOfWalks(std::size_t first, std::size_t n) const {
    double steps = 0;
    for (std::size_t t = first; t < first + n; t += kWalkedTogether) {
      const auto* const depths = depths_.data() + t;
      steps += *std::max_element(depths, depths + std::min(kWalkedTogether, first + n - t));
    }
    return costs_.step * static_cast<double>(kWalkedTogether) * steps;
  }

  void AddGroup(std::size_t first, const Room& room) {
    const std::size_t lanes = costs_.lanes;
    std::size_t at = made_->thresholds.size(), at_kept = made_->kept.size();
    offsets_.push_back({made_->spans.size(), at, at_kept});
    made_->groups.push_back({room.words, nullptr, room.of_table.size(), nullptr, nullptr, nullptr});
    made_->thresholds.resize(at + room.n_splits * lanes, std::numeric_limits<float>::infinity());
    made_->places.resize(at + room.n_splits * lanes);
    made_->kept.resize(at_kept + room.n_splits * lanes * room.words);
    for (const auto& [table, n] : room.of_table) {
      made_->spans.push_back({static_cast<std::uint32_t>(table * costs_.table), n});
      for (std::size_t lane = 0; lane < room.n_trees; ++lane) {
        std::size_t i = 0;
        for (const SmallSplit& s : splits_[first + lane]) {
          if (TableOf(s) != table) continue;
          made_->thresholds[at + i * lanes + lane] = s.threshold;
          made_->places[at + i * lanes + lane] = static_cast<std::uint8_t>(s.slot % costs_.table);
          for (std::size_t w = 0; w < room.words; ++w) {
            made_->kept[at_kept + (i * room.words + w) * lanes + lane] = Word(s.kept, w);
          }
          ++i;
        }
      }
      at += n * lanes;
      at_kept += n * lanes * room.words;
    }
  }

  std::uint32_t TableOf(const SmallSplit& split) const {
    return static_cast<std::uint32_t>(split.slot / costs_.table);
  }
  static std::uint32_t Word(std::uint64_t leaves, std::size_t word) {
    return static_cast<std::uint32_t>(leaves >> (word * kMainspringTreesWordLeaves));
  }

  const std::vector<Forest::Narrow>& nodes_;
  const std::vector<Leaf>& leaves_;
  const std::vector<std::uint32_t>&roots_, &depths_;
  const Costs costs_;
  std::vector<std::vector<SmallSplit>> splits_;  // of small trees
  std::vector<bool> is_small_;
  std::vector<Offsets> offsets_;  // of groups
  const std::shared_ptr<Bitvectors<Leaf>> made_ = std::make_shared<Bitvectors<Leaf>>();
};

}  // namespace

template <typename Leaf>
std::shared_ptr<const Bitvectors<Leaf>> Bitvectors<Leaf>::Make(const std::vector<Forest::Narrow>& nodes,
                                                               const std::vector<Leaf>& leaves,
                                                               const std::vector<std::uint32_t>& roots,
                                                               const std::vector<std::uint32_t>& depths,
                                                               Target target) {
  return Builder<Leaf>(nodes, leaves, roots, depths, target).Build();
}

template struct Bitvectors<double>;
template struct Bitvectors<float>;

}  // namespace mainspring
