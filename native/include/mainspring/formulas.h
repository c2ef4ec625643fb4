// Request-time features as a list of steps over columns: declared in Python (core/features/formulas.py),
// where NumPy computes them, and computed here with the same bits. Only what IEEE 754 and whole numbers
// define exactly: sines and the like are tables.

#ifndef MAINSPRING_FORMULAS_H_
#define MAINSPRING_FORMULAS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mainspring/status.h"

namespace mainspring {

// A step is whole (int64, which wraps) or real (double). Its name is what Python calls it.
enum class FormulaOp : std::uint8_t {
  kWholeColumn,    // input `a`
  kRealColumn,     // input `a`
  kWholeNumber,    // `whole`
  kRealNumber,     // `real`
  kAddWhole,       // a + b
  kSubtractWhole,  // a - b
  kFloorDivide,    // of whole a by `whole`, above 0, rounded down
  kModulo,         // of whole a by `whole`, above 0: from 0 up
  kWiden,          // whole a as a real
  kAdd,            // a + b, of reals as all below
  kSubtract,
  kMultiply,
  kDivide,
  kRatio,         // a / b where b is above 0, else missing
  kIsBelow,       // whether a is below b, 1 or 0; missing where one of them is
  kLocalMinutes,  // minutes since 1970 on a clock, of UTC microseconds: whole
  kYear,          // of UTC microseconds: whole
  kEntry,         // of the table, at whole a modulo its size: real
  kRealEntry,     // the same, at what is left of real a without its fraction; missing where a is not finite
};
inline constexpr std::size_t kFormulaOps = 19;

// How far a clock is ahead of UTC, by hour of UTC.
struct FormulaClock {
  std::vector<std::int64_t> from_hours;  // since 1970, growing
  std::vector<std::int64_t> minutes;     // from each of them on
  std::int64_t end_hour = 0;             // nothing is known from here on, nor before the first
};

struct FormulaStep {
  FormulaOp op = FormulaOp::kWholeNumber;
  std::int32_t a = -1, b = -1;  // earlier steps, or of columns the input
  double real = 0;
  std::int64_t whole = 0;
  std::shared_ptr<const std::vector<double>> table;
  std::shared_ptr<const FormulaClock> clock;
};

struct FormulaInput {
  std::string name;
  bool is_whole = false;
};

// A column that is made: int64 of a whole step, or float32, for which it is rounded to nearest, of any.
struct FormulaOutput {
  std::string name;
  bool is_int64 = false;
  std::int32_t step = -1;
};

struct FormulaSpec {
  std::vector<FormulaInput> inputs;
  std::vector<FormulaStep> steps;
  std::vector<FormulaOutput> outputs;
};

// What one thread keeps from one run to the next.
struct FormulaWorkspace {
  std::vector<std::vector<double>> reals;
  std::vector<std::vector<std::int64_t>> wholes;
  std::vector<std::vector<float>> floats;  // of outputs
  std::vector<std::vector<std::int64_t>> ints;
};

// Immutable once it is compiled.
class Formulas {
 public:
  // kBadSpec for a step that refers to a later one or to one of another kind, an empty table or clock, a
  // divisor that is not above 0, an output without its step; `column` is the step's or the output's number.
  static Status Compile(FormulaSpec spec, Formulas* formulas);

  const FormulaSpec& spec() const { return spec_; }

  // Computes `rows` of every output into the workspace's floats and ints. `wholes` and `reals` have a column
  // for each input of their kind, at the input's place; the others are not read. Missing reals are NaN.
  // False: a time lies before 1970, or where the clock is not known, so that only Python knows what it means.
  // Threads: any number, each with its workspace.
  bool Run(const std::int64_t* const* wholes, const double* const* reals, std::size_t rows,
           FormulaWorkspace* workspace) const;

 private:
  bool IsWhole(std::int32_t step) const { return is_whole_[static_cast<std::size_t>(step)] != 0; }
  bool RunStep(std::size_t step, const std::int64_t* const* wholes, const double* const* reals,
               std::size_t rows, FormulaWorkspace* workspace) const;

  FormulaSpec spec_;
  std::vector<std::uint8_t> is_whole_;
};

}  // namespace mainspring

#endif  // MAINSPRING_FORMULAS_H_
