// Point-in-time joins: for each question the newest row of its key that was there at its time.
//
// Times are any int64 of one unit. The slow and obvious truth is native/reference_asof.py.

#ifndef MAINSPRING_ASOF_H_
#define MAINSPRING_ASOF_H_

#include <cstddef>
#include <cstdint>

#include "mainspring/status.h"

namespace mainspring {

// No limit of age.
inline constexpr std::int64_t kAnyAge = -1;

// Rows that lie sorted: run r is the rows [starts[r], starts[r + 1]), its times ascend.
struct AsofRuns {
  const std::int64_t* times;
  std::size_t n_rows;
  const std::int64_t* starts;  // n_runs + 1
  std::size_t n_runs;
};

// `runs[i]` is the run of question i, below 0 for none; it is asked as of `times[i]`.
struct AsofQuestions {
  const std::int64_t* runs;
  const std::int64_t* times;
  std::size_t size;
};

// Rows as they come: the key's number of each, below 0 for none, its event and created time, and its number
// in the source, by which of equal times the later row is told.
struct AsofRows {
  const std::int64_t* keys;
  const std::int64_t* events;
  const std::int64_t* created;
  const std::int64_t* numbers;
  std::size_t size;
};

// positions[i]: the last row of the run with time <= the question's, or -1; -1 too where it is older than
// `max_age`. Errors: kOutOfRange for a run that is not there or does not lie in the rows; then `positions` is
// undefined.
Status AsofSearch(const AsofRuns& rows, const AsofQuestions& questions, std::int64_t max_age,
                  std::int64_t* positions);

// Room that AsofNewest needs: `starts` for n_keys + 1, the others for one a question.
struct AsofScratch {
  std::int64_t* starts;
  std::int64_t* order;
  std::int64_t* times;
  std::int64_t* best;
};

// The same over unsorted rows, by one pass over them: positions[i] is that of the newest row of the
// question's key by (event, created, number) with event <= the question's time. With `known_only` rows with
// created > that are passed over. Errors: kOutOfRange for a key that is not below `n_keys`.
Status AsofNewest(const AsofRows& rows, const AsofQuestions& questions, std::size_t n_keys, bool known_only,
                  std::int64_t max_age, const AsofScratch& scratch, std::int64_t* positions);

}  // namespace mainspring

#endif  // MAINSPRING_ASOF_H_
