// What the calls of the scan and those of a stepper have in common: the rows of a batch, where the weights of a plan go,
// the versions of the kernels. For what is compiled once for every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../machine/instructions.h"
#include "plan.h"
#include "scan.h"

namespace elman {

// The versions that can run here, widest first; half: with products of bfloat16.
const std::vector<const Kernels*>& scan_versions(bool half);

struct ShareStore {
    std::vector<int> element, live;
    std::vector<std::ptrdiff_t> start, start_state;
    std::ptrdiff_t first = 0, first_state = 0;
};

struct Rows {
    int lanes = 0, threads = 0, time = 0, batch = 0;
    std::ptrdiff_t rows = 0, state_rows = 0;
    std::vector<ShareStore> store;
    std::vector<Share> share;
    std::vector<std::int32_t> outside;
};

// Longest first, dealt to the threads in turn: each has the same work to within one sequence.
Rows rows_of(const Batch& batch);

// Where a plan's weights, vectors of parameters and constants stand in one array, as the kernels read them.
struct Arranged {
    std::vector<std::ptrdiff_t> packed_at, param_at;
    std::ptrdiff_t params = 0, constants = 0, floats = 0;

    Arranged() = default;
    Arranged(const Plan& plan, const Kernels& kernels, bool backward);
    void place(Call& call, float* at) const;
};

// A stride between unit blocks that does not send their rows to the same places of a cache.
inline std::ptrdiff_t stride_for(std::ptrdiff_t rows) { return (rows + 31) / 64 * 64 + 33; }

inline std::ptrdiff_t padded(int width, int lanes) { return (width + lanes - 1) / lanes * lanes; }

template <class T>
std::vector<T*> pointers(const Pointers& numbers) {
    std::vector<T*> found;
    for (std::uintptr_t number : numbers) found.push_back(reinterpret_cast<T*>(number));
    return found;
}

}  // namespace elman
