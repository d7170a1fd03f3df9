// The search's kernels for what every 64-bit machine has: SSE2, or NEON.
#include "kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define ELMAN_LANES 4
#if defined(__SSE2__)
#define ELMAN_MASK(a, b) static_cast<uint32_t>(_mm_movemask_ps(_mm_cmpgt_ps((__m128)(a), (__m128)(b))))
#else
#define ELMAN_MASK(a, b) \
    static_cast<uint32_t>((a[0] > b[0]) | (a[1] > b[1]) << 1 | (a[2] > b[2]) << 2 | (a[3] > b[3]) << 3)
#endif

namespace elman {
namespace baseline {
namespace {
#include "../simd/vector.h"
#include "extend.h"
#include "largest.h"
}  // namespace

extern const SearchKernels search_kernels;
const SearchKernels search_kernels = {"baseline", softmax, extend, enter, largest};

}  // namespace baseline
}  // namespace elman
