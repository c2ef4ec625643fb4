// A small JSON reader for model files: bounded in depth, size and number of values.

#ifndef MAINSPRING_SRC_TREES_JSON_H_
#define MAINSPRING_SRC_TREES_JSON_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mainspring {

inline constexpr std::size_t kMaxModelBytes = std::size_t{1} << 29;
inline constexpr std::size_t kMaxJsonDepth = 64;
// Of values that are no numbers in an array: a value takes up to a hundred times its text.
inline constexpr std::size_t kMaxJsonValues = std::size_t{1} << 22;

struct Json {
  enum class Kind { kNull, kBool, kNumber, kString, kArray, kNumbers, kObject };

  Kind kind = Kind::kNull;
  double number = 0;                                // also of a bool: 0 or 1
  std::string text;                                 // of a string
  std::vector<double> numbers;                      // of an array of numbers and bools; empty for []
  std::vector<Json> items;                          // of any other array
  std::vector<std::pair<std::string, Json>> names;  // of an object, as written

  // The member of this name, or nullptr; also where this is no object.
  const Json* Find(std::string_view name) const;
  bool Is(Kind wanted) const { return kind == wanted; }
};

// "" or what is wrong and where. NaN, Infinity and -Infinity are read as numbers, as XGBoost writes them.
std::string ReadJson(std::string_view text, Json* value);

// Something from a file as a message may show it: in backticks, short, printable ASCII.
std::string Quoted(std::string_view text);

}  // namespace mainspring

#endif  // MAINSPRING_SRC_TREES_JSON_H_
