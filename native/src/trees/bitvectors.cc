#include "bitvectors.h"

#include <algorithm>
#include <limits>

namespace mainspring {
namespace {

constexpr std::size_t kMaxLeaves = std::size_t{kMainspringTreesWordLeaves} * kMainspringTreesWords;
// Trees that one row walks at once (forest_run.cc).
constexpr std::size_t kWalkedTogether = 8;
constexpr std::size_t kTogether = kMainspringTreesTogether;

// How a target runs small trees, and what that costs; times in thirds of a nanosecond of a Sapphire Rapids
// (2026-11), where a step of a walk takes 3 if eight go together.
struct Costs {
  std::size_t lanes, window, share;  // of one row (trees_kernels.h); no lanes: it is walked
  double group_split[2];             // one row: a split of all lanes, with one word and with two
  double row_split[2];               // a split for one row of a block
  std::size_t few_rows;              // fewer are each run alone
};
constexpr double kStepCost = 3, kWalkCost = 7;  // and a walk's beside its steps

Costs CostsOf(Target target) {
  switch (target) {
    case Target::kGeneric:
      return {0, 2, 1, {0, 0}, {0.5, 0.8}, 3};
    case Target::kAvx2:
      return {kMainspringTreesAvx2Lanes,
              kMainspringTreesAvx2Window,
              kMainspringTreesAvx2Share,
              {2.9, 3.9},
              {0.2, 0.28},
              5};
    case Target::kAvx512:
      return {kMainspringTreesAvx512Lanes,
              kMainspringTreesAvx512Window,
              kMainspringTreesAvx512Share,
              {3.6, 5.5},
              {0.1, 0.15},
              9};
  }
  return {};
}

struct SmallSplit {
  float threshold;
  std::uint32_t slot;
  std::uint64_t kept;
};

// The splits of one tree, which strike out the leaves below their first child; leaves are numbered first
// child first. By slot.
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
  std::stable_sort(splits.begin(), splits.end(),
                   [](const SmallSplit& a, const SmallSplit& b) { return a.slot < b.slot; });
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
      const std::size_t split = first_splits_[i];
      group.windows = made_->windows.data() + split / costs_.share;
      group.places = made_->places.data() + split / kTogether * costs_.lanes;
      group.thresholds = made_->thresholds.data() + split * costs_.lanes;
      group.kept = made_->kept.data() + first_kept_[i];
    }
    if (made_->has_walked_tree) made_->few_rows = std::max(made_->few_rows, kWalkedTogether);
    return made_;
  }

 private:
  // Splits of each lane that share a window, the one that begins with `block`.
  struct Span {
    std::size_t block, n;
  };
  // What trees side by side need.
  struct Room {
    std::size_t n_trees = 0, words = 1, n_splits = 0;
    std::vector<Span> spans;
  };

  // Splits, leaves, and whether a block of rows walks it nevertheless.
  void AddTree(std::size_t t) {
    const std::size_t root = roots_[t];
    const std::size_t n = (t + 1 < roots_.size() ? roots_[t + 1] : nodes_.size()) - root;
    const std::size_t n_leaves = (n + 1) / 2;
    Tree tree;
    tree.first_split = made_->splits.size();
    made_->first_values.push_back(static_cast<std::uint32_t>(made_->values.size()));
    splits_.emplace_back();
    is_small_.push_back(n_leaves <= kMaxLeaves);
    if (is_small_[t]) {
      std::vector<std::size_t> order;
      splits_[t] = SplitsOf(nodes_.data() + root, n, &order);
      for (const std::size_t leaf : order) made_->values.push_back(leaves_[root + leaf]);
      const std::size_t words = n_leaves <= kMainspringTreesWordLeaves ? 1 : 2;
      made_->values.resize(made_->first_values[t] + words * kMainspringTreesWordLeaves);
      tree.n_splits = splits_[t].size();
      const double cost = static_cast<double>(tree.n_splits) * costs_.row_split[words - 1];
      if (cost <= kStepCost * depths_[t] + kWalkCost) {
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

  // As many small trees from `first` on as there are lanes. A window has its block and the next: the first
  // must be done with it, and a lane that has less there than others goes on with the second.
  Room RoomOf(std::size_t first) const {
    Room room;
    std::vector<std::size_t> done;  // splits of each lane
    for (; done.size() < costs_.lanes && first + done.size() < roots_.size(); done.push_back(0)) {
      const std::size_t t = first + done.size();
      if (!is_small_[t]) break;
      if (splits_[t].size() >= kMainspringTreesWordLeaves) room.words = 2;
    }
    room.n_trees = done.size();
    for (;;) {
      constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
      Span span = {kNone, 0};
      for (std::size_t i = 0; i < done.size(); ++i) {
        const std::vector<SmallSplit>& splits = splits_[first + i];
        if (done[i] < splits.size()) span.block = std::min(span.block, BlockOf(splits[done[i]]));
      }
      if (span.block == kNone) break;
      for (std::size_t i = 0; i < done.size(); ++i) {
        span.n = std::max(span.n, CountUpTo(span.block, splits_[first + i], done[i]));
      }
      span.n = (span.n + costs_.share - 1) / costs_.share * costs_.share;
      for (std::size_t i = 0; i < done.size(); ++i) {
        done[i] += std::min(span.n, CountUpTo(span.block + 1, splits_[first + i], done[i]));
      }
      room.spans.push_back(span);
      room.n_splits += span.n;
    }
    room.n_splits = (room.n_splits + kTogether - 1) / kTogether * kTogether;
    return room;
  }

  std::size_t BlockOf(const SmallSplit& split) const { return split.slot * 2 / costs_.window; }

  // Splits from `begin` on whose slots are in the blocks up to `block`.
  std::size_t CountUpTo(std::size_t block, const std::vector<SmallSplit>& splits, std::size_t begin) const {
    std::size_t end = begin;
    while (end < splits.size() && BlockOf(splits[end]) <= block) ++end;
    return end - begin;
  }

  double CostOfWalks(std::size_t first, std::size_t n) const {
    double steps = 0;
    for (std::size_t t = first; t < first + n; t += kWalkedTogether) {
      const auto* const depths = depths_.data() + t;
      steps += *std::max_element(depths, depths + std::min(kWalkedTogether, first + n - t));
    }
    return kStepCost * static_cast<double>(kWalkedTogether) * steps + kWalkCost * static_cast<double>(n);
  }

  void AddGroup(std::size_t first, const Room& room) {
    const std::size_t lanes = costs_.lanes, words = room.words;
    const std::size_t at = made_->windows.size() * costs_.share, at_kept = made_->kept.size();
    first_splits_.push_back(at);
    first_kept_.push_back(at_kept);
    made_->groups.push_back({words, room.n_splits, nullptr, nullptr, nullptr, nullptr});
    made_->thresholds.resize((at + room.n_splits) * lanes, std::numeric_limits<float>::infinity());
    made_->places.resize((at + room.n_splits) / kTogether * lanes);
    made_->kept.resize(at_kept + room.n_splits * words * lanes);
    for (const Span& span : room.spans) {
      const std::size_t first_slot = span.block * costs_.window / 2;
      made_->windows.resize(made_->windows.size() + span.n / costs_.share,
                            static_cast<std::uint32_t>(first_slot));
    }
    made_->windows.resize((at + room.n_splits) / costs_.share);
    for (std::size_t lane = 0; lane < room.n_trees; ++lane) {
      const std::vector<SmallSplit>& splits = splits_[first + lane];
      std::size_t done = 0, begin = 0;
      for (const Span& span : room.spans) {
        const std::size_t n = std::min(span.n, CountUpTo(span.block + 1, splits, done));
        for (std::size_t i = 0; i < n; ++i) {
          const SmallSplit& split = splits[done + i];
          const std::size_t to = at + begin + i;
          const std::uint32_t place = split.slot - made_->windows[to / costs_.share];
          made_->thresholds[to * lanes + lane] = split.threshold;
          made_->places[to / kTogether * lanes + lane] |= place << to % kTogether * 8;
          for (std::size_t w = 0; w < words; ++w) {
            made_->kept[at_kept + ((begin + i) * words + w) * lanes + lane] = Word(split.kept, w);
          }
        }
        done += n;
        begin += span.n;
      }
    }
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
  std::vector<std::size_t> first_splits_, first_kept_;  // of groups
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
