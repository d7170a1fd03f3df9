// The border between Python and C++: the one file that knows Python. Python validates, C++ trusts.
//
//   version()           the version of the package this module was built from
//   compiler()          the compiler that built it, with its version
//   instruction_sets()  which of the vector instruction sets the kernels may use the running CPU has
//   scan_kernels()      the versions of the scan that can run here, widest first
//   ScanPlan            a cell's plan; scan_forward and scan_backward run it (scan/scan.h)
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <string>
#include <vector>

#include "scan/scan.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

std::string compiler() {
#if defined(__clang__)
    return "Clang " __clang_version__;
#else
    return "GCC " __VERSION__;
#endif
}

// The names are those of the flags in /proc/cpuinfo, which a reader can compare. The operating system's
// consent to the wider registers is part of what __builtin_cpu_supports asks.
std::vector<std::string> instruction_sets() {
    std::vector<std::string> found;
#if defined(__x86_64__) || defined(__i386__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) found.emplace_back("avx2");
    if (__builtin_cpu_supports("fma")) found.emplace_back("fma");
    if (__builtin_cpu_supports("avx512f")) found.emplace_back("avx512f");
    if (__builtin_cpu_supports("avx512bf16")) found.emplace_back("avx512_bf16");
    if (__builtin_cpu_supports("avx512vnni")) found.emplace_back("avx512_vnni");
#elif defined(__aarch64__)
    found.emplace_back("neon");  // part of every 64-bit ARM
#endif
    return found;
}

}  // namespace

NB_MODULE(_native, module) {
    module.doc() = "elman's native kernels; elman.kernels is the only importer";
    // Plans are kept in a cache until the interpreter ends, which nanobind would report as leaks.
    nb::set_leak_warnings(false);
    module.def("version", [] { return std::string(ELMAN_VERSION); },
               "Version of the package this module was built from.");
    module.def("compiler", &compiler, "Compiler that built this module, with its version.");
    module.def("instruction_sets", &instruction_sets,
               "Vector instruction sets of the running CPU that the kernels may use.");

    using elman::Pointers;
    module.def("scan_kernels", &elman::scan_kernels, "Versions of the scan that can run here, widest first.");
    nb::class_<elman::ScanPlan>(module, "ScanPlan", "A cell's stages and programs, as elman.native_path writes them.")
        .def(nb::init<const std::vector<int>&, const std::vector<float>&>(), "numbers"_a, "constants"_a);
    nb::class_<elman::Saved>(module, "ScanSaved", "What a scan forward leaves for the one backward that may use it.");
    module.def(
        "scan_forward",
        [](const elman::ScanPlan& plan, int time, int size, int threads, bool reverse, std::uintptr_t lengths,
           const std::vector<int>& columns, const std::string& kernels, const Pointers& inputs, const Pointers& weights,
           const Pointers& biases, const Pointers& params, const Pointers& states, std::uintptr_t output,
           const Pointers& final_states) {
            return elman::scan_forward(plan, {time, size, threads, reverse, lengths, columns}, kernels, inputs, weights,
                                       biases, params, states, output, final_states);
        },
        "plan"_a, "time"_a, "size"_a, "threads"_a, "reverse"_a, "lengths"_a, "columns"_a, "kernels"_a, "inputs"_a,
        "weights"_a, "biases"_a, "params"_a, "states"_a, "output"_a, "final_states"_a,
        nb::call_guard<nb::gil_scoped_release>(), "A whole sequence forward, all arrays as addresses of float32.");
    module.def("scan_backward", &elman::scan_backward, "plan"_a, "saved"_a, "inputs"_a, "weights"_a, "params"_a,
               "d_output"_a, "d_final"_a, "d_inputs"_a, "d_weights"_a, "d_biases"_a, "d_params"_a, "d_states"_a,
               nb::call_guard<nb::gil_scoped_release>(), "Its derivatives; what was saved is used up.");
}
