// Small fully connected networks, with embedding tables in front: float32, one row or a batch, the same bits.

#ifndef MAINSPRING_MLP_H_
#define MAINSPRING_MLP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "mainspring/packed.h"
#include "mainspring/status.h"
#include "mainspring/target.h"

namespace mainspring {

enum class Activation : std::int32_t { kIdentity, kRelu, kGelu, kSilu, kTanh, kSigmoid };
inline constexpr std::int32_t kActivations = 6;

inline constexpr std::size_t kMaxMlpWidth = 1 << 14;
inline constexpr std::size_t kMaxMlpLayers = 64;
inline constexpr std::size_t kMaxMlpTables = 4096;

// y = activation(weights x + bias). Pointers are read while compiling, then no more.
struct MlpLayer {
  std::size_t inputs = 0, outputs = 0;
  const float* weights = nullptr;  // outputs x inputs, row-major
  const float* bias = nullptr;     // outputs; or nullptr for none
  Activation activation = Activation::kIdentity;
};

// Row ids[id_index] of `weights`, put behind the dense values; or, where it `is_added`, added to the last
// layer's sums, before its activation.
struct MlpTable {
  std::size_t id_index = 0, rows = 0, dimensions = 0;
  const float* weights = nullptr;  // rows x dimensions, row-major
  bool is_added = false;
};

struct MlpSpec {
  std::size_t dense_width = 0, n_ids = 0;
  std::vector<MlpTable> tables;  // in the order of their values
  std::vector<MlpLayer> layers;
};

struct alignas(64) MlpLanes {
  float value[16];
};

// Scratch of one run; one for each thread.
class MlpWorkspace {
 private:
  friend class Mlp;
  std::vector<MlpLanes> input, other;
  std::vector<float> addend;
};

// Immutable once compiled; Run may be called from many threads, each with a workspace of its own.
class Mlp {
 public:
  Mlp() = default;

  // status.column: the layer, or beyond the layers the table.
  static Status Compile(const MlpSpec& spec, Target target, Mlp* mlp);

  // The same network over the sealed copy `fd` of its packed weights, which other processes may have mapped;
  // see PackedMemory::MapSame. `mlp` may not be this one.
  Status Over(int fd, Mlp* mlp) const;

  // dense: n_rows x dense_width. ids: n_ids x n_rows, as a Program writes them; not read without tables.
  // out: n_rows x n_outputs, no overlap. kBadSpec with the row in `got` where an id is outside its table; out
  // is then as it was. Neither allocates nor throws; the caller's floating-point environment is put back.
  Status Run(const float* dense, const std::int32_t* ids, std::size_t n_rows, MlpWorkspace* workspace,
             float* out) const noexcept;

  MlpWorkspace MakeWorkspace() const;

  std::size_t dense_width() const { return dense_width_; }
  std::size_t n_ids() const { return n_ids_; }
  std::size_t n_outputs() const { return layers_.empty() ? 0 : layers_.back().outputs; }
  std::size_t n_weights() const { return n_weights_; }  // without the tables: multiply-adds a row
  Target target() const { return target_; }
  // Weights, biases and tables as the kernels read them, the same bytes for every target; nullptr before
  // Compile.
  const std::shared_ptr<const PackedMemory>& packed() const { return memory_; }

 private:
  // Places are in floats from the beginning of the packed memory.
  struct Layer {
    std::size_t inputs, outputs, segments;
    bool is_narrow;
    Activation activation;
    std::size_t weights_at, bias_at;
  };
  struct Table {
    std::size_t id_index, rows, dimensions;
    bool is_added;
    std::size_t weights_at;
  };

  const float* Packed() const { return reinterpret_cast<const float*>(memory_->data()); }

  Target target_ = Target::kGeneric;
  std::size_t dense_width_ = 0, n_ids_ = 0, stride_ = 0, n_weights_ = 0;
  bool has_addend_ = false;
  std::vector<Table> tables_;
  std::vector<Layer> layers_;
  std::shared_ptr<const PackedMemory> memory_;
};

}  // namespace mainspring

#endif  // MAINSPRING_MLP_H_
