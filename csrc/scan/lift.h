// The products that need no state, for the whole sequence: forward into slots, backward to the inputs.
//
// Included inside the namespace of the instruction set.

// x W^T + b for the thread's rows, into slots.
static void lift(const Call& call, int thread, float* scratch, const Layout& at) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const ptrdiff_t rows = share.start[share.steps];
    Chunk chunk[MOST_CHUNKS];
    for (int i = 0; i < plan.hoisted; i++) {
        const Product& p = plan.lift[i];
        const Sequence& sequence = plan.sequence[p.which];
        const Shape shape = forward_shape(p);
        const float* packed = call.packed + call.packed_at[plan.products + i];
        const int chunks = chunks_of_vector(sequence.size, CHUNK_ROWS, 0, chunk);
        for (ptrdiff_t from = 0; from < rows; from += CHUNK_ROWS) {
            const int count = rows - from < CHUNK_ROWS ? int(rows - from) : CHUNK_ROWS;
            gather(call.input[sequence.input], call.input_size[sequence.input], sequence.start, sequence.size,
                   call.outside + share.first + from, count, scratch + at.rows, CHUNK_ROWS);
            for (int panel = 0; panel < shape.panels; panel++) {
                multiply_panel(shape, packed, packed + shape.size(), panel, scratch + at.rows, chunk, chunks, count,
                               [&](int v) {
                                   const int u = panel * shape.units + v / shape.gates;
                                   if (u >= blocks(p.width)) return scratch + at.acc;  // padding
                                   float* slot = call.slots + call.slot_at[p.slots[v % shape.gates]];
                                   return slot + (u * call.row_stride + share.first + from) * L;
                               });
            }
        }
    }
    for (int i = 0; i < plan.pieces; i++) {
        const Piece& piece = plan.piece[i];
        gather(call.input[piece.input], call.input_size[piece.input], piece.start, piece.width,
               call.outside + share.first, int(rows), call.slots + call.slot_at[piece.slot] + share.first * L,
               call.row_stride);
    }
}

// d_input += d_acc W for the thread's rows of the hoisted products.
static void input_gradients(const Call& call, int thread) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const Layout at = layout(call, thread);
    float* acc = call.scratch[thread] + at.acc;
    const ptrdiff_t rows = share.start[share.steps];
    Chunk chunk[MOST_CHUNKS];
    for (int i = 0; i < plan.hoisted; i++) {
        const Product& p = plan.lift[i];
        const Sequence& sequence = plan.sequence[p.which];
        float* to = call.d_input[sequence.input];
        if (!to) continue;
        const Shape shape = backward_shape(p);
        const int chunks = chunks_of_gradients(call, p, chunk);
        for (ptrdiff_t from = 0; from < rows; from += CHUNK_ROWS) {
            const int count = rows - from < CHUNK_ROWS ? int(rows - from) : CHUNK_ROWS;
            for (int panel = 0; panel < shape.panels; panel++) {
                multiply_panel(shape, call.packed + call.packed_at[plan.products + i], nullptr, panel,
                               call.slots + (share.first + from) * L, chunk, chunks, count,
                               [&](int v) { return acc + v * CHUNK_ROWS * L; });
                const int start = panel * shape.units * L, width = least(shape.units * L, sequence.size - start);
                scatter(acc, CHUNK_ROWS, count, call.outside + share.first + from, to, call.input_size[sequence.input],
                        sequence.start + start, width, true);
            }
        }
    }
}
