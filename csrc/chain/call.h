// What the kernels of a chain are given and give: plain numbers and addresses, the same for every instruction set.
//
// Shapes: T time, S states, W the states rounded up to whole vectors, R rows of scores. Every array of the kernels'
// own is float32 with rows of W, aligned to a vector; the columns past S hold the score of the impossible.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elman {
namespace chain {

// The scores that all chains share: exp of them relative to their largest (sums), or themselves (the best path).
struct Model {
    int states;          // S
    std::ptrdiff_t width;  // W
    const float* forward;  // (W, W), from x to
    const float* backward; // (W, W), to x from
    const float* start;    // (W,)
    const float* end;      // (W,)
    // Some transition is so unlikely beside another into the same state that a path which float32 loses could still
    // win later: the forward pass then carries a bound on all that it has lost.
    bool watched;
};

// Rows of scores as the caller has them, `stride` apart, made into rows of W floats.
struct Rows {
    const void* scores;  // float, or double where wide
    bool wide;
    int states;
    std::ptrdiff_t stride, width;
};

// One chain, or a piece of one in either direction. Row t of the prepared emissions stands at emissions + (index ? index[t * step] : t) * W.
struct Chain {
    const float* emissions;
    const std::int32_t* index;
    std::ptrdiff_t step, time;
    float* lost;  // (2, W): the bound on what was lost, over SMALL
};

// What a chain's forward pass came to.
struct Sum {
    double log;   // of the product of all scales but the last: alpha's last row is relative to that
    bool lost;    // float32 was too narrow: nothing of this may be used
};

// Where the gradient goes. gamma: (T, S) at `stride`, or sums by row (R, W) of the chain's index where `sums`.
struct Gradient {
    void* gamma;
    bool wide;
    std::ptrdiff_t stride;
    float* sums;
    float weight;      // of this chain
    float* pairs;      // (W, W): sums of alpha' w, still to be multiplied by the transitions
    float* first;      // (W,) posterior at the first time, added
    float* last;       // (W,) at the last
    float* scratch;    // (BLOCK + 3, W)
};

constexpr float SMALL = 1e-30f;  // beside a sum of about one: what is smaller is dropped where that is watched
constexpr float SHARE = 1e-8f;   // of what was kept: what may be lost at most
constexpr float LEAST = 1e-20f;  // a step that leaves less than this of the whole is too much for float32

constexpr int BLOCK = 64;  // rows of a block: of what is prepared at once, of one product of the pairs
constexpr int EVERY = 16;  // steps between two subtractions of the best score, which keep the scores small

struct Kernels {
    const char* name;
    int lanes;
    // exp(score - largest) of `count` rows, or score - largest where log; largest (count,) doubles. False where a
    // score is NaN or +inf.
    bool (*prepare)(const Rows& rows, std::ptrdiff_t count, bool log, float* to, double* largest);
    // Steps `from` .. `to` of a chain whose emissions' first row is that of `from`; alpha's row is t - origin. The sum
    // carries on from the call before.
    void (*forward)(const Model& model, const Chain& chain, std::ptrdiff_t from, std::ptrdiff_t to, float* alpha,
                    std::ptrdiff_t origin, Sum& sum);
    void (*backward)(const Model& model, const Chain& chain, const float* alpha, const Gradient& gradient);
    // The scores of the best paths into each state at the last time, up to what they have in common, in the first of
    // two rows (2, W), from log emissions; came (T, W): the state before, in one byte, or in two where there are more
    // than 256 states. False where no path is possible.
    bool (*viterbi)(const Model& model, const Chain& chain, float* row, void* came);
};

}  // namespace chain
}  // namespace elman
