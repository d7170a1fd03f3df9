#include "instructions.h"

namespace elman {

// The operating system's consent to the wider registers is part of what __builtin_cpu_supports asks.
bool machine_has(Instructions set) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (set == Instructions::AVX512VNNI)
        return machine_has(Instructions::AVX512) && __builtin_cpu_supports("avx512vnni");
    if (set == Instructions::AVX512_BF16)
        return machine_has(Instructions::AVX512) && __builtin_cpu_supports("avx512bf16");
    if (set == Instructions::AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512cd");
    if (set == Instructions::AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
#endif
    return set == Instructions::BASELINE;
}

}  // namespace elman
