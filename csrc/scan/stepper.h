// A cell stepped for a search: one step of many rows in a call, its weights packed once.
//
//     output, states = step(inputs, states)        logits = W output + b
//
// A row looks at the memory of its source, which rows share: memories are arranged once for all steps, and nothing of
// them is copied with the rows.
//
// Shapes: n rows, N sources, S places, V symbols; inputs (n, C), states (n, width), output (n, D), logits (n, V), weights
// (n, S), keys (N, S, A), bias (N, S), values (N, S, M), all row-major, contiguous and float32. Nothing is checked here:
// elman.streaming.stepper validates.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "scan.h"

namespace elman {

struct StepperStore;
struct StepMemoryStore;

// One step. source: int64 (n,), or 0 where nothing is looked at; weights: 0 where they are not wanted.
struct StepRows {
    int rows, threads;
    bool units;  // threads divide the units of every stage, not the rows; no stage reduces a row
    std::uintptr_t source;
    Pointers inputs, states;
    std::uintptr_t output, logits;
    Pointers final_states;
    std::uintptr_t weights;
};

// The memories of the sources of a search, copied when it is made.
class StepMemory {
  public:
    StepMemory(std::unique_ptr<StepMemoryStore> store);
    ~StepMemory();
    std::unique_ptr<StepMemoryStore> store;
};

// The weights are copied when it is made; after that nothing in it changes, and any thread may use it.
class Stepper {
  public:
    // columns: of each input. half: products of bfloat16, with sums in float32. head: of the map to logits, its size V.
    Stepper(const ScanPlan& plan, const std::string& kernels, bool half, const std::vector<int>& columns,
            const Pointers& weights, const Pointers& biases, const Pointers& params, int symbols,
            std::uintptr_t head_weight, std::uintptr_t head_bias);
    ~Stepper();
    std::unique_ptr<StepMemory> memory(int sources, int places, std::uintptr_t keys, std::uintptr_t bias,
                                       std::uintptr_t values) const;
    void step(const StepRows& rows, const StepMemory* memory) const;

  private:
    std::unique_ptr<StepperStore> store;
};

}  // namespace elman
