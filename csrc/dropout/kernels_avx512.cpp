// Dropout for x86-64 with AVX-512.
#include "dropout.h"

#define ELMAN_LANES 16

namespace elman {
namespace avx512 {
namespace {
#include "../simd/vector.h"
#include "rows.h"
}  // namespace

extern const DropoutKernels dropout_kernels;
const DropoutKernels dropout_kernels = {"avx512", drop_rows};

}  // namespace avx512
}  // namespace elman
