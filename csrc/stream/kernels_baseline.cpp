// The streams' kernels for what every 64-bit machine has: SSE2, or NEON.
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "net.h"

#define ELMAN_LANES 4
#if defined(__aarch64__)
#define ELMAN_REGISTERS 32
#else
#define ELMAN_REGISTERS 16
#endif

namespace elman {
namespace baseline {
namespace {
#include "../simd/vector.h"
#include "../scan/program.h"
#include "product.h"
#include "step.h"
}  // namespace

extern const StreamKernels stream_kernels;
const StreamKernels stream_kernels = {"baseline", L, packed_bytes, pack, step, help, weigh, pick};

}  // namespace baseline
}  // namespace elman
