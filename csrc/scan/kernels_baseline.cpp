// The scan's kernels for what every 64-bit machine has: SSE2, or NEON.
#include "plan.h"

#define ELMAN_LANES 4
#if defined(__aarch64__)
#define ELMAN_REGISTERS 32
#else
#define ELMAN_REGISTERS 16
#endif

namespace elman {
namespace baseline {
namespace {
constexpr bool HALF = false;
#include "../simd/vector.h"
#include "words.h"
#include "tile.h"
#include "program.h"
#include "worker.h"
}  // namespace

extern const Kernels kernels;
const Kernels kernels = {"baseline", L, packed_size, layout, pack, lift, forward, backward, merge, gradients,
                         projection_scratch, project, peak};

}  // namespace baseline
}  // namespace elman
