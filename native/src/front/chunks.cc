#include "chunks.h"

#include <algorithm>
#include <charconv>

namespace mainspring::front {
namespace {

int HexOf(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// What extensions and trailers may have inside of a line.
bool IsText(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 0x20 && byte != 0x7F) || byte == '\t';
}

}  // namespace

std::string_view ChunkReader::Next(std::string_view* bytes) {
  while (!bytes->empty() && state_ != State::kDone && state_ != State::kBad) {
    if (state_ == State::kData) {
      const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes->size()));
      const std::string_view data = bytes->substr(0, size);
      bytes->remove_prefix(size);
      left_ -= size;
      if (left_ == 0) state_ = State::kDataEnd;
      return data;
    }
    Step(bytes->front());
    bytes->remove_prefix(1);
  }
  return {};
}

void ChunkReader::Step(char c) {
  switch (state_) {
    case State::kSize:
      if (const int digit = HexOf(c); digit >= 0) {
        left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
        state_ = ++digits_ > 15 ? State::kBad : State::kSize;
      } else if (digits_ == 0) {
        state_ = State::kBad;
      } else {
        skipped_ = 0;
        state_ = c == '\r' ? State::kSizeEnd : c == ';' ? State::kExtension : State::kBad;
      }
      break;
    case State::kExtension:
      if (c == '\r') {
        state_ = State::kSizeEnd;
      } else if (!IsText(c) || ++skipped_ > kMaxChunkExtension) {
        state_ = State::kBad;
      }
      break;
    case State::kSizeEnd:
      digits_ = 0;
      skipped_ = line_ = 0;
      state_ = c != '\n' ? State::kBad : left_ == 0 ? State::kTrailer : State::kData;
      break;
    case State::kDataEnd:
      state_ = c == '\r' ? State::kDataLf : State::kBad;
      break;
    case State::kDataLf:
      state_ = c == '\n' ? State::kSize : State::kBad;
      break;
    case State::kTrailer:
      if (c == '\r') {
        state_ = State::kTrailerLf;
      } else if (!IsText(c) || ++skipped_ > kMaxTrailer) {
        state_ = State::kBad;
      } else {
        ++line_;
      }
      break;
    case State::kTrailerLf:
      state_ = c != '\n' ? State::kBad : line_ == 0 ? State::kDone : State::kTrailer;
      line_ = 0;
      break;
    case State::kData:
    case State::kDone:
    case State::kBad:
      break;
  }
}

void AppendChunk(std::string_view data, std::string* out) {
  if (data.empty()) return;
  char size[17];
  const auto [end, _] = std::to_chars(size, size + sizeof size, data.size(), 16);
  out->append(size, end);
  out->append("\r\n").append(data).append("\r\n");
}

}  // namespace mainspring::front
