//   the module itself, and what it can tell about its build and the machine:
//
//   version()           the version of the package this module was built from
//   compiler()          the compiler that built it, with its version
//   instruction_sets()  which of the vector instruction sets the kernels may use the running CPU has
#include "bindings.h"

#include <string>
#include <vector>

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

    bind_ctc(module);
    bind_dropout(module);
    bind_loss(module);
    bind_scan(module);
    bind_beam(module);
    bind_ngram(module);  // after the beam, whose NgramModel it is one of
    bind_stream(module);
    bind_chain(module);
}
