// A small network's forward pass, written once and compiled per target. The unit includes a simd/*-inl.h
// first and says how large its tiles are.
//
// Lanes are outputs, so a lane's sum knows nothing of the lanes beside it and all targets add in one order;
// one row runs as many sums at once as hide the latency of an addition, a batch six rows by two or four
// vectors.

#ifndef MAINSPRING_SRC_MLP_MLP_INL_H_
#define MAINSPRING_SRC_MLP_MLP_INL_H_

#include <stddef.h>

#include "mainspring/math/activation-inl.h"
#include "mlp_kernels.h"

namespace {

typedef struct MainspringMlpLayer Layer;
constexpr size_t kPack = 16;
constexpr size_t kVectorsOfPack = kPack / kLanes;

MAINSPRING_INLINE Vec Activate(Vec x, int activation) {
  switch (activation) {
    case kMainspringMlpRelu:
      return Max(Set1(0.0f), x);  // in this order: a NaN passes
    case kMainspringMlpGelu:
      return Gelu(x);
    case kMainspringMlpSilu:
      return Silu(x);
    case kMainspringMlpTanh:
      return Tanh(x);
    case kMainspringMlpSigmoid:
      return Sigmoid(x);
    default:
      return x;
  }
}

MAINSPRING_INLINE const float* WeightsOf(const Layer* layer, size_t vector) {
  return layer->weights + vector / kVectorsOfPack * layer->inputs * kPack + vector % kVectorsOfPack * kLanes;
}

// One row, kVectors vectors of outputs from `first` on, kSegments sums of each at once.
template <size_t kVectors, size_t kSegments>
MAINSPRING_INLINE void RowTile(const Layer* layer, const float* x, size_t first, float* out) {
  const size_t length = (layer->inputs + kSegments - 1) / kSegments;
  const size_t last = layer->inputs - (kSegments - 1) * length;
  const float* w[kVectors];
  Vec sum[kSegments][kVectors];
  for (size_t v = 0; v < kVectors; ++v) {
    w[v] = WeightsOf(layer, first + v);
    for (size_t s = 0; s < kSegments; ++s) sum[s][v] = Set1(0.0f);
    sum[0][v] = Load(layer->bias + (first + v) * kLanes);
  }
  for (size_t i = 0; i < last; ++i) {
    for (size_t s = 0; s < kSegments; ++s) {
      const Vec one = Set1(x[s * length + i]);
      for (size_t v = 0; v < kVectors; ++v) {
        sum[s][v] = MulAdd(one, Load(w[v] + (s * length + i) * kPack), sum[s][v]);
      }
    }
  }
  for (size_t i = last; i < length; ++i) {
    for (size_t s = 0; s + 1 < kSegments; ++s) {
      const Vec one = Set1(x[s * length + i]);
      for (size_t v = 0; v < kVectors; ++v) {
        sum[s][v] = MulAdd(one, Load(w[v] + (s * length + i) * kPack), sum[s][v]);
      }
    }
  }
  for (size_t v = 0; v < kVectors; ++v) {
    Vec total = sum[0][v];
    for (size_t s = 1; s < kSegments; ++s) total = Add(total, sum[s][v]);
    Store(total, out + (first + v) * kLanes);
  }
}

template <size_t kVectors, size_t kSegments>
MAINSPRING_INLINE void Row(const Layer* layer, const float* x, size_t vectors, float* out) {
  size_t v = 0;
  for (; v + kVectors <= vectors; v += kVectors) RowTile<kVectors, kSegments>(layer, x, v, out);
  for (; v < vectors; ++v) RowTile<1, kSegments>(layer, x, v, out);
}

static void OneRow(const Layer* layer, const float* x, size_t vectors, float* out) {
  switch (layer->segments) {
    case 4:
      return Row<2, 4>(layer, x, vectors, out);
    case 2:
      return Row<4, 2>(layer, x, vectors, out);
    default:
      return Row<8, 1>(layer, x, vectors, out);
  }
}

// kRows rows, kVectors vectors of outputs from `first` on, one segment after the other.
template <size_t kRows, size_t kVectors>
MAINSPRING_INLINE void BatchTile(const Layer* layer, const float* x, size_t stride, size_t first,
                                 float* out) {
  const float* w[kVectors];
  for (size_t v = 0; v < kVectors; ++v) w[v] = WeightsOf(layer, first + v);
  const size_t length = (layer->inputs + layer->segments - 1) / layer->segments;
  for (size_t begin = 0, s = 0; s < layer->segments; begin += length, ++s) {
    const size_t end = s + 1 == layer->segments ? layer->inputs : begin + length;
    Vec sum[kRows][kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
      const Vec start = s == 0 ? Load(layer->bias + (first + v) * kLanes) : Set1(0.0f);
      for (size_t r = 0; r < kRows; ++r) sum[r][v] = start;
    }
    for (size_t i = begin; i < end; ++i) {
      Vec weight[kVectors];
      for (size_t v = 0; v < kVectors; ++v) weight[v] = Load(w[v] + i * kPack);
      for (size_t r = 0; r < kRows; ++r) {
        const Vec one = Set1(x[r * stride + i]);
        for (size_t v = 0; v < kVectors; ++v) sum[r][v] = MulAdd(one, weight[v], sum[r][v]);
      }
    }
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t v = 0; v < kVectors; ++v) {
        float* const to = out + r * stride + (first + v) * kLanes;
        Store(s == 0 ? sum[r][v] : Add(Load(to), sum[r][v]), to);
      }
    }
  }
}

static void Batch(const Layer* layer, const float* x, size_t stride, size_t n_rows, size_t vectors,
                  float* out) {
  size_t r = 0;
  for (; r + kTileRows <= n_rows; r += kTileRows) {
    size_t v = 0;
    for (; v + kTileVectors <= vectors; v += kTileVectors) {
      BatchTile<kTileRows, kTileVectors>(layer, x + r * stride, stride, v, out + r * stride);
    }
    for (; v < vectors; ++v) BatchTile<kTileRows, 1>(layer, x + r * stride, stride, v, out + r * stride);
  }
  for (; r < n_rows; ++r) OneRow(layer, x + r * stride, vectors, out + r * stride);
}

static void Narrow(const Layer* layer, const float* x, float* out) {
  const size_t padded = (layer->inputs + kPack - 1) / kPack * kPack;
  for (size_t j = 0; j < layer->outputs; ++j) {
    const float* const w = layer->weights + j * padded;
    Vec sum[kVectorsOfPack];
    for (size_t v = 0; v < kVectorsOfPack; ++v) sum[v] = Set1(0.0f);
    for (size_t i = 0; i < padded; i += kPack) {
      for (size_t v = 0; v < kVectorsOfPack; ++v) {
        sum[v] = MulAdd(Load(x + i + v * kLanes), Load(w + i + v * kLanes), sum[v]);
      }
    }
    out[j] = HexSum(JoinHex(sum)) + layer->bias[j];
  }
}

// n values.
static void ActivateAll(float* x, size_t n, int activation) {
  if (activation == kMainspringMlpIdentity) return;
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) Store(Activate(Load(x + i), activation), x + i);
  if (i < n) StoreFirst(Activate(LoadFirst(x + i, n - i), activation), x + i, n - i);
}

MAINSPRING_INLINE void Forward(const struct MainspringMlpArgs* args) {
  float *from = args->input, *to = args->other;
  const size_t stride = args->stride, n_rows = args->n_rows;
  const Layer* layer = args->layers;
  for (size_t l = 0; l < args->n_layers; ++l, ++layer) {
    const size_t padded = (layer->outputs + kPack - 1) / kPack * kPack;
    if (layer->is_narrow) {
      for (size_t r = 0; r < n_rows; ++r) {
        float* const row = to + r * stride;
        for (size_t i = 0; i < kPack; ++i) row[i] = 0.0f;
        Narrow(layer, from + r * stride, row);
      }
    } else if (n_rows == 1) {
      OneRow(layer, from, padded / kLanes, to);
    } else {
      Batch(layer, from, stride, n_rows, padded / kLanes, to);
    }
    float* const swap = from;
    from = to;
    to = swap;
    if (l + 1 == args->n_layers) break;
    // What is beyond the outputs has no weights and no bias: finite after any activation.
    for (size_t r = 0; r < n_rows; ++r) ActivateAll(from + r * stride, padded, layer->activation);
  }
  layer = args->layers + (args->n_layers - 1);
  const size_t width = layer->outputs;
  for (size_t r = 0; r < n_rows; ++r) {
    for (size_t j = 0; j < width; ++j) args->out[r * width + j] = from[r * stride + j];
  }
  if (args->addend != 0) {
    for (size_t i = 0; i < n_rows * width; ++i) args->out[i] += args->addend[i];
  }
  ActivateAll(args->out, n_rows * width, layer->activation);
}

}  // namespace

#endif  // MAINSPRING_SRC_MLP_MLP_INL_H_
