#include "mainspring/simd/avx512-inl.h"
#include "trees_kernels.h"

namespace {
// left & kept where x > threshold: never for a NaN.
MAINSPRING_INLINE IVec KeepWhereGreater(Vec x, Vec threshold, IVec kept, IVec left) {
  return _mm512_mask_and_epi32(left, _mm512_cmp_ps_mask(x, threshold, _CMP_GT_OQ), left, kept);
}

constexpr size_t kShare = kMainspringTreesAvx512Share;
typedef struct {
  Vec low, high;
} Window;
MAINSPRING_INLINE Window LoadWindow(const float* slots) { return Window{Load(slots), Load(slots + kLanes)}; }
MAINSPRING_INLINE Vec LookUp(Window window, IVec places) {
  return _mm512_permutex2var_ps(window.low, places, window.high);
}

// Values are looked up by permutations of registers: gathers are no faster here, and much slower on Zen 4.
MAINSPRING_INLINE __m512d LookUpDoubles(const __m512d* values, __m512i at) {
  const __m512d low = _mm512_permutex2var_pd(values[0], at, values[1]);
  const __m512d high = _mm512_permutex2var_pd(values[2], at, values[3]);
  return _mm512_mask_blend_pd(_mm512_test_epi64_mask(at, _mm512_set1_epi64(16)), low, high);
}
template <size_t kWords>
MAINSPRING_INLINE void AddEight(const __m512d* values, __m256i leaves, double* sums) {
  const __m512i at = _mm512_cvtepu32_epi64(leaves);
  __m512d found = LookUpDoubles(values, at);
  if (kWords == 2) {
    const __mmask8 is_high = _mm512_test_epi64_mask(at, _mm512_set1_epi64(kMainspringTreesWordLeaves));
    found = _mm512_mask_blend_pd(is_high, found, LookUpDoubles(values + 4, at));
  }
  _mm512_storeu_pd(sums, _mm512_add_pd(_mm512_loadu_pd(sums), found));
}
template <size_t kWords, size_t kVectors>
MAINSPRING_INLINE void AddValues(const double* values, const IVec* leaves, double* sums) {
  __m512d table[4 * kWords];
  for (size_t i = 0; i < 4 * kWords; ++i) table[i] = _mm512_loadu_pd(values + 8 * i);
  for (size_t v = 0; v < kVectors; ++v) {
    AddEight<kWords>(table, _mm512_castsi512_si256(leaves[v]), sums + v * kLanes);
    AddEight<kWords>(table, _mm512_extracti64x4_epi64(leaves[v], 1), sums + v * kLanes + 8);
  }
}
template <size_t kWords, size_t kVectors>
MAINSPRING_INLINE void AddValues(const float* values, const IVec* leaves, float* sums) {
  Vec table[2 * kWords];
  for (size_t i = 0; i < 2 * kWords; ++i) table[i] = Load(values + kLanes * i);
  for (size_t v = 0; v < kVectors; ++v) {
    Vec found = _mm512_permutex2var_ps(table[0], leaves[v], table[1]);
    if (kWords == 2) {
      const Vec high = _mm512_permutex2var_ps(table[kWords], leaves[v], table[2 * kWords - 1]);
      found = Select(_mm512_test_epi32_mask(leaves[v], ISet1(kMainspringTreesWordLeaves)), high, found);
    }
    Store(Add(Load(sums + v * kLanes), found), sums + v * kLanes);
  }
}
}  // namespace

#define MAINSPRING_TREES_HAS_ADD_VALUES
#define MAINSPRING_TREES_HAS_GROUPS
#include "trees-inl.h"

extern "C" void MainspringTreesGroupAvx512(const struct MainspringTreesPart* parts, size_t words,
                                           const float* slots, uint32_t* leaves) {
  Group(parts, words, slots, leaves);
}
extern "C" void MainspringTreesBlockAvx512(const struct MainspringTreesBlock* block) { Block(block); }
