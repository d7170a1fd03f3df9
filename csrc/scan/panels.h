// Weights packed as the products read them, and the product of some rows with one panel of columns.
//
// Included inside the namespace of the instruction set.

// Forward: [panel][part][k][nv][L], vectors of a panel in the order [unit block][gate]. Backward: the columns are the
// units of the left operand, k runs over the rows of W, gate by gate. k counts words.
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
            for (int k = 0; k < shape.depth; k++) {
                const int row = k % words(p.width) * PAIR;
                const float* first = w + (ptrdiff_t(k / words(p.width)) * p.width + row) * p.size + unit;
                const float* second = row + 1 < p.width ? first + p.size : nullptr;
                for (int lane = 0; lane < count; lane++)
                    to[k * step + lane] = word(first[lane], HALF && second ? second[lane] : 0.0f);
            }
            continue;
        }
        const float* from = w + (ptrdiff_t(gate) * p.width + unit) * p.size;
        int k0 = 0;
        for (; !HALF && count == L && k0 + L <= shape.depth; k0 += L) transpose(from + k0, p.size, to + k0 * step, step);
        for (; k0 < shape.depth; k0 += 16)  // a block of 16 x L, so that lines are met while they are near
            for (int lane = 0; lane < count; lane++)
                for (int k = k0; k < least(k0 + 16, shape.depth); k++) {
                    const float* first = from + ptrdiff_t(lane) * p.size + k * PAIR;
                    to[k * step + lane] = word(*first, HALF && k * PAIR + 1 < p.size ? first[1] : 0.0f);
                }
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
        const Part own = part_of(call, thread, shape.panels);
        for (int panel = 0; panel < shape.panels; panel++) {
            const bool mine = divides_units(call) ? panel >= own.first && panel < own.last : turn++ % call.threads == thread;
            if (mine) pack_panel(call, which, backward, shape, panel);
        }
    }
    if (thread) return;
    for (int i = 0; i < plan.params; i++)
        for (int j = 0; j < blocks(plan.param_width[i]) * L; j++)
            call.params[call.param_at[i] + j] = j < plan.param_width[i] ? call.param[i][j] : 0.0f;
    for (int i = 0; i < plan.consts; i++)
        for (int j = 0; j < L; j++) call.constants[i * L + j] = plan.constant[i];
}

constexpr int MOST_CHUNKS = 4096;  // of a left operand: Python refuses more

static int chunks_of_vector(int width, ptrdiff_t stride, ptrdiff_t offset, Chunk* chunk) {
    for (int u = 0; u < blocks(width); u++) chunk[u] = {offset + u * stride * L, least(L, width - u * L)};
    return blocks(width);
}

// The derivatives of a product's columns, gate after gate, seen from the first row.
static int chunks_of_gradients(const Product& p, const ptrdiff_t* at, ptrdiff_t stride, Chunk* chunk) {
    int count = 0;
    for (int g = 0; g < p.gates; g++) count += chunks_of_vector(p.width, stride, at[p.gradients[g]], chunk + count);
    return count;
}

// One panel for `rows` rows: its vector v goes to to(v), [rows][L].
template <class To>
static void multiply_panel(const Shape& shape, const float* packed, const float* bias, int panel, const float* a,
                           const Chunk* chunk, int chunks, int rows, const To& to) {
    for (int part = 0; part < shape.parts; part++) {
        const ptrdiff_t place = ptrdiff_t(panel) * shape.parts + part;
        const float* b = packed + place * shape.part_size();
        const float* c = bias ? bias + place * shape.nv * L : nullptr;
        float* out[4];
        for (int v = 0; v < shape.nv; v++) out[v] = to(part * shape.nv + v);
        if (shape.nv == 4)
            product_rows<4>(a, chunk, chunks, b, c, out, rows);
        else
            product_rows<3>(a, chunk, chunks, b, c, out, rows);
    }
}
