// Register tiles: MR rows by NV vectors of units, accumulated over the units of the left operand.
//
//     product   acc[r][v] = bias[v] + sum_k a[r][k] b[k][v]       a in panels, b packed [k][NV][L]
//     outer     acc[k][v] += sum_m a[m][k] d[m][v]                a and d in panels, over the rows m
//
// k and m count words (words.h), numbers or pairs of them.
//
// Included inside the namespace of the instruction set. With 32 registers a tile is 6 x 4 or 8 x 3 vectors, with 16 it
// is 3 x 4 or 4 x 3: the accumulators, one row's scalar and the right vectors fit.

#if ELMAN_REGISTERS == 32
constexpr int most_rows(int nv) { return nv == 4 ? 6 : 8; }
#else
constexpr int most_rows(int nv) { return nv == 4 ? 3 : 4; }
#endif

template <int MR, int NV>
static ELMAN_INLINE void multiply(const float* a, const float*& b, int length, V (&acc)[MR][NV]) {
#pragma GCC unroll 4
    for (int k = 0; k < length; k++) {
        V right[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) right[v] = load(b + v * L);
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++) {
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) acc[r][v] = add_term(acc[r][v], a + r * ROW + k, right[v]);
        }
        b += NV * L;
    }
}

// out[v][r * L]; bias may be null. The next rows of `a` are asked for meanwhile: rows of different blocks are far apart,
// and no machine foresees them. A sum of short sums keeps more digits than one long sum.
constexpr int TERMS = 128;  // units of a short sum

template <int MR, int NV>
static __attribute__((noinline)) void product_tile(
    const float* a, const Chunk* chunk, int chunks, const float* b, const float* bias, float* const* out,
    ptrdiff_t row) {
    V acc[MR][NV];
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) acc[r][v] = bias ? load(bias + v * L) : V{};
    bool more = false;
    for (int c = 0; c < chunks; c++) {
        const float* p = a + chunk[c].offset;
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++) fetch(p + (MR + r) * ROW);
        if (chunk[c].length == L)
            multiply<MR, NV>(p, b, ROW, acc);
        else
            multiply<MR, NV>(p, b, words(chunk[c].length), acc);
        if ((c + 1) % (TERMS / L) && c + 1 < chunks) continue;
#pragma GCC unroll 8
        for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) {
                float* to = out[v] + (row + r) * L;
                store(to, more ? load(to) + acc[r][v] : acc[r][v]);
                acc[r][v] = V{};
            }
        more = true;
    }
}

// sum[(k * NV + v) * L], added to; k counts units of one block of a. The rows are summed before the total is touched:
// a sum of short sums keeps more digits than one long sum.
template <int MR, int NV>
static __attribute__((noinline)) void outer_tile(
    const Segment* segment, int segments, const float* a, const float* const* d, float* sum) {
    V acc[MR][NV];
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            acc[r][v] = V{};
            fetch_to_write(sum + (r * NV + v) * L);
        }
    for (int s = 0; s < segments; s++) {
        const float* left = a + segment[s].source * L;
        const float* right[NV];
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) right[v] = d[v] + segment[s].row * L;
#pragma GCC unroll 2
        for (int m = 0; m < segment[s].count; m++) {
            V b[NV];
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) b[v] = load(right[v] + m * L);
#pragma GCC unroll 8
            for (int r = 0; r < MR; r++) {
#pragma GCC unroll 4
                for (int v = 0; v < NV; v++) acc[r][v] = add_term(acc[r][v], left + m * L + r, b[v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            float* to = sum + (r * NV + v) * L;
            store(to, load(to) + acc[r][v]);
        }
}

// sum[v * L], added to: the rows of d.
template <int NV>
static void sum_rows(const Segment* segment, int segments, const float* const* d, float* sum) {
    V total[NV] = {};
    for (int s = 0; s < segments; s++)
        for (ptrdiff_t m = segment[s].row; m < segment[s].row + segment[s].count; m++)
#pragma GCC unroll 4
            for (int v = 0; v < NV; v++) total[v] += load(d[v] + m * L);
    for (int v = 0; v < NV; v++) store(sum + v * L, load(sum + v * L) + total[v]);
}

#define ELMAN_ROWS(nv, rows, call)                                   \
    switch (rows) {                                                  \
        case 1: call(1, nv); break;                                  \
        case 2: call(2, nv); break;                                  \
        case 3: call(3, nv); break;                                  \
        case 4: if constexpr (most_rows(nv) >= 4) call(4, nv); break; \
        case 5: if constexpr (most_rows(nv) >= 5) call(5, nv); break; \
        case 6: if constexpr (most_rows(nv) >= 6) call(6, nv); break; \
        case 7: if constexpr (most_rows(nv) >= 7) call(7, nv); break; \
        case 8: if constexpr (most_rows(nv) >= 8) call(8, nv); break; \
    }

// Any number of rows, in tiles as even as can be.
template <int NV>
static void product_rows(const float* a, const Chunk* chunk, int chunks, const float* b, const float* bias,
                         float* const* out, int rows) {
    const int tiles = (rows + most_rows(NV) - 1) / most_rows(NV);
    for (int i = 0; i < tiles; i++) {
        const int from = rows * i / tiles, count = rows * (i + 1) / tiles - from;
#define ELMAN_CALL(mr, nv) product_tile<mr, nv>(a + from * ROW, chunk, chunks, b, bias, out, from)
        ELMAN_ROWS(NV, count, ELMAN_CALL)
#undef ELMAN_CALL
    }
}

// `units` of one block of a.
template <int NV>
static void outer_units(
    const Segment* segment, int segments, const float* a, const float* const* d, float* sum, int units) {
    const int tiles = (units + most_rows(NV) - 1) / most_rows(NV);
    for (int i = 0; i < tiles; i++) {
        const int from = units * i / tiles, count = units * (i + 1) / tiles - from;
#define ELMAN_CALL(mr, nv) outer_tile<mr, nv>(segment, segments, a + from, d, sum + from * NV * L)
        ELMAN_ROWS(NV, count, ELMAN_CALL)
#undef ELMAN_CALL
    }
}
