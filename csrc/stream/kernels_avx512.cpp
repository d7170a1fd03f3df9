// The streams' kernels for x86-64 with AVX-512.
#include <immintrin.h>

#include "net.h"

#define ELMAN_LANES 16
#define ELMAN_REGISTERS 32

namespace elman {
namespace avx512 {
namespace {
#include "../simd/vector.h"
#include "../scan/program.h"
#include "product.h"
#include "step.h"
}  // namespace

extern const StreamKernels stream_kernels;
const StreamKernels stream_kernels = {"avx512", L, packed_bytes, pack, step, help, weigh, pick};

}  // namespace avx512
}  // namespace elman
