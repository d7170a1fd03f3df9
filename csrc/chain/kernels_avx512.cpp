// The chain's kernels for x86-64 with AVX-512.
#include "call.h"

#define ELMAN_LANES 16

namespace elman {
namespace chain {
namespace avx512 {
namespace {
using std::ptrdiff_t;
#include "../simd/vector.h"
#include "widths.h"
#include "sums.h"
#include "best.h"
}  // namespace

extern const Kernels kernels;
const Kernels kernels = {"avx512", L, prepare, forward, backward, viterbi};

}  // namespace avx512
}  // namespace chain
}  // namespace elman
