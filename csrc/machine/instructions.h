// Which instruction sets the running machine has, and the choice among the versions of a family of kernels.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace elman {

enum class Instructions { AVX512_BF16, AVX512VNNI, AVX512, AVX2, BASELINE };

bool machine_has(Instructions set);

// Those of a family's versions (widest first, each with a `name`) that can run here.
template <class Kernels>
std::vector<const Kernels*> usable(std::initializer_list<std::pair<Instructions, const Kernels*>> built) {
    std::vector<const Kernels*> found;
    for (const auto& [set, kernels] : built)
        if (machine_has(set)) found.push_back(kernels);
    return found;
}

// The version of that name; the widest where it is "" (elman.kernels refuses other names).
template <class Kernels>
const Kernels& choose(const std::vector<const Kernels*>& versions, const std::string& name) {
    for (const Kernels* kernels : versions)
        if (name == kernels->name) return *kernels;
    return *versions.front();
}

}  // namespace elman
