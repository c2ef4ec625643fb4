#include "infer_call.h"

#include "infer_envelope.h"

namespace mainspring::front {
namespace {

class InferReader {
 public:
  InferReader(std::string_view json, const InferNames& names, InferCall* call)
      : envelope_(json, names.output), json_(envelope_.json()), names_(names), call_(*call) {}

  bool Read(std::size_t n_binary) {
    call_.numbers.clear();
    if (!envelope_.Read([this] { return Only([this] { return Input(); }); })) return false;
    call_.id = envelope_.id();
    call_.wants_binary = envelope_.wants_binary();
    return Fits(n_binary);
  }

 private:
  // A list of one.
  template <typename Element>
  bool Only(const Element& element) {
    return json_.Take('[') && element() && json_.Take(']');
  }

  bool Input() {
    bool has_name = false, has_shape = false, has_datatype = false, has_parameters = false, has_data = false;
    const std::string_view datatype = names_.takes_double ? "FP64" : "FP32";
    const bool is_read = ReadObject(&json_, [&](std::string_view name) {
      if (name == "name") return First(&has_name) && envelope_.Is(names_.input);
      if (name == "datatype") return First(&has_datatype) && envelope_.Is(datatype);
      if (name == "shape") return First(&has_shape) && Shape();
      if (name == "data") return First(&has_data) && Data();
      return name == "parameters" && First(&has_parameters) &&
             ReadParameter(&json_, "binary_data_size", &call_.is_binary,
                           [this] { return json_.Size(&n_bytes_); });
    });
    return is_read && has_name && has_shape && has_datatype && has_data != call_.is_binary;
  }

  bool Shape() {
    std::uint64_t rows = 0, width = 0;
    if (!json_.Take('[') || !json_.Size(&rows) || !json_.Take(',') || !json_.Size(&width) ||
        !json_.Take(']')) {
      return false;
    }
    call_.rows = rows;
    return rows >= 1 && rows <= names_.max_rows && width == names_.width;
  }

  bool Data() {
    if (!json_.Take('[')) return false;
    if (!json_.Take('[')) return Numbers();
    // Rows, each as long as the shape says.
    for (;;) {
      const std::size_t before = call_.numbers.size();
      if (!Numbers() || call_.numbers.size() - before != names_.width) return false;
      if (!json_.Take(',')) return json_.Take(']');
      if (!json_.Take('[')) return false;
    }
  }

  // Numbers up to the bracket that closes their list; at least one.
  bool Numbers() {
    double number;
    do {
      if (!json_.Number(&number)) return false;
      call_.numbers.push_back(number);
    } while (json_.Take(','));
    return json_.Take(']');
  }

  bool Fits(std::size_t n_binary) const {
    const std::size_t count = call_.rows * names_.width;
    if (!call_.is_binary) return n_binary == 0 && call_.numbers.size() == count;
    return n_bytes_ == n_binary && n_binary == count * (names_.takes_double ? 8 : 4);
  }

  InferEnvelope envelope_;
  JsonReader& json_;
  const InferNames& names_;
  InferCall& call_;
  std::uint64_t n_bytes_ = 0;
};

}  // namespace

bool ReadInferCall(std::string_view json, std::size_t n_binary, const InferNames& names, InferCall* call) {
  call->is_binary = false;
  call->rows = 0;
  return InferReader(json, names, call).Read(n_binary);
}

}  // namespace mainspring::front
