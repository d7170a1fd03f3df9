//   ctc_kernels()   the versions of CTC's kernels that can run here, widest first
//   ctc_sound       whether targets and lengths are what the others trust
//   ctc_loss        losses of a batch, and their gradient to the logits (ctc/ctc.h)
//   ctc_align       the best paths of a batch
//   pooled          an array in storage that is kept for the next one when it is no longer used
#include "ctc/ctc.h"

#include <nanobind/ndarray.h>

#include "bindings.h"
#include "machine/storage.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

template <class T>
T* at(std::uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

// Sizes: time, batch, classes, and the stride of the targets.
elman::ctc::Batch batch_of(const std::vector<std::ptrdiff_t>& sizes, std::uintptr_t logits, std::uintptr_t targets,
                           std::uintptr_t frames, std::uintptr_t lengths) {
    elman::ctc::Batch batch{};
    batch.time = sizes[0], batch.size = sizes[1], batch.classes = sizes[2], batch.stride = sizes[3];
    batch.logits = at<const float>(logits), batch.targets = at<const std::int64_t>(targets);
    batch.frames = at<const std::int64_t>(frames), batch.lengths = at<const std::int64_t>(lengths);
    return batch;
}

}  // namespace

void bind_ctc(nb::module_& module) {
    module.def(
        "pooled",
        [](std::size_t numbers) {
            auto* storage = new elman::Buffer(std::ptrdiff_t(numbers));
            nb::capsule owner(storage, [](void* p) noexcept { delete static_cast<elman::Buffer*>(p); });
            return nb::ndarray<nb::numpy, float>(storage->at, {numbers}, owner);
        },
        "numbers"_a, "float32, not set to anything.");
    module.def("ctc_kernels", &elman::ctc::kernel_names, "Versions of CTC's kernels that can run here, widest first.");
    module.def(
        "ctc_sound",
        [](const std::vector<std::ptrdiff_t>& sizes, std::uintptr_t targets, std::uintptr_t frames,
           std::uintptr_t lengths) { return elman::ctc::sound(batch_of(sizes, 0, targets, frames, lengths)); },
        "sizes"_a, "targets"_a, "frames"_a, "lengths"_a,
        "Whether labels and lengths are in range and every target fits its frames.");
    module.def(
        "ctc_loss",
        [](const std::vector<std::ptrdiff_t>& sizes, std::uintptr_t logits, std::uintptr_t targets,
           std::uintptr_t frames, std::uintptr_t lengths, std::uintptr_t loss, std::uintptr_t gradient, float scale,
           float smoothing, int threads, const std::string& kernels) {
            elman::ctc::Batch batch = batch_of(sizes, logits, targets, frames, lengths);
            batch.loss = at<float>(loss), batch.gradient = at<float>(gradient);
            batch.scale = scale, batch.smoothing = smoothing;
            elman::ctc::loss(batch, threads, kernels);
        },
        "sizes"_a, "logits"_a, "targets"_a, "frames"_a, "lengths"_a, "loss"_a, "gradient"_a, "scale"_a, "smoothing"_a,
        "threads"_a, "kernels"_a, nb::call_guard<nb::gil_scoped_release>(),
        "Losses (N,), and the gradient (T, N, C) where its address is not 0.");
    module.def(
        "ctc_align",
        [](const std::vector<std::ptrdiff_t>& sizes, std::uintptr_t scores, std::uintptr_t targets,
           std::uintptr_t frames, std::uintptr_t lengths, std::uintptr_t path, int threads,
           const std::string& kernels) {
            elman::ctc::Batch batch = batch_of(sizes, scores, targets, frames, lengths);
            batch.path = at<std::int64_t>(path);
            elman::ctc::align(batch, threads, kernels);
        },
        "sizes"_a, "scores"_a, "targets"_a, "frames"_a, "lengths"_a, "path"_a, "threads"_a, "kernels"_a,
        nb::call_guard<nb::gil_scoped_release>(), "The best paths (T, N) as lattice states.");
}
