// The scan's kernels for x86-64 with AVX-512.
#include "plan.h"

#define ELMAN_LANES 16
#define ELMAN_REGISTERS 32

namespace elman {
namespace avx512 {
namespace {
constexpr bool HALF = false;
#include "../simd/vector.h"
#include "words.h"
#include "tile.h"
#include "program.h"
#include "worker.h"
}  // namespace

extern const Kernels kernels;
const Kernels kernels = {"avx512", L, packed_size, layout, pack, lift, forward, backward, merge, gradients,
                         projection_scratch, project, peak};

}  // namespace avx512
}  // namespace elman
