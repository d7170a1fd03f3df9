// What a stream runs through, as plain data: a stack of cells with packed weights, an embedding, a head.
//
// Vectors are padded to whole machine vectors of L lanes; what stands in the padding is read by nobody. A stream has
// one arena of floats with everything that changes from step to step; places in it are the same for all streams.
//
// No function of the standard library is used in what is compiled once per instruction set (see scan/plan.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "../scan/plan.h"

namespace elman {

enum class Precision { FLOAT32, BFLOAT16, INT8 };

// W a + b. W has gates * width rows, each gate in whole vectors: vector i is block i % blocks of gate i / blocks.
// Panels of `panel` vectors follow each other and are read from front to back, once for a product:
//     float32   [k][vector][L]
//     bfloat16  [k / 2][vector][L][2]
//     int8      [k / 2][vector][L][2], times scale[row], a quantised to 16 bits at each product
struct Matrix {
    Precision precision;
    int size, gates, width, vectors;
    char* data;
    float* scale;  // [vectors][L]
    float* bias;   // [vectors][L]
};

// One cell. Offsets are in floats: of its parameters in `params`, of the rest in the arena.
struct StreamLayer {
    const Plan* plan;
    const Matrix* lift;     // [hoisted] products of the input
    const Matrix* product;  // [products]
    const float* params;
    const ptrdiff_t* param_at;
    const float* constants;  // [consts][L]
    const ptrdiff_t* slot_at;
    const ptrdiff_t* temp_at;
    const ptrdiff_t* state_at;  // before a step; `states` floats on, after it, and the other way round in turn
    ptrdiff_t input_at;
    int input, output;
    bool residual;
};

struct Network {
    int layers;
    const StreamLayer* layer;
    ptrdiff_t states;                // floats of all states
    ptrdiff_t reg_at, acc_at;        // [registers][widest], [vectors]
    ptrdiff_t left_at;               // a quantised left operand
    ptrdiff_t output_at;             // of the last layer
    ptrdiff_t logits_at, weight_at;  // of the head, and what is drawn from
    int widest;                      // floats of a register
    int vocabulary;                  // 0: the input is a vector, not a symbol
    const float* embedding;          // [vocabulary][input of layer 0]; null: one-hot
    const float* table;              // [vocabulary][lifted floats] of layer 0; null: its products are computed
    ptrdiff_t table_row, table_at;
    const Matrix* head;  // null: none
    ptrdiff_t arena;     // floats
};

// One call. arena: [streams]; odd: whether the states before the next step are the second ones.
//
// With several threads the first one makes the steps, and lays down each large product as a `task`, of which all do a
// part between two meetings; which part is done by whom changes no number.
struct StreamCall {
    const Network* network;
    int streams;
    float* const* arena;
    bool odd;
    const int64_t* token;  // [streams], or null: the arena holds the input
    int threads;
    void (*meet)(void* barrier);
    void* barrier;
    const void* task;  // null: there will be no more
};

// One instruction set's way.
struct StreamKernels {
    const char* name;
    int lanes;
    ptrdiff_t (*packed_bytes)(Precision precision, int size, int vectors);
    void (*pack)(const Matrix& matrix, const float* weight, const float* bias, float bias_of_padding);
    void (*step)(StreamCall& call);
    void (*help)(const StreamCall& call, int thread);  // a part of the task, for a thread but the first
    // exp((logits - the largest) * inverse), whose sum is returned; `largest` is left there.
    double (*weigh)(const float* logits, int count, float inverse, float* weight, float& largest);
    // The first place at which the running sum of the weights is over `target`; the last that has a weight, if none.
    int (*pick)(const float* weight, int count, double target);
};

}  // namespace elman
