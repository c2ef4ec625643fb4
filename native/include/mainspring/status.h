// How native code says what went wrong. Kernels never throw, print or allocate: they return a Status.

#ifndef MAINSPRING_STATUS_H_
#define MAINSPRING_STATUS_H_

#include <cstdint>

namespace mainspring {

enum class StatusCode : std::int32_t {
  kOk = 0,
  kBadShape,
  kBadDtype,
  kNotContiguous,
  kNotWritable,
  kOverlap,
  kBadSpec,
  kUnknownTarget,
  kMissingColumn,
  kBusy,
  kBadOffsets,
  kOutOfRange,
  kBadModel,
  kUnsupportedModel,
  kFull,
  kIo,
  kCorrupt,
  kClosed,
  kCancelled,
  kDeadlineExceeded,
};

// The stable word of a code, as Python's NativeError carries it: "bad_shape".
constexpr const char* CodeName(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return "ok";
    case StatusCode::kBadShape:
      return "bad_shape";
    case StatusCode::kBadDtype:
      return "bad_dtype";
    case StatusCode::kNotContiguous:
      return "not_contiguous";
    case StatusCode::kNotWritable:
      return "not_writable";
    case StatusCode::kOverlap:
      return "overlap";
    case StatusCode::kBadSpec:
      return "bad_spec";
    case StatusCode::kUnknownTarget:
      return "unknown_target";
    case StatusCode::kMissingColumn:
      return "missing_column";
    case StatusCode::kBusy:
      return "busy";
    case StatusCode::kBadOffsets:
      return "bad_offsets";
    case StatusCode::kOutOfRange:
      return "out_of_range";
    case StatusCode::kBadModel:
      return "bad_model";
    case StatusCode::kUnsupportedModel:
      return "unsupported_model";
    case StatusCode::kFull:
      return "full";
    case StatusCode::kIo:
      return "io";
    case StatusCode::kCorrupt:
      return "corrupt";
    case StatusCode::kClosed:
      return "closed";
    case StatusCode::kCancelled:
      return "cancelled";
    case StatusCode::kDeadlineExceeded:
      return "deadline_exceeded";
  }
  return "unknown";
}

// A few words and pointers to literals: cheap to return, nothing to free.
// Reads as "column `<column>`: <expected>, got <got>; <next_step>".
struct [[nodiscard]] Status {
  StatusCode code = StatusCode::kOk;
  std::int32_t column = -1;    // which column is meant, or -1
  const char* expected = "";   // what should have come
  bool has_got = false;        // whether `got` says something
  double got = 0;              // what came
  const char* next_step = "";  // what to do about it

  constexpr bool ok() const { return code == StatusCode::kOk; }
};

}  // namespace mainspring

#endif  // MAINSPRING_STATUS_H_
