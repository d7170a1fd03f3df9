// The search's kernels for x86-64 with AVX-512.
#include "kernels.h"

#include <immintrin.h>

#define ELMAN_LANES 16
#define ELMAN_MASK(a, b) static_cast<uint32_t>(_mm512_cmp_ps_mask((__m512)(a), (__m512)(b), _CMP_GT_OQ))
#define ELMAN_EXPAND(mask, from) (V) _mm512_maskz_expand_ps(static_cast<__mmask16>(mask), _mm512_loadu_ps(from))

namespace elman {
namespace avx512 {
namespace {
#include "../simd/vector.h"
#include "extend.h"
#include "largest.h"
}  // namespace

extern const SearchKernels search_kernels;
const SearchKernels search_kernels = {"avx512", softmax, extend, enter, largest};

}  // namespace avx512
}  // namespace elman
