// The loss of symbols as its caller sees it: the choice of an instruction set, and rows for each thread.
#include "loss.h"

#include <algorithm>

#include "../machine/instructions.h"
#include "../machine/storage.h"
#include "../machine/threads.h"

namespace elman {

ELMAN_DECLARED(LossKernels, loss_kernels)

namespace {

const std::vector<const LossKernels*>& versions() {
    static const std::vector<const LossKernels*> known = usable<LossKernels>({ELMAN_LISTED(loss_kernels)});
    return known;
}

}  // namespace

std::vector<std::string> loss_names() { return names_of(versions()); }

void symbol_loss(const SymbolLoss& call, int threads, const std::string& name) {
    const LossKernels& kernels = choose(versions(), name);
    const int count = int(std::clamp<std::ptrdiff_t>(call.rows, 1, std::max(1, threads)));
    const std::ptrdiff_t width = (std::ptrdiff_t(call.symbols) + 15) / 16 * 16;
    const Buffer scratch(count * width);
    in_parallel(count, [&](int thread, Barrier&) {
        kernels.rows(call, call.rows * thread / count, call.rows * (thread + 1) / count, scratch.at + thread * width);
    });
}

}  // namespace elman
