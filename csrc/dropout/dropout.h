// Dropout whose masks are functions of places: the twin of elman.counter.dropout, bit for bit.
//
//     target[t, n, u] = values[t, n, u] * (bits(key, n, steps[t, n], u) >> 8 >= threshold ? scale : 0)
//
// Shapes: rows T * N, `batch` N, units H; values and target (T, N, H) float32, steps (T, N) int64, contiguous; target
// may be values. Nothing is checked here: elman.counter validates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace elman {

struct Dropout {
    const float* values;
    float* target;
    const std::int64_t* steps;
    std::ptrdiff_t rows;
    int batch, units;
    std::uint32_t key;        // both words of the key, mixed
    std::uint32_t threshold;  // of 2^24
    float scale;
};

// One instruction set's way of doing rows begin .. end.
struct DropoutKernels {
    const char* name;
    void (*rows)(const Dropout& call, std::ptrdiff_t begin, std::ptrdiff_t end);
};

// The instruction sets that this module was built for and the running machine has, widest first.
std::vector<std::string> dropout_names();

// kernels: the name of an instruction set, or "" for the widest that there is.
void dropout(const Dropout& call, int threads, const std::string& kernels);

}  // namespace elman
