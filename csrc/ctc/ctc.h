// CTC over a batch: the loss with its gradient to the logits, and the best alignment.
//
// Shapes: T time, N batch, C classes, L target length; logits and gradient (T, N, C) float32, targets (N, stride) int64
// in 1 .. C - 1, lengths (N,) int64, all row-major and contiguous. Nothing is checked here: elman.lattice.ctc_native
// validates.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace elman::ctc {

struct Batch {
    std::ptrdiff_t time, size, classes, stride;  // stride: of targets
    const float* logits;
    const std::int64_t *targets, *frames, *lengths;
    // The loss alone:
    float* loss;      // (N,) nats
    float* gradient;  // 0 where none is wanted
    float scale;      // what every sequence's gradient is multiplied with
    float smoothing;
    // The alignment alone:
    std::int64_t* path;  // (T, N): 2 i in the blank before label i, 2 i + 1 in label i; -1 past the end, or if impossible
};

// loss = (1 - smoothing) (-ln p(target | logits)) + smoothing sum_t KL(uniform || softmax(logits_t)); inf and a gradient
// of zero where the target is impossible, NaN where a frame has no finite softmax.
void loss(const Batch& batch, int threads, const std::string& kernels);

// Whether targets are within 1 .. C - 1, lengths within T and the stride, and every target fits its frames: what the
// other functions trust. Which row is wrong, and how, is told in Python.
bool sound(const Batch& batch);

// The path of the highest sum of logits. Every target fits its frames.
void align(const Batch& batch, int threads, const std::string& kernels);

// The instruction sets that this module was built for and the running machine has, widest first.
std::vector<std::string> kernel_names();

}  // namespace elman::ctc
