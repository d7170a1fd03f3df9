// Pointwise programs: each instruction runs over the rows of a tile before the next one begins, so that the cost of
// deciding what to do is shared by the rows, and everything between them stays in the first cache.
//
// Included inside the namespace of the instruction set.

struct Place {  // an operand of this tile: its first row, and the floats to the next one (0: the same for all rows)
    float* at;
    ptrdiff_t step;
};

struct Block {  // of units, of the vectors that a program runs over
    int lanes;  // units of this block that are not padding
    bool first, last;
};

static ELMAN_INLINE float erf_one(float x) { return __builtin_erff(x); }
static ELMAN_INLINE float log_one(float x) { return __builtin_logf(x); }
static ELMAN_INLINE float sqrt_one(float x) { return __builtin_sqrtf(x); }

#define ELMAN_LOOP(expression)                                          \
    for (int r = 0; r < rows; r++) {                                    \
        const V x = load(a), y = load(b), z = load(c);                  \
        (void)y; (void)z;                                               \
        store(target, expression);                                      \
        target += to, a += as, b += bs, c += cs;                        \
    }                                                                   \
    break;

// One block's part of a row's sum or maximum (`join`), padding left out; after the last block every lane has the whole.
template <class Join>
static void reduce_rows(
    const float* a, ptrdiff_t as, float* target, ptrdiff_t to, int rows, const Block& block, float nothing, Join join) {
    if (!block.last) {
        if (block.first)
            for (int r = 0; r < rows; r++, a += as, target += to) store(target, load(a));
        else
            for (int r = 0; r < rows; r++, a += as, target += to) store(target, join(load(target), load(a)));
        return;
    }
    for (int r = 0; r < rows; r++, a += as, target += to) {
        alignas(sizeof(V)) float lane[L];
        store(lane, load(a));
        for (int i = block.lanes; i < L; i++) lane[i] = nothing;
        if (!block.first) store(lane, join(load(target), load(lane)));
#pragma GCC unroll 8
        for (int half = L / 2; half > 0; half /= 2)
            for (int i = 0; i < half; i++) lane[i] = join(lane[i], lane[i + half]);
        store(target, all(lane[0]));
    }
}

struct Add {
    template <class T>
    ELMAN_INLINE T operator()(T x, T y) const { return x + y; }
};
struct Larger {  // a NaN stays
    template <class T>
    ELMAN_INLINE T operator()(T x, T y) const { return x < y || y != y ? y : x; }
    ELMAN_INLINE V operator()(V x, V y) const { return ((x < y) | (y != y)) ? y : x; }
};

static __attribute__((noinline)) void run_program(
    const Instruction* code, int count, const Place* place, int rows, const Block& block) {
    for (int i = 0; i < count; i++) {
        const Instruction& step = code[i];
        float* target = place[step.target].at;
        const float *a = place[step.a].at, *b = place[step.b].at, *c = place[step.c].at;
        const ptrdiff_t to = place[step.target].step;
        const ptrdiff_t as = place[step.a].step, bs = place[step.b].step, cs = place[step.c].step;
        switch (step.op) {
            case MOV: ELMAN_LOOP(x)
            case ADD: ELMAN_LOOP(x + y)
            case SUB: ELMAN_LOOP(x - y)
            case MUL: ELMAN_LOOP(x * y)
            case DIV: ELMAN_LOOP(x / y)
            case NEG: ELMAN_LOOP(-x)
            case ONEMINUS: ELMAN_LOOP(1.0f - x)
            case FMA: ELMAN_LOOP(x * y + z)
            case FMS: ELMAN_LOOP(x * y - z)
            case FNMA: ELMAN_LOOP(z - x * y)
            case SIGMOID: ELMAN_LOOP(sigmoid_(x))
            case TANH: ELMAN_LOOP(tanh_(x))
            case SIGMOID_ADD: ELMAN_LOOP(sigmoid_(x + y))
            case TANH_ADD: ELMAN_LOOP(tanh_(x + y))
            case RELU: ELMAN_LOOP(x < V{} ? V{} : x)
            case EXP: ELMAN_LOOP(exp_(x))
            case LOG: ELMAN_LOOP(each(x, log_one))
            case SQRT: ELMAN_LOOP(each(x, sqrt_one))
            case ABS: ELMAN_LOOP(x < V{} ? -x : x)
            case DSIGMOID: ELMAN_LOOP(x * y * (1.0f - y))
            case DTANH: ELMAN_LOOP(x * (1.0f - y * y))
            case DRELU: ELMAN_LOOP(y > V{} ? x : V{})
            case DABS: ELMAN_LOOP(y > V{} ? x : (y < V{} ? -x : x * y))
            case SUM: {  // the tile's rows first: the total sees few additions
                V sum{};
                for (int r = 0; r < rows; r++, a += as) sum += load(a);
                store(target, load(target) + sum);
                break;
            }
            case TOTAL: reduce_rows(a, as, target, to, rows, block, 0.0f, Add{}); break;
            case MOST: reduce_rows(a, as, target, to, rows, block, -__builtin_inff(), Larger{}); break;
            case GT: ELMAN_LOOP(x > y ? all(1.0f) : V{})
            case GE: ELMAN_LOOP(x >= y ? all(1.0f) : V{})
            case SELECT: ELMAN_LOOP(x != V{} ? y : z)
            case ERF: ELMAN_LOOP(each(x, erf_one))
        }
    }
}

#undef ELMAN_LOOP
