// The loss of a linear-chain CRF: -ln p(path) of each sequence of a batch, or ln Z where there are no paths, from the
// scores as a layer has them.
//
// Shapes: T time, N batch, S states. Scores are natural logarithms, float or double; -inf is impossible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace elman {

struct PathLoss {
    std::ptrdiff_t time;
    int batch, states, threads;
    const void* scores;          // (T, N, S): float, or double where wide, and then all is computed in float64
    bool wide;
    const std::int64_t* paths;   // (T, N), or null; what stands past an end is not read
    const std::int64_t* lengths; // (N,), or null: T for all
    const void *transitions, *start, *end;  // (S, S) from x to, (S,), (S,)
    bool wide_tables;
    const bool *legal_steps, *legal_start, *legal_end;  // like these, or null: what is not legal has the score -inf
    std::string kernels;
};

struct PathLossGradient {
    void* scores;                     // (T, N, S), 0 past an end and where a sequence has no possible path
    void *transitions, *start, *end;  // like the tables
};

// Losses (N,) like the scores or, where `total`, sum weight * loss, a single number; and the gradient of sum weight *
// loss where it is asked for. weights (N,) double, or null: `weight` for all.
//
// False, with nothing of use done, where a state is out of range, a path takes what is not legal, or a score is NaN
// or +inf: the caller looks for the place.
bool path_loss(const PathLoss& given, const double* weights, double weight, bool total, void* losses,
               const PathLossGradient* gradient);

}  // namespace elman
