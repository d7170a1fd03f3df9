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

// A family has one object of type Kernels of the same name in the namespace of each instruction set that is built.
// ELMAN_DECLARED declares them, ELMAN_LISTED is what `usable` is given of them, widest first.
#if defined(ELMAN_HAS_AVX2)
#define ELMAN_WITH_AVX2(...) __VA_ARGS__
#else
#define ELMAN_WITH_AVX2(...)
#endif
#if defined(ELMAN_HAS_AVX512)
#define ELMAN_WITH_AVX512(...) __VA_ARGS__
#else
#define ELMAN_WITH_AVX512(...)
#endif
#define ELMAN_DECLARED(Kernels, object)                                \
    namespace baseline { extern const Kernels object; }                \
    ELMAN_WITH_AVX2(namespace avx2 { extern const Kernels object; })   \
    ELMAN_WITH_AVX512(namespace avx512 { extern const Kernels object; })
#define ELMAN_LISTED(object)                                        \
    ELMAN_WITH_AVX512({Instructions::AVX512, &avx512::object}, )    \
    ELMAN_WITH_AVX2({Instructions::AVX2, &avx2::object}, )          \
    {Instructions::BASELINE, &baseline::object}

// What versions are called, in their order.
template <class Kernels>
std::vector<std::string> names_of(const std::vector<const Kernels*>& versions) {
    std::vector<std::string> names;
    for (const Kernels* kernels : versions) names.emplace_back(kernels->name);
    return names;
}

// The version of that name; the widest where it is "" (elman.kernels refuses other names).
template <class Kernels>
const Kernels& choose(const std::vector<const Kernels*>& versions, const std::string& name) {
    for (const Kernels* kernels : versions)
        if (name == kernels->name) return *kernels;
    return *versions.front();
}

}  // namespace elman
