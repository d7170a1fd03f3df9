// Rows of dropout: the generator of elman.counter on vectors of units.
//
// Included inside the namespace of the instruction set.

typedef uint32_t VU __attribute__((vector_size(ELMAN_LANES * 4)));

template <class Word>
static ELMAN_INLINE Word mix(Word x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ (x >> 16);
}

static void drop_rows(const Dropout& call, ptrdiff_t begin, ptrdiff_t end) {
    VU lane;
    for (int i = 0; i < L; i++) lane[i] = uint32_t(i);
    const VI threshold = VI{} + int32_t(call.threshold);
    const VI scale = (VI)all(call.scale);
    for (ptrdiff_t row = begin; row < end; row++) {
        const uint32_t element = mix(uint32_t(row % call.batch) ^ call.key);
        const uint32_t place = mix(uint32_t(call.steps[row]) ^ element);
        const float* from = call.values + row * call.units;
        float* to = call.target + row * call.units;
        for (int u = 0; u < call.units; u += L) {
            const VI drawn = (VI)(mix((lane + uint32_t(u)) ^ place) >> 8);
            const V factor = (V)(scale & (VI)(drawn >= threshold));
            // The rows of a caller's array begin anywhere.
            V x{};
            if (u + L <= call.units) {
                __builtin_memcpy(&x, from + u, sizeof(V));
                x *= factor;
                __builtin_memcpy(to + u, &x, sizeof(V));
            } else {
                for (int i = 0; u + i < call.units; i++) to[u + i] = from[u + i] * factor[i];
            }
        }
    }
}
