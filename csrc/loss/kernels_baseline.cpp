// The loss of symbols for what every 64-bit machine has: SSE2, or NEON.
#include "loss.h"

#define ELMAN_LANES 4

namespace elman {
namespace baseline {
namespace {
#include "../simd/vector.h"
#include "rows.h"
}  // namespace

extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {"baseline", loss_rows};

}  // namespace baseline
}  // namespace elman
