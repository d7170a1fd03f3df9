// The two recursions over a span, every sequence's step t before any step t + 1 (or the other way round).
//
//     alpha_t(blank i) = (alpha_t-1(blank i) + alpha_t-1(label i - 1)) y_t(blank)
//     alpha_t(label i) = (alpha_t-1(label i) + alpha_t-1(blank i) + [skip i] alpha_t-1(label i - 1)) y_t(label i)
//     beta_t(blank i)  = after(blank i) + after(label i)             after = y_t+1 beta_t+1
//     beta_t(label i)  = after(label i) + after(blank i + 1) + [skip i + 1] after(label i + 1)
//
// Only vectors in the band are visited. The one above it is made dead before a step that reaches it.

// Mantissas into [1, 2), and the largest exponent of the sequence out of all: returned. `from` may be `to`.
static int normalise(const Sequence& q, Band band, Row from, Row to, Row blank) {
    VI most = all_int(FLOOR);
    const std::ptrdiff_t begin = std::ptrdiff_t(q.first + band.low) * L, end = std::ptrdiff_t(q.first + band.high) * L;
    for (std::ptrdiff_t at = begin; at < end; at += L) {
        const Number a = normalise(from.at(at)), b = normalise(blank.at(at));
        to.put(at, a), blank.put(at, b);
        most = larger(most, larger(a.e, b.e));
    }
    const VI shift = highest(most);
    if (shift[0] == FLOOR) return 0;
    for (std::ptrdiff_t at = begin; at < end; at += L) {
        store_int(to.e + at, larger(load_int(to.e + at) - shift, all_int(FLOOR)));
        store_int(blank.e + at, larger(load_int(blank.e + at) - shift, all_int(FLOOR)));
    }
    if (band.high < q.vectors) to.put(end, dead());
    return shift[0];
}

// y_t of a sequence, looked up in NV vectors of all classes, or, where NV is 0, as it was kept at each position.
template <int NV>
struct Emission {
    V m[NV], e[NV];
    Number blank;
    ELMAN_INLINE Emission(const Work& work, int k, int t) {
        const Row row = work.table.row((std::ptrdiff_t(t) * work.count + k) * NV * L);
        for (int j = 0; j < NV; j++) m[j] = load(row.m + j * L), e[j] = (V)load_int(row.e + j * L);
        blank = {all(row.m[0]), all_int(row.e[0])};
    }
    ELMAN_INLINE Number at(const Work& work, std::ptrdiff_t position) const {
        const VI place = load_int(work.label + position);
        return {look_up<NV>(m, place), (VI)look_up<NV>(e, place)};
    }
};
template <>
struct Emission<0> {
    Row row;
    Number blank;
    ELMAN_INLINE Emission(const Work& work, int k, int t) : row(work.emission.row(work.width * t)) {
        const std::ptrdiff_t at = std::ptrdiff_t(t) * work.count + k;
        blank = {all(work.blank_emission.m[at]), all_int(work.blank_emission.e[at])};
    }
    ELMAN_INLINE Number at(const Work&, std::ptrdiff_t position) const { return row.at(position); }
};

static ELMAN_INLINE Number times(Number a, Number b) { return {a.m * b.m, a.e + b.e}; }

template <int NV>
static ELMAN_INLINE void step_forward(const Work& work, int k, int t) {
    const Sequence& q = work.sequence[k];
    const Band band = band_of(q, t);
    const std::ptrdiff_t first = std::ptrdiff_t(q.first) * L;
    Row from = work.alpha.row(work.width * (t - 1));
    std::int64_t* offset = work.offset + std::ptrdiff_t(unsigned(t) / PERIOD) * work.count + k;
    if (unsigned(t) % PERIOD == 0) {
        if (t) *offset = offset[-work.count] + normalise(q, band_of(q, t - 1), from, work.fresh, work.blank);
        from = work.fresh;
    }
    const Row to = work.alpha.row(work.width * t);
    const Emission<NV> y(work, k, t);
    Number before = dead();
    // The vector below the band is of use while it has just left it; later it holds what is long past.
    if (band.low > 0 && band_of(q, t - 1).low < band.low) before = from.at(first + std::ptrdiff_t(band.low - 1) * L);
    for (int v = band.low; v < band.high; v++) {
        const std::ptrdiff_t at = first + std::ptrdiff_t(v) * L;
        const Number a = from.at(at), b = work.blank.at(at), previous = shift_up(before, a);
        before = a;
        const Number entered = sum(b, previous);
        work.blank.put(at, times(entered, y.blank));
        const Number came = select(load_int(work.skip + at), entered, b);
        to.put(at, times(sum(a, came), y.at(work, at)));
    }
    if (band.high < q.vectors) to.put(first + std::ptrdiff_t(band.high) * L, dead());
}

template <int NV>
static void forward(const Work& work) {
    for (int k = 0; k < work.count; k++) {
        const Sequence& q = work.sequence[k];
        work.offset[k] = 0;
        for (int v = 0; v < q.vectors; v++) {
            work.fresh.put(std::ptrdiff_t(q.first + v) * L, dead());
            work.blank.put(std::ptrdiff_t(q.first + v) * L, dead());
        }
        work.blank.m[q.first * L] = 1, work.blank.e[q.first * L] = 0;  // before the first frame
    }
    for (int t = 0; t < work.frames; t++)
        for (int k = 0; k < work.count; k++)
            if (t < work.sequence[k].frames) step_forward<NV>(work, k, t);
}

// p(target) = inverse^-1 2^exponent from the last label and the last blank; ln p returned.
static double finish(const Work& work, int k) {
    Sequence& q = work.sequence[k];
    const std::ptrdiff_t at = std::ptrdiff_t(q.first) * L + q.length, row = work.width * (q.frames - 1);
    double m = work.blank.m[at];
    int e = work.blank.e[at];
    if (q.length) {
        const double label_m = work.alpha.m[row + at - 1];
        const int label_e = work.alpha.e[row + at - 1], most = e > label_e ? e : label_e;
        m = __builtin_ldexp(m, e - most) + __builtin_ldexp(label_m, label_e - most);
        e = most;
    }
    q.possible = !(m == 0);
    if (!q.possible) return -__builtin_inf();
    q.inverse = float(1 / m);
    q.exponent = e + work.offset[std::ptrdiff_t((q.frames - 1) / PERIOD) * work.count + k];
    return __builtin_log(m) + double(q.exponent) * 0.69314718055994530942;
}

static ELMAN_INLINE int clamped(std::int64_t x) { return x < FLOOR ? FLOOR : x > -FLOOR ? -FLOOR : int(x); }

// Writes gamma_t(label i) = alpha beta / p to the row t % L of `gamma`.
template <int NV>
static ELMAN_INLINE void step_backward(const Work& work, int k, int t) {
    Sequence& q = work.sequence[k];
    const Band band = band_of(q, t);
    const std::ptrdiff_t first = std::ptrdiff_t(q.first) * L;
    const Row alpha = work.alpha.row(work.width * t);
    const Emission<NV> y(work, k, t);
    const VI exponent =
        all_int(clamped(work.offset[std::ptrdiff_t(unsigned(t) / PERIOD) * work.count + k] + q.behind - q.exponent));
    const V inverse = all(q.inverse);
    float* gamma = work.gamma + (unsigned(t) % L) * work.width;
    auto leaves = [&](std::ptrdiff_t at, Number blank, Number both) {
        return select(load_int(work.skip + at), both, blank);
    };
    Number after = dead();
    if (band.high < q.vectors && band_of(q, t + 1).high > band.high) {
        const std::ptrdiff_t at = first + std::ptrdiff_t(band.high) * L;
        const Number label = work.after.at(at), blank = work.blank_after.at(at);
        after = leaves(at, blank, sum(label, blank));
    }
    for (int v = band.high - 1; v >= band.low; v--) {
        const std::ptrdiff_t at = first + std::ptrdiff_t(v) * L;
        const Number label = work.after.at(at), blank = work.blank_after.at(at), both = sum(label, blank);
        const Number entered = leaves(at, blank, both), next = shift_down(entered, after);
        after = entered;
        const Number beta = sum(label, next), a = alpha.at(at);
        store(gamma + at, power(a.m * beta.m * inverse, a.e + beta.e + exponent));
        work.blank_after.put(at, times(both, y.blank));
        work.after.put(at, times(beta, y.at(work, at)));
    }
    if (unsigned(t) % PERIOD == 0) q.behind += normalise(q, band, work.after, work.after, work.blank_after);
}

static void begin_backward(const Work& work, int k) {
    Sequence& q = work.sequence[k];
    q.behind = 0;
    for (int v = 0; v < q.vectors; v++) {
        work.after.put(std::ptrdiff_t(q.first + v) * L, dead());
        work.blank_after.put(std::ptrdiff_t(q.first + v) * L, dead());
    }
    const std::ptrdiff_t last = std::ptrdiff_t(q.first) * L + q.length;
    work.blank_after.m[last] = 1, work.blank_after.e[last] = 0;  // past the last frame
}
