// One stage at one step: its product, and its program on the tile.
//
// Included inside the namespace of the instruction set.

constexpr int MOST_OPERANDS = 256;  // of one stage: Python refuses more

// The program of a stage for one tile of rows and every unit block of a panel.
static void run_tile(const Stage& stage, const Base* base, int panel, int units, int gates, int from, int rows) {
    Place place[MOST_OPERANDS];
    for (int unit = 0; unit < units; unit++) {
        const int u = panel * units + unit;
        if (u >= blocks(stage.width)) break;
        for (int i = 0; i < stage.operands; i++) {
            const Base& b = base[i];
            const ptrdiff_t tile = stage.operand[i].kind == ACC ? ptrdiff_t(unit) * gates * TILE_ROWS * L : u * b.block;
            place[i] = {b.at + tile + ptrdiff_t(from) * b.row, b.step};
        }
        const Block block{least(L, stage.width - u * L), u == 0, u == blocks(stage.width) - 1};
        run_program(stage.code, stage.instructions, place, rows, block);
    }
}

// Asks for the vectors kept since the lift or since forward, which are far away, before a tile's product: its program
// finds them near.
static void fetch_tile(const Stage& stage, const Base* base, int panel, int units, int from, int rows) {
    for (int i = 0; i < stage.operands; i++) {
        const int kind = stage.operand[i].kind;
        if (kind != SLOT && kind != BEFORE && kind != AFTER) continue;
        for (int u = panel * units; u < panel * units + units && u < blocks(stage.width); u++)
            for (int r = from; r < from + rows; r++) fetch_to_write(base[i].at + u * base[i].block + ptrdiff_t(r) * L);
    }
}

// One stage at one step, or the thread's own panels of it. `multiplied`: how many of the live rows the product has; for the others it is zero.
static void run_stage(const Step& step, const Stage& stage, bool backward, int live, int multiplied) {
    const Call& call = step.call;
    if (stage.attend >= 0) return run_attend(step, stage.attend, backward, live);
    Base base[MOST_OPERANDS];
    for (int i = 0; i < stage.operands; i++) base[i] = step.operand(stage.operand[i]);
    const Product* p = stage.product < 0 ? nullptr : &call.plan->product[stage.product];
    const Shape shape = !p ? Shape(4, stage.width, 0) : backward ? backward_shape(*p) : forward_shape(*p);
    const int gates = p ? shape.gates : 1, units = p ? shape.units : 1;
    const int panels = p ? shape.panels : blocks(stage.width);
    const float* packed = p ? call.packed + call.packed_at[stage.product] : nullptr;
    Chunk chunk[MOST_CHUNKS];
    const float* a = nullptr;
    int chunks = 0;
    if (p && backward) {
        chunks = chunks_of_gradients(*p, call.slot_at, call.row_stride, chunk);
        a = call.slots + (step.share.first + step.share.start[step.t + stage.late]) * L;
    } else if (p) {
        chunks = chunks_of_vector(p->size, p->kind == SLOT ? call.row_stride : call.state_stride, 0, chunk);
        a = p->kind == SLOT ? step.slot(p->which, 0) : step.state(p->which, p->kind == AFTER);
    }
    if (p && divides_units(call))  // much of it comes from other cores
        for (int c = 0; c < chunks; c++)
            for (int r = 0; r < multiplied; r++) fetch(a + chunk[c].offset + ptrdiff_t(r) * L);
    if (p) a = left_operand(a, chunk, chunks, multiplied, step.scratch + step.at.words);
    float* acc = step.scratch + step.at.acc;
    const Part own = part_of(call, step.thread, panels);
    for (int panel = int(own.first); panel < own.last; panel++) {
        for (int part = 0; part < 2; part++) {
            const int begin = part ? multiplied : 0, end = part ? live : multiplied;
            const int tiles = (end - begin + TILE_ROWS - 1) / TILE_ROWS;
            for (int i = 0; i < tiles; i++) {
                const int from = begin + (end - begin) * i / tiles;
                const int rows = begin + (end - begin) * (i + 1) / tiles - from;
                fetch_tile(stage, base, panel, units, from, rows);
                if (p && !part)
                    multiply_panel(shape, packed, backward ? nullptr : packed + shape.size(), panel, a + from * ROW, chunk,
                                   chunks, rows, [&](int v) { return acc + v * TILE_ROWS * L; });
                else if (p)
                    __builtin_memset(acc, 0, sizeof(V) * shape.gates * shape.units * TILE_ROWS);
                run_tile(stage, base, panel, units, gates, from, rows);
            }
        }
    }
}
