// The loss of symbols against their logits, with label smoothing, and its gradient, in one pass over the rows.
//
//     nats = ln Z - z_y      spread = ln Z - mean_k z_k      Z = sum_k exp(z_k)
//     gradient_k = scale (exp(z_k) / Z - (1 - e) [k = y] - e / V)
//
// Shapes: rows P, symbols V; logits and gradient (P, V), both float32 or both bfloat16, contiguous; targets (P,) int64;
// nats and spread (P,) float64. Nothing is checked here: elman.models.symbol_loss validates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace elman {

struct SymbolLoss {
    const void* logits;
    void* gradient;  // or null
    const std::int64_t* targets;
    double *nats, *spread;
    std::ptrdiff_t rows;
    int symbols;
    bool half;  // bfloat16
    float smoothing, scale;
};

// One instruction set's way of doing rows begin .. end. scratch: as many floats as symbols, up to
// whole vectors, aligned.
struct LossKernels {
    const char* name;
    void (*rows)(const SymbolLoss& call, std::ptrdiff_t begin, std::ptrdiff_t end, float* scratch);
};

// The instruction sets that this module was built for and the running machine has, widest first.
std::vector<std::string> loss_names();

// kernels: the name of an instruction set, or "" for the widest that there is. Throws std::bad_alloc.
void symbol_loss(const SymbolLoss& call, int threads, const std::string& kernels);

}  // namespace elman
