#include "http2_call.h"

#include <utility>

namespace mainspring::front {

bool HeldMemory::Take(std::size_t n) {
  const std::size_t wanted = used_ + n;
  if (wanted > kOwn + counted_) {
    const std::size_t more = (wanted - kOwn - counted_ + kStep - 1) / kStep * kStep;
    if (held_->fetch_add(more, std::memory_order_relaxed) + more > limit_) {
      held_->fetch_sub(more, std::memory_order_relaxed);
      return false;
    }
    counted_ += more;
  }
  used_ = wanted;
  return true;
}

void HeldMemory::Give(std::size_t n) {
  used_ -= n;
  if (counted_ == 0) return;
  // Not at once: the next call wants it again.
  const std::size_t needed = used_ > kOwn ? used_ - kOwn : 0;
  if (counted_ < needed + 2 * kStep && used_ > 0) return;
  const std::size_t kept = (needed + kStep - 1) / kStep * kStep;
  held_->fetch_sub(counted_ - kept, std::memory_order_relaxed);
  counted_ = kept;
}

std::size_t ByteQueue::Take(char* room, std::size_t size) {
  const std::size_t n = bytes_.copy(room, size, taken_);
  taken_ += n;
  if (taken_ == bytes_.size()) {
    Clear();
  } else if (taken_ > (std::size_t{64} << 10) && taken_ > bytes_.size() / 2) {
    bytes_.erase(0, taken_);
    taken_ = 0;
  }
  return n;
}

void ByteQueue::Clear() {
  bytes_.clear();
  taken_ = 0;
}

void FieldList::Add(std::string_view name, std::string_view value) {
  text_.append(name).append(value);
  sizes_.emplace_back(static_cast<std::uint32_t>(name.size()), static_cast<std::uint32_t>(value.size()));
}

void FieldList::Clear() {
  text_.clear();
  sizes_.clear();
}

void Http2Call::Reuse() {
  constexpr std::size_t kKeptBytes = std::size_t{16} << 10;
  Http2Call fresh;
  if (fields.n_bytes() <= kKeptBytes) fresh.fields = std::move(fields);
  if (to_app.bytes()->capacity() <= kKeptBytes) fresh.to_app = std::move(to_app);
  if (to_client.bytes()->capacity() <= kKeptBytes) fresh.to_client = std::move(to_client);
  fresh.fields.Clear();
  fresh.to_app.Clear();
  fresh.to_client.Clear();
  *this = std::move(fresh);
}

}  // namespace mainspring::front
