// Numbers m 2^e with the exponent in a lane of its own: probabilities of any smallness, added and multiplied without
// exp or log.
//
// m is kept near 1 by `normalise`, called every PERIOD steps; in between it stays within (3 sqrt 2)^16 and 2^-8. What is
// below FLOOR, relative to the largest of its sequence, is zero. A dead emission has m = 0 and takes DEAD off the
// exponent, so that zero never hides a small number by a large exponent. All sums of exponents stay within 32 bits.
//
// Included inside the namespace of the instruction set, as the other headers here, which is why none has a guard.

struct Number {
    V m;
    VI e;
};

constexpr int PERIOD = 16;
constexpr int FLOOR = -(1 << 28);
constexpr int DEAD = -(1 << 24);
constexpr float LEAST = -2.4e6f;  // nats below a frame's best class that count as impossible

static ELMAN_INLINE VI all_int(int x) { return x - VI{}; }
static ELMAN_INLINE VI load_int(const int* p) { return *reinterpret_cast<const VI*>(p); }
static ELMAN_INLINE void store_int(int* p, VI v) { *reinterpret_cast<VI*>(p) = v; }
static ELMAN_INLINE VI larger(VI a, VI b) { return a > b ? a : b; }
// Not one that keeps a NaN.
static ELMAN_INLINE V larger(V a, V b) {
#if defined(__AVX512F__)
    return (V)_mm512_max_ps((__m512)a, (__m512)b);
#else
    return a > b ? a : b;
#endif
}
static ELMAN_INLINE Number dead() { return {V{}, all_int(FLOOR)}; }

// m 2^e for e < 127, zero below the normal numbers' range of exponents.
static ELMAN_INLINE V power(V m, VI e) {
#if defined(__AVX512F__)
    return (V)_mm512_scalef_ps((__m512)m, _mm512_cvtepi32_ps((__m512i)e));
#else
    return m * (V)((larger(e, all_int(-127)) + 127) << 23);
#endif
}

static ELMAN_INLINE Number sum(Number a, Number b) {
    const VI e = larger(a.e, b.e);
    return {power(a.m, a.e - e) + power(b.m, b.e - e), e};
}

static ELMAN_INLINE Number select(VI where, Number a, Number b) {
    return {where ? a.m : b.m, where ? a.e : b.e};
}

// exp(x) for x <= 0; a NaN stays one, with an exponent as any other.
static ELMAN_INLINE Number exp_number(V x) {
    V shifted;
    const V c = x > LEAST ? x : all(LEAST);
    const V m = 1.0f + exp_rest(split(c, shifted)) + (x - x);
    const VI e = (VI)shifted - (VI)all(ROUNDING);
    const VI impossible = x < LEAST;
    return {impossible ? V{} : m, impossible ? all_int(DEAD) : e};
}

// exp(x) for x <= 0 as a float, zero where that is below its range; a NaN stays one.
static ELMAN_INLINE V exp_float(V x) {
#if defined(__AVX512F__)
    V shifted;
    const V c = larger(all(-110.0f), x);  // the second of the two where one is a NaN
    const V rest = exp_rest(split(c, shifted));
    return (V)_mm512_scalef_ps((__m512)(1.0f + rest), (__m512)(shifted - ROUNDING));
#else
    const Number number = exp_number(x);
    return power(number.m, number.e);
#endif
}

// m in [1, 2), or zero at FLOOR.
static ELMAN_INLINE Number normalise(Number a) {
    const VI bits = (VI)a.m;
    const VI shift = (bits >> 23) - 127;
    const VI zero = a.m == V{};
    return {zero ? V{} : (V)(bits - (shift << 23)), zero ? all_int(FLOOR) : larger(a.e + shift, all_int(FLOOR))};
}
