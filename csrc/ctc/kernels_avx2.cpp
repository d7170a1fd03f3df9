// CTC's kernels for x86-64 with AVX2.
#include <immintrin.h>

#include <utility>

#include "kernels.h"

#define ELMAN_LANES 8

namespace elman::ctc {
namespace avx2 {
namespace {
#include "../simd/vector.h"
#include "numbers.h"
#include "lanes.h"
#include "span.h"
#include "emissions.h"
#include "recursion.h"
#include "gradient.h"
#include "loss.h"
#include "align.h"
}  // namespace

extern const Kernels kernels;
const Kernels kernels = {"avx2", L, loss_storage, loss_of_span, align_storage, align_sequence};

}  // namespace avx2
}  // namespace elman::ctc
