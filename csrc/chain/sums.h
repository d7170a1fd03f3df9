// Sums over the paths of one chain, forward and backward, and the rows of emissions that both read.
//
// Included inside the namespace of the instruction set. Probabilities are kept as float32 relative to a scale: alpha_t
// is divided by the sum of alpha_t-1, a sum that is taken while the next product runs and so costs no time; beta_t is
// divided by sum alpha_t beta_t in the same way. Rabiner 1989, section V.A, has the scaling.

// Where a model is `watched`, what is smaller than SMALL is dropped, and a bound on all that was ever dropped goes the
// same way through the steps as alpha does, at a scale of its own. If it comes to more than SHARE of what was kept,
// the chain is given up and computed in logarithms. Elsewhere the likelihoods of what follows two states differ by
// less than e^23 whatever follows, so that nothing below SMALL ever comes to count.

static ELMAN_INLINE float sum_of(V v) {
    float lane[L] __attribute__((aligned(sizeof(V))));
    store(lane, v);
#if ELMAN_LANES == 16
    for (int i = 0; i < 8; i++) lane[i] += lane[i + 8];
#endif
#if ELMAN_LANES >= 8
    for (int i = 0; i < 4; i++) lane[i] += lane[i + 4];
#endif
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

static ELMAN_INLINE float largest_of(V v) {
    float most = v[0];
    for (int i = 1; i < L; i++) most = v[i] > most ? v[i] : most;
    return most;
}

// -- rows of emissions -----------------------------------------------------------------------------------------------

template <class Score>
static bool prepare_rows(const Rows& rows, ptrdiff_t count, bool log, float* to, double* largest) {
    bool sound = true;
    const int states = rows.states;
    for (ptrdiff_t r = 0; r < count; r++, to += rows.width) {
        const Score* from = static_cast<const Score*>(rows.scores) + r * rows.stride;
        Score most = from[0], nothing = 0;
        for (int s = 0; s < states; s++) {
            most = from[s] > most ? from[s] : most;
            nothing += from[s] > Score(-__builtin_inf()) ? from[s] - from[s] : Score(0);  // NaN and inf make a NaN
            sound &= from[s] == from[s];
        }
        sound &= nothing == 0;
        largest[r] = double(most);
        if (most == Score(-__builtin_inf())) most = 0;
        for (int s = 0; s < states; s++) to[s] = float(from[s] - most);
        for (ptrdiff_t s = states; s < rows.width; s++) to[s] = -__builtin_inff();
        if (log) continue;
        for (ptrdiff_t s = 0; s < rows.width; s += L) {
            // What is possible stays above zero: a product with it tells that something was lost.
            const V x = load(to + s);
            store(to + s, x > all(-__builtin_inff()) ? exp_(x < all(-87.0f) ? all(-87.0f) : x) : V{});
        }
    }
    return sound;
}

static bool prepare(const Rows& rows, ptrdiff_t count, bool log, float* to, double* largest) {
    return rows.wide ? prepare_rows<double>(rows, count, log, to, largest)
                     : prepare_rows<float>(rows, count, log, to, largest);
}

static ELMAN_INLINE const float* emission(const Chain& chain, ptrdiff_t width, ptrdiff_t t) {
    return chain.emissions + (chain.index ? ptrdiff_t(chain.index[t * chain.step]) : t) * width;
}

// -- the product of a row and a matrix -------------------------------------------------------------------------------

// out = x M for N vectors of columns; `rows` is a multiple of four.
template <int N>
static ELMAN_INLINE void product(const float* x, const float* matrix, int rows, ptrdiff_t width, V* out) {
    constexpr int CHAINS = N == 1 ? 4 : 2;  // sums side by side, which hides the time that one addition takes
    V sum[CHAINS][N] = {};
    for (int i = 0; i < rows; i += CHAINS, matrix += CHAINS * width)
        for (int c = 0; c < CHAINS; c++)
            for (int j = 0; j < N; j++) sum[c][j] += x[i + c] * load(matrix + c * width + j * L);
    for (int j = 0; j < N; j++)
        out[j] = CHAINS == 4 ? (sum[0][j] + sum[1][j]) + (sum[CHAINS - 2][j] + sum[CHAINS - 1][j])
                             : sum[0][j] + sum[1][j];
}

static ELMAN_INLINE int rows_of(const Model& model) { return (model.states + 3) / 4 * 4; }

// -- forward ---------------------------------------------------------------------------------------------------------

template <int N, bool WATCHED>
static void forward_steps(const Model& model, const Chain& chain, ptrdiff_t from, ptrdiff_t to, float* alpha,
                          ptrdiff_t origin, Sum& sum) {
    const ptrdiff_t width = model.width;
    const int rows = rows_of(model);
    double log = sum.log, factors = 1;
    float least = 1;
    VI lost{};
    V total{};
    float *bound = chain.lost + from % 2 * width;  // at the time before; where it will stand at this one: the other
    if (from > 0) {
        const float* before = alpha + (from - 1 - origin) * width;
        for (ptrdiff_t s = 0; s < width; s += L) total += load(before + s);
    }
    int waiting = 0;
    for (ptrdiff_t t = from; t < to; t++) {
        const float* e = emission(chain, width, t - from * !chain.index);
        float* now = alpha + (t - origin) * width;
        V next{};
        float scale = 1;
        if (t > 0) {
            const float last = sum_of(total);
            least = last < least ? last : least;
            factors *= double(last);
            scale = 1.0f / last;
            if (++waiting == 8) {
                log += __builtin_log(factors);
                factors = 1;
                waiting = 0;
            }
        }
        float* const after = chain.lost + (t + 1) % 2 * width;
        panels<N>(width, [&](auto count, ptrdiff_t at) __attribute__((always_inline)) {
            V arrived[count.value], dropped[count.value];
            if (t > 0) {
                product<count.value>(now - width, model.forward + at, rows, width, arrived);
                if (WATCHED) product<count.value>(bound, model.forward + at, rows, width, dropped);
            } else {
                for (int j = 0; j < count.value; j++) arrived[j] = load(model.start + at + j * L), dropped[j] = V{};
            }
            for (int j = 0; j < count.value; j++) {
                const V likelihood = load(e + at + j * L);
                const V factor = likelihood * scale;
                V a = arrived[j] * factor;
                if (WATCHED) {
                    const VI small = a < all(SMALL);
                    const V more = small & (likelihood > V{}) ? (a + all(1e-38f)) / all(SMALL) : V{};
                    const V d = dropped[j] * factor + more;
                    lost |= ~(d < all(SHARE / SMALL));
                    store(after + at + j * L, d);
                    a = small ? V{} : a;
                }
                store(now + at + j * L, a);
                next += a;
            }
        });
        bound = after;
        total = next;
    }
    sum.log = log + __builtin_log(factors);
    if (WATCHED)
        for (int i = 0; i < L; i++) sum.lost |= lost[i] != 0;
    sum.lost |= !(least > LEAST);
}

static void forward(const Model& model, const Chain& chain, ptrdiff_t from, ptrdiff_t to, float* alpha,
                    ptrdiff_t origin, Sum& sum) {
    by_width(model.width / L, [&](auto count) {
        if (model.watched)
            forward_steps<count.value, true>(model, chain, from, to, alpha, origin, sum);
        else
            forward_steps<count.value, false>(model, chain, from, to, alpha, origin, sum);
    });
}

// -- backward --------------------------------------------------------------------------------------------------------

// pairs += alpha' w for `count` times: the sums of p(s_t = i, s_t+1 = j), but for the transition's own factor.
template <int N>
static void pair_sums(const Model& model, const float* alpha, const float* ahead, ptrdiff_t count, float* pairs) {
    constexpr int ROWS = N > 2 ? 4 : 8;
    const ptrdiff_t width = model.width;
    for (ptrdiff_t i = 0; i < rows_of(model); i += ROWS) {
        V sum[ROWS][N] = {};
        for (ptrdiff_t t = 0; t < count; t++)
            for (int j = 0; j < N; j++) {
                const V w = load(ahead + t * width + j * L);
                for (int r = 0; r < ROWS; r++) sum[r][j] += alpha[t * width + i + r] * w;
            }
        for (int r = 0; r < ROWS && i + r < model.states; r++)
            for (int j = 0; j < N; j++) {
                float* to = pairs + (i + r) * width + j * L;
                store(to, load(to) + sum[r][j]);
            }
    }
}

template <class Number>
static ELMAN_INLINE void write(const float* from, int states, float weight, Number* to) {
    for (int s = 0; s < states; s++) to[s] = Number(from[s] * weight);
}

template <int N>
static void backward_steps(const Model& model, const Chain& chain, const float* alpha, const Gradient& gradient) {
    const ptrdiff_t width = model.width;
    const int rows = rows_of(model);
    float* const ahead = gradient.scratch;              // (BLOCK, W): w_t+1 over its scale, for times of a block
    float* const beta = ahead + BLOCK * width;          // (W,)
    float* const w = beta + width;                      // (W,)
    float* const gamma = w + width;                     // (W,)
    for (ptrdiff_t s = 0; s < width; s += L) store(beta + s, load(model.end + s));
    float scale = 1;  // over the scale of beta_t+1
    for (ptrdiff_t t = chain.time - 1;; t--) {
        const float* a = alpha + t * width;
        V total{};
        panels<N>(width, [&](auto count, ptrdiff_t at) __attribute__((always_inline)) {
            for (int j = 0; j < count.value; j++) {
                const ptrdiff_t s = at + j * L;
                const V reached = load(a + s);
                // What follows a state that no path reaches has no bound, and no use.
                const V b = reached > all(SMALL) ? load(beta + s) : V{};
                store(beta + s, b);
                store(gamma + s, reached * b);
                total += reached * b;
            }
        });
        const float inverse = 1.0f / sum_of(total);
        if (t + 1 < chain.time) {  // w_t+1 is complete once this time's scale is known
            float* row = ahead + (t % BLOCK) * width;
            const float factor = scale * inverse * gradient.weight;
            for (ptrdiff_t s = 0; s < width; s += L) store(row + s, load(w + s) * factor);
            if (t % BLOCK == 0) {
                const ptrdiff_t count = chain.time - 1 - t < BLOCK ? chain.time - 1 - t : BLOCK;
                panels<N>(width, [&](auto columns, ptrdiff_t at) __attribute__((always_inline)) {
                    pair_sums<columns.value>(model, a, ahead + at, count, gradient.pairs + at);
                });
            }
        }
        const float part = inverse * gradient.weight;
        if (gradient.sums) {
            float* to = gradient.sums + ptrdiff_t(chain.index[t * chain.step]) * width;
            for (ptrdiff_t s = 0; s < width; s += L) store(to + s, load(to + s) + load(gamma + s) * part);
        } else if (gradient.gamma) {
            if (gradient.wide)
                write(gamma, model.states, part, static_cast<double*>(gradient.gamma) + t * gradient.stride);
            else
                write(gamma, model.states, part, static_cast<float*>(gradient.gamma) + t * gradient.stride);
        }
        if (t == chain.time - 1)
            for (ptrdiff_t s = 0; s < width; s += L)
                store(gradient.last + s, load(gradient.last + s) + load(gamma + s) * part);
        if (t == 0) {
            for (ptrdiff_t s = 0; s < width; s += L)
                store(gradient.first + s, load(gradient.first + s) + load(gamma + s) * part);
            return;
        }
        const float* e = emission(chain, width, t);
        for (ptrdiff_t s = 0; s < width; s += L) store(w + s, load(beta + s) * load(e + s));
        scale = inverse;
        panels<N>(width, [&](auto count, ptrdiff_t at) __attribute__((always_inline)) {
            V came[count.value];
            product<count.value>(w, model.backward + at, rows, width, came);
            for (int j = 0; j < count.value; j++) store(beta + at + j * L, came[j] * inverse);
        });
    }
}

static void backward(const Model& model, const Chain& chain, const float* alpha, const Gradient& gradient) {
    by_width(model.width / L, [&](auto count) { backward_steps<count.value>(model, chain, alpha, gradient); });
}
