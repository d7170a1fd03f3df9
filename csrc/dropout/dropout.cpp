// Dropout as its caller sees it: the choice of an instruction set, and rows for each thread.
#include "dropout.h"

#include <algorithm>

#include "../machine/instructions.h"
#include "../machine/threads.h"

namespace elman {

namespace baseline { extern const DropoutKernels dropout_kernels; }
#if defined(ELMAN_HAS_AVX2)
namespace avx2 { extern const DropoutKernels dropout_kernels; }
#endif
#if defined(ELMAN_HAS_AVX512)
namespace avx512 { extern const DropoutKernels dropout_kernels; }
#endif

void dropout(const Dropout& call, int threads, const std::string& name) {
    static const std::vector<const DropoutKernels*> known = usable<DropoutKernels>({
#if defined(ELMAN_HAS_AVX512)
        {Instructions::AVX512, &avx512::dropout_kernels},
#endif
#if defined(ELMAN_HAS_AVX2)
        {Instructions::AVX2, &avx2::dropout_kernels},
#endif
        {Instructions::BASELINE, &baseline::dropout_kernels},
    });
    const DropoutKernels& kernels = choose(known, name);
    const int count = int(std::clamp<std::ptrdiff_t>(call.rows, 1, std::max(1, threads)));
    in_parallel(count, [&](int thread, Barrier&) {
        kernels.rows(call, call.rows * thread / count, call.rows * (thread + 1) / count);
    });
}

}  // namespace elman
