// Dropout for x86-64 with AVX2.
#include "dropout.h"

#define ELMAN_LANES 8

namespace elman {
namespace avx2 {
namespace {
#include "../simd/vector.h"
#include "rows.h"
}  // namespace

extern const DropoutKernels dropout_kernels;
const DropoutKernels dropout_kernels = {"avx2", drop_rows};

}  // namespace avx2
}  // namespace elman
