// The border between dispatch and the units of each instruction set: plain C, so that nothing inline or
// templated can cross it.

#ifndef MAINSPRING_SRC_MLP_MLP_KERNELS_H_
#define MAINSPRING_SRC_MLP_MLP_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum MainspringMlpActivation {
  kMainspringMlpIdentity = 0,
  kMainspringMlpRelu = 1,
  kMainspringMlpGelu = 2,
  kMainspringMlpSilu = 3,
  kMainspringMlpTanh = 4,
  kMainspringMlpSigmoid = 5,
};

// Sums of one output are made in `segments` runs of the inputs, each from its first input to its last by
// fused multiply-adds, the first from the bias on, the others from 0; then the runs are added in their order.
// Where `is_narrow` (fewer than 8 outputs) input i goes to the sum i mod 16; those sixteen are added by
// halves (i and i + 8, i and i + 4, ...), then the bias.
struct MainspringMlpLayer {
  size_t inputs, outputs;
  int is_narrow;
  size_t segments;
  int activation;
  const float* weights;  // [outputs / 16][inputs][16], or [outputs][inputs padded to 16] where narrow
  const float* bias;     // padded to 16
};

// Buffers are n_rows x stride floats; `stride` is a multiple of 16 and no width exceeds it.
struct MainspringMlpArgs {
  const struct MainspringMlpLayer* layers;
  size_t n_layers;
  size_t n_rows;
  size_t stride;
  float* input;         // the rows, zeros from the inputs to the next multiple of 16; written over
  float* other;         // room
  const float* addend;  // n_rows x outputs of the last layer, added before its activation; or NULL
  float* out;           // n_rows x outputs of the last layer
};

void MainspringMlpGeneric(const struct MainspringMlpArgs* args);
void MainspringMlpAvx2(const struct MainspringMlpArgs* args);
void MainspringMlpAvx512(const struct MainspringMlpArgs* args);

#ifdef __cplusplus
}
#endif

#endif  // MAINSPRING_SRC_MLP_MLP_KERNELS_H_
