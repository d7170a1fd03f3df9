// CTC's kernels for x86-64 with AVX-512.
#include <immintrin.h>

#include <utility>

#include "kernels.h"

#define ELMAN_LANES 16

namespace elman::ctc {
namespace avx512 {
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
const Kernels kernels = {"avx512", L, loss_storage, loss_of_span, align_storage, align_sequence};

}  // namespace avx512
}  // namespace elman::ctc
