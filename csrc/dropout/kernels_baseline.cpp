// Dropout for what every 64-bit machine has: SSE2, or NEON.
#include "dropout.h"

#define ELMAN_LANES 4

namespace elman {
namespace baseline {
namespace {
#include "../simd/vector.h"
#include "rows.h"
}  // namespace

extern const DropoutKernels dropout_kernels;
const DropoutKernels dropout_kernels = {"baseline", drop_rows};

}  // namespace baseline
}  // namespace elman
