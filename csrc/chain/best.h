// The best path of one chain, in logarithms (Viterbi 1967).
//
// Included inside the namespace of the instruction set. Where each state came from is kept as a byte, or as two where
// there are more than 256 states; ties go to the lowest state.

static ELMAN_INLINE V more(V a, V b) { return a > b ? a : b; }

// out = max over i of x(i) + M(i, .) for N vectors of columns, and the first i that has it. From the last i to the
// first, and by what equals the maximum rather than by what exceeds it: then the maxima do not wait for comparisons.
template <int N>
static ELMAN_INLINE void best_arrivals(const float* x, const float* matrix, int rows, ptrdiff_t width, V* out, VI* from) {
    constexpr int CHAINS = N == 1 ? 4 : N == 2 ? 2 : 1;  // side by side, each over states of its own that follow another
    const int part = rows / CHAINS;
    V most[CHAINS][N];
    VI place[CHAINS][N];
    for (int c = 0; c < CHAINS; c++)
        for (int j = 0; j < N; j++) {
            most[c][j] = all(-__builtin_inff());
            place[c][j] = VI{};
        }
    VI here = VI{} + (part - 1);  // counted as a vector: to spread a number over one takes longer than the rest
    for (int i = part - 1; i >= 0; i--, here -= 1)
        for (int c = 0; c < CHAINS; c++)
            for (int j = 0; j < N; j++) {
                const V score = all(x[c * part + i]) + load(matrix + (c * part + i) * width + j * L);
                most[c][j] = more(score, most[c][j]);
                place[c][j] = score == most[c][j] ? here : place[c][j];
            }
    for (int j = 0; j < N; j++) {
        out[j] = most[CHAINS - 1][j];
        from[j] = place[CHAINS - 1][j] + (CHAINS - 1) * part;
        for (int c = CHAINS - 2; c >= 0; c--) {
            out[j] = more(most[c][j], out[j]);
            from[j] = most[c][j] == out[j] ? place[c][j] + c * part : from[j];
        }
    }
}

template <class Small>
static ELMAN_INLINE void keep(VI from, Small* to) {
    typedef Small Narrow __attribute__((vector_size(L * sizeof(Small))));
    const Narrow narrow = __builtin_convertvector(from, Narrow);
    __builtin_memcpy(to, &narrow, sizeof(Narrow));
}

template <int N, class Small>
static bool viterbi_steps(const Model& model, const Chain& chain, float* x, Small* came) {
    const ptrdiff_t width = model.width;
    const int rows = (model.states + 3) / 4 * 4;
    float* const next = x + width;
    const float* e = emission(chain, width, 0);
    for (ptrdiff_t s = 0; s < width; s += L) store(x + s, load(model.start + s) + load(e + s));
    for (ptrdiff_t t = 1; t < chain.time; t++) {
        e = emission(chain, width, t);
        Small* const origin = came + t * width;
        panels<N>(width, [&](auto count, ptrdiff_t at) __attribute__((always_inline)) {
            V arrived[count.value];
            VI from[count.value];
            best_arrivals<count.value>(x, model.forward + at, rows, width, arrived, from);
            for (int j = 0; j < count.value; j++) {
                store((N ? x : next) + at + j * L, arrived[j] + load(e + at + j * L));
                keep(from[j], origin + at + j * L);
            }
        });
        if (N == 0) __builtin_memcpy(x, next, width * sizeof(float));
        if (t % EVERY) continue;
        V most = load(x);
        for (ptrdiff_t s = L; s < width; s += L) most = more(load(x + s), most);
        const float height = largest_of(most);
        if (!(height > -__builtin_inff())) return false;
        for (ptrdiff_t s = 0; s < width; s += L) store(x + s, load(x + s) - height);
    }
    return true;
}

static bool viterbi(const Model& model, const Chain& chain, float* row, void* came) {
    bool possible = false;
    by_width(model.width / L, [&](auto count) {
        possible = model.states <= 256
            ? viterbi_steps<count.value>(model, chain, row, static_cast<std::uint8_t*>(came))
            : viterbi_steps<count.value>(model, chain, row, static_cast<std::uint16_t*>(came));
    });
    return possible;
}
