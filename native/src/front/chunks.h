// The chunked coding of bodies (RFC 9112, section 7.1), read in whatever pieces it comes.

#ifndef MAINSPRING_SRC_FRONT_CHUNKS_H_
#define MAINSPRING_SRC_FRONT_CHUNKS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mainspring::front {

// Bytes of a chunk's extensions, and of the fields after the last chunk: read, checked for their form, and
// dropped, because nobody here asked for them.
inline constexpr std::size_t kMaxChunkExtension = 256;
inline constexpr std::size_t kMaxTrailer = 4096;

class ChunkReader {
 public:
  // Takes from the front of `*bytes` up to the next piece of the body, which it gives; empty where there is
  // none, because the bytes are used up, the body is done, or it is bad.
  std::string_view Next(std::string_view* bytes);

  bool is_done() const { return state_ == State::kDone; }
  bool is_bad() const { return state_ == State::kBad; }

 private:
  enum class State {
    kSize,
    kExtension,
    kSizeEnd,
    kData,
    kDataEnd,
    kDataLf,
    kTrailer,
    kTrailerLf,
    kDone,
    kBad
  };

  void Step(char c);

  State state_ = State::kSize;
  std::uint64_t left_ = 0;
  int digits_ = 0;
  std::size_t skipped_ = 0, line_ = 0;
};

// `data` as one chunk; nothing where it is empty, for that would be the last one.
void AppendChunk(std::string_view data, std::string* out);
inline constexpr std::string_view kLastChunk = "0\r\n\r\n";

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_CHUNKS_H_
