// What ctc.cpp asks of each instruction set's version.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ctc.h"

namespace elman::ctc {

// Consecutive sequences whose recursions are taken step by step together, so that one fills the other's waits.
struct Span {
    std::ptrdiff_t first, count;
};

struct Kernels {
    const char* name;
    int lanes;
    // Bytes of storage, aligned to 64, that a call needs.
    std::size_t (*loss_storage)(const Batch&, Span);
    void (*loss)(const Batch&, Span, char* storage);
    std::size_t (*align_storage)(const Batch&, std::ptrdiff_t sequence);
    void (*align)(const Batch&, std::ptrdiff_t sequence, char* storage);
};

}  // namespace elman::ctc
