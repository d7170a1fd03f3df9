//   chain_kernels()     the versions of the chain's kernels that can run here, widest first
//   ChainScores         the scores of many chains; chain_sums and chain_viterbi run over them (chain/chain.h)
//   path_loss           losses of the paths of a batch, and their gradient (chain/path_loss.h)
#include "chain/chain.h"
#include "chain/path_loss.h"

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using Addresses = std::vector<std::uintptr_t>;

template <class T>
T* at(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

}  // namespace

void bind_chain(nb::module_& module) {
    using elman::ChainScores;
    module.def("chain_kernels", &elman::chain_kernels, "Versions of the chain that can run here, widest first.");
    nb::class_<ChainScores>(module, "ChainScores", "Scores of many chains; all arrays as addresses.")
        .def(
            "__init__",
            [](ChainScores* self, int states, int chains, int threads, std::uintptr_t rows, bool wide,
               std::ptrdiff_t row_count, std::uintptr_t index, std::uintptr_t first, std::uintptr_t lengths,
               std::ptrdiff_t step, std::uintptr_t transitions, std::uintptr_t start, std::uintptr_t end, bool exact,
               const std::string& kernels) {
                new (self) ChainScores{states, chains, threads, at<const void>(rows), wide, row_count,
                                       at<const std::int32_t>(index), at<const std::int64_t>(first),
                                       at<const std::int64_t>(lengths), step, at<const double>(transitions),
                                       at<const double>(start), at<const double>(end), exact, kernels};
            },
            "states"_a, "chains"_a, "threads"_a, "rows"_a, "wide"_a, "row_count"_a, "index"_a, "first"_a, "lengths"_a,
            "step"_a, "transitions"_a, "start"_a, "end"_a, "exact"_a, "kernels"_a);
    module.def(
        "chain_sums",
        [](const ChainScores& scores, std::uintptr_t log_partition, std::uintptr_t states, std::uintptr_t weights,
           std::uintptr_t rows, std::uintptr_t transitions, std::uintptr_t start, std::uintptr_t end) {
            const elman::ChainGradient gradient{at<const double>(weights), at<void>(rows), at<double>(transitions),
                                                at<double>(start), at<double>(end)};
            elman::chain_sums(scores, at<double>(log_partition), at<std::int32_t>(states),
                              weights ? &gradient : nullptr);
        },
        "scores"_a, "log_partition"_a, "states"_a, "weights"_a, "rows"_a, "transitions"_a, "start"_a, "end"_a,
        nb::call_guard<nb::gil_scoped_release>(), "Log partitions, and where there are weights their gradient.");
    module.def(
        "chain_viterbi",
        [](const ChainScores& scores, std::uintptr_t best, std::uintptr_t states, std::uintptr_t paths) {
            elman::chain_viterbi(scores, at<double>(best), at<std::int32_t>(states), at<std::int64_t>(paths));
        },
        "scores"_a, "best"_a, "states"_a, "paths"_a, nb::call_guard<nb::gil_scoped_release>(),
        "Best paths and their scores.");
    module.def(
        "path_loss",
        [](std::ptrdiff_t time, int batch, int states, int threads, std::uintptr_t scores, bool wide,
           std::uintptr_t paths, std::uintptr_t lengths, const Addresses& tables, bool wide_tables,
           const Addresses& legal, std::uintptr_t weights, double weight, bool total, std::uintptr_t losses,
           const Addresses& gradient, const std::string& kernels) {
            const elman::PathLoss given{time, batch, states, threads, at<const void>(scores), wide,
                                        at<const std::int64_t>(paths), at<const std::int64_t>(lengths),
                                        at<const void>(tables[0]), at<const void>(tables[1]), at<const void>(tables[2]),
                                        wide_tables, at<const bool>(legal[0]), at<const bool>(legal[1]),
                                        at<const bool>(legal[2]), kernels};
            const elman::PathLossGradient to{at<void>(gradient[0]), at<void>(gradient[1]), at<void>(gradient[2]),
                                             at<void>(gradient[3])};
            return elman::path_loss(given, at<const double>(weights), weight, total, at<void>(losses),
                                    gradient[0] ? &to : nullptr);
        },
        "time"_a, "batch"_a, "states"_a, "threads"_a, "scores"_a, "wide"_a, "paths"_a, "lengths"_a, "tables"_a,
        "wide_tables"_a, "legal"_a, "weights"_a, "weight"_a, "total"_a, "losses"_a, "gradient"_a, "kernels"_a,
        nb::call_guard<nb::gil_scoped_release>(),
        "Losses of paths and their gradient; False where something given is no score or no path.");
}
