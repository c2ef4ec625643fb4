// Feature values as serving/features/read.py writes them: byte for byte what Feast's feature server says.

#ifndef MAINSPRING_SRC_FRONT_FEATURE_ANSWER_H_
#define MAINSPRING_SRC_FRONT_FEATURE_ANSWER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "mainspring/table.h"

namespace mainspring::front {

// What follows the values of every feature of a view: statuses (of RowStatus) and event times, one a row, and
// the end of the object. False: a time outside of the years 1970 to 9999.
bool AppendEnding(const std::uint8_t* status, const std::int64_t* event_us, std::size_t rows,
                  std::string* out);
// The same of keys, which are always there and of no time.
void AppendKeyEnding(std::size_t rows, std::string* out);

// A list of n numbers that lie `stride` apart. Null: NaN and infinities, which JSON cannot say.
void AppendFloats(const float* values, std::size_t stride, std::size_t n, std::string* out);
void AppendFloats(const double* values, std::size_t n, std::string* out);

// A list of n values of a field whose view has others, too: a float32 has the digits of a double then.
// `cells` as the table gave them.
void AppendCells(FieldType type, const void* cells, const std::uint8_t* valid, std::size_t n,
                 std::string* out);
void AppendTexts(const StringColumn& texts, const std::uint8_t* valid, std::size_t n, std::string* out);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_FEATURE_ANSWER_H_
