// The border between dispatch and the units of each instruction set: plain C.
//
// Values of any type and width are 32-bit words here: a value is `words` of them, a row of the padded matrix
// `width`. Both kernels trust the offsets; jagged.cc has checked them.

#ifndef MAINSPRING_SRC_JAGGED_JAGGED_KERNELS_H_
#define MAINSPRING_SRC_JAGGED_JAGGED_KERNELS_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct MainspringJaggedArgs {
  uint32_t* values;      // written by Unpad, else read
  size_t n_words;        // of values: none is touched after them
  const void* offsets;   // n_rows + 1, in values
  int has_wide_offsets;  // int64 rather than int32
  size_t n_rows;
  size_t words;         // of one value
  uint32_t* dense;      // n_rows x width; written by Pad, else read
  size_t width;         // a multiple of `words`
  uint32_t padding[2];  // of even and of odd words
  int use_streaming_stores;
};

// values -> dense. A row longer than the matrix is cut.
void MainspringJaggedPadGeneric(const struct MainspringJaggedArgs* args);
void MainspringJaggedPadAvx2(const struct MainspringJaggedArgs* args);
void MainspringJaggedPadAvx512(const struct MainspringJaggedArgs* args);

// dense -> values. A row longer than the matrix ends in padding.
void MainspringJaggedUnpadGeneric(const struct MainspringJaggedArgs* args);
void MainspringJaggedUnpadAvx2(const struct MainspringJaggedArgs* args);
void MainspringJaggedUnpadAvx512(const struct MainspringJaggedArgs* args);

#ifdef __cplusplus
}
#endif

#endif  // MAINSPRING_SRC_JAGGED_JAGGED_KERNELS_H_
