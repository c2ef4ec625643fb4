#include "packed.h"

namespace mainspring {

void CheckPacked(const Status& status) {
  if (!status.ok()) Raise(status.code, Message(status, "shared memory"));
}

int Sealed(const PackedMemory& memory) {
  int fd = -1;
  CheckPacked(WithoutLock([&] { return memory.Seal(&fd); }));
  return fd;
}

py::object PackedView(const std::shared_ptr<const PackedMemory>& memory) {
  using Kept = std::shared_ptr<const PackedMemory>;
  const py::capsule keeper(new Kept(memory), [](void* kept) { delete static_cast<Kept*>(kept); });
  const py::array_t<std::uint8_t> view({static_cast<py::ssize_t>(memory->bytes())}, {1},
                                       reinterpret_cast<const std::uint8_t*>(memory->data()), keeper);
  py::detail::array_proxy(view.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return view;
}

}  // namespace mainspring
