// What a row sees of its memory, and the derivative of that.
//
//     e_s = v . tanh(q + k_s) + b_s   or   q . k_s + b_s        w = softmax(e)        c = sum_s w_s m_s
//
//     dw_s = dc . m_s        de_s = w_s (dw_s - sum w dw)       dm_s += w_s dc
//     additive: z_s = de_s v (1 - tanh^2), dq = sum_s z_s, dk_s += z_s, dv += sum_s de_s tanh
//     dot:      dq = sum_s de_s k_s, dk_s += de_s q
//
// Included inside the namespace of the instruction set. Memories are laid out as memory.h says. The weights are kept, tanh
// is computed again.

constexpr int PLACES = 4;  // at a time: what all of them share is loaded once

static ELMAN_INLINE float sum_of(V x) {
    alignas(sizeof(V)) float lane[L];
    store(lane, x);
#pragma GCC unroll 8
    for (int half = L / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}

// -- some places of one row -------------------------------------------------------------------------------------------

// The scores of places whose keys begin at `keys`; v: null for a dot product.
template <int COUNT>
static ELMAN_INLINE void score(const float* q, const float* v, const float* keys, ptrdiff_t size, float* e) {
    V sum[COUNT] = {};
    for (ptrdiff_t u = 0; u < size; u += L) {
        const V query = load(q + u), vector = v ? load(v + u) : V{};
#pragma GCC unroll 4
        for (int s = 0; s < COUNT; s++) {
            const V key = load(keys + s * size + u);
            sum[s] += v ? vector * tanh_(query + key) : query * key;
        }
    }
#pragma GCC unroll 4
    for (int s = 0; s < COUNT; s++) e[s] = sum_of(sum[s]);
}

template <int COUNT>
static ELMAN_INLINE void weigh(const float* w, const float* values, ptrdiff_t width, float* context) {
    for (ptrdiff_t u = 0; u < width; u += L) {
        V sum = load(context + u);
#pragma GCC unroll 4
        for (int s = 0; s < COUNT; s++) sum += all(w[s]) * load(values + s * width + u);
        store(context + u, sum);
    }
}

// The derivatives of the weights, and what the values get of theirs.
template <int COUNT>
static ELMAN_INLINE void weigh_back(
    const float* dc, const float* w, const float* values, ptrdiff_t width, float* dw, float* d_values) {
    V sum[COUNT] = {};
    for (ptrdiff_t u = 0; u < width; u += L) {
        const V d = load(dc + u);
#pragma GCC unroll 4
        for (int s = 0; s < COUNT; s++) {
            float* to = d_values + s * width + u;
            sum[s] += d * load(values + s * width + u);
            store(to, load(to) + all(w[s]) * d);
        }
    }
#pragma GCC unroll 4
    for (int s = 0; s < COUNT; s++) dw[s] = sum_of(sum[s]);
}

template <int COUNT>
static ELMAN_INLINE void score_back(const float* de, const float* q, const float* v, const float* keys, ptrdiff_t size,
                                    float* dq, float* dv, float* d_keys) {
    for (ptrdiff_t u = 0; u < size; u += L) {
        const V query = load(q + u), vector = v ? load(v + u) : V{};
        V d_query = load(dq + u), d_vector = v ? load(dv + u) : V{};
#pragma GCC unroll 4
        for (int s = 0; s < COUNT; s++) {
            const V key = load(keys + s * size + u), d = all(de[s]);
            float* to = d_keys + s * size + u;
            if (v) {
                const V y = tanh_(query + key), part = d * vector * (1.0f - y * y);
                d_vector += d * y;
                d_query += part;
                store(to, load(to) + part);
            } else {
                d_query += d * key;
                store(to, load(to) + d * query);
            }
        }
        store(dq + u, d_query);
        if (v) store(dv + u, d_vector);
    }
}

// -- a row ------------------------------------------------------------------------------------------------------------

// Its units from panels, zero past the width; and back.
static void row_in(const Base& from, int row, int width, float* to) {
    for (int u = 0; u < blocks(width); u++) store(to + u * L, load(from.at + u * from.block + ptrdiff_t(row) * L));
    for (int i = width; i < whole(width); i++) to[i] = 0.0f;
}

static void row_out(const float* from, int width, const Base& to, int row) {
    for (int u = 0; u < blocks(width); u++) store(to.at + u * to.block + ptrdiff_t(row) * L, load(from + u * L));
}

static void fill(float* to, ptrdiff_t floats, float x) {
    for (ptrdiff_t i = 0; i < floats; i += L) store(to + i, all(x));
}

// Scores to weights, in place, zero past the length. NaN where a score is NaN.
static void soften(float* e, int length) {
    float most = -__builtin_inff();
    for (int s = 0; s < length; s++) most = Larger{}(most, e[s]);
    for (int s = length; s < whole(length); s++) e[s] = -__builtin_inff();
    V sum{};
    for (int s = 0; s < whole(length); s += L) {
        store(e + s, exp_(load(e + s) - most));
        sum += load(e + s);
    }
    const float total = sum_of(sum);
    for (int s = 0; s < whole(length); s += L) store(e + s, load(e + s) / total);
}

// The derivatives of weights to those of scores, in place.
static void soften_back(const float* w, float* dw, int length) {
    float mean = 0.0f;
    for (int s = 0; s < length; s++) mean += w[s] * dw[s];
    for (int s = 0; s < length; s++) dw[s] = w[s] * (dw[s] - mean);
}

struct Places {  // of one element
    const float *bias, *keys, *values;
    float *d_keys, *d_values, *weights;
    int length;
};

static void look_at(const Attend& look, const Places& of, const float* v, const Seen& own) {
    const ptrdiff_t size = whole(look.size), width = whole(look.width);
    fill(own.context, width, of.length ? 0.0f : __builtin_nanf(""));  // a softmax of nothing
    int s = 0;
    for (; s + PLACES <= of.length; s += PLACES) score<PLACES>(own.query, v, of.keys + s * size, size, own.weight + s);
    for (; s < of.length; s++) score<1>(own.query, v, of.keys + s * size, size, own.weight + s);
    for (s = 0; s < of.length; s++) own.weight[s] += of.bias[s];
    soften(own.weight, of.length);
    for (s = 0; s + PLACES <= of.length; s += PLACES)
        weigh<PLACES>(own.weight + s, of.values + s * width, width, own.context);
    for (; s < of.length; s++) weigh<1>(own.weight + s, of.values + s * width, width, own.context);
    __builtin_memcpy(of.weights, own.weight, sizeof(float) * of.length);
}

static void look_back(const Attend& look, const Places& of, const float* v, const Seen& own) {
    const ptrdiff_t size = whole(look.size), width = whole(look.width);
    fill(own.back, size, of.length ? 0.0f : __builtin_nanf(""));
    int s = 0;
    for (; s + PLACES <= of.length; s += PLACES)
        weigh_back<PLACES>(own.context, of.weights + s, of.values + s * width, width, own.change + s,
                           of.d_values + s * width);
    for (; s < of.length; s++)
        weigh_back<1>(own.context, of.weights + s, of.values + s * width, width, own.change + s, of.d_values + s * width);
    soften_back(of.weights, own.change, of.length);
    for (s = 0; s + PLACES <= of.length; s += PLACES)
        score_back<PLACES>(own.change + s, own.query, v, of.keys + s * size, size, own.back, own.vector,
                           of.d_keys + s * size);
    for (; s < of.length; s++)
        score_back<1>(own.change + s, own.query, v, of.keys + s * size, size, own.back, own.vector, of.d_keys + s * size);
}

// The live rows of a step; backward own.context is the derivative of the context.
static void run_attend(const Step& step, int which, bool backward, int live) {
    const Call& call = step.call;
    const Attend& look = call.plan->attend[which];
    const Memory& memory = call.memory[which];
    const Seen own = seen(call, step.scratch + step.at.seen);
    const ptrdiff_t size = whole(look.size), width = whole(look.width), kept = whole(memory.places);
    const Base query = step.operand(look.query), context = step.operand(backward ? look.d_context : look.context);
    const Base back = step.operand(look.d_query);
    const float* v = look.vector < 0 ? nullptr : call.params + call.param_at[look.vector];
    if (backward && v) fill(own.vector, size, 0.0f);
    const Part part = part_of(call, step.thread, live);
    for (int i = int(part.first); i < part.last; i++) {
        const int own_element = step.share.element[i];
        const ptrdiff_t element = call.source ? ptrdiff_t(call.source[own_element]) : own_element;
        const ptrdiff_t first = element * memory.places;
        const Places of{memory.bias + first, memory.keys + first * size, memory.values + first * width,
                        memory.d_keys + first * size, memory.d_values + first * width,
                        memory.weights + (step.share.first + step.share.start[step.t] + i) * kept, memory.length[element]};
        row_in(query, i, look.size, own.query);
        if (backward) {
            row_in(context, i, look.width, own.context);
            look_back(look, of, v, own);
            row_out(own.back, look.size, back, i);
        } else {
            look_at(look, of, v, own);
            row_out(own.context, look.width, context, i);
        }
    }
    if (!backward || !v) return;
    float* sum = step.operand({PGRAD, look.vector}).at - step.common + step.scratch;  // of the thread
    for (ptrdiff_t u = 0; u < size; u += L) store(sum + u, load(sum + u) + load(own.vector + u));
}
