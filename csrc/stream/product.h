// Products of a packed matrix with one or a few vectors: each weight is read once for up to MOST_STREAMS of them.
//
// Included inside the namespace of the instruction set. A panel is as many vectors wide as keep the multipliers busy:
// every vector of it has a sum of its own, and no sum has two parts, so that a stream's numbers are the same whatever
// others run beside it. int8: whole numbers of 32 bits, exact, hence the same on every machine.

#if ELMAN_REGISTERS == 32
constexpr int PANEL = 8, MOST_STREAMS = 3;
#else
constexpr int PANEL = 6, MOST_STREAMS = 2;
#endif

constexpr int AHEAD = 4096;  // bytes between what is read and what is asked for

static ELMAN_INLINE int blocks(int width) { return (width + L - 1) / L; }

struct Left {  // a left operand; q and step for int8: a = q * step
    const float* a;
    const int16_t* q;
    float step;
};

static ELMAN_INLINE void ahead(const void* p) {
    __builtin_prefetch(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(p) + AHEAD), 0, 3);
}

template <int NV, int MR>
static ELMAN_INLINE void sums_float32(const float* w, int size, const Left* left, V (&acc)[MR][NV]) {
#pragma GCC unroll 2
    for (int k = 0; k < size; k++) {
        V a[MR];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) a[r] = all(left[r].a[k]);
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) {
            const V b = load(w + v * L);
            ahead(w + v * L);
#pragma GCC unroll 4
            for (int r = 0; r < MR; r++) acc[r][v] += a[r] * b;
        }
        w += NV * L;
    }
}

template <int NV, int MR>
static ELMAN_INLINE void sums_bfloat16(const uint16_t* w, int size, const Left* left, V (&acc)[MR][NV]) {
    for (int k = 0; k < size; k += 2) {
        const bool pair = k + 1 < size;
        V a[MR], c[MR];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) a[r] = all(left[r].a[k]), c[r] = all(pair ? left[r].a[k + 1] : 0.0f);
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) {
            const VI both = *reinterpret_cast<const VI*>(w + v * L * 2);
            ahead(w + v * L * 2);
            const V first = (V)(both << 16), second = (V)(both & (VI{} - 65536));
#pragma GCC unroll 4
            for (int r = 0; r < MR; r++) {
                acc[r][v] += a[r] * first;
                acc[r][v] += c[r] * second;
            }
        }
        w += NV * L * 2;
    }
}

// sum += q[0] w[2 i] + q[1] w[2 i + 1] in each lane i; `pair` holds both q.
static ELMAN_INLINE VI add_pairs(VI sum, const int8_t* w, int32_t pair) {
#if defined(__AVX512VNNI__)
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(w)));
    return (VI)_mm512_dpwssd_epi32((__m512i)sum, wide, _mm512_set1_epi32(pair));
#elif defined(__AVX512BW__)
    const __m512i wide = _mm512_cvtepi8_epi16(_mm256_load_si256(reinterpret_cast<const __m256i*>(w)));
    return sum + (VI)_mm512_madd_epi16(wide, _mm512_set1_epi32(pair));
#elif defined(__AVX2__)
    const __m256i wide = _mm256_cvtepi8_epi16(_mm_load_si128(reinterpret_cast<const __m128i*>(w)));
    return sum + (VI)_mm256_madd_epi16(wide, _mm256_set1_epi32(pair));
#elif defined(__SSE2__)
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(w));
    const __m128i wide = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    return sum + (VI)_mm_madd_epi16(wide, _mm_set1_epi32(pair));
#else
    int16_t q[2];
    __builtin_memcpy(q, &pair, sizeof q);
    for (int i = 0; i < L; i++) sum[i] += q[0] * w[2 * i] + q[1] * w[2 * i + 1];
    return sum;
#endif
}

template <int NV, int MR>
static ELMAN_INLINE void sums_int8(const int8_t* w, int size, const Left* left, VI (&acc)[MR][NV]) {
    for (int k = 0; k < size; k += 2) {
        int32_t a[MR];
#pragma GCC unroll 4
        for (int r = 0; r < MR; r++) __builtin_memcpy(&a[r], left[r].q + k, sizeof a[r]);
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) {
            ahead(w + v * L * 2);
#pragma GCC unroll 4
            for (int r = 0; r < MR; r++) acc[r][v] = add_pairs(acc[r][v], w + v * L * 2, a[r]);
        }
        w += NV * L * 2;
    }
}

static ptrdiff_t vector_bytes(Precision precision, int size) {
    if (precision == Precision::FLOAT32) return ptrdiff_t(size) * L * 4;
    return ptrdiff_t((size + 1) / 2) * L * (precision == Precision::BFLOAT16 ? 4 : 2);
}

static ptrdiff_t packed_bytes(Precision precision, int size, int vectors) {
    return vector_bytes(precision, size) * vectors;
}

template <int NV, int MR>
static __attribute__((noinline)) void panel(const Matrix& m, int first, const Left* left, float* const* out) {
    const char* data = m.data + first * vector_bytes(m.precision, m.size);
    const float* bias = m.bias + ptrdiff_t(first) * L;
    if (m.precision == Precision::INT8) {
        VI acc[MR][NV] = {};
        sums_int8<NV, MR>(reinterpret_cast<const int8_t*>(data), m.size, left, acc);
        const float* scale = m.scale + ptrdiff_t(first) * L;
        for (int r = 0; r < MR; r++)
            for (int v = 0; v < NV; v++) {
                const V sum = __builtin_convertvector(acc[r][v], V);
                store(out[r] + (first + v) * L, sum * (load(scale + v * L) * left[r].step) + load(bias + v * L));
            }
        return;
    }
    V acc[MR][NV];
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) acc[r][v] = load(bias + v * L);
    if (m.precision == Precision::BFLOAT16)
        sums_bfloat16<NV, MR>(reinterpret_cast<const uint16_t*>(data), m.size, left, acc);
    else
        sums_float32<NV, MR>(reinterpret_cast<const float*>(data), m.size, left, acc);
#pragma GCC unroll 4
    for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
        for (int v = 0; v < NV; v++) store(out[r] + (first + v) * L, acc[r][v]);
}

template <int MR>
static void panels(const Matrix& m, int begin, int end, const Left* left, float* const* out) {
    for (int first = begin; first < end; first += PANEL) {
        switch (m.vectors - first) {
            case 1: panel<1, MR>(m, first, left, out); break;
            case 2: panel<2, MR>(m, first, left, out); break;
            case 3: panel<3, MR>(m, first, left, out); break;
            case 4: panel<4, MR>(m, first, left, out); break;
            case 5: panel<5, MR>(m, first, left, out); break;
#if ELMAN_REGISTERS == 32
            case 6: panel<6, MR>(m, first, left, out); break;
            case 7: panel<7, MR>(m, first, left, out); break;
#endif
            default: panel<PANEL, MR>(m, first, left, out);
        }
    }
}

// -- int8 ------------------------------------------------------------------------------------------------------------

typedef int16_t Shorts __attribute__((vector_size(ELMAN_LANES * 2)));

static ELMAN_INLINE V load_anywhere(const float* p) {
    V v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

// The largest magnitude of q for which no sum of `size` products with a weight leaves 32 bits.
static float most_steps(int size) {
    const int64_t most = 0x7fffffff / (int64_t(127) * (size + 1));
    return most < 32767 ? float(most) : 32767.0f;
}

// a (size) to whole numbers; to NaN where one is not finite, which then reaches every sum.
static Left quantised(const float* a, int size, int16_t* q) {
    const int whole = size / L * L;
    V largest{}, wrong{};
    for (int k = 0; k < whole; k += L) {
        V x = load_anywhere(a + k);
        wrong += x * 0.0f;
        x = x < V{} ? -x : x;
        largest = x > largest ? x : largest;
    }
    alignas(sizeof(V)) float lane[L], off[L];
    store(lane, largest);
    store(off, wrong);
    float most = 0.0f, flaw = 0.0f;
    for (int i = 0; i < L; i++) most = lane[i] > most ? lane[i] : most, flaw += off[i];
    for (int k = whole; k < size; k++) {
        const float x = a[k] < 0.0f ? -a[k] : a[k];
        most = x > most ? x : most;
        flaw += x * 0.0f;
    }
    const bool finite = flaw == 0.0f;
    const float steps = most_steps(size);
    const float inverse = finite && most > 0.0f ? steps / most : 0.0f;
    for (int k = 0; k < whole; k += L) {
        const V x = finite ? load_anywhere(a + k) * inverse : V{};
        const VI number = (VI)(x + 12582912.0f) - 0x4b400000;  // rounds: the last bit of 1.5 * 2^23 is worth one
        const Shorts shorts = __builtin_convertvector(number, Shorts);
        __builtin_memcpy(q + k, &shorts, sizeof shorts);
    }
    for (int k = whole; k < size; k++) q[k] = finite ? int16_t(__builtin_lrintf(a[k] * inverse)) : int16_t(0);
    if (size % 2) q[size] = 0;
    return {a, q, finite ? most / steps : __builtin_nanf("")};
}

// out[stream] (vectors of L) = W left[stream] + b, for some streams.
constexpr int MOST_AT_ONCE = 16;
struct Task {
    const Matrix* matrix;
    int count;
    Left left[MOST_AT_ONCE];
    float* out[MOST_AT_ONCE];
};

// The part of a product that is this thread's: some of the panels, whole ones.
static void multiply(const Task& task, int thread, int threads) {
    const Matrix& m = *task.matrix;
    const int count = (m.vectors + PANEL - 1) / PANEL;
    const int begin = count * thread / threads * PANEL, until = count * (thread + 1) / threads * PANEL;
    const int end = until < m.vectors ? until : m.vectors;
    for (int from = 0; from < task.count; from += MOST_STREAMS) {
        const Left* left = task.left + from;
        float* const* out = task.out + from;
        const int left_over = task.count - from;
        if (left_over == 1) panels<1>(m, begin, end, left, out);
        else if (left_over == 2 || MOST_STREAMS == 2) panels<2>(m, begin, end, left, out);
        else panels<MOST_STREAMS>(m, begin, end, left, out);
    }
}

// -- packing ---------------------------------------------------------------------------------------------------------

static uint16_t bfloat16(float x) {  // to the nearest, ties to even
    uint32_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void pack(const Matrix& m, const float* weight, const float* bias, float bias_of_padding) {
    const int pairs = (m.size + 1) / 2;
    for (int vector = 0; vector < m.vectors; vector++) {
        const int first = vector / PANEL * PANEL;
        const int wide = m.vectors - first < PANEL ? m.vectors - first : PANEL;
        char* data = m.data + first * vector_bytes(m.precision, m.size);
        const int gate = vector / blocks(m.width), unit = vector % blocks(m.width) * L;
        for (int lane = 0; lane < L; lane++) {
            const bool real = unit + lane < m.width;
            const ptrdiff_t row = ptrdiff_t(gate) * m.width + unit + lane;
            const float* w = real ? weight + row * m.size : nullptr;
            const ptrdiff_t place = ptrdiff_t(vector) * L + lane;
            m.bias[place] = !real ? bias_of_padding : bias ? bias[row] : 0.0f;
            if (m.precision == Precision::FLOAT32) {
                auto* to = reinterpret_cast<float*>(data) + (vector - first) * L + lane;
                for (int k = 0; k < m.size; k++) to[ptrdiff_t(k) * wide * L] = real ? w[k] : 0.0f;
            } else if (m.precision == Precision::BFLOAT16) {
                auto* to = reinterpret_cast<uint16_t*>(data) + ((vector - first) * L + lane) * 2;
                for (int k = 0; k < 2 * pairs; k++)
                    to[ptrdiff_t(k / 2) * wide * L * 2 + k % 2] = bfloat16(real && k < m.size ? w[k] : 0.0f);
            } else {
                float most = 0.0f;
                for (int k = 0; real && k < m.size; k++) {
                    const float x = w[k] < 0.0f ? -w[k] : w[k];
                    most = x > most ? x : most;
                }
                const float step = most / 127.0f, inverse = step > 0.0f ? 1.0f / step : 0.0f;
                m.scale[place] = step;
                auto* to = reinterpret_cast<int8_t*>(data) + ((vector - first) * L + lane) * 2;
                for (int k = 0; k < 2 * pairs; k++) {
                    const bool there = real && k < m.size;
                    const long q = there ? __builtin_lrintf(inverse < 1e30f ? w[k] * inverse : 0.0f) : 0;
                    to[ptrdiff_t(k / 2) * wide * L * 2 + k % 2] = int8_t(q > 127 ? 127 : q < -127 ? -127 : q);
                }
            }
        }
    }
}
