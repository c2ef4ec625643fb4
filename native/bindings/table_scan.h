#ifndef MAINSPRING_BINDINGS_TABLE_SCAN_H_
#define MAINSPRING_BINDINGS_TABLE_SCAN_H_

#include "arrays.h"
#include "mainspring/table.h"

namespace mainspring {

// String i as str or bytes.
py::object ToObject(const StringColumn& from, std::size_t i, bool is_text);

// (keys, event_us, created_us, ttl_seconds, values, valid) of at most n rows, or None at the end. Gives the
// GIL up while it reads.
py::object NextRows(TableScan* scan, const TableSchema& schema, std::size_t n);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_TABLE_SCAN_H_
