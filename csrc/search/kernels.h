// The loops of the beam searches that vectors pay for, once for each instruction set.
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
    // The same for a node of a lexicon, whose children have the labels of the bits in `children` and, in their order,
    // the `factors`, none above 1: for those that are also bits of `open`. 16 factors past the last are read. y is that
    // of all classes, at most 64.
    int (*enter)(const float* y, int classes, std::uint64_t children, std::uint64_t open, const float* factors,
                 float mass, float least, std::uint32_t base, std::uint64_t* keys);
    // The `keep` largest of x in order, of equal ones the first first, and their places; returns ln(sum of exp(x)).
    double (*largest)(const float* x, int count, int keep, float* value, int* place);
};

constexpr int SEARCH_PADDING = 16;

}  // namespace elman
