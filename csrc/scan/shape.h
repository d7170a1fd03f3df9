// How the columns of a product are laid out, and what the parts of the work ask of a plan and a call.
//
// Included inside the namespace of the instruction set.

static ELMAN_INLINE int blocks(int width) { return (width + L - 1) / L; }
static ELMAN_INLINE int least(int a, int b) { return a < b ? a : b; }

// How the columns of a product are laid out: panels of `units` unit blocks x `gates` vectors, each cut into parts of
// `nv` vectors, one register tile wide.
struct Shape {
    int gates, units, nv, parts, panels, depth;

    Shape(int gates, int width, int depth) : gates(gates), units(1), depth(depth) {
        while ((gates * units) % 4 != 0 && (gates * units) % 3 != 0) units++;
        nv = (gates * units) % 4 == 0 ? 4 : 3;
        parts = gates * units / nv;
        panels = (blocks(width) + units - 1) / units;
    }
    ptrdiff_t part_size() const { return ptrdiff_t(depth) * nv * L; }
    ptrdiff_t vectors() const { return ptrdiff_t(panels) * parts * nv; }
    ptrdiff_t size() const { return vectors() * depth * L; }
};

static ELMAN_INLINE Shape forward_shape(const Product& p) { return Shape(p.gates, p.width, p.size); }
static ELMAN_INLINE Shape backward_shape(const Product& p) { return Shape(1, p.size, p.gates * p.width); }

static ptrdiff_t packed_size(const Product& product, bool backward) {
    const Shape shape = backward ? backward_shape(product) : forward_shape(product);
    return shape.size() + shape.vectors() * L;
}

static const Product& product_of(const Call& call, int which) {
    return which < call.plan->products ? call.plan->product[which] : call.plan->lift[which - call.plan->products];
}

static ELMAN_INLINE const Share& share_of(const Call& call, int thread) { return call.share[thread]; }
