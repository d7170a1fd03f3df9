// Chains in logarithms and float64: no score is too small, and transitions of -inf cost nothing.
#pragma once

#include <mutex>
#include <vector>

#include "chain.h"

namespace elman {
namespace chain {

// The scores of chains, one at a time, and the transitions that are possible. Threads share one.
class Exact {
  public:
    explicit Exact(const ChainScores& scores) : scores(scores) {}

    // The log partition; where `gradient` is given, adds its parts times `weight`: pairs (S, S), first (S,),
    // last (S,), and rows as in ChainGradient.
    struct Parts {
        double *pairs, *first, *last, *sums;  // sums: (R, S) double, where there is an index
    };
    ChainState sum(int chain, double& log_partition, const ChainGradient* gradient, const Parts& parts);
    ChainState best(int chain, double& score, std::int64_t* paths);
    // The score of a path.
    double along(int chain, const std::int64_t* paths) const;

  private:
    struct Way {
        int state;
        double score;
    };
    double emission(int chain, std::ptrdiff_t t, int state) const;
    void find_ways();
    bool is_sound(int chain) const;
    void forward(int chain, std::vector<double>& alpha) const;

    const ChainScores& scores;
    std::once_flag found;  // most calls have no use for the ways
    std::vector<std::vector<Way>> into, out_of;
};

}  // namespace chain
}  // namespace elman
