// Chains as their caller sees them: sums over paths, their gradient, and best paths, for N chains that share their
// transitions.
//
//     score(s_1 .. s_T) = start(s_1) + sum_t emission_t(s_t) + sum_t>1 transition(s_t-1, s_t) + end(s_T)
//
// Shapes: T time, N chains, S states, R rows of scores. Scores are natural logarithms, -inf where impossible. Nothing
// is checked here but that no emission is NaN or +inf: elman.lattice.native_chain validates.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace elman {

struct ChainScores {
    int states, chains, threads;
    const void* rows;           // (R, S) float, or double where wide
    bool wide;
    std::ptrdiff_t row_count;
    const std::int32_t* index;  // the row of a place, or null: place p reads row p
    const std::int64_t *first, *lengths;  // (N,): chain n at time t is at place first[n] + t * step
    std::ptrdiff_t step;
    const double *transitions, *start, *end;  // (S, S) from x to, (S,), (S,)
    bool exact;                 // in logarithms and float64 throughout, slowly
    std::string kernels;        // the name of an instruction set, or "" for the widest
};

struct ChainGradient {
    const double* weights;  // (N,) of each chain's log partition
    void* rows;             // (R, S) like the scores' own; overwritten where places are rows (past an end, and for a
                            // chain that is not SOUND, it is left as it is), added to where there is an index
    double *transitions, *start, *end;  // added to
};

enum class ChainState : std::int32_t { SOUND = 0, IMPOSSIBLE = 1, NOT_A_SCORE = 2 };

// log_partition (N,) and, where there is a gradient, that of sum weights * log_partition. A chain that is not SOUND
// has no part in the gradient. A chain of length 0 has one path, of score 0. Where `paths` are given, a state for each
// place and no index, it is all less the score of the path: -ln of its probability, inf for one that is impossible.
void chain_sums(const ChainScores& scores, double* log_partition, std::int32_t* states, const ChainGradient* gradient,
                const std::int64_t* paths = nullptr);

// The best path, int64 at its places (-1 where there is none), and its score (N,).
void chain_viterbi(const ChainScores& scores, double* best, std::int32_t* states, std::int64_t* paths);

// The instruction sets that this module was built for and the running machine has, widest first.
std::vector<std::string> chain_kernels();

}  // namespace elman
