// gradient = scale ((1 - smoothing) (y - sum of gamma over the positions of each class) + smoothing (y - 1 / C)); the
// blank's gamma is what the labels leave.

// L frames from t on: positions become vectors over frames, which are added by class and turned back.
template <int NV>
static void write_block(const Batch& batch, const Work& work, int k, int t, float scale) {
    const Sequence& q = work.sequence[k];
    const int frames = q.frames - t < L ? q.frames - t : L;
    const int low = band_of(q, t).low, high = band_of(q, t + frames - 1).high;
    V by_class[FEW];
    for (int c = 0; c < work.tiles * L; c++) by_class[c] = V{};
    V labels = V{};
    for (int v = low; v < high; v++) {
        const std::ptrdiff_t at = std::ptrdiff_t(q.first + v) * L;
        V tile[L];
        for (int i = 0; i < L; i++) tile[i] = load(work.gamma + i * work.width + at);
        transpose(tile);
        const int* label = work.label + at;
        for (int i = 0; i < L; i++) {
            labels += tile[i];
            by_class[label[i]] += tile[i];
        }
    }
    by_class[0] = 1.0f - labels;
    for (int j = 0; j < work.tiles; j++) transpose(by_class + j * L);
    const V shift = all(batch.scale * batch.smoothing / float(batch.classes));
    for (int i = 0; i < frames; i++) {
        float* g = batch.gradient + (std::ptrdiff_t(t + i) * batch.size + q.element) * batch.classes;
        const std::ptrdiff_t row = std::ptrdiff_t(t + i) * work.count + k;
        const V factor = all(work.factor[row]);
        for (int j = 0; j < work.tiles; j++) {
            V y;
            if constexpr (NV > 0) {
                const Number kept = work.table.at((row * NV + j) * L);
                y = power(kept.m, kept.e);
            } else {
                y = load(work.softmax + (row * work.tiles + j) * L);
            }
            store_part(g + j * L, batch.classes - j * L, y * factor - shift - scale * by_class[j * L + i]);
        }
    }
}

static void subtract_frame(const Batch& batch, const Work& work, const Sequence& q, int t, float scale) {
    const Band band = band_of(q, t);
    const int end = band.high * L < q.length ? band.high * L : q.length;
    float* g = batch.gradient + (std::ptrdiff_t(t) * batch.size + q.element) * batch.classes;
    const float* gamma = work.gamma + (t % L) * work.width + std::ptrdiff_t(q.first) * L;
    const int* label = work.label + std::ptrdiff_t(q.first) * L;
    // What comes next is far away: of many classes no cache holds the gradient.
    if (t > 1)
        for (int i = band.low * L; i < end; i++) fetch_to_write(g - 2 * batch.size * batch.classes + label[i]);
    float labels = 0;
    for (int i = band.low * L; i < end; i++) {
        labels += gamma[i];
        g[label[i]] -= scale * gamma[i];
    }
    g[0] -= scale * (1 - labels);
}

static void no_gradient(const Batch& batch, const Sequence& q) {
    for (int t = 0; t < q.frames; t++)
        __builtin_memset(batch.gradient + (std::ptrdiff_t(t) * batch.size + q.element) * batch.classes, 0,
                         std::size_t(batch.classes) * sizeof(float));
}

template <int NV>
static void backward(const Batch& batch, const Work& work) {
    const float scale = batch.scale * (1 - batch.smoothing);
    const bool few = work.tiles > 0;
    for (int t = work.frames - 1; t >= 0; t--)
        for (int k = 0; k < work.count; k++) {
            const Sequence& q = work.sequence[k];
            if (t >= q.frames || !q.possible) continue;
            if (t == q.frames - 1) begin_backward(work, k);
            if (few && q.vectors > 2 && (t == q.frames - 1 || t % L == L - 1))  // outside the band nothing is written
                for (int i = 0; i < L; i++)
                    __builtin_memset(work.gamma + i * work.width + q.first * L, 0, std::size_t(q.vectors) * sizeof(V));
            step_backward<NV>(work, k, t);
            if (!few)
                subtract_frame(batch, work, q, t, scale);
            else if (t % L == 0)
                write_block<NV>(batch, work, k, t, scale);
        }
}
