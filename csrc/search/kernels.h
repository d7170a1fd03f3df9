// The two loops of the prefix beam search that vectors pay for, once for each instruction set.
#pragma once

#include <cstdint>

namespace elman {

struct SearchKernels {
    const char* name;
    // y = exp(x - max x) / sum; returns ln(sum) + max. `padded` floats of both may be read and written; those of y past
    // `count` become zero.
    double (*softmax)(const float* x, int count, float* y, int padded);
    // Appends to `keys` each product mass * y[j] (* row[j]) above `least` whose bit j in `skip` is clear, as the bits of
    // the float above `base + codes[j]`; returns how many. `padded` is a multiple of 16; row may be null.
    int (*extend)(const float* y, const float* row, const std::uint32_t* codes, int padded, float mass, float least,
                  const std::uint64_t* skip, std::uint32_t base, std::uint64_t* keys);
};

constexpr int SEARCH_PADDING = 16;

}  // namespace elman
