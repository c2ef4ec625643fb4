// What sticks a prediction to one of two bundles, as serving/admission.py writes it.

#ifndef MAINSPRING_SRC_FRONT_PREDICT_KEY_H_
#define MAINSPRING_SRC_FRONT_PREDICT_KEY_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "predict_call.h"

namespace mainspring::front {

// Appends values as Python's repr writes them. Texts: printable ASCII, else false and `*out` has a part of
// it.
bool AppendRepr(std::string_view text, std::string* out);
void AppendRepr(double value, std::string* out);

// The text that sticks a request: its join keys, or all columns of its rows, by name and column by column.
// `order`: of the call's columns, sorted by name. False: a text that is not written here.
bool AppendRequestKey(const PredictCall& call, const PredictFields& fields,
                      const std::vector<std::size_t>& order, std::string* out);

// The text that sticks typed columns (float32 without infinities, int64, string): all their values, by name
// and column by column. Else as above.
bool AppendColumnsKey(const PredictCall& call, const PredictFields& fields,
                      const std::vector<std::size_t>& order, std::string* out);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_PREDICT_KEY_H_
