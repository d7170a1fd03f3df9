// What products multiply. In float32 an operand is a vector of numbers as it lies in its panel. In bfloat16 (HALF) it is
// a copy whose 32-bit words hold two numbers each, neighbours in the sum, and a term of the sum is that of a pair; what is
// stored and added up stays float32.
//
//     of a left operand's row    units k and k + 1             [block][row][ROW words]
//     of packed weights          units k and k + 1 of the sum  [k / 2][nv][L words]
//     of the rows of gradients   rows m and m + 1              [block][m / 2][L words]
//
// Included inside the namespace of the instruction set, which says what HALF is.

constexpr int PAIR = HALF ? 2 : 1;  // numbers in a word
constexpr int ROW = L / PAIR;       // words of a row of units

typedef uint32_t VU __attribute__((vector_size(ELMAN_LANES * 4)));
typedef uint16_t VH __attribute__((vector_size(ELMAN_LANES * 2)));

struct Chunk {  // `length` units of the left operand, `offset` words from the row
    ptrdiff_t offset;
    int length;
};

static ELMAN_INLINE int words(int numbers) { return (numbers + PAIR - 1) / PAIR; }

// The nearest bfloat16, an even one of two as near, in the upper half of each lane; a NaN stays one.
static ELMAN_INLINE VU upper_half(V x) {
    const VU bits = (VU)x;
    const VU near = bits + 0x7fffu + ((bits >> 16) & 1u);
    return (x == x ? near : bits | 0x400000u) & 0xffff0000u;
}

static ELMAN_INLINE uint32_t upper_half(float x) {
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof(bits));
    return (x == x ? bits + 0x7fffu + ((bits >> 16) & 1u) : bits | 0x400000u) & 0xffff0000u;
}

// The word of a number, or of two.
static ELMAN_INLINE float word(float first, float second) {
    if constexpr (!HALF) return first;
    const uint32_t bits = upper_half(first) >> 16 | upper_half(second);
    float both;
    __builtin_memcpy(&both, &bits, sizeof(both));
    return both;
}

static ELMAN_INLINE V pair(V first, V second) { return (V)((upper_half(first) >> 16) | upper_half(second)); }

// sum + left right: of one number, or of the pair in the word.
static ELMAN_INLINE V add_term(V sum, const float* left, V right) {
    if constexpr (HALF) {
        uint32_t bits;
        __builtin_memcpy(&bits, left, sizeof(bits));
#if defined(__AVX512BF16__)
        return (V)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(int(bits)), (__m512bh)right);
#else
        const VU both = (VU)right;
        const V first = (V)(both << 16), second = (V)(both & 0xffff0000u);
        const uint32_t low = bits << 16, high = bits & 0xffff0000u;
        float a, b;
        __builtin_memcpy(&a, &low, sizeof(a));
        __builtin_memcpy(&b, &high, sizeof(b));
        return sum + (all(a) * first + all(b) * second);
#endif
    } else {
        return sum + all(*left) * right;
    }
}

// The left operand of a product as products read it: as it is, or its copy in `to`, whose places are then in `chunk`.
// Units past the end of a chunk are zero there.
static const float* left_operand(const float* a, Chunk* chunk, int chunks, int rows, float* to) {
    if constexpr (!HALF) return a;
    for (int c = 0; c < chunks; c++) {
        const float* from = a + chunk[c].offset;
        V wanted;
        for (int i = 0; i < L; i++) wanted[i] = i < chunk[c].length ? 1.0f : 0.0f;
        for (int r = 0; r < rows; r++) {
            const V x = wanted > V{} ? load(from + ptrdiff_t(r) * L) : V{};
            const VH half = __builtin_convertvector(upper_half(x) >> 16, VH);
            __builtin_memcpy(to + (ptrdiff_t(c) * rows + r) * ROW, &half, sizeof(half));
        }
        chunk[c].offset = ptrdiff_t(c) * rows * ROW;
    }
    return to;
}

// The rows of segments, counted from `source` (of a left operand) or from `row`, in pairs; an odd last one with zero.
static int pair_rows(const float* from, bool left, const Segment* segment, int segments, float* to) {
    V first{};
    int count = 0;
    for (int s = 0; s < segments; s++) {
        const float* row = from + (left ? segment[s].source : segment[s].row) * L;
        for (int m = 0; m < segment[s].count; m++, row += L, count++) {
            if (count % 2)
                store(to + count / 2 * L, pair(first, load(row)));
            else
                first = load(row);
        }
    }
    if (count % 2) store(to + count / 2 * L, pair(first, V{}));
    return words(count);
}
