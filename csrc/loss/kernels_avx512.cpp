// The loss of symbols for x86-64 with AVX-512.
#include "loss.h"

#define ELMAN_LANES 16

namespace elman {
namespace avx512 {
namespace {
#include "../simd/vector.h"
#include "rows.h"
}  // namespace

extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {"avx512", loss_rows};

}  // namespace avx512
}  // namespace elman
