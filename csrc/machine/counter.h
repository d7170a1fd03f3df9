// Random numbers as functions of a key and of places: the twin of elman.counter, which says where it is from.
#pragma once

#include <cstdint>

namespace elman {

inline std::uint32_t mixed(std::uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

// counter.uniform(key, first, second): in [0, 1) on a grid of 2^-24.
inline double counter_uniform(std::uint64_t key, std::uint32_t first, std::uint32_t second) {
    const std::uint32_t start = mixed(mixed(std::uint32_t(key)) ^ std::uint32_t(key >> 32));
    return double(mixed(mixed(start ^ first) ^ second) >> 8) * 0x1p-24;
}

}  // namespace elman
