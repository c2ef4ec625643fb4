// Whether the front may answer a request itself: its head is understood, its caller known, its limits not
// reached.

#ifndef MAINSPRING_SRC_FRONT_ADMISSION_H_
#define MAINSPRING_SRC_FRONT_ADMISSION_H_

#include <cstdint>
#include <string_view>

#include "answering.h"
#include "callers.h"
#include "http_head.h"

namespace mainspring::front {

// Reads what the head asks and who asks, before anything of a body is held. False: it is the app's.
// `is_told`: who asks matters though nobody is limited, because it is told or charged.
bool LetIn(const RequestHead& head, const Door& door, const Callers& callers, bool is_told, AskedHead* asked);

// The second half of it, for heads that are read in another way.
bool KnowCaller(const RequestHead& head, FrontScope scope, const Callers& callers, bool is_told,
                AskedHead* asked);

// One request taken from its caller's limits, which the app takes from, too: given back unless it was
// answered here, for the app takes what is passed on.
class Taken {
 public:
  Taken(const Callers& callers, const Door& door, std::string_view caller);
  ~Taken();
  Taken(const Taken&) = delete;
  Taken& operator=(const Taken&) = delete;

  // False: nothing was taken, and the app must refuse.
  bool is_taken() const { return is_taken_; }
  // It was answered: its rows are taken as well.
  void Answered(std::uint64_t rows);

 private:
  const std::string_view caller_, target_;
  Limits* limits_ = nullptr;  // nullptr: nothing to give back
  bool is_taken_ = true;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_ADMISSION_H_
