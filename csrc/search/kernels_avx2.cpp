// The search's kernels for x86-64 with AVX2 and FMA.
#include "kernels.h"

#include <immintrin.h>

#define ELMAN_LANES 8
#define ELMAN_MASK(a, b) static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)(a), (__m256)(b), _CMP_GT_OQ)))

namespace elman {
namespace avx2 {
namespace {
#include "../simd/vector.h"
#include "extend.h"
#include "largest.h"
}  // namespace

extern const SearchKernels search_kernels;
const SearchKernels search_kernels = {"avx2", softmax, extend, enter, largest};

}  // namespace avx2
}  // namespace elman
