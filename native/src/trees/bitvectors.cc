#include "bitvectors.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "walk.h"

namespace mainspring {
namespace {

constexpr std::size_t kWordLeaves = kMainspringTreesWordLeaves;
constexpr std::size_t kMaxLeaves = kWordLeaves * kMainspringTreesWords;
constexpr std::size_t kTogether = kMainspringTreesTogether;

// How a target runs small trees, and what that costs; times in thirds of a nanosecond of a Sapphire Rapids
// (2026-11), where a step of a walk takes 3 if eight go together.
struct Costs {
  std::size_t lanes, window, share;  // of one row (trees_kernels.h); no lanes: it is walked
  double group_split;                // one row: a split of all lanes
  double row_split;                  // a split for one row of a block
  std::size_t few_rows;              // fewer are each run alone
};
constexpr double kStepCost = 3, kWalkCost = 7;  // and a walk's beside its steps

Costs CostsOf(Target target) {
  switch (target) {
    case Target::kGeneric:
      return {0, 2, 1, 0, 0.5, 3};
    case Target::kAvx2:
      return {kMainspringTreesAvx2Lanes, kMainspringTreesAvx2Window, kMainspringTreesAvx2Share, 4, 0.31, 5};
    case Target::kAvx512:
      return {kMainspringTreesAvx512Lanes,
              kMainspringTreesAvx512Window,
              kMainspringTreesAvx512Share,
              4.7,
              0.13,
              9};
  }
  return {};
}

struct SmallSplit {
  float threshold;
  std::uint32_t slot;
  std::uint32_t kept;
};

// By word, then by slot.
struct SmallTree {
  std::vector<std::vector<SmallSplit>> words;  // none where the tree is not small
  std::size_t n_splits = 0;
};

// The splits of one tree, which strike out the leaves below their first child; leaves are numbered first
// child first, and the node of each is told.
SmallTree SmallTreeOf(const Forest::Narrow* nodes, std::size_t n, std::vector<std::size_t>* leaves) {
  std::vector<std::size_t> below(n, 1), first(n, 0);
  for (std::size_t i = n; i-- > 0;) {
    if (nodes[i].step != 0) below[i] = below[i + nodes[i].step] + below[i + nodes[i].step + 1];
  }
  SmallTree tree;
  tree.words.resize((below[0] + kWordLeaves - 1) / kWordLeaves);
  leaves->assign(below[0], 0);
  for (std::size_t i = 0; i < n; ++i) {
    if (nodes[i].step == 0) {
      (*leaves)[first[i]] = i;
      continue;
    }
    const std::size_t child = i + nodes[i].step, begin = first[i], end = begin + below[child];
    first[child] = begin;
    first[child + 1] = end;
    for (std::size_t word = begin / kWordLeaves; word * kWordLeaves < end; ++word) {
      // The leaves [from, to) of this word.
      const std::size_t from = std::max(begin, word * kWordLeaves) - word * kWordLeaves;
      const std::size_t to = std::min(end - word * kWordLeaves, kWordLeaves);
      const std::uint64_t struck = (std::uint64_t{1} << to) - (std::uint64_t{1} << from);
      tree.words[word].push_back({nodes[i].threshold, nodes[i].slot, ~static_cast<std::uint32_t>(struck)});
      ++tree.n_splits;
    }
  }
  for (std::vector<SmallSplit>& splits : tree.words) {
    std::stable_sort(splits.begin(), splits.end(),
                     [](const SmallSplit& a, const SmallSplit& b) { return a.slot < b.slot; });
  }
  return tree;
}

// Fills a Bitvectors tree by tree, then job by job.
template <typename Leaf>
class Builder {
 public:
  using Tree = typename Bitvectors<Leaf>::Tree;
  using Job = typename Bitvectors<Leaf>::Job;
  static_assert(sizeof(Tree) == 2 * sizeof(std::size_t) + 4 * kMainspringTreesWords);
  static_assert(sizeof(Job) == 4 * sizeof(std::size_t) && sizeof(MainspringTreesSplit) == 12);

  Builder(const std::vector<Forest::Narrow>& nodes, const std::vector<Leaf>& leaves,
          const std::vector<std::uint32_t>& roots, const std::vector<std::uint32_t>& depths, Target target)
      : nodes_(nodes), leaves_(leaves), roots_(roots), depths_(depths), costs_(CostsOf(target)) {
    made_->target = target;
    made_->few_rows = costs_.few_rows;
  }

  std::shared_ptr<const Bitvectors<Leaf>> Build(Packer* packer) {
    for (std::size_t t = 0; t < roots_.size(); ++t) AddTree(t);
    for (std::size_t t = 0; t < roots_.size(); t += jobs_.back().n_trees) AddJob(t);
    if (made_->has_walked_tree) made_->few_rows = std::max(made_->few_rows, kWalkedTogether);
    packer->Add(std::move(trees_), &made_->trees);
    packer->Add(std::move(splits_), &made_->splits);
    packer->Add(std::move(values_), &made_->values);
    packer->Add(std::move(first_values_), &made_->first_values);
    packer->Add(std::move(jobs_), &made_->jobs);
    packer->Add(std::move(windows_), &made_->windows);
    packer->Add(std::move(thresholds_), &made_->thresholds);
    packer->Add(std::move(places_), &made_->places);
    packer->Add(std::move(kept_), &made_->kept);
    packer->Then([made = made_, costs = costs_, splits = std::move(first_splits_)] {
      for (std::size_t i = 0; i < splits.size(); ++i) {
        MainspringTreesPart& part = made->parts[i];
        part.windows = made->windows.data() + splits[i] / costs.share;
        part.places = made->places.data() + splits[i] / kTogether * costs.lanes;
        part.thresholds = made->thresholds.data() + splits[i] * costs.lanes;
        part.kept = made->kept.data() + splits[i] * costs.lanes;
      }
    });
    return made_;
  }

 private:
  // Splits of each lane that share a window, the one that begins with `block`.
  struct Span {
    std::size_t block, n;
  };
  // What the splits of one word need of trees side by side.
  struct Room {
    std::size_t n_splits = 0;
    std::vector<Span> spans;
  };

  // Splits, leaves, and whether a block of rows walks it nevertheless.
  void AddTree(std::size_t t) {
    const std::size_t root = roots_[t];
    const std::size_t n = (t + 1 < roots_.size() ? roots_[t + 1] : nodes_.size()) - root;
    Tree tree;
    tree.first_split = splits_.size();
    first_values_.push_back(static_cast<std::uint32_t>(values_.size()));
    small_.emplace_back();
    if ((n + 1) / 2 <= kMaxLeaves) {
      std::vector<std::size_t> order;
      SmallTree small = SmallTreeOf(nodes_.data() + root, n, &order);
      for (const std::size_t leaf : order) values_.push_back(leaves_[root + leaf]);
      values_.resize(first_values_[t] + small.words.size() * kWordLeaves);
      const double cost = static_cast<double>(small.n_splits) * costs_.row_split;
      if (cost <= kStepCost * depths_[t] + kWalkCost) {
        tree.words = small.words.size();
        for (std::size_t word = 0; word < tree.words; ++word) {
          tree.n_splits[word] = static_cast<std::uint32_t>(small.words[word].size());
          for (const SmallSplit& s : small.words[word]) {
            splits_.push_back({s.threshold, s.slot * kMainspringTreesBlockRows, s.kept});
          }
        }
      }
      small_[t] = std::move(small);
    }
    made_->has_walked_tree |= tree.words == 0;
    trees_.push_back(tree);
  }

  // As many small trees from `first` on as there are lanes, or a few that are walked.
  void AddJob(std::size_t first) {
    std::size_t n = 0, words = 0, n_splits = 0;
    for (; n < costs_.lanes && first + n < roots_.size() && !small_[first + n].words.empty(); ++n) {
      words = std::max(words, small_[first + n].words.size());
    }
    std::vector<Room> rooms;
    for (std::size_t word = 0; word < words; ++word) {
      rooms.push_back(RoomOf(first, n, word));
      n_splits += rooms.back().n_splits;
    }
    if (n > 0 && static_cast<double>(n_splits) * costs_.group_split <= CostOfWalks(first, n)) {
      jobs_.push_back({first, n, made_->parts.size(), words});
      for (std::size_t word = 0; word < words; ++word) AddPart(first, n, word, rooms[word]);
    } else {
      jobs_.push_back({first, std::min(kWalkedTogether, roots_.size() - first), 0, 0});
    }
  }

  const std::vector<SmallSplit>& SplitsOf(std::size_t tree, std::size_t word) const {
    static const std::vector<SmallSplit> none;
    return word < small_[tree].words.size() ? small_[tree].words[word] : none;
  }

  // A window has its block and the next: the first must be done with it, and a lane that has less there than
  // others goes on with the second.
  Room RoomOf(std::size_t first, std::size_t n_trees, std::size_t word) const {
    Room room;
    std::vector<std::size_t> done(n_trees);  // splits of each lane
    for (;;) {
      constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
      Span span = {kNone, 0};
      for (std::size_t i = 0; i < n_trees; ++i) {
        const std::vector<SmallSplit>& splits = SplitsOf(first + i, word);
        if (done[i] < splits.size()) span.block = std::min(span.block, BlockOf(splits[done[i]]));
      }
      if (span.block == kNone) break;
      for (std::size_t i = 0; i < n_trees; ++i) {
        span.n = std::max(span.n, CountUpTo(span.block, SplitsOf(first + i, word), done[i]));
      }
      span.n = (span.n + costs_.share - 1) / costs_.share * costs_.share;
      for (std::size_t i = 0; i < n_trees; ++i) {
        done[i] += std::min(span.n, CountUpTo(span.block + 1, SplitsOf(first + i, word), done[i]));
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

  void AddPart(std::size_t first, std::size_t n_trees, std::size_t word, const Room& room) {
    const std::size_t lanes = costs_.lanes;
    const std::size_t at = windows_.size() * costs_.share, end = at + room.n_splits;
    first_splits_.push_back(at);
    made_->parts.push_back({room.n_splits, nullptr, nullptr, nullptr, nullptr});
    thresholds_.resize(end * lanes, std::numeric_limits<float>::infinity());
    places_.resize(end / kTogether * lanes);
    kept_.resize(end * lanes);
    for (const Span& span : room.spans) {
      const std::size_t first_slot = span.block * costs_.window / 2;
      windows_.resize(windows_.size() + span.n / costs_.share, static_cast<std::uint32_t>(first_slot));
    }
    windows_.resize(end / costs_.share);
    for (std::size_t lane = 0; lane < n_trees; ++lane) {
      const std::vector<SmallSplit>& splits = SplitsOf(first + lane, word);
      std::size_t done = 0, begin = at;
      for (const Span& span : room.spans) {
        const std::size_t n = std::min(span.n, CountUpTo(span.block + 1, splits, done));
        for (std::size_t i = 0; i < n; ++i) Place(splits[done + i], begin + i, lane);
        done += n;
        begin += span.n;
      }
    }
  }

  void Place(const SmallSplit& split, std::size_t at, std::size_t lane) {
    const std::size_t lanes = costs_.lanes;
    const std::uint32_t place = split.slot - windows_[at / costs_.share];
    places_[at / kTogether * lanes + lane] |= place << at % kTogether * 8;
    thresholds_[at * lanes + lane] = split.threshold;
    kept_[at * lanes + lane] = split.kept;
  }

  const std::vector<Forest::Narrow>& nodes_;
  const std::vector<Leaf>& leaves_;
  const std::vector<std::uint32_t>&roots_, &depths_;
  const Costs costs_;
  std::vector<SmallTree> small_;
  std::vector<std::size_t> first_splits_;  // of parts
  // What the packer gets; see Bitvectors.
  std::vector<Tree> trees_;
  std::vector<MainspringTreesSplit> splits_;
  std::vector<Leaf> values_;
  std::vector<std::uint32_t> first_values_, windows_, places_, kept_;
  std::vector<float> thresholds_;
  std::vector<Job> jobs_;
  const std::shared_ptr<Bitvectors<Leaf>> made_ = std::make_shared<Bitvectors<Leaf>>();
};

}  // namespace

template <typename Leaf>
std::shared_ptr<const Bitvectors<Leaf>> Bitvectors<Leaf>::Make(const std::vector<Forest::Narrow>& nodes,
                                                               const std::vector<Leaf>& leaves,
                                                               const std::vector<std::uint32_t>& roots,
                                                               const std::vector<std::uint32_t>& depths,
                                                               Target target, Packer* packer) {
  return Builder<Leaf>(nodes, leaves, roots, depths, target).Build(packer);
}

template <typename Leaf>
std::shared_ptr<const Bitvectors<Leaf>> Bitvectors<Leaf>::Moved(const PackedMemory& from,
                                                                const PackedMemory& to) const {
  const auto moved = std::make_shared<Bitvectors<Leaf>>(*this);
  moved->trees.Move(from, to);
  moved->splits.Move(from, to);
  moved->values.Move(from, to);
  moved->first_values.Move(from, to);
  moved->jobs.Move(from, to);
  moved->windows.Move(from, to);
  moved->thresholds.Move(from, to);
  moved->places.Move(from, to);
  moved->kept.Move(from, to);
  for (MainspringTreesPart& part : moved->parts) {
    part.windows = PackedArray<std::uint32_t>::Moved(part.windows, from, to);
    part.places = PackedArray<std::uint32_t>::Moved(part.places, from, to);
    part.thresholds = PackedArray<float>::Moved(part.thresholds, from, to);
    part.kept = PackedArray<std::uint32_t>::Moved(part.kept, from, to);
  }
  return moved;
}

template struct Bitvectors<double>;
template struct Bitvectors<float>;

}  // namespace mainspring
