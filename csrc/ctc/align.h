// The best path of one sequence: the forward recursion with max for sum, on the positions of span.h, and one byte for
// each position and frame to find the way back.
//
// Scores are float32; the largest is taken out every REFRESH frames, so that neighbours keep their difference however
// long the sequence.

constexpr int REFRESH = 32;
constexpr int BLANK_CAME_FROM_LABEL = 1, LABEL_CAME_FROM_BLANK = 2, LABEL_CAME_FROM_LABEL = 4;
typedef std::uint8_t Bytes __attribute__((vector_size(L)));

struct Alignment {
    std::ptrdiff_t width;
    int *label, *skip;
    float *scores, *blank;  // scores: two rows
    std::uint8_t* ways;     // (frames, W)
    std::size_t bytes;

    Alignment(const Batch& batch, std::ptrdiff_t n, char* storage) {
        Taker taker{storage};
        width = (batch.lengths[n] / L + 1) * L;
        label = taker.take<int>(width), skip = taker.take<int>(width);
        scores = taker.take<float>(2 * width), blank = taker.take<float>(width);
        ways = taker.take<std::uint8_t>(width * batch.frames[n]);
        bytes = taker.used;
    }
};

static std::size_t align_storage(const Batch& batch, std::ptrdiff_t n) { return Alignment(batch, n, nullptr).bytes; }

static void refresh(float* scores, float* blank, std::ptrdiff_t begin, std::ptrdiff_t end) {
    V most = all(-__builtin_inff());
    for (std::ptrdiff_t at = begin; at < end; at += L) {
        const V a = load(scores + at), b = load(blank + at);
        most = larger(most, larger(a, b));
    }
    most = highest(most);
    if (!(most[0] > -__builtin_inff())) return;
    for (std::ptrdiff_t at = begin; at < end; at += L) {
        store(scores + at, load(scores + at) - most);
        store(blank + at, load(blank + at) - most);
    }
}

template <int NV>
static void align_forward(const Batch& batch, const Sequence& q, const Alignment& a) {
    const V never = all(-__builtin_inff());
    for (std::ptrdiff_t at = 0; at < a.width; at += L)
        store(a.scores + a.width + at, never), store(a.scores + at, never), store(a.blank + at, never);
    a.blank[0] = 0;
    for (int t = 0; t < q.frames; t++) {
        const float* x = batch.logits + (std::ptrdiff_t(t) * batch.size + q.element) * batch.classes;
        float *from = a.scores + (t % 2 ? 0 : a.width), *to = a.scores + (t % 2 ? a.width : 0);
        const Band band = band_of(q, t);
        const V y_blank = all(x[0]);
        [[maybe_unused]] V table[NV > 0 ? NV : 1];
        for (int j = 0; j < NV; j++) table[j] = load_part(x + j * L, batch.classes - j * L, never);
        V before = never;
        if (band.low > 0 && band_of(q, t - 1).low < band.low) before = load(from + std::ptrdiff_t(band.low - 1) * L);
        for (int v = band.low; v < band.high; v++) {
            const std::ptrdiff_t at = std::ptrdiff_t(v) * L;
            const V label = load(from + at), blank = load(a.blank + at), previous = shift_up(before, label, Lanes{});
            before = label;
            V y;
#if defined(__AVX512F__)
            if constexpr (NV > 0)
                y = look_up<NV>(table, load_int(a.label + at));
            else
#endif
                y = gather(x, a.label + at);
            const VI from_label = previous > blank;
            const V entered = from_label ? previous : blank;
            const VI skips = load_int(a.skip + at);
            const V came = skips ? entered : blank;
            const VI moved = came > label;
            const VI from_previous = moved & skips & from_label;
            store(a.blank + at, entered + y_blank);
            store(to + at, (moved ? came : label) + y);
            const VI way = (from_label & BLANK_CAME_FROM_LABEL) | (from_previous & LABEL_CAME_FROM_LABEL) |
                           (moved & ~from_previous & LABEL_CAME_FROM_BLANK);
            *reinterpret_cast<Bytes*>(a.ways + a.width * t + at) = __builtin_convertvector(way, Bytes);
        }
        // The label of the last position does not exist.
        if (band.high == q.vectors) to[q.length] = -__builtin_inff();
        if (band.high < q.vectors) store(to + std::ptrdiff_t(band.high) * L, never);
        if (t % REFRESH == REFRESH - 1)
            refresh(to, a.blank, std::ptrdiff_t(band.low) * L, std::ptrdiff_t(band.high) * L);
    }
}

static void align_sequence(const Batch& batch, std::ptrdiff_t n, char* storage) {
    const Alignment a(batch, n, storage);
    const int length = int(batch.lengths[n]);
    const Sequence q{n, int(batch.frames[n]), length, 0, length / L + 1, 0, 0, true, 0, 0, 0};
    const std::int64_t* target = batch.targets + n * batch.stride;
    for (int i = 0; i < a.width; i++) {
        a.label[i] = i < length ? int(target[i]) : 0;
        a.skip[i] = i > 0 && i < length && a.label[i] != a.label[i - 1] ? -1 : 0;
    }
    for (std::ptrdiff_t t = q.frames; t < batch.time; t++) batch.path[t * batch.size + n] = -1;
    if (!q.frames) return;
#if defined(__AVX512F__)
    if (batch.classes <= L)
        align_forward<1>(batch, q, a);
    else if (batch.classes <= 2 * L)
        align_forward<2>(batch, q, a);
    else if (batch.classes <= 4 * L)
        align_forward<4>(batch, q, a);
    else
#endif
        align_forward<0>(batch, q, a);
    const float* last = a.scores + (q.frames % 2 ? 0 : a.width);
    int i = length;
    bool in_label = false;
    if (length && last[length - 1] > a.blank[length]) i = length - 1, in_label = true;
    const bool possible = (in_label ? last[i] : a.blank[i]) > -__builtin_inff();
    // Only where a path arrives is every way back one that was written.
    for (std::ptrdiff_t t = q.frames - 1; t >= 0; t--) {
        if (!possible) {
            batch.path[t * batch.size + n] = -1;
            continue;
        }
        batch.path[t * batch.size + n] = 2 * i + in_label;
        const int way = a.ways[a.width * t + i];
        if (in_label) {
            if (way & LABEL_CAME_FROM_LABEL) i--;
            if (way & LABEL_CAME_FROM_BLANK) in_label = false;
        } else if (way & BLANK_CAME_FROM_LABEL) {
            i--, in_label = true;
        }
    }
}
