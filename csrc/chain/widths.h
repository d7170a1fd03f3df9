// The number of a row's vectors as a constant, so that a row of up to four stays in registers. Included inside the
// namespace of the instruction set.

template <int N>
struct Count {
    static constexpr int value = N;
};

// Calls `body` with 1 .. 4, or with 0 where there are more: those go panel by panel.
template <class Body>
static ELMAN_INLINE void by_width(ptrdiff_t vectors, const Body& body) {
    if (vectors == 1) return body(Count<1>());
    if (vectors == 2) return body(Count<2>());
    if (vectors == 3) return body(Count<3>());
    if (vectors == 4) return body(Count<4>());
    body(Count<0>());
}

// Calls `body` with a number of vectors and the first column, for all columns: at once where N says how many there
// are, in panels of at most four where it is 0.
template <int N, class Body>
static ELMAN_INLINE void panels(ptrdiff_t width, const Body& body) {
    if constexpr (N > 0) {
        body(Count<N>(), ptrdiff_t(0));
    } else {
        ptrdiff_t from = 0;
        for (; from + 4 * L <= width; from += 4 * L) body(Count<4>(), from);
        const ptrdiff_t left = (width - from) / L;
        if (left == 3) body(Count<3>(), from);
        if (left == 2) body(Count<2>(), from);
        if (left == 1) body(Count<1>(), from);
    }
}
