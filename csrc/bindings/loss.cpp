//   loss_kernels()      the versions of it that can run here, widest first
//   symbol_loss         of symbols against their logits, with its gradient (loss/loss.h)
#include "loss/loss.h"

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

void bind_loss(nb::module_& module) {
    module.def("loss_kernels", &elman::loss_names, "Versions of the loss that can run here, widest first.");
    module.def(
        "symbol_loss",
        [](std::uintptr_t logits, std::uintptr_t gradient, std::uintptr_t targets, std::uintptr_t nats,
           std::uintptr_t spread, std::ptrdiff_t rows, int symbols, bool half, float smoothing, float scale, int threads,
           const std::string& kernels) {
            elman::symbol_loss({reinterpret_cast<const void*>(logits), reinterpret_cast<void*>(gradient),
                                reinterpret_cast<const std::int64_t*>(targets), reinterpret_cast<double*>(nats),
                                reinterpret_cast<double*>(spread), rows, symbols, half, smoothing, scale},
                               threads, kernels);
        },
        "logits"_a, "gradient"_a, "targets"_a, "nats"_a, "spread"_a, "rows"_a, "symbols"_a, "half"_a, "smoothing"_a,
        "scale"_a, "threads"_a, "kernels"_a, nb::call_guard<nb::gil_scoped_release>(),
        "nats and spread of rows of logits, and the gradient where its address is not 0; arrays as addresses.");
}
