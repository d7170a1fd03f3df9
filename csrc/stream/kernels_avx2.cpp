// The streams' kernels for x86-64 with AVX2 and FMA.
#include <immintrin.h>

#include "net.h"

#define ELMAN_LANES 8
#define ELMAN_REGISTERS 16

namespace elman {
namespace avx2 {
namespace {
#include "../simd/vector.h"
#include "../scan/program.h"
#include "product.h"
#include "step.h"
}  // namespace

extern const StreamKernels stream_kernels;
const StreamKernels stream_kernels = {"avx2", L, packed_bytes, pack, step, help, weigh, pick};

}  // namespace avx2
}  // namespace elman
