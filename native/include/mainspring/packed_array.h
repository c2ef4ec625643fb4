// Arrays of a model in one block of packed memory.

#ifndef MAINSPRING_PACKED_ARRAY_H_
#define MAINSPRING_PACKED_ARRAY_H_

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include "mainspring/packed.h"

namespace mainspring {

// Read-only; there as long as the memory is. Its values begin on a cache line.
template <typename T>
class PackedArray {
 public:
  using value_type = T;

  PackedArray() = default;
  PackedArray(const T* data, std::size_t size) : data_(data), size_(size) {}

  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  const T& operator[](std::size_t i) const { return data_[i]; }

  // To the same place of another block with the same bytes.
  void Move(const PackedMemory& from, const PackedMemory& to) {
    if (data_ != nullptr) data_ = Moved(data_, from, to);
  }

  static const T* Moved(const T* place, const PackedMemory& from, const PackedMemory& to) {
    return reinterpret_cast<const T*>(to.data() + (reinterpret_cast<const char*>(place) - from.data()));
  }

 private:
  const T* data_ = nullptr;
  std::size_t size_ = 0;
};

// Takes vectors, and lays them into one block in the order in which they came.
class Packer {
 public:
  // `array` is set by Pack and must be there until then. A T has no padding: it would have any bytes, and two
  // processes would not have the same.
  template <typename T, typename Allocator>
  void Add(std::vector<T, Allocator> values, PackedArray<T>* array) {
    static_assert(std::is_trivially_copyable_v<T>);
    const std::size_t at = bytes_, n = values.size();
    bytes_ +=
        (n * sizeof(T) + PackedMemory::kAlignment - 1) / PackedMemory::kAlignment * PackedMemory::kAlignment;
    auto held = std::make_shared<std::vector<T, Allocator>>(std::move(values));
    steps_.emplace_back([=](char* base) {
      if (n > 0) std::memcpy(base + at, held->data(), n * sizeof(T));
      *array = PackedArray<T>(reinterpret_cast<const T*>(base + at), n);
    });
  }

  // Something to do once the arrays that were added before are set.
  void Then(std::function<void()> step) {
    steps_.emplace_back([step = std::move(step)](char*) { step(); });
  }

  // Once.
  std::shared_ptr<const PackedMemory> Pack() {
    auto memory = std::make_shared<PackedMemory>(bytes_);
    for (std::function<void(char*)>& step : steps_) {
      step(memory->own());
      step = nullptr;  // its vector goes
    }
    return memory;
  }

 private:
  std::size_t bytes_ = 0;
  std::vector<std::function<void(char*)>> steps_;
};

}  // namespace mainspring

#endif  // MAINSPRING_PACKED_ARRAY_H_
