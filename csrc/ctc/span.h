// The arrays of a span. Position i of a sequence is the blank before label i and label i itself; the last position is
// the last blank alone. Every sequence begins with a vector of its own, so nothing passes between two of them: the last
// position's label is dead, and what follows it in the vector too.

struct Sequence {
    std::ptrdiff_t element;
    int frames, length;
    int first, vectors;  // of positions
    std::int64_t exponent;  // of p(target), with `inverse` = 1 / mantissa; unnormalised emissions
    float inverse;
    bool possible;
    double log_sums, divergence;  // sum_t ln sum exp(x - max) and sum_t KL(uniform || y_t)
    std::int64_t behind;  // exponent taken out of the values on the way back
};

// Takes arrays one after the other from one block, or only counts.
struct Taker {
    char* base;
    std::size_t used = 0;
    template <class T>
    T* take(std::ptrdiff_t count) {
        T* at = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used += (std::size_t(count) * sizeof(T) + 63) / 64 * 64;
        return at;
    }
};

// Rows of W = vectors * L.
struct Row {
    float* m;
    int* e;
    ELMAN_INLINE Number at(std::ptrdiff_t i) const { return {load(m + i), load_int(e + i)}; }
    ELMAN_INLINE void put(std::ptrdiff_t i, Number x) const { store(m + i, x.m), store_int(e + i, x.e); }
    ELMAN_INLINE Row row(std::ptrdiff_t begin) const { return {m + begin, e + begin}; }
};

constexpr std::ptrdiff_t FEW = 64;  // classes whose sums are kept beside each other
constexpr std::ptrdiff_t NEAR = 1024;  // classes of which several frames fit the nearest cache
constexpr std::ptrdiff_t STREAMED = 1 << 22;  // numbers of a gradient that no cache holds until it is read again

struct Work {
    int count = 0, frames = 0;
    std::ptrdiff_t width = 0;
    Sequence* sequence;
    int *label, *skip;        // (W,); skip: -1 where the label may follow the one before without a blank
    int* there;               // (W,): -1 where there is a label
    int looked_up = 0;        // vectors of all classes' y, where that is so little that positions look theirs up, else 0
    Row table;                // (frames, count, looked_up L)
    Row emission, alpha;      // (frames, W): of labels; no emission where it is looked up
    Row blank_emission;       // (frames, count), likewise
    Row fresh, blank;         // (W,): alpha of labels and blanks, normalised anew
    Row after, blank_after;   // (W,): emission times beta of the next frame
    std::int64_t* offset;     // (blocks of PERIOD frames, count): exponent taken out of alpha
    float* gamma;             // (L, W): posteriors of labels
    int tiles = 0;            // vectors of the classes, where they are few and a gradient is wanted, else 0
    float *softmax, *factor;  // (frames, count, tiles L), likewise, and (frames, count), what to multiply it with
    bool streams = false;     // the gradient is written past the caches
    float* frame;             // (classes,): its softmax until then
    std::size_t bytes = 0;

    Work(const Batch& batch, Span span, char* storage) {
        Taker taker{storage};
        count = int(span.count);
        sequence = taker.take<Sequence>(count);
        std::ptrdiff_t vectors = 0;
        for (int k = 0; k < count; k++) {
            const std::ptrdiff_t n = span.first + k;
            const int own = int(batch.lengths[n] / L + 1), steps = int(batch.frames[n]);
            if (storage) sequence[k] = {n, steps, int(batch.lengths[n]), int(vectors), own, 0, 0, true, 0, 0, 0};
            vectors += own;
            frames = frames > steps ? frames : steps;
        }
        width = vectors * L;
        const std::ptrdiff_t states = width * frames;
        label = taker.take<int>(width), skip = taker.take<int>(width), there = taker.take<int>(width);
        auto rows = [&](std::ptrdiff_t numbers) { return Row{taker.take<float>(numbers), taker.take<int>(numbers)}; };
        looked_up = vectors_to_look_up(batch.classes);
        const std::ptrdiff_t steps = std::ptrdiff_t(frames) * count, kept = looked_up ? 0 : 1;
        table = rows(steps * looked_up * L);
        emission = rows(kept * states), alpha = rows(states);
        blank_emission = rows(kept * steps);
        fresh = rows(width), blank = rows(width), after = rows(width), blank_after = rows(width);
        offset = taker.take<std::int64_t>(std::ptrdiff_t(frames / PERIOD + 1) * count);
        gamma = taker.take<float>(width * L);
        tiles = batch.gradient && batch.classes <= FEW ? int((batch.classes + L - 1) / L) : 0;
        softmax = taker.take<float>(kept * steps * tiles * L);
        factor = taker.take<float>(steps);
        streams = batch.gradient && batch.classes > NEAR && batch.time * batch.size * batch.classes > STREAMED;
        frame = taker.take<float>(streams ? batch.classes : 0);
        bytes = taker.used;
        if (storage)
            for (int k = 0; k < count; k++) read_labels(batch, sequence[k]);
    }

  private:
    void read_labels(const Batch& batch, const Sequence& q) {
        const std::int64_t* target = batch.targets + q.element * batch.stride;
        int *own = label + q.first * L, *may_skip = skip + q.first * L;
        // The first class that is none has y = 0 where y is looked up.
        const int none = looked_up ? int(batch.classes) : 0;
        for (int i = 0; i < q.vectors * L; i++) {
            there[q.first * L + i] = i < q.length ? -1 : 0;
            own[i] = i < q.length ? int(target[i]) : none;
            may_skip[i] = i > 0 && i < q.length && own[i] != own[i - 1] ? -1 : 0;
        }
    }
};

// The vectors of a sequence that lie on some path at a frame: position i is reached in frame i at the earliest, and the
// last label or blank must still be reached.
struct Band {
    int low, high;
};

static ELMAN_INLINE Band band_of(const Sequence& q, int t) {
    if (q.vectors <= 2) return {0, q.vectors};  // nothing to win
    const int last = t < q.length ? t : q.length;
    const int first = q.length - q.frames + t;
    return {first > 0 ? int(unsigned(first) / L) : 0, int(unsigned(last) / L) + 1};
}
