// What every infer request of the v2 protocol has around its inputs, read as most are written.

#ifndef MAINSPRING_SRC_FRONT_INFER_ENVELOPE_H_
#define MAINSPRING_SRC_FRONT_INFER_ENVELOPE_H_

#include <cstddef>
#include <string_view>

#include "answering.h"
#include "json_reader.h"

namespace mainspring::front {

// Answers below this are not compressed by the app; whoever takes codings gets larger ones from it.
inline constexpr std::size_t kCompressBytes = 1024;

// Splits a body into its JSON part and what follows. False: it is not understood, or too long for a loop.
inline bool SplitInferBody(const AskedHead& head, std::string_view body, std::string_view* json,
                           std::string_view* binary) {
  if (head.has_json_length && head.json_length > body.size()) return false;
  *json = head.has_json_length ? body.substr(0, static_cast<std::size_t>(head.json_length)) : body;
  *binary = body.substr(json->size());
  return json->size() <= kMaxJsonBytes;
}

// Parameters that may be left out, of which one is known.
template <typename Value>
bool ReadParameter(JsonReader* reader, std::string_view known, bool* is_there, const Value& value) {
  return ReadObject(reader,
                    [&](std::string_view name) { return name == known && First(is_there) && value(); });
}

// Reads a request for a model of one output; whoever has one reads its inputs.
class InferEnvelope {
 public:
  InferEnvelope(std::string_view json, std::string_view output) : json_(json), output_(output) {}

  // `inputs` takes the value of that name, from json(). False: not understood.
  template <typename Inputs>
  bool Read(const Inputs& inputs) {
    bool has_inputs = false, has_outputs = false, has_id = false, has_parameters = false, has_flag = false;
    bool wants_all_binary = false;
    const bool is_read = ReadObject(&json_, [&](std::string_view name) {
      if (name == "inputs") return First(&has_inputs) && inputs();
      if (name == "outputs") return First(&has_outputs) && Outputs();
      if (name == "id") return First(&has_id) && json_.Text(&id_);
      return name == "parameters" && First(&has_parameters) &&
             ReadParameter(&json_, "binary_data_output", &has_flag,
                           [&] { return json_.Bool(&wants_all_binary); });
    });
    if (!says_binary_) wants_binary_ = wants_all_binary;
    return is_read && json_.AtEnd() && has_inputs;
  }

  JsonReader& json() { return json_; }
  // Of what was read: to be written as it is; how the output is wanted.
  std::string_view id() const { return id_; }
  bool wants_binary() const { return wants_binary_; }

  bool Is(std::string_view wanted) {
    std::string_view text;
    return json_.Text(&text) && text == wanted;
  }

 private:
  // Absent or [] is the same as the one output there is.
  bool Outputs() {
    if (!json_.Take('[')) return false;
    if (json_.Take(']')) return true;
    bool has_name = false, has_parameters = false;
    const bool is_read = ReadObject(&json_, [&](std::string_view name) {
      if (name == "name") return First(&has_name) && Is(output_);
      return name == "parameters" && First(&has_parameters) &&
             ReadParameter(&json_, "binary_data", &says_binary_,
                           [this] { return json_.Bool(&wants_binary_); });
    });
    return is_read && has_name && json_.Take(']');
  }

  JsonReader json_;
  const std::string_view output_;
  std::string_view id_;
  bool says_binary_ = false, wants_binary_ = false;
};

}  // namespace mainspring::front

#endif  // MAINSPRING_SRC_FRONT_INFER_ENVELOPE_H_
