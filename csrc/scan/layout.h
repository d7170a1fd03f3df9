// Where the parts of a thread's scratch are.
//
// Included inside the namespace of the instruction set.

static int widest_panel(const Plan& plan) {
    int most = 4;
    for (int i = 0; i < plan.products + plan.hoisted; i++) {
        const Product& p = i < plan.products ? plan.product[i] : plan.lift[i - plan.products];
        const Shape forward = forward_shape(p);
        most = forward.gates * forward.units > most ? forward.gates * forward.units : most;
    }
    return most;
}

static Layout layout(const Call& call, int thread) {
    const Plan& plan = *call.plan;
    const ptrdiff_t elements = share_of(call, thread).elements;
    Layout at{};
    ptrdiff_t total = 0;
    auto take = [&](ptrdiff_t floats) {
        const ptrdiff_t begin = total;
        total += (floats + L - 1) / L * L;
        return begin;
    };
    at.acc = take(ptrdiff_t(widest_panel(plan)) * CHUNK_ROWS * L);
    at.reg = take(ptrdiff_t(plan.registers + 1) * TILE_ROWS * L);
    at.temp = total;
    for (int i = 0; i < plan.temps; i++) take(elements * blocks(plan.temp_width[i]) * L);
    at.carry = total;
    for (int i = 0; i < plan.states; i++) take(elements * blocks(plan.state_width[i]) * L);
    at.pass = total;
    for (int i = 0; i < plan.states; i++) take(elements * blocks(plan.state_width[i]) * L);
    at.dout = total;
    for (int i = 0; i < plan.outputs; i++) take(elements * blocks(plan.output[i].width) * L);
    at.pgrad = total;
    for (int i = 0; i < plan.params; i++) take(ptrdiff_t(blocks(plan.param_width[i])) * L);
    ptrdiff_t rows = 0, weight = 0, depth = 0;
    for (int i = 0; i < plan.sequences; i++) {
        const ptrdiff_t size = ptrdiff_t(blocks(plan.sequence[i].size)) * CHUNK_ROWS * L;
        rows = size > rows ? size : rows;
    }
    for (int i = 0; i < plan.products + plan.hoisted; i++) {
        const Product& p = product_of(call, i);
        const Shape shape = gradient_shape(p);
        const ptrdiff_t size = shape.size() + shape.vectors() * L;
        weight = size > weight ? size : weight;
        const int forward = blocks(p.size), backward = p.gates * blocks(p.width);
        depth = forward > depth ? forward : depth;
        depth = backward > depth ? backward : depth;
    }
    if (HALF) {
        at.words = take(depth * (elements > CHUNK_ROWS ? elements : CHUNK_ROWS) * ROW);
        at.pairs = take(4 * (SUM_ROWS / 2) * L);
    }
    at.rows = take(rows);
    at.weight = take(weight);
    at.seen = take(seen(call, nullptr).size);
    at.total = total;
    return at;
}
