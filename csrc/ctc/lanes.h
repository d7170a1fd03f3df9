// Moves between the lanes of vectors.

using Lanes = std::make_integer_sequence<int, L>;

template <class T, int... I>
static ELMAN_INLINE T shift_up(T before, T x, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(before, x, (L - 1 + I)...);
}
template <class T, int... I>
static ELMAN_INLINE T shift_down(T x, T after, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(x, after, (1 + I)...);
}

// Lane i gets what lane i - 1 has, the first the last of the vector before; and the other way round.
static ELMAN_INLINE Number shift_up(Number before, Number x) {
    return {shift_up(before.m, x.m, Lanes{}), shift_up(before.e, x.e, Lanes{})};
}
static ELMAN_INLINE Number shift_down(Number x, Number after) {
    return {shift_down(x.m, after.m, Lanes{}), shift_down(x.e, after.e, Lanes{})};
}

template <int STEP, class T, int... I>
static ELMAN_INLINE T rotate(T x, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(x, x, ((I + STEP) % L)...);
}
template <int STEP = L / 2, class T>
static ELMAN_INLINE T highest(T x) {
    x = larger(x, rotate<STEP>(x, Lanes{}));
    if constexpr (STEP > 1) return highest<STEP / 2>(x);
    return x;
}
template <int STEP = L / 2>
static ELMAN_INLINE V total(V x) {
    x += rotate<STEP>(x, Lanes{});
    if constexpr (STEP > 1) return total<STEP / 2>(x);
    return x;
}

// Row i of an L x L tile becomes column i: pairs of rows exchange their off-diagonal blocks of STEP x STEP.
template <int STEP, int... I>
static ELMAN_INLINE void exchange(V& a, V& b, std::integer_sequence<int, I...>) {
    const V low = __builtin_shufflevector(a, b, ((I & STEP) ? L + I - STEP : I)...);
    b = __builtin_shufflevector(a, b, ((I & STEP) ? L + I : I + STEP)...);
    a = low;
}
template <int STEP = 1>
static ELMAN_INLINE void transpose(V* rows) {
    for (int i = 0; i < L; i++)
        if (!(i & STEP)) exchange<STEP>(rows[i], rows[i + STEP], Lanes{});
    if constexpr (STEP < L / 2) transpose<STEP * 2>(rows);
}

// The first `count` lanes, the others from `rest`; any count.
static ELMAN_INLINE V load_part(const float* p, std::ptrdiff_t count, V rest) {
    typedef V Unaligned __attribute__((aligned(4)));
    if (count >= L) return *reinterpret_cast<const Unaligned*>(p);
#if defined(__AVX512F__)
    return (V)_mm512_mask_loadu_ps((__m512)rest, count > 0 ? (1u << count) - 1 : 0, p);
#else
    for (int i = 0; i < count; i++) rest[i] = p[i];
    return rest;
#endif
}
static ELMAN_INLINE void store_part(float* p, std::ptrdiff_t count, V x) {
    typedef V Unaligned __attribute__((aligned(4)));
    if (count >= L) {
        *reinterpret_cast<Unaligned*>(p) = x;
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, count > 0 ? (1u << count) - 1 : 0, (__m512)x);
#else
    for (int i = 0; i < count; i++) p[i] = x[i];
#endif
}

// To an aligned place past the caches, where there is an instruction for it.
static ELMAN_INLINE void store_past_caches(float* p, V x) {
#if defined(__AVX512F__)
    _mm512_stream_ps(p, (__m512)x);
#elif defined(__AVX2__)
    _mm256_stream_ps(p, (__m256)x);
#else
    store(p, x);
#endif
}
static ELMAN_INLINE void end_of_stores_past_caches() {
#if defined(__AVX2__)
    _mm_sfence();
#endif
}

static ELMAN_INLINE V gather(const float* p, const int* place) {
#if defined(__AVX512F__)
    return (V)_mm512_i32gather_ps((__m512i)load_int(place), p, 4);
#else
    V x;
    for (int i = 0; i < L; i++) x[i] = p[place[i]];
    return x;
#endif
}

// A table of NV vectors in registers, read at any places at once.
#if defined(__AVX512F__)
template <int NV>
static ELMAN_INLINE V look_up(const V* table, VI place) {
    const __m512i at = (__m512i)place;
    if constexpr (NV == 1) return (V)_mm512_permutexvar_ps(at, (__m512)table[0]);
    const __m512 low = _mm512_permutex2var_ps((__m512)table[0], at, (__m512)table[NV > 1]);
    if constexpr (NV <= 2) return (V)low;
    const __m512 high = _mm512_permutex2var_ps((__m512)table[NV > 2 ? 2 : 0], at, (__m512)table[NV > 2 ? 3 : 0]);
    return (V)_mm512_mask_blend_ps(_mm512_test_epi32_mask(at, _mm512_set1_epi32(32)), low, high);
}
#endif

// Vectors of a table of all classes and one more that is none; 0 where they are too many, or nothing looks them up.
static ELMAN_INLINE int vectors_to_look_up([[maybe_unused]] std::ptrdiff_t classes) {
#if defined(__AVX512F__)
    return classes < L ? 1 : classes < 2 * L ? 2 : classes < 4 * L ? 4 : 0;
#else
    return 0;
#endif
}
