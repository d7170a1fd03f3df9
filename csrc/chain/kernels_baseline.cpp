// The chain's kernels for what every 64-bit machine has: SSE2, or NEON.
#include "call.h"


#define ELMAN_LANES 4

namespace elman {
namespace chain {
namespace baseline {
namespace {
using std::ptrdiff_t;
#include "../simd/vector.h"
#include "widths.h"
#include "sums.h"
#include "best.h"
}  // namespace

extern const Kernels kernels;
const Kernels kernels = {"baseline", L, prepare, forward, backward, viterbi};

}  // namespace baseline
}  // namespace chain
}  // namespace elman
