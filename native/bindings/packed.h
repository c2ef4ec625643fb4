// What models that are packed give to Python: their bytes, and sealed copies for other processes.

#ifndef MAINSPRING_BINDINGS_PACKED_H_
#define MAINSPRING_BINDINGS_PACKED_H_

#include <memory>

#include "arrays.h"
#include "mainspring/packed.h"

namespace mainspring {

// Everything here needs the GIL.

// Raises `corrupt` or `io`.
void CheckPacked(const Status& status);

template <typename Work>
Status WithoutLock(const Work& work) {
  const py::gil_scoped_release released;
  return work();
}

// The file of a sealed copy, which the caller closes. Gives the lock up while it is written.
int Sealed(const PackedMemory& memory);

// The bytes as a read-only array that keeps them.
py::object PackedView(const std::shared_ptr<const PackedMemory>& memory);

}  // namespace mainspring

#endif  // MAINSPRING_BINDINGS_PACKED_H_
