#include "bitvectors.h"

#include <algorithm>
#include <limits>

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

  Builder(const std::vector<Forest::Narrow>& nodes, const std::vector<Leaf>& leaves,
          const std::vector<std::uint32_t>& roots, const std::vector<std::uint32_t>& depths, Target target)
      : nodes_(nodes), leaves_(leaves), roots_(roots), depths_(depths), costs_(CostsOf(target)) {
    made_->target = target;
    made_->few_rows = costs_.few_rows;
  }

  std::shared_ptr<const Bitvectors<Leaf>> Build() {
    for (std::size_t t = 0; t < roots_.size(); ++t) AddTree(t);
    for (std::size_t t = 0; t < roots_.size(); t += made_->jobs.back().n_trees) AddJob(t);
    // What lies in vectors is pointed to when they no longer move.
    for (std::size_t i = 0; i < made_->parts.size(); ++i) {
      MainspringTreesPart& part = made_->parts[i];
      const std::size_t split = first_splits_[i];
      part.windows = made_->windows.data() + split / costs_.share;
      part.places = made_->places.data() + split / kTogether * costs_.lanes;
      part.thresholds = made_->thresholds.data() + split * costs_.lanes;
      part.kept = made_->kept.data() + split * costs_.lanes;
    }
    if (made_->has_walked_tree) made_->few_rows = std::max(made_->few_rows, kWalkedTogether);
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
    tree.first_split = made_->splits.size();
    made_->first_values.push_back(static_cast<std::uint32_t>(made_->values.size()));
    small_.emplace_back();
    if ((n + 1) / 2 <= kMaxLeaves) {
      std::vector<std::size_t> order;
      SmallTree small = SmallTreeOf(nodes_.data() + root, n, &order);
      for (const std::size_t leaf : order) made_->values.push_back(leaves_[root + leaf]);
      made_->values.resize(made_->first_values[t] + small.words.size() * kWordLeaves);
      const double cost = static_cast<double>(small.n_splits) * costs_.row_split;
      if (cost <= kStepCost * depths_[t] + kWalkCost) {
        tree.words = small.words.size();
        for (std::size_t word = 0; word < tree.words; ++word) {
          tree.n_splits[word] = static_cast<std::uint32_t>(small.words[word].size());
          for (const SmallSplit& s : small.words[word]) {
            made_->splits.push_back({s.threshold, s.slot * kMainspringTreesBlockRows, s.kept});
          }
        }
      }
      small_[t] = std::move(small);
    }
    made_->has_walked_tree |= tree.words == 0;
    made_->trees.push_back(tree);
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
      made_->jobs.push_back({first, n, made_->parts.size(), words});
      for (std::size_t word = 0; word < words; ++word) AddPart(first, n, word, rooms[word]);
    } else {
      made_->jobs.push_back({first, std::min(kWalkedTogether, roots_.size() - first), 0, 0});
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
    const std::size_t at = made_->windows.size() * costs_.share, end = at + room.n_splits;
    first_splits_.push_back(at);
    made_->parts.push_back({room.n_splits, nullptr, nullptr, nullptr, nullptr});
    made_->thresholds.resize(end * lanes, std::numeric_limits<float>::infinity());
    made_->places.resize(end / kTogether * lanes);
    made_->kept.resize(end * lanes);
    for (const Span& span : room.spans) {
      const std::size_t first_slot = span.block * costs_.window / 2;
      made_->windows.resize(made_->windows.size() + span.n / costs_.share,
                            static_cast<std::uint32_t>(first_slot));
    }
    made_->windows.resize(end / costs_.share);
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
    const std::uint32_t place = split.slot - made_->windows[at / costs_.share];
    made_->places[at / kTogether * lanes + lane] |= place << at % kTogether * 8;
    made_->thresholds[at * lanes + lane] = split.threshold;
    made_->kept[at * lanes + lane] = split.kept;
  }

  const std::vector<Forest::Narrow>& nodes_;
  const std::vector<Leaf>& leaves_;
  const std::vector<std::uint32_t>&roots_, &depths_;
  const Costs costs_;
  std::vector<SmallTree> small_;
  std::vector<std::size_t> first_splits_;  // of parts
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
