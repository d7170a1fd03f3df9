// The scan as its caller sees it: a plan made once from what elman.programs wrote, and the calls that run it.
//
// Shapes: T time, N batch; inputs (T, N, C), states and their derivatives (N, width), weights (rows, K), all row-major,
// contiguous and float32; memories are keys (N, S, A), bias (N, S) and values (N, S, M), three arrays for each look at one
// (derivatives: of the bias none). Nothing is checked here: elman.native_path validates.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace elman {

struct Plan;
struct PlanStore;
struct SavedStore;

// The plan of a cell: `numbers` as elman.native_path encodes them, `constants` the numbers in its programs.
class ScanPlan {
  public:
    ScanPlan(const std::vector<int>& numbers, const std::vector<float>& constants);
    ~ScanPlan();
    const Plan& plan() const;

  private:
    std::unique_ptr<PlanStore> store;
};

// What forward leaves for backward, and the rows of this batch.
class Saved {
  public:
    explicit Saved(std::unique_ptr<SavedStore> store);
    ~Saved();
    std::ptrdiff_t floats() const;  // how many are kept
    std::unique_ptr<SavedStore> store;
};

using Pointers = std::vector<std::uintptr_t>;  // of float32 arrays; 0 where one is not wanted

struct Batch {
    int time, size, threads;
    bool reverse;
    std::uintptr_t lengths;    // int64 (N,), or 0 where all are `time`
    std::vector<int> columns;  // of each input
    std::uintptr_t ids;        // int64 (T, N), rows of the inputs, which then have one for each of `symbols`; or 0
    int symbols;
    bool half;                 // products of bfloat16
    bool units;                // threads divide the units of every stage, not the sequences; no stage reduces a row
    std::vector<int> places;   // of the memory of each look at one
};

// kernels: the name of an instruction set, or "" for the widest that there is.
std::unique_ptr<Saved> scan_forward(const ScanPlan& plan, const Batch& batch, const std::string& kernels,
                                    const Pointers& inputs, const Pointers& weights, const Pointers& biases,
                                    const Pointers& params, const Pointers& memories, const Pointers& states,
                                    std::uintptr_t output, const Pointers& final_states);

void scan_backward(const ScanPlan& plan, Saved& saved, const Pointers& inputs, const Pointers& weights,
                   const Pointers& params, std::uintptr_t d_output, const Pointers& d_final, const Pointers& d_inputs,
                   const Pointers& d_weights, const Pointers& d_biases, const Pointers& d_params,
                   const Pointers& d_memories, const Pointers& d_states);

// Float operations a second that these kernels' multiply-and-add reaches on `threads` threads: the best of a few tries of
// some milliseconds.
double fma_peak(const std::string& kernels, int threads);

// The instruction sets that this module was built for and the running machine has, widest first; half: for products of
// bfloat16.
std::vector<std::string> scan_kernels(bool half);

}  // namespace elman
