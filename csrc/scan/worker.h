// What one thread does: packing, the hoisted products, the steps forward and backward, the gradients of the weights.
//
// Included inside the namespace of the instruction set, which is why nothing here has a guard or includes anything.

static ELMAN_INLINE int blocks(int width) { return (width + L - 1) / L; }
static ELMAN_INLINE int least(int a, int b) { return a < b ? a : b; }

// How the columns of a product are laid out: panels of `units` unit blocks x `gates` vectors, each cut into parts of
// `nv` vectors, one register tile wide.
struct Shape {
    int gates, units, nv, parts, panels, depth;

    Shape(int gates, int width, int depth) : gates(gates), units(1), depth(depth) {
        while ((gates * units) % 4 != 0 && (gates * units) % 3 != 0) units++;
        nv = (gates * units) % 4 == 0 ? 4 : 3;
        parts = gates * units / nv;
        panels = (blocks(width) + units - 1) / units;
    }
    ptrdiff_t part_size() const { return ptrdiff_t(depth) * nv * L; }
    ptrdiff_t vectors() const { return ptrdiff_t(panels) * parts * nv; }
    ptrdiff_t size() const { return vectors() * depth * L; }
};

static ELMAN_INLINE Shape forward_shape(const Product& p) { return Shape(p.gates, p.width, p.size); }
static ELMAN_INLINE Shape backward_shape(const Product& p) { return Shape(1, p.size, p.gates * p.width); }

static ptrdiff_t packed_size(const Product& product, bool backward) {
    const Shape shape = backward ? backward_shape(product) : forward_shape(product);
    return shape.size() + shape.vectors() * L;
}

static const Product& product_of(const Call& call, int which) {
    return which < call.plan->products ? call.plan->product[which] : call.plan->lift[which - call.plan->products];
}

static ELMAN_INLINE const Share& share_of(const Call& call, int thread) { return call.share[thread]; }

// -- scratch ---------------------------------------------------------------------------------------------------------

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
    at.dout = take(elements * blocks(plan.output_width) * L);
    at.pgrad = total;
    for (int i = 0; i < plan.params; i++) take(ptrdiff_t(blocks(plan.param_width[i])) * L);
    ptrdiff_t rows = 0, weight = 0;
    for (int i = 0; i < plan.sequences; i++) {
        const ptrdiff_t size = ptrdiff_t(blocks(plan.sequence[i].size)) * CHUNK_ROWS * L;
        rows = size > rows ? size : rows;
    }
    for (int i = 0; i < plan.products + plan.hoisted; i++) {
        const Shape shape = forward_shape(product_of(call, i));
        const ptrdiff_t size = shape.size() + shape.vectors() * L;
        weight = size > weight ? size : weight;
    }
    at.rows = take(rows);
    at.weight = take(weight);
    at.total = total;
    return at;
}

// -- rows of the caller's arrays to panels and back ------------------------------------------------------------------

// `rows` rows of `from` (row_size floats each, starting at column `start`), named by `outside`, to panels.
static void gather(const float* from, int row_size, int start, int width, const int32_t* outside, int rows, float* to,
                   ptrdiff_t stride) {
    for (int u = 0; u < blocks(width); u++) {
        const int count = least(L, width - u * L);
        for (int r = 0; r < rows; r++) {
            const float* source = from + ptrdiff_t(outside[r]) * row_size + start + u * L;
            float* target = to + (u * stride + r) * L;
            if (count == L) {
                __builtin_memcpy(target, source, sizeof(V));
            } else {
                for (int i = 0; i < L; i++) target[i] = i < count ? source[i] : 0.0f;
            }
        }
    }
}

static void scatter(const float* from, ptrdiff_t stride, int rows, const int32_t* outside, float* to, int row_size,
                    int start, int width, bool add) {
    for (int u = 0; u < blocks(width); u++) {
        const int count = least(L, width - u * L);
        for (int r = 0; r < rows; r++) {
            const float* source = from + (u * stride + r) * L;
            float* target = to + ptrdiff_t(outside[r]) * row_size + start + u * L;
            if (add) {
                for (int i = 0; i < count; i++) target[i] += source[i];
            } else if (count == L) {
                __builtin_memcpy(target, source, sizeof(V));
            } else {
                for (int i = 0; i < count; i++) target[i] = source[i];
            }
        }
    }
}

// -- packing ---------------------------------------------------------------------------------------------------------

// Forward: [panel][part][k][nv][L], vectors of a panel in the order [unit block][gate]. Backward: the columns are the
// units of the left operand, k runs over the rows of W.
static void pack_panel(const Call& call, int which, bool backward, const Shape& shape, int panel) {
    const Product& p = product_of(call, which);
    const float* w = call.weight[which];
    float* packed = call.packed + call.packed_at[which];
    float* bias_to = packed + shape.size();
    const int width = backward ? p.size : p.width;
    for (int i = 0; i < shape.parts * shape.nv; i++) {
        const int gate = i % shape.gates, unit = (panel * shape.units + i / shape.gates) * L;
        const int count = width - unit < 0 ? 0 : least(L, width - unit);
        float* to = packed + (ptrdiff_t(panel) * shape.parts + i / shape.nv) * shape.part_size() + i % shape.nv * L;
        const ptrdiff_t step = shape.nv * L;
        for (int lane = count; lane < L; lane++)
            for (int k = 0; k < shape.depth; k++) to[k * step + lane] = 0.0f;
        if (backward) {
            for (int k = 0; k < shape.depth; k++)
                for (int lane = 0; lane < count; lane++) to[k * step + lane] = w[ptrdiff_t(k) * p.size + unit + lane];
            continue;
        }
        const float* from = w + (ptrdiff_t(gate) * p.width + unit) * p.size;
        for (int k0 = 0; k0 < shape.depth; k0 += 16)  // a block of 16 x L, so that lines are met while they are near
            for (int lane = 0; lane < count; lane++)
                for (int k = k0; k < least(k0 + 16, shape.depth); k++) to[k * step + lane] = from[ptrdiff_t(lane) * p.size + k];
        float* bias = bias_to + (ptrdiff_t(panel) * shape.parts * shape.nv + i) * L;
        const float* given = call.bias[which];
        for (int lane = 0; lane < L; lane++)
            bias[lane] = given && lane < count ? given[gate * p.width + unit + lane] : 0.0f;
    }
}

static void pack(const Call& call, int thread, bool backward) {
    const Plan& plan = *call.plan;
    int turn = 0;
    for (int which = 0; which < plan.products + plan.hoisted; which++) {
        if (backward && which >= plan.products) {
            const Sequence& sequence = plan.sequence[product_of(call, which).which];
            if (!call.d_input[sequence.input]) continue;
        }
        const Product& p = product_of(call, which);
        const Shape shape = backward ? backward_shape(p) : forward_shape(p);
        for (int panel = 0; panel < shape.panels; panel++)
            if (turn++ % call.threads == thread) pack_panel(call, which, backward, shape, panel);
    }
    if (thread) return;
    for (int i = 0; i < plan.params; i++)
        for (int j = 0; j < blocks(plan.param_width[i]) * L; j++)
            call.params[call.param_at[i] + j] = j < plan.param_width[i] ? call.param[i][j] : 0.0f;
    for (int i = 0; i < plan.consts; i++)
        for (int j = 0; j < L; j++) call.constants[i * L + j] = plan.constant[i];
}

// -- products --------------------------------------------------------------------------------------------------------

constexpr int MOST_CHUNKS = 4096;  // of a left operand: Python refuses more

static int chunks_of_vector(int width, ptrdiff_t stride, ptrdiff_t offset, Chunk* chunk) {
    for (int u = 0; u < blocks(width); u++) chunk[u] = {offset + u * stride * L, least(L, width - u * L)};
    return blocks(width);
}

// The derivatives of a product's columns, gate after gate, seen from the first slot's row.
static int chunks_of_gradients(const Call& call, const Product& p, Chunk* chunk) {
    int count = 0;
    for (int g = 0; g < p.gates; g++)
        count += chunks_of_vector(p.width, call.row_stride, call.slot_at[p.gradients[g]], chunk + count);
    return count;
}

// One panel for `rows` rows: acc [vector of the panel][stride rows][L].
static void multiply_panel(const Shape& shape, const float* packed, const float* bias, int panel, const float* a,
                           const Chunk* chunk, int chunks, float* acc, ptrdiff_t stride, int rows) {
    for (int part = 0; part < shape.parts; part++) {
        const ptrdiff_t place = ptrdiff_t(panel) * shape.parts + part;
        const float* b = packed + place * shape.part_size();
        const float* c = bias ? bias + place * shape.nv * L : nullptr;
        float* out = acc + part * shape.nv * stride;
        if (shape.nv == 4)
            product_rows<4>(a, chunk, chunks, b, c, out, stride, rows);
        else
            product_rows<3>(a, chunk, chunks, b, c, out, stride, rows);
    }
}

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
                multiply_panel(shape, packed, packed + shape.size(), panel, scratch + at.rows, chunk, chunks,
                               scratch + at.acc, CHUNK_ROWS * L, count);
                for (int v = 0; v < shape.gates * shape.units; v++) {
                    const int u = panel * shape.units + v / shape.gates;
                    if (u >= blocks(p.width)) break;
                    float* slot = call.slots + call.slot_at[p.slots[v % shape.gates]];
                    __builtin_memcpy(slot + (u * call.row_stride + share.first + from) * L,
                                     scratch + at.acc + ptrdiff_t(v) * CHUNK_ROWS * L, sizeof(V) * count);
                }
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

// -- one step --------------------------------------------------------------------------------------------------------

struct Base {  // an operand of a stage at one step
    float* at;
    ptrdiff_t block;  // floats to the next unit block
    int row, step;    // floats to the next row: of the tile, of the operand
};

struct Step {
    const Call& call;
    const Share& share;
    const Layout& at;
    float* scratch;
    int t;
    float *carry, *pass;

    // Where the part of `width` after `places` others begins in a part of the scratch with one vector an element.
    ptrdiff_t vector(const int* widths, int place) const {
        ptrdiff_t floats = 0;
        for (int i = 0; i < place; i++) floats += ptrdiff_t(share.elements) * blocks(widths[i]) * L;
        return floats;
    }
    float* state(int which, int later) const {
        return call.states + call.state_at[which] + (share.first_state + share.start_state[t + later]) * L;
    }
    float* slot(int which, int later) const {
        return call.slots + call.slot_at[which] + (share.first + share.start[t + later]) * L;
    }
    Base operand(const Operand& operand) const {
        const Plan& plan = *call.plan;
        const int which = operand.which;
        const ptrdiff_t own = ptrdiff_t(share.elements) * L;
        switch (operand.kind) {
            case REG: return {scratch + at.reg + ptrdiff_t(which) * TILE_ROWS * L, 0, 0, L};
            case ACC: return {scratch + at.acc + ptrdiff_t(which) * TILE_ROWS * L, 0, 0, L};
            case SLOT: return {slot(which, 0), call.row_stride * L, L, L};
            case BEFORE: return {state(which, 0), call.state_stride * L, L, L};
            case AFTER: return {state(which, 1), call.state_stride * L, L, L};
            case PARAM: return {call.params + call.param_at[which], L, 0, 0};
            case TEMP: return {scratch + at.temp + vector(plan.temp_width, which), own, L, L};
            case CARRY: return {carry + vector(plan.state_width, which), own, L, L};
            case PASS: return {pass + vector(plan.state_width, which), own, L, L};
            case DOUT: return {scratch + at.dout, own, L, L};
            case PGRAD: {
                ptrdiff_t before = 0;
                for (int i = 0; i < which; i++) before += blocks(plan.param_width[i]) * L;
                return {scratch + at.pgrad + before, L, 0, 0};
            }
            default: return {call.constants + ptrdiff_t(which) * L, 0, 0, 0};
        }
    }
};

constexpr int MOST_OPERANDS = 256;  // of one stage: Python refuses more

// The program of a stage for one tile of rows and every unit block of a panel.
static void run_tile(const Stage& stage, const Base* base, int panel, int units, int gates, int from, int rows) {
    Place place[MOST_OPERANDS];
    for (int unit = 0; unit < units; unit++) {
        const int u = panel * units + unit;
        if (u >= blocks(stage.width)) break;
        for (int i = 0; i < stage.operands; i++) {
            const Base& b = base[i];
            const ptrdiff_t tile = stage.operand[i].kind == ACC ? ptrdiff_t(unit) * gates * TILE_ROWS * L : u * b.block;
            place[i] = {b.at + tile + ptrdiff_t(from) * b.row, b.step};
        }
        run_program(stage.code, stage.instructions, place, rows);
    }
}

// One stage at one step. `multiplied`: how many of the live rows the product has; for the others it is zero.
static void run_stage(const Step& step, const Stage& stage, bool backward, int live, int multiplied) {
    const Call& call = step.call;
    Base base[MOST_OPERANDS];
    for (int i = 0; i < stage.operands; i++) base[i] = step.operand(stage.operand[i]);
    const Product* p = stage.product < 0 ? nullptr : &call.plan->product[stage.product];
    const Shape shape = !p ? Shape(4, stage.width, 0) : backward ? backward_shape(*p) : forward_shape(*p);
    const int gates = p ? shape.gates : 1, units = p ? shape.units : 1;
    const int panels = p ? shape.panels : blocks(stage.width);
    const float* packed = p ? call.packed + call.packed_at[stage.product] : nullptr;
    Chunk chunk[MOST_CHUNKS];
    const float* a = nullptr;
    int chunks = 0;
    if (p && backward) {
        chunks = chunks_of_gradients(call, *p, chunk);
        a = call.slots + (step.share.first + step.share.start[step.t + stage.late]) * L;
    } else if (p) {
        chunks = chunks_of_vector(p->size, p->kind == SLOT ? call.row_stride : call.state_stride, 0, chunk);
        a = p->kind == SLOT ? step.slot(p->which, 0) : step.state(p->which, p->kind == AFTER);
    }
    float* acc = step.scratch + step.at.acc;
    for (int panel = 0; panel < panels; panel++) {
        for (int part = 0; part < 2; part++) {
            const int begin = part ? multiplied : 0, end = part ? live : multiplied;
            const int tiles = (end - begin + TILE_ROWS - 1) / TILE_ROWS;
            for (int i = 0; i < tiles; i++) {
                const int from = begin + (end - begin) * i / tiles;
                const int rows = begin + (end - begin) * (i + 1) / tiles - from;
                if (p && !part)
                    multiply_panel(shape, packed, backward ? nullptr : packed + shape.size(), panel, a + from * L, chunk,
                                   chunks, acc, TILE_ROWS * L, rows);
                else if (p)
                    __builtin_memset(acc, 0, sizeof(V) * shape.gates * shape.units * TILE_ROWS);
                run_tile(stage, base, panel, units, gates, from, rows);
            }
        }
    }
}

// -- the scan --------------------------------------------------------------------------------------------------------

static void forward(const Call& call, int thread) {
    const Plan& plan = *call.plan;
    const Share& share = share_of(call, thread);
    const Layout at = layout(call, thread);
    float* scratch = call.scratch[thread];
    lift(call, thread, scratch, at);
    for (int j = 0; j < plan.states; j++)
        gather(call.state[j], plan.state_width[j], 0, plan.state_width[j], share.element, share.elements,
               call.states + call.state_at[j] + share.first_state * L, call.state_stride);
    for (int t = 0; t < share.steps; t++) {
        const Step step{call, share, at, scratch, t, scratch + at.carry, scratch + at.pass};
        const int live = share.live[t];
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
        const int chunks = chunks_of_gradients(call, p, chunk), rows = share.live[0];
        const float* a = call.slots + (share.first + share.start[0]) * L;
        const Base to = step.operand({CARRY, p.which});
        for (int panel = 0; panel < shape.panels; panel++)
            for (int from = 0; from < rows; from += TILE_ROWS) {
                const int count = least(TILE_ROWS, rows - from);
                multiply_panel(shape, call.packed + call.packed_at[i], nullptr, panel, a + from * L, chunk, chunks,
                               scratch + at.acc, TILE_ROWS * L, count);
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
    for (int t = share.steps - 1; t >= 0; t--) {
        const Step step{call, share, at, scratch, t, carry, pass};
        const int live = share.live[t], later = share.live[t + 1];
        gather(call.d_output, plan.output_width, 0, plan.output_width, call.outside + share.first + share.start[t], live,
               scratch + at.dout, share.elements);
        for (int s = 0; s < plan.backward; s++) {
            const Stage& stage = plan.backward_stage[s];
            run_stage(step, stage, true, live, stage.late ? later : live);
        }
        float* swap = carry;
        carry = pass;
        pass = swap;
    }
    first_state(call, thread, scratch, at, carry);
    const int32_t* outside = call.outside + share.first;
    for (int i = 0; i < plan.pieces; i++) {
        const Piece& piece = plan.piece[i];
        if (piece.gradient >= 0 && call.d_input[piece.input])
            scatter(call.slots + call.slot_at[piece.gradient] + share.first * L, call.row_stride,
                    int(share.start[share.steps]), outside, call.d_input[piece.input], call.input_size[piece.input],
                    piece.start, piece.width, false);
    }
}

// -- what does not depend on time ------------------------------------------------------------------------------------

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
                               call.slots + (share.first + from) * L, chunk, chunks, acc, CHUNK_ROWS * L, count);
                const int start = panel * shape.units * L, width = least(shape.units * L, sequence.size - start);
                scatter(acc, CHUNK_ROWS, count, call.outside + share.first + from, to, call.input_size[sequence.input],
                        sequence.start + start, width, true);
            }
        }
    }
}

// A part of a product's columns over one chunk of rows: its weights' and its biases' gradients, added to.
static void weight_part(const Call& call, const Product& p, const Shape& shape, int part, const Segment* segment,
                        int segments, const float* a, ptrdiff_t block, float* sum, float* bias) {
    const float* d[4];
    static const float none[1] = {};
    int known = 0;
    for (int v = 0; v < shape.nv; v++) {
        const int i = part % shape.parts * shape.nv + v;
        const int u = part / shape.parts * shape.units + i / shape.gates;
        const bool real = u < blocks(p.width);
        // A vector past the last unit repeats the first one of the part: its sums are dropped.
        d[v] = real ? call.slots + call.slot_at[p.gradients[i % shape.gates]] + u * call.row_stride * L : none;
        if (real) known = v + 1;
        if (!real) d[v] = d[0];
    }
    if (!known) return;
    for (int v = 0; v < shape.nv; v++) {
        V total{};
        for (int s = 0; s < segments; s++)
            for (int m = 0; m < segment[s].count; m++) total += load(d[v] + (segment[s].row + m) * L);
        store(bias + v * L, load(bias + v * L) + total);
    }
    for (int u = 0; u < blocks(p.size); u++) {
        float* to = sum + ptrdiff_t(u) * L * shape.nv * L;
        const int units = least(L, p.size - u * L);
        if (shape.nv == 4)
            outer_units<4>(segment, segments, a + u * block, d, to, units);
        else
            outer_units<3>(segment, segments, a + u * block, d, to, units);
    }
}

static void unpack_part(const Product& p, const Shape& shape, int part, const float* sum, const float* bias,
                        float* weight, float* bias_to) {
    for (int v = 0; v < shape.nv; v++) {
        const int i = part % shape.parts * shape.nv + v, gate = i % shape.gates;
        const int unit = (part / shape.parts * shape.units + i / shape.gates) * L;
        const int count = p.width - unit < 0 ? 0 : least(L, p.width - unit);
        for (int k0 = 0; k0 < p.size; k0 += 16)
            for (int lane = 0; lane < count; lane++) {
                float* to = weight + (ptrdiff_t(gate) * p.width + unit + lane) * p.size;
                for (int k = k0; k < least(k0 + 16, p.size); k++) to[k] = sum[(ptrdiff_t(k) * shape.nv + v) * L + lane];
            }
        if (bias_to)
            for (int lane = 0; lane < count; lane++) bias_to[gate * p.width + unit + lane] = bias[v * L + lane];
    }
}

// Each thread has its own columns of every weight, and all the rows.
static void weight_gradients(const Call& call, int thread, int which) {
    const Plan& plan = *call.plan;
    const Product& p = product_of(call, which);
    const Layout at = layout(call, thread);
    const Shape shape = forward_shape(p);
    float* sums = call.scratch[thread] + at.weight;
    float* biases = sums + shape.size();
    const int parts = shape.panels * shape.parts;
    const int begin = parts * thread / call.threads, end = parts * (thread + 1) / call.threads;
    __builtin_memset(sums + begin * shape.part_size(), 0, sizeof(float) * (end - begin) * shape.part_size());
    __builtin_memset(biases + begin * shape.nv * L, 0, sizeof(V) * (end - begin) * shape.nv);
    const Segment* segment = call.segments[which];
    const int total = call.segment_count[which];
    const bool lifted = which >= plan.products;
    float* rows = call.scratch[thread] + at.rows;
    for (int from = 0, to = 0; from < total; from = to) {
        int count = 0;
        while (to < total && (to == from || count + segment[to].count <= SUM_ROWS)) count += segment[to++].count;
        const float* a = rows;
        ptrdiff_t block = CHUNK_ROWS * L;
        if (lifted) {
            const Sequence& sequence = plan.sequence[p.which];
            gather(call.input[sequence.input], call.input_size[sequence.input], sequence.start, sequence.size,
                   call.outside + segment[from].row, count, rows, CHUNK_ROWS);
        } else if (p.kind == SLOT) {
            a = call.slots + call.slot_at[p.which];
            block = call.row_stride * L;
        } else {
            a = call.states + call.state_at[p.which];
            block = call.state_stride * L;
        }
        for (int part = begin; part < end; part++)
            weight_part(call, p, shape, part, segment + from, to - from, a, block, sums + part * shape.part_size(),
                        biases + part * shape.nv * L);
    }
    for (int part = begin; part < end; part++)
        unpack_part(p, shape, part, sums + part * shape.part_size(), biases + part * shape.nv * L, call.d_weight[which],
                    call.d_bias[which]);
}

static void gradients(const Call& call, int thread) {
    const Plan& plan = *call.plan;
    input_gradients(call, thread);
    for (int which = 0; which < plan.products + plan.hoisted; which++) weight_gradients(call, thread, which);
    if (thread) return;
    ptrdiff_t place = 0;
    for (int i = 0; i < plan.params; i++) {
        for (int j = 0; j < plan.param_width[i]; j++) {
            float sum = 0.0f;
            for (int other = 0; other < call.threads; other++)
                sum += call.scratch[other][layout(call, other).pgrad + place + j];
            call.d_param[i][j] = sum;
        }
        place += blocks(plan.param_width[i]) * L;
    }
}
