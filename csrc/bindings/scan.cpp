//   scan_kernels()      the versions of the scan that can run here, widest first; scan_bf16_kernels() of bfloat16
//   fma_peak            what the machine can do, for benchmarks
//   ScanPlan            a cell's plan; scan_forward and scan_backward run it (scan/scan.h)
//   Stepper             a cell with packed weights, stepped for a search over a StepMemory (scan/stepper.h)
#include "scan/scan.h"
#include "scan/stepper.h"

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

void bind_scan(nb::module_& module) {
    using elman::Pointers;
    module.def("fma_peak", &elman::fma_peak, "kernels"_a, "threads"_a, nb::call_guard<nb::gil_scoped_release>(),
               "Float operations a second that multiplying and adding in registers reaches.");
    module.def("scan_kernels", [] { return elman::scan_kernels(false); },
               "Versions of the scan that can run here, widest first.");
    module.def("scan_bf16_kernels", [] { return elman::scan_kernels(true); },
               "Those with products of bfloat16.");
    nb::class_<elman::ScanPlan>(module, "ScanPlan", "A cell's stages and programs, as elman.native_path writes them.")
        .def(nb::init<const std::vector<int>&, const std::vector<float>&>(), "numbers"_a, "constants"_a);
    nb::class_<elman::Saved>(module, "ScanSaved", "What a scan forward leaves for the one backward that may use it.")
        .def("floats", &elman::Saved::floats, "How many floats are kept.");
    module.def(
        "scan_forward",
        [](const elman::ScanPlan& plan, int time, int size, int threads, bool reverse, std::uintptr_t lengths,
           const std::vector<int>& columns, std::uintptr_t ids, int symbols, bool half, bool units,
           const std::vector<int>& places, const std::string& kernels, const Pointers& inputs, const Pointers& weights,
           const Pointers& biases, const Pointers& params, const Pointers& memories, const Pointers& states,
           std::uintptr_t output, const Pointers& final_states) {
            return elman::scan_forward(
                plan, {time, size, threads, reverse, lengths, columns, ids, symbols, half, units, places}, kernels,
                inputs, weights, biases, params, memories, states, output, final_states);
        },
        "plan"_a, "time"_a, "size"_a, "threads"_a, "reverse"_a, "lengths"_a, "columns"_a, "ids"_a, "symbols"_a,
        "half"_a, "units"_a, "places"_a, "kernels"_a, "inputs"_a, "weights"_a, "biases"_a, "params"_a, "memories"_a,
        "states"_a, "output"_a, "final_states"_a,
        nb::call_guard<nb::gil_scoped_release>(), "A whole sequence forward, all arrays as addresses of float32.");
    module.def("scan_backward", &elman::scan_backward, "plan"_a, "saved"_a, "inputs"_a, "weights"_a, "params"_a,
               "d_output"_a, "d_final"_a, "d_inputs"_a, "d_weights"_a, "d_biases"_a, "d_params"_a, "d_memories"_a,
               "d_states"_a,
               nb::call_guard<nb::gil_scoped_release>(), "Its derivatives; what was saved is used up.");
    nb::class_<elman::StepMemory>(module, "StepMemory", "The memories of a search's sources.");
    nb::class_<elman::Stepper>(module, "Stepper", "A cell with packed weights, stepped for a search.")
        .def(nb::init<const elman::ScanPlan&, const std::string&, bool, const std::vector<int>&, const Pointers&,
                      const Pointers&, const Pointers&, int, std::uintptr_t, std::uintptr_t>(),
             "plan"_a, "kernels"_a, "half"_a, "columns"_a, "weights"_a, "biases"_a, "params"_a, "symbols"_a,
             "head_weight"_a, "head_bias"_a, nb::keep_alive<1, 2>())
        .def("memory", &elman::Stepper::memory, "sources"_a, "places"_a, "keys"_a, "bias"_a, "values"_a,
             nb::call_guard<nb::gil_scoped_release>(), "Memories, arranged for all steps.")
        .def(
            "step",
            [](const elman::Stepper& stepper, int rows, int threads, bool units, const elman::StepMemory* memory,
               std::uintptr_t source, const Pointers& inputs, const Pointers& states, std::uintptr_t output,
               std::uintptr_t logits, const Pointers& final_states, std::uintptr_t weights) {
                stepper.step({rows, threads, units, source, inputs, states, output, logits, final_states, weights},
                             memory);
            },
            "rows"_a, "threads"_a, "units"_a, "memory"_a.none(), "source"_a, "inputs"_a, "states"_a, "output"_a,
            "logits"_a, "final_states"_a, "weights"_a, nb::call_guard<nb::gil_scoped_release>(),
            "One step of all rows, all arrays as addresses of float32.");
}
