// Included inside a namespace of the instruction set's own, after simd/vector.h. ELMAN_MASK(a, b): bit i is a[i] > b[i].
// ELMAN_EXPAND(mask, from), where there is such an instruction: the numbers at `from` in order into the lanes of `mask`.

static double softmax(const float* x, int count, float* y, int padded) {
    float top = x[0];
    for (int c = 1; c < count; c++) top = x[c] > top ? x[c] : top;
    V sum = V{};
    for (int c = 0; c < padded; c += L) {
        alignas(sizeof(V)) float part[L];
        const int here = count - c < L ? count - c : L;
        for (int i = 0; i < L; i++) part[i] = i < here ? x[c + i] - top : -1e30f;
        const V e = exp_(load(part));
        store(y + c, e);
        sum += e;
    }
    double total = 0;
    for (int i = 0; i < L; i++) total += sum[i];
    const V scale = all(static_cast<float>(1 / total));
    for (int c = 0; c < padded; c += L) store(y + c, load(y + c) * scale);
    return top + __builtin_log(total);
}

static int extend(const float* y, const float* row, const uint32_t* codes, int padded, float mass, float least,
                  const uint64_t* skip, uint32_t base, uint64_t* keys) {
    int found = 0;
    const V bound = all(least);
    for (int j = 0; j < padded; j += L) {
        V score = load(y + j) * all(mass);
        if (row) {
            V factor;
            __builtin_memcpy(&factor, row + j, sizeof(V));
            score *= factor;
        }
        uint32_t mask = ELMAN_MASK(score, bound);
        if (!mask) continue;
        mask &= ~static_cast<uint32_t>(skip[j >> 6] >> (j & 63));
        alignas(sizeof(V)) float lane[L];
        store(lane, score);
        for (; mask; mask &= mask - 1) {
            const int i = __builtin_ctz(mask);
            uint32_t bits;
            __builtin_memcpy(&bits, lane + i, 4);
            keys[found++] = static_cast<uint64_t>(bits) << 32 | (base + codes[j + i]);
        }
    }
    return found;
}

static int enter(const float* y, int classes, uint64_t children, uint64_t open, const float* factors, float mass,
                 float least, uint32_t base, uint64_t* keys) {
    int found = 0;
    const V bound = all(least);
    for (int j = 0; j < classes; j += L) {
        uint32_t mask = static_cast<uint32_t>(open >> j) & ((1u << L) - 1);
        if (!mask) continue;
        V score = load(y + j) * all(mass);
        mask &= ELMAN_MASK(score, bound);
        if (!mask) continue;
        const float* const of_group = factors + __builtin_popcountll(children & ((uint64_t(1) << j) - 1));
        const auto here = static_cast<uint32_t>(children >> j) & ((1u << L) - 1);
#if defined(ELMAN_EXPAND)
        score *= ELMAN_EXPAND(here, of_group);
        mask &= ELMAN_MASK(score, bound);
#endif
        alignas(sizeof(V)) float lane[L];
        store(lane, score);
        for (; mask; mask &= mask - 1) {
            const int i = __builtin_ctz(mask);
            float product = lane[i];
#if !defined(ELMAN_EXPAND)
            product *= of_group[__builtin_popcount(here & ((1u << i) - 1))];
            if (!(product > least)) continue;
#endif
            uint32_t bits;
            __builtin_memcpy(&bits, &product, 4);
            keys[found++] = static_cast<uint64_t>(bits) << 32 | (base + static_cast<uint32_t>(j + i));
        }
    }
    return found;
}
