// The product of row-major rows with one weight, row-major itself: what a step's outputs are mapped to.
//
// Included inside the namespace of the instruction set.

static ptrdiff_t projection_scratch(const Projection& of) {
    const Shape shape = forward_shape(of.product);
    const ptrdiff_t left = ptrdiff_t(blocks(of.product.size)) * CHUNK_ROWS * L;
    return 2 * left + ptrdiff_t(shape.units) * TILE_ROWS * L;
}

// A thread's rows or, where all have the same ones, its panels of the columns. A tile is multiplied in the first cache
// and then written where it belongs.
static void project(const Projection& of, int thread) {
    const Product& p = of.product;
    const Shape shape = forward_shape(p);
    auto part = [&](bool divided, int count) {
        if (!divided) return Part{0, count};
        return Part{ptrdiff_t(count) * thread / of.threads, ptrdiff_t(count) * (thread + 1) / of.threads};
    };
    const Part rows = part(!of.units, of.count), panels = part(of.units, shape.panels);
    float *left = of.scratch[thread], *copy = left + ptrdiff_t(blocks(p.size)) * CHUNK_ROWS * L;
    float* acc = copy + ptrdiff_t(blocks(p.size)) * CHUNK_ROWS * L;
    Chunk chunk[MOST_CHUNKS];
    for (ptrdiff_t from = rows.first; from < rows.last; from += CHUNK_ROWS) {
        const int count = rows.last - from < CHUNK_ROWS ? int(rows.last - from) : CHUNK_ROWS;
        gather(of.rows, p.size, 0, p.size, of.every + from, count, left, CHUNK_ROWS);
        const int chunks = chunks_of_vector(p.size, CHUNK_ROWS, 0, chunk);
        const float* a = left_operand(left, chunk, chunks, count, copy);
        const int tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
        for (int panel = int(panels.first); panel < panels.last; panel++)
            for (int i = 0; i < tiles; i++) {
                const int first = count * i / tiles, tile = count * (i + 1) / tiles - first;
                multiply_panel(shape, of.packed, of.packed + shape.size(), panel, a + first * ROW, chunk, chunks, tile,
                               [&](int v) { return acc + ptrdiff_t(v) * TILE_ROWS * L; });
                const int start = panel * shape.units * L;
                scatter(acc, TILE_ROWS, tile, of.every + from + first, of.out, p.width, start,
                        least(shape.units * L, p.width - start), false);
            }
    }
}
