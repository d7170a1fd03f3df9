// The chain's kernels for x86-64 with AVX2 and FMA.
#include "call.h"

#define ELMAN_LANES 8

namespace elman {
namespace chain {
namespace avx2 {
namespace {
using std::ptrdiff_t;
#include "../simd/vector.h"
#include "widths.h"
#include "sums.h"
#include "best.h"
}  // namespace

extern const Kernels kernels;
const Kernels kernels = {"avx2", L, prepare, forward, backward, viterbi};

}  // namespace avx2
}  // namespace chain
}  // namespace elman
