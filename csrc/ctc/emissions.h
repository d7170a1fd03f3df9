// Softmax of every frame without its denominator, y = exp(x - max), as numbers. The gradient starts as the softmax: of
// few classes it is kept aside and the gradient written once, of many it is written at once and mended.

// Of sums of one frame each, in [1, C]: a product is cheaper than their logarithms.
struct Logarithms {
    double product = 1, done = 0;
    ELMAN_INLINE void add(double sum) {
        product *= sum;
        if (product > 1e280) done += __builtin_log(product), product = 1;
    }
    double value() const { return done + __builtin_log(product); }
};

struct Frame {
    int k, t;
    const float* x;
    float* y;   // where to keep it, or 0
    V highest;  // in every lane
    V sum;
};

static ELMAN_INLINE V loaded(const Batch& batch, const Frame& f, std::ptrdiff_t j) {
    return load_part(f.x + j, batch.classes - j, all(-__builtin_inff()));
}

// Labels that no path passes at this frame are left out.
static ELMAN_INLINE void label_emissions(const Work& work, const Frame& f, auto number_at) {
    const Sequence& q = work.sequence[f.k];
    const Band band = band_of(q, f.t);
    for (int v = band.low; v < band.high; v++) {
        const std::ptrdiff_t at = std::ptrdiff_t(q.first + v) * L;
        work.emission.put(work.width * f.t + at, number_at(at));
    }
}

static ELMAN_INLINE void blank_emission(const Work& work, const Frame& f, Number y) {
    const std::ptrdiff_t at = std::ptrdiff_t(f.t) * work.count + f.k;
    work.blank_emission.m[at] = y.m[0];
    work.blank_emission.e[at] = y.e[0];
}

static ELMAN_INLINE void find_highest(const Batch& batch, Frame& f) {
    V most = loaded(batch, f, 0);
    std::ptrdiff_t j = L;
    if (batch.classes > NEAR) {  // four chains, for none waits for what another finds
        V second = most, third = most, fourth = most;
        for (; j + 4 * L <= batch.classes; j += 4 * L) {
            most = larger(most, load_part(f.x + j, L, V{}));
            second = larger(second, load_part(f.x + j + L, L, V{}));
            third = larger(third, load_part(f.x + j + 2 * L, L, V{}));
            fourth = larger(fourth, load_part(f.x + j + 3 * L, L, V{}));
        }
        most = larger(larger(most, second), larger(third, fourth));
    }
    for (; j < batch.classes; j += L) most = larger(most, loaded(batch, f, j));
    f.highest = highest(most);
}

// Of few classes all are kept and no label's: the recursions look theirs up.
template <int NV>
static ELMAN_INLINE void few_classes(const Batch& batch, const Work& work, Frame& f) {
    const Row table = work.table.row((std::ptrdiff_t(f.t) * work.count + f.k) * NV * L);
    V sum_of = V{};
    for (int j = 0; j < NV; j++) {
        const Number number = exp_number(loaded(batch, f, j * L) - f.highest);
        table.put(j * L, number);
        sum_of += power(number.m, number.e);
    }
    f.sum = total(sum_of);
}

static ELMAN_INLINE void many_classes(const Batch& batch, const Work& work, Frame& f) {
    V sum_of = V{};
    for (std::ptrdiff_t j = 0; j < batch.classes; j += L) {
        const V y = exp_float(loaded(batch, f, j) - f.highest);
        sum_of += y;
        if (f.y) store_part(f.y + j, work.tiles ? L : batch.classes - j, y);
    }
    f.sum = total(sum_of);
    blank_emission(work, f, exp_number(all(f.x[0]) - f.highest));
    label_emissions(work, f, [&](std::ptrdiff_t at) {
        const Number y = exp_number(gather(f.x, work.label + at) - f.highest);
        const VI there = load_int(work.there + at);
        return Number{there ? y.m : V{}, there ? y.e : all_int(DEAD)};
    });
}

// The softmax in f.y, or kept for write_block, as the gradient it is without the target.
static ELMAN_INLINE void begin_gradient(const Batch& batch, const Work& work, const Frame& f) {
    if (work.tiles) {
        work.factor[std::ptrdiff_t(f.t) * work.count + f.k] = batch.scale / f.sum[0];
        return;
    }
    const V factor = batch.scale / f.sum, shift = all(batch.scale * batch.smoothing / float(batch.classes));
    float* g = batch.gradient + (f.x - batch.logits);
    std::ptrdiff_t j = 0;
    if (work.streams) {
        const std::ptrdiff_t ahead = std::ptrdiff_t(-(reinterpret_cast<std::uintptr_t>(g) / sizeof(float)) % L);
        store_part(g, ahead, load_part(f.y, ahead, V{}) * factor - shift);
        for (j = ahead; j + L <= batch.classes; j += L)
            store_past_caches(g + j, load_part(f.y + j, L, V{}) * factor - shift);
    }
    for (; j < batch.classes; j += L) {
        const std::ptrdiff_t count = batch.classes - j;
        store_part(g + j, count, load_part(f.y + j, count, V{}) * factor - shift);
    }
}

// KL(uniform || y) = ln sum y' - ln C - sum (x - max) / C, y' = exp(x - max).
static double divergence(const Batch& batch, const Frame& f) {
    double total_of = 0;
    for (std::ptrdiff_t j = 0; j < batch.classes; j++) total_of += double(f.x[j]) - double(f.highest[0]);
    const double classes = double(batch.classes);
    return __builtin_log(double(f.sum[0])) - __builtin_log(classes) - total_of / classes;
}

// A few frames at a time, each step for all of them: one's wait for its sum over the lanes is filled by another's work.
constexpr int TOGETHER = 8;

template <int NV>
static void several_frames(const Batch& batch, const Work& work, Frame* frames, int count, Logarithms* sums) {
    for (int i = 0; i < count; i++) find_highest(batch, frames[i]);
    for (int i = 0; i < count; i++)
        if constexpr (NV > 0)
            few_classes<NV>(batch, work, frames[i]);
        else
            many_classes(batch, work, frames[i]);
    if (batch.gradient)
        for (int i = 0; i < count; i++) begin_gradient(batch, work, frames[i]);
    for (int i = 0; i < count; i++) {
        sums[frames[i].k].add(frames[i].sum[0]);
        if (batch.smoothing > 0) work.sequence[frames[i].k].divergence += divergence(batch, frames[i]);
    }
}

template <int NV>
static void emissions(const Batch& batch, const Work& work, Logarithms* sums) {
    const std::ptrdiff_t steps = batch.gradient ? batch.time : work.frames;
    const int together = batch.classes <= NEAR ? TOGETHER : 1;
    Frame frames[TOGETHER];
    int count = 0;
    for (std::ptrdiff_t t = 0; t < steps; t++)
        for (int k = 0; k < work.count; k++) {
            const Sequence& q = work.sequence[k];
            const std::ptrdiff_t row = (t * batch.size + q.element) * batch.classes;
            float* g = batch.gradient ? batch.gradient + row : nullptr;
            if (t >= q.frames) {
                if (g) __builtin_memset(g, 0, std::size_t(batch.classes) * sizeof(float));
                continue;
            }
            Frame& f = frames[count++];
            f.k = k, f.t = int(t), f.x = batch.logits + row;
            f.y = g && work.tiles ? work.softmax + (t * work.count + k) * work.tiles * L : work.streams ? work.frame : g;
            if (count == together) several_frames<NV>(batch, work, frames, count, sums), count = 0;
        }
    several_frames<NV>(batch, work, frames, count, sums);
    if (work.streams) end_of_stores_past_caches();
}
