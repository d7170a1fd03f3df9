// The steps of one thread's share, forward and backward.
//
// Included inside the namespace of the instruction set.

// The output of step t for the caller.
static void give_output(const Step& step) {
    const Plan& plan = *step.call.plan;
    const int32_t* outside = step.call.outside + step.share.first + step.share.start[step.t];
    for (int i = 0; i < plan.outputs; i++) {
        const Output& part = plan.output[i];
        const Base from = step.operand(part.from);
        scatter(from.at, from.block / L, step.share.live[step.t], outside, step.call.output, plan.output_width,
                part.start, part.width, false);
    }
}

// Runs the stages of a step; where threads divide the units, what one leaves is there for all before the next begins.
static void run_stages(const Step& step, bool backward, Barrier& barrier) {
    const Plan& plan = *step.call.plan;
    const int live = step.share.live[step.t], later = step.share.live[step.t + 1];
    for (int s = 0; s < (backward ? plan.backward : plan.forward); s++) {
        const Stage& stage = backward ? plan.backward_stage[s] : plan.forward_stage[s];
        run_stage(step, stage, backward, live, backward && stage.late ? later : live);
        if (divides_units(step.call)) meet(barrier);
    }
}

static void forward(const Call& call, int thread, Barrier& barrier) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const Layout at = layout(call, thread);
    const bool together = divides_units(call);
    if (!call.symbols) lift(call, thread);
    take_memories(call, thread);
    if (!together || !thread) {
        clear(call, share, call.output, plan.output_width, false);
        for (int j = 0; j < plan.states; j++)
            gather(call.state[j], plan.state_width[j], 0, plan.state_width[j], share.element, share.elements,
                   call.states + call.state_at[j] + share.first_state * L, call.state_stride);
    }
    if (call.symbols && together) exchange_part(call, thread, call.table, false);
    if (together) meet(barrier);
    for (int t = 0; t < share.steps; t++) {
        const Step step{call, share, at, thread, t, nullptr, nullptr};
        if (call.symbols && !together) exchange(call, share, t, call.table, false);
        run_stages(step, false, barrier);
        if (!together) give_output(step);
    }
    if (together) {
        const Part own = part_of(call, thread, share.steps);
        for (ptrdiff_t t = own.first; t < own.last; t++) give_output({call, share, at, thread, int(t), nullptr, nullptr});
        if (thread) return;
    }
    for (int j = 0; j < plan.states; j++) {
        for (int t = 0; t < share.steps; t++) {  // those whose last step is t are the last ones live then
            const int begin = share.live[t + 1], end = share.live[t];
            const Step step{call, share, at, thread, t, nullptr, nullptr};
            scatter(step.state(j, 1) + begin * L, call.state_stride, end - begin, share.element + begin,
                    call.final_state[j], plan.state_width[j], 0, plan.state_width[j], false);
        }
    }
}

// The derivative of the state before the first step: what reached it without a product, and the products.
static void first_state(const Call& call, int thread, const Layout& at, float* carry, Barrier& barrier) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const Step step{call, share, at, thread, 0, carry, carry};
    float* scratch = step.scratch;
    Chunk chunk[MOST_CHUNKS];
    for (int i = 0; i < plan.products && share.steps; i++) {
        const Product& p = plan.product[i];
        if (p.kind != BEFORE) continue;
        const Shape shape = backward_shape(p);
        const int chunks = chunks_of_gradients(p, call.slot_at, call.row_stride, chunk), rows = share.live[0];
        const float* a = left_operand(call.slots + (share.first + share.start[0]) * L, chunk, chunks, rows,
                                      scratch + at.words);
        const Base to = step.operand({CARRY, p.which});
        const Part own = part_of(call, thread, shape.panels);
        for (int panel = int(own.first); panel < own.last; panel++)
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
    if (divides_units(call)) {
        meet(barrier);
        if (thread) return;
    }
    for (int j = 0; j < plan.states; j++) {
        const Base from = step.operand({CARRY, j});
        scatter(from.at, share.elements, share.elements, share.element, call.d_state[j], plan.state_width[j], 0,
                plan.state_width[j], false);
    }
}

static void backward(const Call& call, int thread, Barrier& barrier) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const Layout at = layout(call, thread);
    const bool together = divides_units(call);
    float *scratch = call.scratch[thread], *common = call.scratch[together ? 0 : thread];
    float *carry = common + at.carry, *pass = common + at.pass;
    const bool first = !together || !thread;  // does what is done once for a share
    if (!call.symbols && first) clear_inputs(call, share);
    // Both buffers begin with the derivative of the final state: an element finds it there at its own last step.
    for (int i = 0; i < 2 && first; i++) {
        float* buffer = i ? pass : carry;
        const Step step{call, share, at, thread, 0, buffer, buffer};
        for (int j = 0; j < plan.states; j++)
            gather(call.d_final[j], plan.state_width[j], 0, plan.state_width[j], share.element, share.elements,
                   step.operand({CARRY, j}).at, share.elements);
    }
    __builtin_memset(scratch + at.pgrad, 0, sizeof(float) * (at.rows - at.pgrad));
    float* table = call.table + thread * call.table_size;
    if (call.symbols) __builtin_memset(table, 0, sizeof(float) * call.table_size);
    clear_memories(call, thread);
    if (together) meet(barrier);
    for (int t = share.steps - 1; t >= 0; t--) {
        const Step step{call, share, at, thread, t, carry, pass};
        for (int i = 0; i < plan.outputs; i++)
            gather(call.d_output, plan.output_width, plan.output[i].start, plan.output[i].width,
                   call.outside + share.first + share.start[t], share.live[t], step.operand({DOUT, i}).at, share.elements);
        run_stages(step, true, barrier);
        if (call.symbols && !together) exchange(call, share, t, table, true);
        float* swap = carry;
        carry = pass;
        pass = swap;
    }
    if (call.symbols && together) exchange_part(call, thread, table, true);
    first_state(call, thread, at, carry, barrier);
    give_memories(call, thread);
}
