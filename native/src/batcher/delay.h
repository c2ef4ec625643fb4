// Whether to wait for more requests: arithmetic on what was observed, no clock and no lock.

#ifndef MAINSPRING_SRC_BATCHER_DELAY_H_
#define MAINSPRING_SRC_BATCHER_DELAY_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace mainspring {

// The cost of a run is taken as fixed + row * rows, by least squares that forget: a run counts half after
// about 22 later ones.
class CostModel {
 public:
  void Observe(double rows, double ns) {
    constexpr double kKeep = 31.0 / 32;
    weight_ = weight_ * kKeep + 1;
    rows_ = rows_ * kKeep + rows;
    squares_ = squares_ * kKeep + rows * rows;
    ns_ = ns_ * kKeep + ns;
    products_ = products_ * kKeep + rows * ns;
    const double mean_rows = rows_ / weight_, mean_ns = ns_ / weight_;
    const double variance = squares_ / weight_ - mean_rows * mean_rows;
    // Batches of one size tell nothing about the slope: the last one known stays.
    if (variance > 1e-3 * mean_rows * mean_rows) {
      row_ = std::max(0.0, (products_ / weight_ - mean_rows * mean_ns) / variance);
    }
    row_ = std::min(row_, mean_ns / mean_rows);
    fixed_ = std::max(0.0, mean_ns - row_ * mean_rows);
  }
  double fixed() const { return fixed_; }
  double row() const { return row_; }
  std::int64_t Predict(std::size_t rows) const {
    return static_cast<std::int64_t>(fixed_ + row_ * static_cast<double>(rows));
  }

 private:
  double weight_ = 0, rows_ = 0, squares_ = 0, ns_ = 0, products_ = 0;
  double fixed_ = 0, row_ = 0;
};

// The time between one request and the next while requests come.
class GapModel {
 public:
  // Of one batch: when its first and its last request came. A burst's own gaps count; the pause before it
  // does not, or callers that all wait for one answer and then all ask again would look like rare ones.
  void Observe(std::size_t requests, std::int64_t first_ns, std::int64_t last_ns) {
    if (requests > 1) {
      Add(static_cast<double>(last_ns - first_ns) / static_cast<double>(requests - 1));
    } else if (last_ns_ != 0) {
      Add(static_cast<double>(std::max<std::int64_t>(0, first_ns - last_ns_)));
    }
    last_ns_ = std::max(last_ns_, last_ns);
  }
  bool is_known() const { return is_known_; }
  double ns() const { return ns_; }

 private:
  void Add(double gap) {
    ns_ = is_known_ ? ns_ + (gap - ns_) / 4 : gap;
    is_known_ = true;
  }
  double ns_ = 0;
  std::int64_t last_ns_ = 0;
  bool is_known_ = false;
};

// When an open batch is due. Waiting one more gap keeps `requests` waiting for it, and spares the late one a
// run's fixed cost: it pays while requests * gap < fixed. Where the next one has not come after twice the
// gap, nothing is coming.
inline std::int64_t AdaptiveDue(const GapModel& gap, const CostModel& cost, std::size_t requests,
                                std::int64_t last_ns, std::int64_t now_ns) {
  // Where requests come one by one, those that come during a run are joined anyway, and waiting before it
  // only adds to everybody's time: with 4 in the place of 16, requests 160 us apart and runs of 560 us, half
  // of the requests lost 70 us (Zen 4, 2026-11). A burst's gaps are far below a sixteenth.
  constexpr double kMargin = 16;
  if (!gap.is_known() || kMargin * static_cast<double>(requests) * gap.ns() >= cost.fixed()) return now_ns;
  return last_ns + static_cast<std::int64_t>(2 * gap.ns());
}

}  // namespace mainspring

#endif  // MAINSPRING_SRC_BATCHER_DELAY_H_
