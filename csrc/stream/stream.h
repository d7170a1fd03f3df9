// Streams as their caller sees them: a network packed once, and the calls that step it.
//
// Shapes: T time, N streams, V vocabulary; tokens (T, N) int64, inputs (T, N, C), states (N, width), logits (N, V), all
// row-major, contiguous, float32 where they are no symbols. Nothing is checked here: elman.streaming validates.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace elman {

class ScanPlan;
struct StreamStore;

using Addresses = std::vector<std::uintptr_t>;  // of float32 arrays; 0 where there is none

// A cell: weights and biases of its products and then of those of its input, in the plan's order; params.
struct CellSource {
    const ScanPlan* plan;
    int input, output;
    bool residual;
    Addresses weights, biases, params;
};

// embedding (V, C) or 0 for one-hot; table (V, columns) the products of a symbol's row, or 0 where they are computed.
struct SymbolSource {
    int vocabulary;
    std::uintptr_t embedding, table, head_weight, head_bias;
};

// How to choose a symbol, as elman.search.sampling says. top_k 0 and top_p 1: all of them.
struct Draw {
    double temperature;
    std::int64_t top_k;
    double top_p;
    std::uint64_t seed;
    std::int64_t start;
    std::uintptr_t stop;  // (V,) uint8: symbols that end a stream, or 0
};

// Steps that were made (a call ends early when its time is over), and the step whose logits were not finite, or -1.
struct Made {
    std::int64_t steps, broken;
};

// How a call is made: on at most so many threads, for so long (but one step is always made).
struct Manner {
    int threads;
    double seconds;
};

// The weights are copied when it is made; after that nothing in it changes, and any thread may use it.
class StreamNet {
  public:
    StreamNet(const std::string& kernels, const std::string& precision, const std::vector<CellSource>& cells,
              const SymbolSource& symbols);
    ~StreamNet();
    std::size_t bytes() const;  // of packed weights

    // T steps, or as many as fit into the time: tokens or inputs -> logits (T, N, V) or outputs.
    // `states` are read and written over.
    Made run(std::int64_t time, int streams, std::uintptr_t tokens, std::uintptr_t inputs, const Addresses& states,
             std::uintptr_t outputs, const Manner& manner) const;

    // Draws up to `count` symbols for each stream: ids (count, N), -1 past a stream's end, log_probs (count, N) float64.
    // states, logits (N, V) and done (N,) uint8 are read and written over; those of a stream that is done stay.
    Made generate(std::int64_t count, int streams, const Draw& draw, const Addresses& states, std::uintptr_t logits,
                  std::uintptr_t done, std::uintptr_t ids, std::uintptr_t log_probs, const Manner& manner) const;

  private:
    std::unique_ptr<StreamStore> store;
};

// The instruction sets that this module was built for and the running machine has, widest first.
std::vector<std::string> stream_kernels();

}  // namespace elman
