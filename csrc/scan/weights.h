// The gradients of weights, biases and parameters: sums over the rows of all threads.
//
// Included inside the namespace of the instruction set.

// The derivatives of the vectors of a part of a product's columns, from the first row; false where it has none.
static bool derivatives_of(const Lifted& of, const Product& p, const Shape& shape, int part, const float** d) {
    for (int v = 0; v < shape.nv; v++) {
        const int i = part % shape.parts * shape.nv + v;
        const int u = part / shape.parts * shape.units + i / shape.gates;
        if (u >= blocks(p.width)) {  // past the last unit the first one is repeated, and its sums are dropped
            if (!v) return false;
            d[v] = d[0];
        } else {
            d[v] = of.base + of.at[p.gradients[i % shape.gates]] + u * of.stride * L;
        }
    }
    return true;
}

// A part of a product's columns over one chunk of rows: its weights' and, where `bias` is not null, its biases' gradients,
// added to. a: the rows of the left operand, `block` words from one unit block to the next, in runs as `left` says; pairs:
// room for those of d.
static void weight_part(const Lifted& of, const Product& p, const Shape& shape, int part, const Segment* segment,
                        int segments, const Segment* left, int lefts, const float* a, ptrdiff_t block, float* pairs,
                        float* sum, float* bias) {
    const float *d[4], *next[4];
    if (!derivatives_of(of, p, shape, part, d)) return;
    if (!derivatives_of(of, p, shape, part + 1, next)) __builtin_memcpy(next, d, sizeof(d));
    const int rows = int(segment[segments - 1].row + segment[segments - 1].count - segment[0].row);
    if (bias && shape.nv == 4)
        sum_rows<4>(segment, segments, d, bias);
    else if (bias)
        sum_rows<3>(segment, segments, d, bias);
    for (int v = 0; HALF && v < shape.nv; v++) {
        float* to = pairs + v * (SUM_ROWS / 2) * L;
        pair_rows(d[v], false, segment, segments, to);
        d[v] = to;
    }
    for (int u = 0; u < blocks(p.size); u++) {
        float* to = sum + ptrdiff_t(u) * L * shape.nv * L;
        for (int v = 0; v < shape.nv; v++)  // the next part's are far away: asked for while this one is added up
            for (int m = rows * u / blocks(p.size); m < rows * (u + 1) / blocks(p.size); m++)
                fetch(next[v] + (segment[0].row + m) * L);
        const int units = least(L, p.size - u * L);
        if (shape.nv == 4)
            outer_units<4>(left, lefts, a + u * block, d, to, units);
        else
            outer_units<3>(left, lefts, a + u * block, d, to, units);
    }
}

static void unpack_part(const Product& p, const Shape& shape, int part, const float* sum, const float* bias,
                        float* weight, float* bias_to) {
    for (int v = 0; v < shape.nv; v++) {
        const int i = part % shape.parts * shape.nv + v, gate = i % shape.gates;
        const int unit = (part / shape.parts * shape.units + i / shape.gates) * L;
        const int count = p.width - unit < 0 ? 0 : least(L, p.width - unit);
        int k0 = 0;
        for (; count == L && k0 + L <= p.size; k0 += L)
            transpose(sum + (ptrdiff_t(k0) * shape.nv + v) * L, shape.nv * L,
                      weight + (ptrdiff_t(gate) * p.width + unit) * p.size + k0, p.size);
        for (; k0 < p.size; k0 += 16)
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
    const Shape shape = gradient_shape(p);
    float* sums = call.scratch[thread] + at.weight;
    float* biases = sums + shape.size();
    const int parts = shape.panels * shape.parts;
    const int begin = parts * thread / call.threads, end = parts * (thread + 1) / call.threads;
    __builtin_memset(sums + begin * shape.part_size(), 0, sizeof(float) * (end - begin) * shape.part_size());
    __builtin_memset(biases + begin * shape.nv * L, 0, sizeof(V) * (end - begin) * shape.nv);
    const Segment* segment = call.segments[which];
    const int total = call.segment_count[which];
    const bool hoisted = which >= plan.products;
    const Lifted of = hoisted ? lifted(call, thread)
                              : Lifted{call.slots, call.slot_at, call.row_stride, call.outside, 0, 0};
    float *rows = call.scratch[thread] + at.rows, *copy = call.scratch[thread] + at.words;
    float* pairs = call.scratch[thread] + at.pairs;
    for (int from = 0, to = 0; from < total; from = to) {
        int count = 0;
        while (to < total && (to == from || count + segment[to].count <= SUM_ROWS)) count += segment[to++].count;
        const float* a = rows;
        ptrdiff_t block = CHUNK_ROWS * L;
        if (hoisted) {
            const Sequence& sequence = plan.sequence[p.which];
            gather(call.input[sequence.input], call.input_size[sequence.input], sequence.start, sequence.size,
                   of.outside + segment[from].row, count, rows, CHUNK_ROWS);
        } else if (p.kind == SLOT) {
            a = call.slots + call.slot_at[p.which];
            block = call.row_stride * L;
        } else {
            a = call.states + call.state_at[p.which];
            block = call.state_stride * L;
        }
        Segment whole{0, 0, 0};
        if (HALF) {
            for (int u = 0; u < blocks(p.size); u++)
                whole.count = pair_rows(a + u * block, true, segment + from, to - from, copy + u * (SUM_ROWS / 2) * L);
            a = copy;
            block = (SUM_ROWS / 2) * L;
        }
        for (int part = begin; part < end; part++)
            weight_part(of, p, shape, part, segment + from, to - from, HALF ? &whole : segment + from,
                        HALF ? 1 : to - from, a, block, pairs, sums + part * shape.part_size(),
                        call.d_bias[which] ? biases + part * shape.nv * L : nullptr);
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
