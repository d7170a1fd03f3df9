// The steps of one thread's share, forward and backward.
//
// Included inside the namespace of the instruction set.

static void forward(const Call& call, int thread) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const Layout at = layout(call, thread);
    float* scratch = call.scratch[thread];
    if (!call.symbols) lift(call, thread);
    clear(call, share, call.output, plan.output_width, false);
    for (int j = 0; j < plan.states; j++)
        gather(call.state[j], plan.state_width[j], 0, plan.state_width[j], share.element, share.elements,
               call.states + call.state_at[j] + share.first_state * L, call.state_stride);
    for (int t = 0; t < share.steps; t++) {
        const Step step{call, share, at, scratch, t, scratch + at.carry, scratch + at.pass};
        const int live = share.live[t];
        if (call.symbols) exchange(call, share, t, call.table, false);
        for (int s = 0; s < plan.forward; s++) run_stage(step, plan.forward_stage[s], false, live, live);
        const Base output = step.operand({plan.output_kind, plan.output_which});
        scatter(output.at, output.block / L, live, call.outside + share.first + share.start[t], call.output,
                plan.output_width, 0, plan.output_width, false);
    }
    for (int j = 0; j < plan.states; j++) {
        for (int t = 0; t < share.steps; t++) {  // those whose last step is t are the last ones live then
            const int begin = share.live[t + 1], end = share.live[t];
            const Step step{call, share, at, scratch, t, nullptr, nullptr};
            scatter(step.state(j, 1) + begin * L, call.state_stride, end - begin, share.element + begin,
                    call.final_state[j], plan.state_width[j], 0, plan.state_width[j], false);
        }
    }
}

// The derivative of the state before the first step: what reached it without a product, and the products.
static void first_state(const Call& call, int thread, float* scratch, const Layout& at, float* carry) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const Step step{call, share, at, scratch, 0, carry, carry};
    Chunk chunk[MOST_CHUNKS];
    for (int i = 0; i < plan.products && share.steps; i++) {
        const Product& p = plan.product[i];
        if (p.kind != BEFORE) continue;
        const Shape shape = backward_shape(p);
        const int chunks = chunks_of_gradients(p, call.slot_at, call.row_stride, chunk), rows = share.live[0];
        const float* a = left_operand(call.slots + (share.first + share.start[0]) * L, chunk, chunks, rows,
                                      scratch + at.words);
        const Base to = step.operand({CARRY, p.which});
        for (int panel = 0; panel < shape.panels; panel++)
            for (int from = 0; from < rows; from += TILE_ROWS) {
                const int count = least(TILE_ROWS, rows - from);
                multiply_panel(shape, call.packed + call.packed_at[i], nullptr, panel, a + from * ROW, chunk, chunks,
                               count, [&](int v) { return scratch + at.acc + v * TILE_ROWS * L; });
                for (int v = 0; v < shape.units && panel * shape.units + v < blocks(p.size); v++)
                    for (int r = 0; r < count; r++) {
                        float* sum = to.at + (panel * shape.units + v) * to.block + (from + r) * L;
                        store(sum, load(sum) + load(scratch + at.acc + (ptrdiff_t(v) * TILE_ROWS + r) * L));
                    }
            }
    }
    for (int j = 0; j < plan.states; j++) {
        const Base from = step.operand({CARRY, j});
        scatter(from.at, share.elements, share.elements, share.element, call.d_state[j], plan.state_width[j], 0,
                plan.state_width[j], false);
    }
}

static void backward(const Call& call, int thread) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const Layout at = layout(call, thread);
    float* scratch = call.scratch[thread];
    float *carry = scratch + at.carry, *pass = scratch + at.pass;
    // Both buffers begin with the derivative of the final state: an element finds it there at its own last step.
    for (int i = 0; i < 2; i++) {
        float* buffer = i ? pass : carry;
        const Step step{call, share, at, scratch, 0, buffer, buffer};
        for (int j = 0; j < plan.states; j++)
            gather(call.d_final[j], plan.state_width[j], 0, plan.state_width[j], share.element, share.elements,
                   step.operand({CARRY, j}).at, share.elements);
    }
    __builtin_memset(scratch + at.pgrad, 0, sizeof(float) * (at.rows - at.pgrad));
    float* table = call.table + thread * call.table_size;
    if (call.symbols) __builtin_memset(table, 0, sizeof(float) * call.table_size);
    for (int t = share.steps - 1; t >= 0; t--) {
        const Step step{call, share, at, scratch, t, carry, pass};
        const int live = share.live[t], later = share.live[t + 1];
        gather(call.d_output, plan.output_width, 0, plan.output_width, call.outside + share.first + share.start[t], live,
               scratch + at.dout, share.elements);
        for (int s = 0; s < plan.backward; s++) {
            const Stage& stage = plan.backward_stage[s];
            run_stage(step, stage, true, live, stage.late ? later : live);
        }
        if (call.symbols) exchange(call, share, t, table, true);
        float* swap = carry;
        carry = pass;
        pass = swap;
    }
    first_state(call, thread, scratch, at, carry);
}
