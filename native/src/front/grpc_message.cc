#include "grpc_message.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace mainspring::front {
namespace {

// The wire type of messages, strings and packed numbers.
constexpr std::uint32_t kBytes = 2;

// Reads fields one after the other. After a mistake nothing more is there, and is_good() is false.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}

  bool is_good() const { return is_good_; }
  bool AtEnd() const { return at_ == end_; }

  // The next field of bytes: messages, strings and packed numbers. All others are not of the messages here.
  bool Next(std::uint32_t* number, std::string_view* bytes) {
    if (at_ == end_) return false;
    std::uint64_t tag = 0, size = 0;
    if (!Varint(&tag) || (tag & 7) != kBytes || tag >> 3 > 15 || tag >> 3 == 0 || !Varint(&size) ||
        size > static_cast<std::uint64_t>(end_ - at_)) {
      return is_good_ = false;
    }
    *number = static_cast<std::uint32_t>(tag >> 3);
    *bytes = {at_, static_cast<std::size_t>(size)};
    at_ += size;
    return true;
  }

  bool Varint(std::uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const auto byte = static_cast<unsigned char>(*at_++);
      if (shift == 63 && byte > 1) break;
      *value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return true;
    }
    return is_good_ = false;
  }

 private:
  const char* at_;
  const char* const end_;
  bool is_good_ = true;
};

// A field that may be there once. Plain ASCII: what is not might not be UTF-8, which protobuf refuses.
class Once {
 public:
  bool Text(std::string_view bytes, std::string_view* text) {
    *text = bytes;
    return First() && std::all_of(bytes.begin(), bytes.end(),
                                  [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  }
  bool Bytes(std::string_view bytes, std::string_view* value) {
    *value = bytes;
    return First();
  }
  bool First() { return !std::exchange(is_there_, true); }
  bool is_there() const { return is_there_; }

 private:
  bool is_there_ = false;
};

bool ReadShape(std::string_view packed, GrpcInfer* infer) {
  WireReader wire(packed);
  return wire.Varint(&infer->rows) && wire.Varint(&infer->width) && wire.AtEnd();
}

// InferTensorContents with numbers of one kind.
bool ReadContents(std::string_view bytes, GrpcInfer* infer) {
  constexpr std::uint32_t kFloats = 6, kDoubles = 7;
  WireReader wire(bytes);
  std::uint32_t number = 0;
  if (!wire.Next(&number, &infer->elements) || !wire.AtEnd()) return false;
  infer->element_size = number == kFloats ? sizeof(float) : sizeof(double);
  return number == kFloats || number == kDoubles;
}

bool ReadInput(std::string_view bytes, bool* has_contents, GrpcInfer* infer) {
  Once name, datatype, shape, contents;
  WireReader wire(bytes);
  std::uint32_t number = 0;
  std::string_view value;
  while (wire.Next(&number, &value)) {
    bool is_read = false;  // parameters, too, are the app's
    if (number == 1) is_read = name.Text(value, &infer->input);
    if (number == 2) is_read = datatype.Text(value, &infer->datatype);
    if (number == 3) is_read = shape.First() && ReadShape(value, infer);
    if (number == 5) is_read = contents.First() && ReadContents(value, infer);
    if (!is_read) return false;
  }
  *has_contents = contents.is_there();
  return wire.is_good() && shape.is_there();
}

bool ReadOutput(std::string_view bytes, GrpcInfer* infer) {
  Once name;
  WireReader wire(bytes);
  std::uint32_t number = 0;
  std::string_view value;
  while (wire.Next(&number, &value)) {
    if (number != 1 || !name.Text(value, &infer->output)) return false;
  }
  return wire.is_good();
}

// ---- writing

std::size_t SizeOf(std::uint64_t value) {
  std::size_t n = 1;
  for (; value >= 0x80; value >>= 7) ++n;
  return n;
}

void AppendVarint(std::uint64_t value, std::string* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

// With its tag, of one byte: numbers here are below 16.
std::size_t SizeOfField(std::size_t n_bytes) { return 1 + SizeOf(n_bytes) + n_bytes; }

void AppendTag(std::uint32_t number, std::size_t n_bytes, std::string* out) {
  out->push_back(static_cast<char>(number << 3 | kBytes));
  AppendVarint(n_bytes, out);
}

void AppendField(std::uint32_t number, std::string_view bytes, std::string* out) {
  AppendTag(number, bytes.size(), out);
  out->append(bytes);
}

// A text that is empty is not there.
std::size_t SizeOfText(std::string_view text) { return text.empty() ? 0 : SizeOfField(text.size()); }

void AppendText(std::uint32_t number, std::string_view text, std::string* out) {
  if (!text.empty()) AppendField(number, text, out);
}

}  // namespace

bool ReadOnlyMessage(std::string_view framed, std::string_view* message) {
  if (framed.size() < kMessagePrefix || framed[0] != 0) return false;
  std::size_t size = 0;
  for (std::size_t i = 1; i < kMessagePrefix; ++i) size = size << 8 | static_cast<unsigned char>(framed[i]);
  *message = framed.substr(kMessagePrefix);
  return message->size() == size;
}

bool ReadGrpcInfer(std::string_view message, GrpcInfer* infer) {
  *infer = {};
  Once model, version, id, input, output, raw;
  bool has_contents = false;
  std::string_view raw_elements;
  WireReader wire(message);
  std::uint32_t number = 0;
  std::string_view value;
  while (wire.Next(&number, &value)) {
    bool is_read = false;  // parameters, too, are the app's
    if (number == 1) is_read = model.Text(value, &infer->model);
    if (number == 2) is_read = version.Text(value, &infer->version);
    if (number == 3) is_read = id.Text(value, &infer->id);
    if (number == 5) is_read = input.First() && ReadInput(value, &has_contents, infer);
    if (number == 6) is_read = output.First() && ReadOutput(value, infer);
    if (number == 7) is_read = raw.Bytes(value, &raw_elements);
    if (!is_read) return false;
  }
  if (!wire.is_good() || !input.is_there() || raw.is_there() == has_contents) return false;
  if (raw.is_there()) {
    infer->elements = raw_elements;
    infer->element_size = 0;
  }
  infer->names_output = output.is_there();
  return true;
}

void AppendGrpcAnswer(const GrpcAnswer& answer, std::string* out) {
  const std::size_t shape = SizeOf(answer.rows) + SizeOf(answer.width);
  const std::size_t output = SizeOfText(answer.output) + SizeOfText(answer.datatype) + SizeOfField(shape);
  const std::size_t size = SizeOfText(answer.model) + SizeOfText(answer.version) + SizeOfText(answer.id) +
                           SizeOfField(output) + SizeOfField(answer.elements.size());
  out->reserve(out->size() + kMessagePrefix + size);
  out->push_back(0);
  for (int shift = 24; shift >= 0; shift -= 8) out->push_back(static_cast<char>(size >> shift));
  AppendText(1, answer.model, out);
  AppendText(2, answer.version, out);
  AppendText(3, answer.id, out);
  AppendTag(5, output, out);
  AppendText(1, answer.output, out);
  AppendText(2, answer.datatype, out);
  AppendTag(3, shape, out);
  AppendVarint(answer.rows, out);
  AppendVarint(answer.width, out);
  AppendField(6, answer.elements, out);
}

bool ReadGrpcTimeout(std::string_view text, double* seconds) {
  constexpr std::size_t kMaxDigits = 8;
  if (text.size() < 2 || text.size() > kMaxDigits + 1) return false;
  double number = 0;
  for (const char c : text.substr(0, text.size() - 1)) {
    if (c < '0' || c > '9') return false;
    number = number * 10 + (c - '0');
  }
  switch (text.back()) {
    case 'H':
      *seconds = number * 3600;
      return true;
    case 'M':
      *seconds = number * 60;
      return true;
    case 'S':
      *seconds = number;
      return true;
    case 'm':
      *seconds = number * 1e-3;
      return true;
    case 'u':
      *seconds = number * 1e-6;
      return true;
    case 'n':
      *seconds = number * 1e-9;
      return true;
    default:
      return false;
  }
}

std::string GrpcTimeout(double seconds) {
  constexpr double kMost = 99'999'999;
  if (seconds <= 1e-9) return "1n";
  const auto whole = [](double number) { return std::to_string(static_cast<std::uint64_t>(number)); };
  if (seconds * 1e6 < 1) return whole(std::ceil(seconds * 1e9)) + "n";
  if (seconds * 1e6 <= kMost) return whole(seconds * 1e6) + "u";
  if (seconds * 1e3 <= kMost) return whole(seconds * 1e3) + "m";
  return seconds <= kMost ? whole(seconds) + "S" : whole(std::min(seconds / 3600, kMost)) + "H";
}

}  // namespace mainspring::front
