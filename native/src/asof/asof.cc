#include "mainspring/asof.h"

#include <algorithm>

namespace mainspring {
namespace {

using std::int64_t;
using std::size_t;

constexpr Status OutOfRange(const char* expected, int64_t got, const char* next_step) {
  return {StatusCode::kOutOfRange, -1, expected, true, static_cast<double>(got), next_step};
}

// How many of the n ascending `times` come before: those for which `is_before`; branchless.
template <typename IsBefore>
int64_t Count(const int64_t* times, size_t n, IsBefore is_before) {
  const int64_t* base = times;
  while (n > 1) {
    const size_t half = n / 2;
    base += half & (size_t{0} - static_cast<size_t>(is_before(base[half - 1])));
    n -= half;
  }
  return base - times + (n == 1 && is_before(*base) ? 1 : 0);
}

// Questions ahead of the search for which the first places that it looks at are fetched: the rows of a run
// are seldom in the cache (1.4 times faster; 16 searches step by step together: 1.1 times more, not worth the
// code; Xeon, 2026-11).
constexpr size_t kAhead = 12;

void Prefetch(const AsofRuns& rows, int64_t run) {
  if (run < 0 || run >= static_cast<int64_t>(rows.n_runs)) return;
  const int64_t first = rows.starts[run], end = rows.starts[run + 1];
  if (first < 0 || end <= first || end > static_cast<int64_t>(rows.n_rows)) return;
  const int64_t* const times = rows.times + first;
  const int64_t n = end - first;
  __builtin_prefetch(times + n / 4);
  __builtin_prefetch(times + n / 2);
  __builtin_prefetch(times + n / 4 + n / 2);
}

// The difference of any two int64 fits in 64 bits without a sign.
bool IsTooOld(int64_t time, int64_t as_of, int64_t max_age) {
  return max_age != kAnyAge && static_cast<std::uint64_t>(as_of) - static_cast<std::uint64_t>(time) >
                                   static_cast<std::uint64_t>(max_age);
}

bool IsNewer(const AsofRows& rows, size_t row, int64_t than) {
  const size_t other = static_cast<size_t>(than);
  if (rows.events[row] != rows.events[other]) return rows.events[row] > rows.events[other];
  if (rows.created[row] != rows.created[other]) return rows.created[row] > rows.created[other];
  return rows.numbers[row] > rows.numbers[other];
}

// The questions by key, and those of a key by time.
Status Sort(const AsofQuestions& questions, size_t n_keys, const AsofScratch& scratch) {
  std::fill(scratch.starts, scratch.starts + n_keys + 1, 0);
  for (size_t i = 0; i < questions.size; ++i) {
    const int64_t key = questions.runs[i];
    if (key >= static_cast<int64_t>(n_keys))
      return OutOfRange("a key that is there", key, "number the keys from 0");
    if (key >= 0) ++scratch.starts[key + 1];
  }
  for (size_t k = 0; k < n_keys; ++k) scratch.starts[k + 1] += scratch.starts[k];
  // Each start is moved to its end while the places are given out, and put back.
  for (size_t i = 0; i < questions.size; ++i) {
    if (questions.runs[i] >= 0) scratch.order[scratch.starts[questions.runs[i]]++] = static_cast<int64_t>(i);
  }
  for (size_t k = n_keys; k > 0; --k) scratch.starts[k] = scratch.starts[k - 1];
  scratch.starts[0] = 0;
  for (size_t k = 0; k < n_keys; ++k) {
    std::sort(scratch.order + scratch.starts[k], scratch.order + scratch.starts[k + 1],
              [&](int64_t a, int64_t b) { return questions.times[a] < questions.times[b]; });
  }
  for (int64_t i = 0; i < scratch.starts[n_keys]; ++i) scratch.times[i] = questions.times[scratch.order[i]];
  return {};
}

}  // namespace

Status AsofSearch(const AsofRuns& rows, const AsofQuestions& questions, int64_t max_age, int64_t* positions) {
  for (size_t i = 0; i < questions.size; ++i) {
    if (i + kAhead < questions.size) Prefetch(rows, questions.runs[i + kAhead]);
    const int64_t run = questions.runs[i], as_of = questions.times[i];
    positions[i] = -1;
    if (run < 0) continue;
    if (run >= static_cast<int64_t>(rows.n_runs)) {
      return OutOfRange("a run that is there", run, "number the runs from 0");
    }
    const int64_t first = rows.starts[run], end = rows.starts[run + 1];
    if (first < 0 || end < first || end > static_cast<int64_t>(rows.n_rows)) {
      return OutOfRange("runs that lie within the rows", end,
                        "pass starts that ascend from 0 to the number of rows");
    }
    const int64_t n = Count(rows.times + first, static_cast<size_t>(end - first),
                            [&](int64_t time) { return time <= as_of; });
    const int64_t found = first + n - 1;
    if (n != 0 && !IsTooOld(rows.times[found], as_of, max_age)) positions[i] = found;
  }
  return {};
}

Status AsofNewest(const AsofRows& rows, const AsofQuestions& questions, size_t n_keys, bool known_only,
                  int64_t max_age, const AsofScratch& scratch, int64_t* positions) {
  if (const Status status = Sort(questions, n_keys, scratch); !status.ok()) return status;
  const int64_t n = scratch.starts[n_keys];
  std::fill(scratch.best, scratch.best + n, -1);
  // A row answers the questions of its key from the first one that may know it on, until a newer row does.
  for (size_t row = 0; row < rows.size; ++row) {
    const int64_t key = rows.keys[row];
    if (key >= static_cast<int64_t>(n_keys))
      return OutOfRange("a key that is there", key, "number the keys from 0");
    if (key < 0) continue;
    const int64_t first = scratch.starts[key], end = scratch.starts[key + 1];
    const int64_t known = known_only ? std::max(rows.events[row], rows.created[row]) : rows.events[row];
    const int64_t low = first + Count(scratch.times + first, static_cast<size_t>(end - first),
                                      [&](int64_t time) { return time < known; });
    if (low == end) continue;
    if (scratch.best[low] < 0 || IsNewer(rows, row, scratch.best[low])) {
      scratch.best[low] = static_cast<int64_t>(row);
    }
  }
  std::fill(positions, positions + questions.size, -1);
  for (size_t key = 0; key < n_keys; ++key) {
    int64_t newest = -1;
    for (int64_t i = scratch.starts[key]; i < scratch.starts[key + 1]; ++i) {
      const int64_t best = scratch.best[i];
      if (best >= 0 && (newest < 0 || IsNewer(rows, static_cast<size_t>(best), newest))) newest = best;
      if (newest >= 0 && !IsTooOld(rows.events[newest], scratch.times[i], max_age))
        positions[scratch.order[i]] = newest;
    }
  }
  return {};
}

}  // namespace mainspring
