// The scan's kernels for x86-64 with AVX2 and FMA.
#include "plan.h"

#define ELMAN_LANES 8
#define ELMAN_REGISTERS 16

namespace elman {
namespace avx2 {
namespace {
constexpr bool HALF = false;
#include "../simd/vector.h"
#include "words.h"
#include "tile.h"
#include "program.h"
#include "worker.h"
}  // namespace

extern const Kernels kernels;
const Kernels kernels = {"avx2", L, packed_size, layout, pack, lift, forward, backward, merge, gradients,
                         projection_scratch, project, peak};

}  // namespace avx2
}  // namespace elman
