//   dropout_kernels()   the versions of it that can run here, widest first
//   dropout             masks from a counter, applied (dropout/dropout.h)
#include "dropout/dropout.h"

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

void bind_dropout(nb::module_& module) {
    module.def("dropout_kernels", &elman::dropout_names, "Versions of dropout that can run here, widest first.");
    module.def(
        "dropout",
        [](std::uintptr_t values, std::uintptr_t target, std::uintptr_t steps, std::ptrdiff_t rows, int batch, int units,
           std::uint32_t key, std::uint32_t threshold, float scale, int threads, const std::string& kernels) {
            elman::dropout({reinterpret_cast<const float*>(values), reinterpret_cast<float*>(target),
                            reinterpret_cast<const std::int64_t*>(steps), rows, batch, units, key, threshold, scale},
                           threads, kernels);
        },
        "values"_a, "target"_a, "steps"_a, "rows"_a, "batch"_a, "units"_a, "key"_a, "threshold"_a, "scale"_a,
        "threads"_a, "kernels"_a, nb::call_guard<nb::gil_scoped_release>(),
        "Rows of float32 with the mask that elman.counter.dropout draws, arrays as addresses.");
}
