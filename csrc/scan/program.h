// Pointwise programs: each instruction runs over the rows of a tile before the next one begins, so that the cost of
// deciding what to do is shared by the rows, and everything between them stays in the first cache.
//
// Included inside the namespace of the instruction set.

struct Place {  // an operand of this tile: its first row, and the floats to the next one (0: the same for all rows)
    float* at;
    ptrdiff_t step;
};

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

static __attribute__((noinline)) void run_program(const Instruction* code, int count, const Place* place, int rows) {
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
        }
    }
}

#undef ELMAN_LOOP
