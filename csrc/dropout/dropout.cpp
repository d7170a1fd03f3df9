// Dropout as its caller sees it: the choice of an instruction set, and rows for each thread.
#include "dropout.h"

#include <algorithm>

#include "../machine/instructions.h"
#include "../machine/threads.h"

namespace elman {

ELMAN_DECLARED(DropoutKernels, dropout_kernels)

namespace {

const std::vector<const DropoutKernels*>& versions() {
    static const std::vector<const DropoutKernels*> known = usable<DropoutKernels>({ELMAN_LISTED(dropout_kernels)});
    return known;
}

}  // namespace

std::vector<std::string> dropout_names() { return names_of(versions()); }

void dropout(const Dropout& call, int threads, const std::string& name) {
    const DropoutKernels& kernels = choose(versions(), name);
    const int count = int(std::clamp<std::ptrdiff_t>(call.rows, 1, std::max(1, threads)));
    in_parallel(count, [&](int thread, Barrier&) {
        kernels.rows(call, call.rows * thread / count, call.rows * (thread + 1) / count);
    });
}

}  // namespace elman
