// The choice of a symbol from logits: elman.search.sampling in float32, with sums in float64.
#pragma once

#include <cstdint>
#include <vector>

#include "net.h"

namespace elman {

struct Choice {
    int id;  // -1: the logits are not finite
    double log_prob;
};

// logits and weight hold whole vectors, the logits' padding -inf. `room` is kept by the caller from call to call.
Choice choose_symbol(const StreamKernels& kernels, const float* logits, float* weight, int count, double temperature,
                     std::int64_t top_k, double top_p, double uniform, std::vector<int>& room);

}  // namespace elman
