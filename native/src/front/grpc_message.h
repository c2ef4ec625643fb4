// An infer request and its answer as gRPC carries them: ModelInferRequest and ModelInferResponse of
// serving/grpc/inference.proto, read as most are written.
//
// As with JSON: what is read here is a part of the protocol, every reading of it is the one that serving/grpc
// gives, and all else, right or wrong, is the app's to answer.

#ifndef MAINSPRING_SRC_FRONT_GRPC_MESSAGE_H_
#define MAINSPRING_SRC_FRONT_GRPC_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mainspring::front {

// One message of a gRPC stream, with the five bytes before it. False: it is compressed, or not all there, or
// not alone.
bool ReadOnlyMessage(std::string_view framed, std::string_view* message);
inline constexpr std::size_t kMessagePrefix = 5;

// A request for a model of one matrix, as it says it: views of the message. Nothing was compared with a
// model.
struct GrpcInfer {
  std::string_view model, version, id;
  std::string_view input, datatype;
  std::uint64_t rows = 0, width = 0;
  // The matrix, little-endian. Of the numbers in `contents` those of one width only.
  std::string_view elements;
  std::size_t element_size = 0;  // 0: they are raw, and their size is the datatype's
  bool names_output = false;
  std::string_view output;
};

// False: not understood; `*infer` is then of no use. Memory: none.
bool ReadGrpcInfer(std::string_view message, GrpcInfer* infer);

// What is written of an answer; all plain ASCII.
struct GrpcAnswer {
  std::string_view model, version, id;
  std::string_view output, datatype;
  std::size_t rows = 0, width = 0;
  std::string_view elements;  // little-endian
};

// Appends the five bytes and the message, byte for byte what protobuf writes.
void AppendGrpcAnswer(const GrpcAnswer& answer, std::string* out);

// The value of `grpc-timeout`. False: it is none that gRPC knows.
bool ReadGrpcTimeout(std::string_view text, double* seconds);
// The same time, to be sent; what is over becomes the shortest there is.
std::string GrpcTimeout(double seconds);

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_GRPC_MESSAGE_H_
