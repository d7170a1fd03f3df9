// The products that need no state, for the whole sequence: forward into slots, backward to the inputs.
//
// Included inside the namespace of the instruction set.

// x W^T + b, and what programs read of x itself, for the thread's rows: into slots, or into the table. Where threads
// divide the units of a step they do so here: what a thread reads later is in its own cache.
static void lift(const Call& call, int thread) {
    const Plan& plan = *call.plan;
    const Layout at = layout(call, thread);
    const bool columns = divides_units(call) && !call.symbols;
    const Lifted part = lifted(call, thread), to = columns ? whole_share(call) : part;
    float* scratch = call.scratch[thread];
    Chunk chunk[MOST_CHUNKS];
    for (int i = 0; i < plan.hoisted; i++) {
        const Product& p = plan.lift[i];
        const Sequence& sequence = plan.sequence[p.which];
        const Shape shape = forward_shape(p);
        const float* packed = call.packed + call.packed_at[plan.products + i];
        for (ptrdiff_t from = 0; from < to.rows; from += CHUNK_ROWS) {
            const int count = to.rows - from < CHUNK_ROWS ? int(to.rows - from) : CHUNK_ROWS;
            gather(call.input[sequence.input], call.input_size[sequence.input], sequence.start, sequence.size,
                   to.outside + to.first + from, count, scratch + at.rows, CHUNK_ROWS);
            const int chunks = chunks_of_vector(sequence.size, CHUNK_ROWS, 0, chunk);
            const float* a = left_operand(scratch + at.rows, chunk, chunks, count, scratch + at.words);
            const Part own = columns ? part_of(call, thread, shape.panels) : Part{0, shape.panels};
            for (int panel = int(own.first); panel < own.last; panel++) {
                multiply_panel(shape, packed, packed + shape.size(), panel, a, chunk, chunks, count,
                               [&](int v) {
                                   const int u = panel * shape.units + v / shape.gates;
                                   if (u >= blocks(p.width)) return scratch + at.acc;  // padding
                                   float* slot = to.base + to.at[p.slots[v % shape.gates]];
                                   return slot + (u * to.stride + to.first + from) * L;
                               });
            }
        }
    }
    for (int i = 0; i < plan.pieces; i++) {
        const Piece& piece = plan.piece[i];
        gather(call.input[piece.input], call.input_size[piece.input], piece.start, piece.width,
               part.outside + part.first, int(part.rows), part.base + part.at[piece.slot] + part.first * L, part.stride);
    }
}

// Zeroes what the caller's derivatives of inputs have past the ends of a share's elements, and those that are added to.
static void clear_inputs(const Call& call, const Share& share) {
    for (int i = 0; i < call.inputs; i++)
        if (call.d_input[i]) clear(call, share, call.d_input[i], call.input_size[i], !call.whole[i]);
}

// The derivatives of what was lifted, for the thread's rows: of inputs that programs read, and d_input += d_acc W.
static void input_gradients(const Call& call, int thread) {
    const Plan& plan = *call.plan;
    const Lifted of = lifted(call, thread);
    const Layout at = layout(call, thread);
    float *acc = call.scratch[thread] + at.acc, *copy = call.scratch[thread] + at.words;
    Chunk chunk[MOST_CHUNKS];
    for (int i = 0; i < call.inputs; i++) {
        float* to = call.d_input[i];
        if (to && call.symbols && !call.whole[i])
            __builtin_memset(to + of.first * call.input_size[i], 0, sizeof(float) * of.rows * call.input_size[i]);
    }
    for (int i = 0; i < plan.pieces; i++) {
        const Piece& piece = plan.piece[i];
        if (piece.gradient >= 0 && call.d_input[piece.input])
            scatter(of.base + of.at[piece.gradient] + of.first * L, of.stride, int(of.rows), of.outside + of.first,
                    call.d_input[piece.input], call.input_size[piece.input], piece.start, piece.width,
                    !call.whole[piece.input]);
    }
    for (int i = 0; i < plan.hoisted; i++) {
        const Product& p = plan.lift[i];
        const Sequence& sequence = plan.sequence[p.which];
        float* to = call.d_input[sequence.input];
        if (!to) continue;
        const Shape shape = backward_shape(p);
        for (ptrdiff_t from = 0; from < of.rows; from += CHUNK_ROWS) {
            const int count = of.rows - from < CHUNK_ROWS ? int(of.rows - from) : CHUNK_ROWS;
            const int chunks = chunks_of_gradients(p, of.at, of.stride, chunk);
            const float* a = left_operand(of.base + (of.first + from) * L, chunk, chunks, count, copy);
            for (int panel = 0; panel < shape.panels; panel++) {
                multiply_panel(shape, call.packed + call.packed_at[plan.products + i], nullptr, panel, a, chunk, chunks, count,
                               [&](int v) { return acc + v * CHUNK_ROWS * L; });
                const int start = panel * shape.units * L, width = least(shape.units * L, sequence.size - start);
                scatter(acc, CHUNK_ROWS, count, of.outside + of.first + from, to, call.input_size[sequence.input],
                        sequence.start + start, width, !call.whole[sequence.input]);
            }
        }
    }
}
