//   stream_kernels()    the versions of the streams that can run here, widest first
//   StreamNet           a stack of cells with packed weights; run and generate step it (stream/stream.h)
#include "stream/stream.h"

#include <nanobind/stl/pair.h>

#include <utility>

#include "bindings.h"
#include "scan/scan.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

std::pair<std::int64_t, std::int64_t> pair_of(const elman::Made& made) { return {made.steps, made.broken}; }

}  // namespace

void bind_stream(nb::module_& module) {
    using elman::Addresses;
    using elman::StreamNet;
    using release = nb::call_guard<nb::gil_scoped_release>;
    module.def("stream_kernels", &elman::stream_kernels, "Versions of the streams that can run here, widest first.");
    nb::class_<elman::CellSource>(module, "StreamCell", "A cell's plan and the addresses of its float32 weights.")
        .def(
            "__init__",
            [](elman::CellSource* self, const elman::ScanPlan& plan, int input, int output, bool residual,
               const Addresses& weights, const Addresses& biases, const Addresses& params) {
                new (self) elman::CellSource{&plan, input, output, residual, weights, biases, params};
            },
            "plan"_a, "input"_a, "output"_a, "residual"_a, "weights"_a, "biases"_a, "params"_a,
            nb::keep_alive<1, 2>());
    nb::class_<StreamNet>(module, "StreamNet", "A stack of cells, an embedding and a head with packed weights.")
        .def(
            "__init__",
            [](StreamNet* self, const std::string& kernels, const std::string& precision,
               const std::vector<elman::CellSource>& cells, int vocabulary, std::uintptr_t embedding,
               std::uintptr_t table, std::uintptr_t head_weight, std::uintptr_t head_bias) {
                new (self) StreamNet(kernels, precision, cells, {vocabulary, embedding, table, head_weight, head_bias});
            },
            "kernels"_a, "precision"_a, "cells"_a, "vocabulary"_a, "embedding"_a, "table"_a, "head_weight"_a,
            "head_bias"_a)
        .def_prop_ro("bytes", &StreamNet::bytes, "Bytes of packed weights.")
        .def(
            "run",
            [](const StreamNet& net, std::int64_t time, int streams, std::uintptr_t tokens, std::uintptr_t inputs,
               const Addresses& states, std::uintptr_t outputs, int threads, double seconds) {
                return net.run(time, streams, tokens, inputs, states, outputs, {threads, seconds}).steps;
            },
            "time"_a, "streams"_a, "tokens"_a, "inputs"_a, "states"_a, "outputs"_a, "threads"_a, "seconds"_a, release(),
            "Steps that were made within `seconds`, at least one of those asked for.")
        .def(
            "generate",
            [](const StreamNet& net, std::int64_t count, int streams, double temperature, std::int64_t top_k,
               double top_p, std::uint64_t seed, std::int64_t start, std::uintptr_t stop, const Addresses& states,
               std::uintptr_t logits, std::uintptr_t done, std::uintptr_t ids, std::uintptr_t log_probs,
               int threads, double seconds) {
                return pair_of(net.generate(count, streams, {temperature, top_k, top_p, seed, start, stop}, states,
                                            logits, done, ids, log_probs, {threads, seconds}));
            },
            "count"_a, "streams"_a, "temperature"_a, "top_k"_a, "top_p"_a, "seed"_a, "start"_a, "stop"_a, "states"_a,
            "logits"_a, "done"_a, "ids"_a, "log_probs"_a, "threads"_a, "seconds"_a, release(),
            "Symbols that were drawn within `seconds`, and the step whose logits were not finite, or -1.");
}
