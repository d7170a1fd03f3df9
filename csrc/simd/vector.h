// Vectors of ELMAN_LANES floats, written once and compiled for each instruction set (GCC's and Clang's vector types).
//
// Included inside a namespace of the instruction set's own, so that no two versions of a function share a name.
// exp and tanh: x = n ln 2 + r, |r| <= ln 2 / 2, and exp(r) - 1 = r + r^2 q(r) with q of degree 4 fitted for the least
// relative error of exp(r), 3e-9. A NaN stays a NaN in each of them.

typedef float V __attribute__((vector_size(ELMAN_LANES * 4)));
typedef int32_t VI __attribute__((vector_size(ELMAN_LANES * 4)));
constexpr int L = ELMAN_LANES;

#define ELMAN_INLINE inline __attribute__((always_inline))

static ELMAN_INLINE V load(const float* p) { return *reinterpret_cast<const V*>(p); }
static ELMAN_INLINE void store(float* p, V v) { *reinterpret_cast<V*>(p) = v; }
static ELMAN_INLINE V all(float x) { return x - V{}; }

// The line at p comes nearer while something else is done; one that is written later is asked for as its owner.
static ELMAN_INLINE void fetch(const float* p) { __builtin_prefetch(p, 0, 3); }
static ELMAN_INLINE void fetch_to_write(float* p) { __builtin_prefetch(p, 1, 3); }

// Not the machine's minimum and maximum, which lose a NaN in one of their places.
static ELMAN_INLINE V clamp(V x, float low, float high) {
    x = x < all(low) ? all(low) : x;
    return x > all(high) ? all(high) : x;
}

// exp(r) - 1 for |r| <= ln 2 / 2.
static ELMAN_INLINE V exp_rest(V r) {
    V q = r * 1.381446643e-3f + 8.368780463e-3f;
    q = q * r + 4.166839422e-2f;
    q = q * r + 1.666652011e-1f;
    q = q * r + 4.999999341e-1f;
    return q * (r * r) + r;
}

constexpr float ROUNDING = 12582912.0f;  // added, it rounds: the last bit of 1.5 * 2^23 is worth one

// r of x = n ln 2 + r, and n + ROUNDING.
static ELMAN_INLINE V split(V x, V& shifted) {
    shifted = x * 1.44269504f + ROUNDING;
    const V n = shifted - ROUNDING;
    return (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts, the first exact times n
}

// 2^n and exp(r) - 1 for x = n ln 2 + r; |x| < 88.
static ELMAN_INLINE V split_exp(V x, V& rest) {
    V shifted;
    rest = exp_rest(split(x, shifted));
    return (V)(((VI)shifted << 23) + 0x3f800000);
}

static ELMAN_INLINE V exp_(V x) {
    V rest;
    const V c = clamp(x, -87.3f, 88.0f);
    const V scale = split_exp(c, rest);
    const V y = scale * rest + scale;
    const V big = x > all(88.72283f) ? all(__builtin_inff()) : y;
    return x < all(-87.3f) ? V{} : big;
}

static ELMAN_INLINE V sigmoid_(V x) {
    V rest;
    const V scale = split_exp(-clamp(x, -87.0f, 87.0f), rest);
    return 1.0f / (1.0f + (scale * rest + scale));
}

// tanh(x) = e / (e + 2) with e = exp(2 x) - 1, which keeps its digits near zero.
static ELMAN_INLINE V tanh_(V x) {
    V rest;
    const V scale = split_exp(clamp(x, -9.1f, 9.1f) * 2.0f, rest);
    const V e = scale * rest + (scale - 1.0f);
    return e / (e + 2.0f);
}

static ELMAN_INLINE V each(V x, float (*function)(float)) {
    alignas(sizeof(V)) float lane[L];
    store(lane, x);
    for (int i = 0; i < L; i++) lane[i] = function(lane[i]);
    return load(lane);
}
