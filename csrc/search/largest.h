// The largest of a row of logits, and what normalises them, in two passes.
//
// Included inside a namespace of the instruction set's own, after simd/vector.h; ELMAN_MASK as in extend.h.

// A NaN anywhere, or an infinity that leaves nothing to normalise, makes the result a NaN.
static double largest(const float* x, int count, int keep, float* value, int* place) {
    constexpr float NOTHING = -__builtin_inff();
    V most = all(NOTHING);
    const auto vector = [&](int c) {  // past the end nothing
        V v = all(NOTHING);
        if (count - c >= L)
            __builtin_memcpy(&v, x + c, sizeof(V));
        else
            __builtin_memcpy(&v, x + c, sizeof(float) * (count - c));
        return v;
    };
    for (int c = 0; c < count; c += L) {
        const V v = vector(c);
        most = v > most ? v : most;
    }
    float top = most[0];
    for (int i = 1; i < L; i++) top = most[i] > top ? most[i] : top;
    int found = 0;
    float least = NOTHING;  // what comes in has to be above
    const auto take = [&](float v, int at) {
        int to = found < keep ? found++ : keep - 1;
        for (; to > 0 && value[to - 1] < v; to--) value[to] = value[to - 1], place[to] = place[to - 1];
        value[to] = v, place[to] = at;
        if (found == keep) least = value[keep - 1];
    };
    double total = 0.0;
    for (int c = 0; c < count;) {  // few additions in float32 before they are added up in float64
        V sum{};
        for (const int until = c + 64 * L; c < count && c < until; c += L) {
            const V v = vector(c);
            sum += exp_(v - top);
            for (uint32_t mask = ELMAN_MASK(v, all(least)); mask; mask &= mask - 1) {
                const int i = __builtin_ctz(mask);
                if (x[c + i] > least) take(x[c + i], c + i);
            }
        }
        for (int i = 0; i < L; i++) total += sum[i];
    }
    for (int c = 0; c < count && found < keep; c++) {  // the rest are -inf, or no numbers
        bool there = false;
        for (int i = 0; i < found; i++) there |= place[i] == c;
        if (!there) value[found] = x[c], place[found++] = c;
    }
    return top + __builtin_log(total);
}
