// The loss of symbols for x86-64 with AVX2.
#include "loss.h"

#define ELMAN_LANES 8

namespace elman {
namespace avx2 {
namespace {
#include "../simd/vector.h"
#include "rows.h"
}  // namespace

extern const LossKernels loss_kernels;
const LossKernels loss_kernels = {"avx2", loss_rows};

}  // namespace avx2
}  // namespace elman
