// How the columns of a product are laid out, and what the parts of the work ask of a plan and a call.
//
// Included inside the namespace of the instruction set.

static ELMAN_INLINE int blocks(int width) { return (width + L - 1) / L; }
static ELMAN_INLINE int least(int a, int b) { return a < b ? a : b; }

// How the columns of a product are laid out: panels of `units` unit blocks x `gates` vectors, each cut into parts of
// `nv` vectors, one register tile wide. Of three and four vectors the width is taken that leaves fewer of a panel's
// columns empty.
struct Shape {
    int gates, units, nv, parts, panels, depth;  // depth: terms of the sum, in words where it is packed

    Shape(int gates, int width, int depth) : gates(gates), depth(depth) {
        const int by_four = gates % 4 == 0 ? 1 : gates % 2 == 0 ? 2 : 4, by_three = gates % 3 == 0 ? 1 : 3;
        const int four = rounded(width, by_four), three = rounded(width, by_three);
        nv = four < three || (four == three && by_four < by_three) ? 4 : 3;
        units = nv == 4 ? by_four : by_three;
        parts = gates * units / nv;
        panels = rounded(width, units) / units;
    }
    static int rounded(int width, int units) { return (blocks(width) + units - 1) / units * units; }
    ptrdiff_t part_size() const { return ptrdiff_t(depth) * nv * L; }
    ptrdiff_t vectors() const { return ptrdiff_t(panels) * parts * nv; }
    ptrdiff_t size() const { return vectors() * depth * L; }
};

static ELMAN_INLINE Shape forward_shape(const Product& p) { return Shape(p.gates, p.width, words(p.size)); }
static ELMAN_INLINE Shape backward_shape(const Product& p) { return Shape(1, p.size, p.gates * words(p.width)); }
static ELMAN_INLINE Shape gradient_shape(const Product& p) { return Shape(p.gates, p.width, p.size); }

static ptrdiff_t packed_size(const Product& product, bool backward) {
    const Shape shape = backward ? backward_shape(product) : forward_shape(product);
    return shape.size() + shape.vectors() * L;
}

static const Product& product_of(const Call& call, int which) {
    return which < call.plan->products ? call.plan->product[which] : call.plan->lift[which - call.plan->products];
}

static ELMAN_INLINE bool divides_units(const Call& call) { return call.shares < call.threads; }
static ELMAN_INLINE const Share& share_of(const Call& call, int thread) {
    return call.share[divides_units(call) ? 0 : thread];
}

// Which of the `count` parts of a share's work are a thread's: all of its own share's, some of the one that all have.
struct Part {
    ptrdiff_t first, last;
};
static ELMAN_INLINE Part part_of(const Call& call, int thread, ptrdiff_t count) {
    if (!divides_units(call)) return {0, count};
    return {count * thread / call.threads, count * (thread + 1) / call.threads};
}
