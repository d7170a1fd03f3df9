// CTC's kernels for what every 64-bit machine has: SSE2, or NEON.
#include <utility>

#include "kernels.h"

#define ELMAN_LANES 4

namespace elman::ctc {
namespace baseline {
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
const Kernels kernels = {"baseline", L, loss_storage, loss_of_span, align_storage, align_sequence};

}  // namespace baseline
}  // namespace elman::ctc
