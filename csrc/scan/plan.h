// What a scan has to do, as plain data: the twin of elman.programs.Plan, with the sizes of one call.
//
// Every vector of units is kept in panels of L lanes, [unit block][row][L]: whatever its width, a row of a block is one
// aligned machine vector, and a product reads its left operand as it is. Units past the width are padding: they hold
// numbers that nobody reads. A vector of one unit has one block, which every block of a program reads: what TOTAL and
// MOST leave there, a number of a row in all lanes, goes with vectors of any width.
//
// Rows. A thread has its own elements, sorted by falling length, and so its own contiguous rows: step t of element i
// (its place in the thread) is row first + start[t] + i, and only the live elements of a step have rows. A state has
// one more block of rows in front, the state before the first step: it is before step t in row
// first_state + start_state[t] + i and after it in row first_state + start_state[t + 1] + i.
//
// Few sequences are no work for many threads. There is one share then, all threads step through it together, each with its
// own panels of every stage, and meet after each stage: what a thread alone needs is in its own scratch, what a stage
// hands on in the first thread's.
//
// No function of the standard library is used in what is compiled once per instruction set: the linker keeps one copy
// of an inline function, and it may be the one for the widest machine.
#pragma once

#include <cstddef>
#include <cstdint>

namespace elman {

class Barrier;  // machine/threads.h

enum Kind { REG, ACC, SLOT, BEFORE, AFTER, PARAM, CONST, TEMP, CARRY, PASS, DOUT, PGRAD };

enum Operation {
    MOV, ADD, SUB, MUL, DIV, NEG, ONEMINUS, FMA, FMS, FNMA, SIGMOID, TANH, SIGMOID_ADD, TANH_ADD, RELU, EXP, LOG, SQRT,
    ABS, DSIGMOID, DTANH, DRELU, DABS, SUM, TOTAL, MOST, GT, GE, SELECT, ERF, OPERATIONS
};

struct Operand {
    int kind;
    int which;
};

// target = op(a, b, c): places in the stage's table of operands.
struct Instruction {
    int op, target, a, b, c;
};

struct Stage {
    int width;
    int product;  // -1 for none
    int late;     // backward: the product reads the derivatives of the step after
    int attend;   // in the place of all else a look at memory; -1 for none
    int operands, instructions;
    const Operand* operand;
    const Instruction* code;
};

// gates x width columns of W (gates * width, size). slots: where hoisted columns go. gradients: d_acc.
struct Product {
    int kind, which;  // the left operand: BEFORE, AFTER, SLOT, or -1 and the sequence
    int size, width, gates;
    const int* slots;
    const int* gradients;
};

// A look at memory (attend.h): query, `size` units -> context, `width` units; vector: a param, or -1 for a dot product.
struct Attend {
    int size, width, vector;
    Operand query, context, d_context, d_query;
};

struct Sequence {
    int input, start, size;
};

struct Piece {
    int input, start, width, slot, gradient;
};

// A part of the output, columns start .. start + width.
struct Output {
    Operand from;
    int start, width;
};

struct Plan {
    int states, sequences, pieces, hoisted, products, attends, forward, backward, slots, temps, params, consts, registers;
    int outputs, output_width;
    const int* state_width;
    const int* slot_width;
    const int* temp_width;
    const int* param_width;
    const float* constant;
    const Sequence* sequence;
    const Piece* piece;
    const Product* lift;       // hoisted
    const Product* product;
    const Attend* attend;
    const Output* output;
    const Stage* forward_stage;
    const Stage* backward_stage;
};

// The part of the batch that one thread steps through.
struct Share {
    int elements, steps;
    ptrdiff_t first, first_state;
    const int* element;              // [elements] place in the batch
    const int* live;                 // [steps + 1] live elements at each step, 0 at the end
    const ptrdiff_t* start;          // [steps + 1]
    const ptrdiff_t* start_state;    // [steps + 2]
};

// A run of rows that follow each other both in what a product reads and in the derivative of what it gives.
struct Segment {
    ptrdiff_t source, row;
    int count;
};

// What one Attend of the plan looks at in one call. Keys and values are copied to rows of whole machine vectors, unless
// they were before (given_keys is null then).
struct Memory {
    int places;
    const float *given_keys, *bias, *given_values;  // (N, S, width), (N, S): the caller's
    float *given_d_keys, *given_d_values;
    float *keys, *values, *d_keys, *d_values;       // [batch][places]
    float* weights;                                 // [rows][places]
    int* length;                                    // [batch]
};

// One call. Pointers of the caller are row-major and contiguous; an input has (T * N, input_size) rows.
struct Call {
    const Plan* plan;
    int lanes, threads, time, batch;
    int shares;  // one a thread, or one for all of them: then they divide the units
    ptrdiff_t rows, row_stride, state_stride;  // strides in rows between unit blocks
    const Share* share;                        // [shares]
    const int32_t* outside;                    // [rows] row of the caller's arrays

    // Symbols as inputs (tokens.h): an input has a row for each of `symbols`; 0 where it has (T * N, input_size).
    int symbols, table_slots;
    const int32_t* symbol;      // [rows]
    const int32_t* every;       // [symbols] 0, 1, 2 ...
    const int* table_slot;      // [table_slots] the slots whose rows are in the table
    float* table;               // backward: [threads]
    const ptrdiff_t* table_at;  // by slot
    ptrdiff_t table_stride, table_size;

    const float* const* input;
    const int* input_size;
    const float* const* weight;  // of products, then of hoisted
    const float* const* bias;    // the same; null for none
    const float* const* param;
    const float* const* state;   // (N, width), before the first step
    float* output;
    float* const* final_state;

    const float* d_output;
    const float* const* d_final;
    int inputs;
    float* const* d_input;  // null where it is not wanted
    const int* whole;       // [inputs] each of its columns is given once: written, and not added to
    float* const* d_weight;
    float* const* d_bias;
    float* const* d_param;
    float* const* d_state;
    const Memory* memory;   // [attends]
    const int64_t* source;  // [batch] whose memory an element looks at; null: its own

    float* slots;
    const ptrdiff_t* slot_at;
    float* states;
    const ptrdiff_t* state_at;

    float* packed;  // weights, as the products of this direction read them
    const ptrdiff_t* packed_at;
    float* packed_bias;
    const ptrdiff_t* packed_bias_at;
    float* params;
    const ptrdiff_t* param_at;
    float* constants;
    float* const* scratch;  // [threads] see Layout
    const Segment* const* segments;  // [products + hoisted] rows of the weight gradients
    const int* segment_count;
};

// Where the parts of a thread's scratch begin, in floats.
struct Layout {
    ptrdiff_t acc, reg, temp, carry, pass, dout, pgrad, words, pairs, rows, weight, seen, total;
};

// The product of row-major rows with one weight: rows (count, size) -> out (count, width), plus biases.
struct Projection {
    Product product;
    const float* packed;  // as the plan's are, the biases behind
    const float* rows;
    float* out;
    int count, threads;
    bool units;            // threads divide the units, not the rows
    const int32_t* every;  // [count] 0, 1, 2 ...
    float* const* scratch;  // [threads]
};

// Where threads divide the units: waits until all of them have come.
void meet(Barrier& barrier);

constexpr int TILE_ROWS = 24;     // rows of a tile on which a program runs
constexpr int CHUNK_ROWS = 192;   // rows of a hoisted product at a time
constexpr int SUM_ROWS = 96;      // rows of a weight's gradient at a time: few enough for the first cache, and digits

// One instruction set's way of doing the work of one thread.
struct Kernels {
    const char* name;
    int lanes;
    ptrdiff_t (*packed_size)(const Product& product, bool backward);
    Layout (*layout)(const Call& call, int thread);
    void (*pack)(const Call& call, int thread, bool backward);
    void (*lift)(const Call& call, int thread);  // before forward, with symbols as inputs
    void (*forward)(const Call& call, int thread, Barrier& barrier);
    void (*backward)(const Call& call, int thread, Barrier& barrier);
    void (*merge)(const Call& call, int thread);  // after backward, with symbols as inputs
    void (*gradients)(const Call& call, int thread);
    ptrdiff_t (*projection_scratch)(const Projection& of);  // floats of each thread
    void (*project)(const Projection& of, int thread);
    void (*peak)(ptrdiff_t turns);
};

}  // namespace elman
