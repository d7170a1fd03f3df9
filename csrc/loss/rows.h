// Rows of logits, a vector of symbols at a time: their largest, the exponentials and their sum, the gradient.
//
// Included inside the namespace of the instruction set. Sums are made in stretches, which are added in double: a row
// may have a hundred thousand symbols.

typedef uint32_t VU __attribute__((vector_size(ELMAN_LANES * 4)));
typedef uint16_t VH __attribute__((vector_size(ELMAN_LANES * 2)));
constexpr int STRETCH = 64 * L;

// The rows of a caller's array begin anywhere.
static ELMAN_INLINE V get(const float* from) {
    V x;
    __builtin_memcpy(&x, from, sizeof(V));
    return x;
}

static ELMAN_INLINE V get(const uint16_t* from) {
    VH half;
    __builtin_memcpy(&half, from, sizeof(VH));
    return (V)(__builtin_convertvector(half, VU) << 16);
}

static ELMAN_INLINE void put(float* to, V x) { __builtin_memcpy(to, &x, sizeof(V)); }

// The nearest bfloat16, the even one of two; a NaN stays one.
static ELMAN_INLINE void put(uint16_t* to, V x) {
    const VU bits = (VU)x;
    const VU near = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const VH half = __builtin_convertvector((VU)(x == x ? (VI)near : (VI)(VU{} + 0x7fc0)), VH);
    __builtin_memcpy(to, &half, sizeof(VH));
}

// The first `count` of a vector's lanes; -inf in the others.
template <class T>
static ELMAN_INLINE V get_some(const T* from, int count) {
    T part[L];
    put(part, all(-__builtin_inff()));
    for (int i = 0; i < count; i++) part[i] = from[i];
    return get(part);
}

template <class T>
static ELMAN_INLINE void put_some(T* to, V x, int count) {
    T part[L];
    put(part, x);
    for (int i = 0; i < count; i++) to[i] = part[i];
}

static ELMAN_INLINE double sum_of(V x) {
    double sum = 0;
    for (int i = 0; i < L; i++) sum += x[i];
    return sum;
}

template <class T>
static float largest(const T* z, int symbols) {
    V most = all(-__builtin_inff());
    const int whole = symbols - symbols % L;
    for (int k = 0; k < whole; k += L) {
        const V x = get(z + k);
        most = x > most ? x : most;
    }
    if (whole < symbols) {
        const V x = get_some(z + whole, symbols - whole);
        most = x > most ? x : most;
    }
    float one = most[0];
    for (int i = 1; i < L; i++) one = most[i] > one ? most[i] : one;
    return one;
}

// e^(z_k - most) of each symbol, zero past the last, and their sum; the sum of z in `plain`.
template <class T>
static double exponentials(const T* z, int symbols, float most, float* e, double& plain) {
    double sum = 0;
    plain = 0;
    const int whole = symbols - symbols % L;
    for (int start = 0; start < whole; start += STRETCH) {
        V part{}, values{};
        const int end = start + STRETCH < whole ? start + STRETCH : whole;
        for (int k = start; k < end; k += L) {
            const V x = get(z + k), y = exp_(x - most);
            values += x;
            part += y;
            store(e + k, y);
        }
        sum += sum_of(part);
        plain += sum_of(values);
    }
    if (whole < symbols) {
        const V x = get_some(z + whole, symbols - whole), y = exp_(x - most);
        for (int i = 0; i < symbols - whole; i++) plain += x[i];
        sum += sum_of(y);
        store(e + whole, y);
    }
    return sum;
}

template <class T>
static void loss_row(const SymbolLoss& call, ptrdiff_t row, float* e) {
    const int symbols = call.symbols, whole = symbols - symbols % L;
    const ptrdiff_t first = row * symbols, y = ptrdiff_t(call.targets[row]);
    const T* z = static_cast<const T*>(call.logits) + first;
    double plain;
    const float most = largest(z, symbols);
    const double sum = exponentials(z, symbols, most, e, plain), log_z = most + __builtin_log(sum);
    call.nats[row] = log_z - double(get_some(z + y, 1)[0]);
    call.spread[row] = log_z - plain / symbols;
    if (!call.gradient) return;
    T* gradient = static_cast<T*>(call.gradient) + first;
    const float factor = float(call.scale / sum), less = call.scale * call.smoothing / float(symbols);
    for (int k = 0; k < whole; k += L) put(gradient + k, load(e + k) * factor - less);
    if (whole < symbols) put_some(gradient + whole, load(e + whole) * factor - less, symbols - whole);
    put_some(gradient + y, all(e[y] * factor - less - call.scale * (1 - call.smoothing)), 1);
}

static void loss_rows(const SymbolLoss& call, ptrdiff_t begin, ptrdiff_t end, float* scratch) {
    for (ptrdiff_t row = begin; row < end; row++)
        call.half ? loss_row<uint16_t>(call, row, scratch) : loss_row<float>(call, row, scratch);
}
