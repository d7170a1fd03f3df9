// One step of all streams through a network, and what is drawn from at its end.
//
// Included inside the namespace of the instruction set. A program runs over the unit blocks of a vector as it runs over
// rows in the scan: each of its instructions once over the whole vector, which stays in the first cache.

constexpr int MOST_OPERANDS = 256;  // of one stage: Python refuses more

// Where a vector that changes begins in an arena.
static ptrdiff_t at(const Network& net, const StreamLayer& layer, const Operand& operand, int width, bool odd) {
    const int which = operand.which;
    switch (operand.kind) {
        case REG: return net.reg_at + ptrdiff_t(which) * net.widest;
        case ACC: return net.acc_at + ptrdiff_t(which) * blocks(width) * L;
        case SLOT: return layer.slot_at[which];
        case TEMP: return layer.temp_at[which];
        default: return layer.state_at[which] + (odd == (operand.kind == BEFORE) ? net.states : 0);
    }
}

static Place place_of(const Network& net, const StreamLayer& layer, const Operand& operand, int width, bool odd,
                      float* arena) {
    if (operand.kind == CONST) return {const_cast<float*>(layer.constants) + ptrdiff_t(operand.which) * L, 0};
    if (operand.kind == PARAM) return {const_cast<float*>(layer.params) + layer.param_at[operand.which], L};
    // A number of the row stands in every lane of its one block.
    const Plan& plan = *layer.plan;
    const bool one = (operand.kind == SLOT && plan.slot_width[operand.which] == 1) ||
                     (operand.kind == TEMP && plan.temp_width[operand.which] == 1);
    return {arena + at(net, layer, operand, width, odd), one ? 0 : L};
}

// The program of a stage over a whole vector. One that reduces it to a number goes block by block.
static void run_over(const Stage& stage, Place* place) {
    const int last = blocks(stage.width) - 1;
    bool reduces = false;
    for (int i = 0; i < stage.instructions; i++) reduces |= stage.code[i].op == TOTAL || stage.code[i].op == MOST;
    if (!reduces) {
        run_program(stage.code, stage.instructions, place, last + 1, Block{L, true, true});
        return;
    }
    for (int u = 0; u <= last; u++) {
        run_program(stage.code, stage.instructions, place, 1,
                    Block{u == last ? stage.width - u * L : L, u == 0, u == last});
        for (int i = 0; i < stage.operands; i++) place[i].at += place[i].step;
    }
}

// Smaller products are done before the others have come.
constexpr ptrdiff_t WORTH_MEETING = 1 << 17;  // bytes of weights

// The vectors at `to` of each stream from those at `from`.
static void product(StreamCall& call, const Matrix& m, ptrdiff_t from, ptrdiff_t to) {
    Task task;
    task.matrix = &m;
    const bool together = call.threads > 1 && packed_bytes(m.precision, m.size, m.vectors) >= WORTH_MEETING;
    for (int first = 0; first < call.streams; first += MOST_AT_ONCE) {
        task.count = call.streams - first < MOST_AT_ONCE ? call.streams - first : MOST_AT_ONCE;
        for (int i = 0; i < task.count; i++) {
            float* arena = call.arena[first + i];
            task.left[i] = Left{arena + from, nullptr, 0.0f};
            if (m.precision == Precision::INT8)
                task.left[i] = quantised(arena + from, m.size, reinterpret_cast<int16_t*>(arena + call.network->left_at));
            task.out[i] = arena + to;
        }
        if (!together) {
            multiply(task, 0, 1);
            continue;
        }
        call.task = &task;
        call.meet(call.barrier);
        multiply(task, 0, call.threads);
        call.meet(call.barrier);
    }
}

static void help(const StreamCall& call, int thread) {
    multiply(*static_cast<const Task*>(call.task), thread, call.threads);
}

static void copy(const float* from, float* to, ptrdiff_t count) { __builtin_memcpy(to, from, sizeof(float) * count); }

// The input of the lowest layer where it is a symbol: its row, and the products of that row.
static void look_up(const StreamCall& call) {
    const Network& net = *call.network;
    const StreamLayer& layer = net.layer[0];
    for (int s = 0; s < call.streams; s++) {
        const int64_t token = call.token[s];
        float* x = call.arena[s] + layer.input_at;
        if (net.embedding) {
            copy(net.embedding + token * layer.input, x, layer.input);
        } else if (!net.table || layer.residual || layer.plan->pieces) {
            __builtin_memset(x, 0, sizeof(float) * layer.input);
            x[token] = 1.0f;
        }
        if (net.table) copy(net.table + token * net.table_row, call.arena[s] + net.table_at, net.table_row);
    }
}

// What the steps of a layer read of its input: its products, and the parts that programs read as they are.
static void take_in(StreamCall& call, const StreamLayer& layer, bool looked_up) {
    const Plan& plan = *layer.plan;
    for (int i = 0; i < plan.hoisted && !looked_up; i++) {
        const Product& p = plan.lift[i];
        product(call, layer.lift[i], layer.input_at + plan.sequence[p.which].start, layer.slot_at[p.slots[0]]);
    }
    for (int i = 0; i < plan.pieces; i++) {
        const Piece& piece = plan.piece[i];
        for (int s = 0; s < call.streams; s++)
            copy(call.arena[s] + layer.input_at + piece.start, call.arena[s] + layer.slot_at[piece.slot], piece.width);
    }
}

static void run_stage(StreamCall& call, const StreamLayer& layer, const Stage& stage) {
    const Network& net = *call.network;
    if (stage.product >= 0) {
        const Product& p = layer.plan->product[stage.product];
        product(call, layer.product[stage.product], at(net, layer, {p.kind, p.which}, p.size, call.odd), net.acc_at);
    }
    Place place[MOST_OPERANDS];
    for (int s = 0; s < call.streams; s++) {
        for (int i = 0; i < stage.operands; i++)
            place[i] = place_of(net, layer, stage.operand[i], stage.width, call.odd, call.arena[s]);
        run_over(stage, place);
    }
}

static void step(StreamCall& call) {
    const Network& net = *call.network;
    if (call.token) look_up(call);
    for (int i = 0; i < net.layers; i++) {
        const StreamLayer& layer = net.layer[i];
        const Plan& plan = *layer.plan;
        take_in(call, layer, i == 0 && call.token && net.table);
        for (int k = 0; k < plan.forward; k++) run_stage(call, layer, plan.forward_stage[k]);
        const ptrdiff_t to = i + 1 < net.layers ? net.layer[i + 1].input_at : net.output_at;
        for (int o = 0; o < plan.outputs; o++) {
            const Output& part = plan.output[o];
            const ptrdiff_t from = at(net, layer, part.from, part.width, call.odd);
            for (int s = 0; s < call.streams; s++) {
                const float *y = call.arena[s] + from, *x = call.arena[s] + layer.input_at + part.start;
                float* next = call.arena[s] + to + part.start;
                for (int k = 0; k < part.width; k++) next[k] = layer.residual ? x[k] + y[k] : y[k];
            }
        }
    }
    if (net.head) product(call, *net.head, net.output_at, net.logits_at);
}

// -- drawing ---------------------------------------------------------------------------------------------------------

// The padding of logits is -inf, that of weights 0.
static double weigh(const float* logits, int count, float inverse, float* weight, float& largest) {
    V most = load(logits);
    for (int i = L; i < count; i += L) {
        const V x = load(logits + i);
        most = x > most ? x : most;
    }
    alignas(sizeof(V)) float lane[L];
    store(lane, most);
    for (int i = 1; i < L; i++) lane[0] = lane[i] > lane[0] ? lane[i] : lane[0];
    largest = lane[0];
    double total = 0.0;
    for (int from = 0; from < count;) {  // few additions in float32 before they are added up in float64
        V sum{};
        for (const int until = from + 64 * L; from < count && from < until; from += L) {
            const V e = exp_((load(logits + from) - largest) * inverse);
            store(weight + from, e);
            sum += e;
        }
        store(lane, sum);
        for (int i = 0; i < L; i++) total += lane[i];
    }
    return total;
}

static int pick(const float* weight, int count, double target) {
    double below = 0.0;
    for (int from = 0; from < count; from += L) {
        alignas(sizeof(V)) float lane[L];
        store(lane, load(weight + from));
        for (int half = L / 2; half; half /= 2)
            for (int i = 0; i < half; i++) lane[i] += lane[i + half];
        if (below + lane[0] > target) {
            double sum = below;
            for (int i = from; i < count && i < from + L; i++) {
                sum += weight[i];
                if (sum > target) return i;
            }
        }
        below += lane[0];
    }
    for (int i = count - 1; i > 0; i--)
        if (weight[i] > 0.0f) return i;
    return 0;
}
