// Symbols as inputs. What `prepare` makes of a symbol is made once, in a table of panels with a row for each symbol;
// a step fetches the rows of its symbols from there. Backward, a step adds its derivatives to a table of the thread's
// own, and what follows (gradients of weights, biases and inputs) sees the rows of the sum of these tables only.
//
// Included inside the namespace of the instruction set. Shapes: V symbols; a table is
// [vector of units][unit block][V rows, table_stride][L].

// Where lifted vectors and their derivatives are: in the slots, a row for each row of the scan, or in the table.
struct Lifted {
    float* base;
    const ptrdiff_t* at;  // by slot
    ptrdiff_t stride;
    const int32_t* outside;  // row of the caller's inputs
    ptrdiff_t first, rows;   // those of this thread
};

// Those of all rows of the one share.
static Lifted whole_share(const Call& call) {
    const Share& share = *call.share;
    return {call.slots, call.slot_at, call.row_stride, call.outside, share.first, share.start[share.steps]};
}

static Lifted lifted(const Call& call, int thread) {
    if (call.symbols) {
        const ptrdiff_t first = ptrdiff_t(call.symbols) * thread / call.threads;
        const ptrdiff_t last = ptrdiff_t(call.symbols) * (thread + 1) / call.threads;
        return {call.table, call.table_at, call.table_stride, call.every, first, last - first};
    }
    const Share& share = share_of(call, thread);
    const Part own = part_of(call, thread, share.start[share.steps]);
    return {call.slots, call.slot_at, call.row_stride, call.outside, share.first + own.first, own.last - own.first};
}

// Copies the table's rows for the symbols of step t into the slots, or adds the slots' rows to the thread's own table.
static void exchange(const Call& call, const Share& share, int t, float* table, bool add) {
    const ptrdiff_t first = share.first + share.start[t];
    const int32_t* symbol = call.symbol + first;
    const int live = share.live[t];
    for (int i = 0; i < call.table_slots; i++) {
        const int which = call.table_slot[i];
        for (int u = 0; u < blocks(call.plan->slot_width[which]); u++) {
            float* slot = call.slots + call.slot_at[which] + (u * call.row_stride + first) * L;
            float* row = table + call.table_at[which] + u * call.table_stride * L;
            for (int r = 0; r < live; r++) {
                float* of_symbol = row + ptrdiff_t(symbol[r]) * L;
                if (add)
                    store(of_symbol, load(of_symbol) + load(slot + r * L));
                else
                    store(slot + r * L, load(of_symbol));
            }
        }
    }
}

// Where threads divide the units, they divide the steps of this: what they exchange stays in the slots.
static void exchange_part(const Call& call, int thread, float* table, bool add) {
    const Share& share = share_of(call, thread);
    const Part own = part_of(call, thread, share.steps);
    for (ptrdiff_t t = own.first; t < own.last; t++) exchange(call, share, int(t), table, add);
}

// The tables of all threads in the first one's; each thread sums its own part of it.
static void merge(const Call& call, int thread) {
    const ptrdiff_t vectors = call.table_size / L;
    for (ptrdiff_t i = vectors * thread / call.threads; i < vectors * (thread + 1) / call.threads; i++) {
        V sum = load(call.table + i * L);
        for (int other = 1; other < call.threads; other++) sum += load(call.table + other * call.table_size + i * L);
        store(call.table + i * L, sum);
    }
}
