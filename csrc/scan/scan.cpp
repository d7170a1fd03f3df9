// One call of the scan: the plan's numbers, the rows of a batch, storage, threads. What is compiled once for every
// machine; the work itself is in worker.h.
#include "scan.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "../machine/storage.h"
#include "../machine/threads.h"
#include "batch.h"

namespace elman {

namespace {

// The rows of a product's left operand beside those of its columns' derivatives, in runs of at most SUM_ROWS.
std::vector<Segment> segments_of(const Rows& rows, const Product& product, int symbols) {
    std::vector<Segment> found;
    if (product.kind == -1) {  // inputs are gathered chunk by chunk: a source is a place in its chunk
        const std::ptrdiff_t inputs = symbols ? symbols : rows.rows;
        for (std::ptrdiff_t row = 0; row < inputs; row += SUM_ROWS)
            found.push_back({0, row, int(std::min<std::ptrdiff_t>(SUM_ROWS, inputs - row))});
        return found;
    }
    auto add = [&](std::ptrdiff_t source, std::ptrdiff_t row, int count) {
        while (count) {
            Segment* last = found.empty() ? nullptr : &found.back();
            if (last && last->source + last->count == source && last->row + last->count == row && last->count < SUM_ROWS) {
                const int more = std::min(count, SUM_ROWS - last->count);
                last->count += more;
                source += more, row += more, count -= more;
                continue;
            }
            const int more = std::min(count, SUM_ROWS);
            found.push_back({source, row, more});
            source += more, row += more, count -= more;
        }
    };
    const bool state = product.kind == BEFORE || product.kind == AFTER;
    for (const Share& share : rows.share)
        for (int t = 0; t < share.steps; t++) {
            const std::ptrdiff_t row = share.first + share.start[t];
            const std::ptrdiff_t source = share.first_state + share.start_state[t + (product.kind == AFTER)];
            add(state ? source : row, row, share.live[t]);
        }
    return found;
}

// Which inputs' derivatives are given column by column once, so that nothing has to be added to them.
std::vector<int> whole_inputs(const Plan& plan, const std::vector<int>& columns) {
    std::vector<int> whole;
    for (int input = 0; input < int(columns.size()); input++) {
        std::vector<int> given(columns[input], 0);
        auto range = [&](int which, int start, int width) {
            if (which == input)
                for (int i = start; i < start + width; i++) given[i]++;
        };
        for (int i = 0; i < plan.pieces; i++)
            if (plan.piece[i].gradient >= 0) range(plan.piece[i].input, plan.piece[i].start, plan.piece[i].width);
        for (int i = 0; i < plan.hoisted; i++) {
            const Sequence& sequence = plan.sequence[plan.lift[i].which];
            range(sequence.input, sequence.start, sequence.size);
        }
        whole.push_back(std::all_of(given.begin(), given.end(), [](int times) { return times == 1; }));
    }
    return whole;
}

}  // namespace

// -- the plan --------------------------------------------------------------------------------------------------------

struct PlanStore {
    Plan plan{};
    std::vector<int> state_width, slot_width, temp_width, param_width;
    std::vector<float> constant;
    std::vector<Sequence> sequence;
    std::vector<Piece> piece;
    std::vector<Product> lift, product;
    std::vector<Attend> attend;
    std::vector<Output> output;
    std::vector<Stage> forward, backward;
    std::vector<std::unique_ptr<int[]>> lists;
    std::vector<std::unique_ptr<Operand[]>> operands;
    std::vector<std::unique_ptr<Instruction[]>> code;
};

namespace {

struct Reader {
    const std::vector<int>& numbers;
    PlanStore& store;
    std::size_t at = 0;

    int next() { return numbers[at++]; }
    void list(std::vector<int>& to) {
        for (int count = next(); count > 0; count--) to.push_back(next());
    }
    const int* kept_list() {
        const int count = next();
        store.lists.push_back(std::make_unique<int[]>(std::max(1, count)));
        for (int i = 0; i < count; i++) store.lists.back()[i] = next();
        return store.lists.back().get();
    }
    void products(std::vector<Product>& to) {
        for (int count = next(); count > 0; count--) {
            Product p{};
            p.kind = next(), p.which = next(), p.size = next(), p.width = next(), p.gates = next();
            p.slots = kept_list();
            p.gradients = kept_list();
            to.push_back(p);
        }
    }
    Operand operand() {
        const int kind = next();
        return {kind, next()};
    }
    void attends(std::vector<Attend>& to) {
        for (int count = next(); count > 0; count--) {
            Attend a{};
            a.size = next(), a.width = next(), a.vector = next();
            for (Operand* place : {&a.query, &a.context, &a.d_context, &a.d_query}) *place = operand();
            to.push_back(a);
        }
    }
    void stages(std::vector<Stage>& to) {
        for (int count = next(); count > 0; count--) {
            Stage s{};
            s.width = next(), s.product = next(), s.late = next(), s.attend = next();
            s.operands = next();
            store.operands.push_back(std::make_unique<Operand[]>(s.operands + 1));
            for (int i = 0; i < s.operands; i++) store.operands.back()[i] = operand();
            s.operand = store.operands.back().get();
            s.instructions = next();
            store.code.push_back(std::make_unique<Instruction[]>(s.instructions + 1));
            for (int i = 0; i < s.instructions; i++) {
                Instruction& step = store.code.back()[i];
                step.op = next(), step.target = next(), step.a = next(), step.b = next(), step.c = next();
            }
            s.code = store.code.back().get();
            to.push_back(s);
        }
    }
};

}  // namespace

ScanPlan::ScanPlan(const std::vector<int>& numbers, const std::vector<float>& constants)
    : store(std::make_unique<PlanStore>()) {
    PlanStore& s = *store;
    Reader reader{numbers, s};
    for (auto* widths : {&s.state_width, &s.slot_width, &s.temp_width, &s.param_width}) reader.list(*widths);
    for (int count = reader.next(); count > 0; count--) {
        Sequence one{};
        one.input = reader.next(), one.start = reader.next(), one.size = reader.next();
        s.sequence.push_back(one);
    }
    for (int count = reader.next(); count > 0; count--) {
        Piece one{};
        one.input = reader.next(), one.start = reader.next(), one.width = reader.next();
        one.slot = reader.next(), one.gradient = reader.next();
        s.piece.push_back(one);
    }
    reader.products(s.product);
    reader.products(s.lift);
    reader.attends(s.attend);
    reader.stages(s.forward);
    reader.stages(s.backward);
    Plan& p = s.plan;
    for (int count = reader.next(); count > 0; count--) {
        const Operand from = reader.operand();
        s.output.push_back({from, p.output_width, reader.next()});
        p.output_width += s.output.back().width;
    }
    p.outputs = int(s.output.size()), p.output = s.output.data();
    p.registers = reader.next();
    s.constant = constants;
    p.states = int(s.state_width.size()), p.sequences = int(s.sequence.size()), p.pieces = int(s.piece.size());
    p.hoisted = int(s.lift.size()), p.products = int(s.product.size()), p.forward = int(s.forward.size());
    p.backward = int(s.backward.size()), p.slots = int(s.slot_width.size()), p.temps = int(s.temp_width.size());
    p.params = int(s.param_width.size()), p.consts = int(s.constant.size());
    p.state_width = s.state_width.data(), p.slot_width = s.slot_width.data(), p.temp_width = s.temp_width.data();
    p.param_width = s.param_width.data(), p.constant = s.constant.data(), p.sequence = s.sequence.data();
    p.piece = s.piece.data(), p.lift = s.lift.data(), p.product = s.product.data();
    p.attends = int(s.attend.size()), p.attend = s.attend.data();
    p.forward_stage = s.forward.data(), p.backward_stage = s.backward.data();
}

ScanPlan::~ScanPlan() = default;
const Plan& ScanPlan::plan() const { return store->plan; }

struct SavedStore {
    const Kernels* kernels;
    Rows rows;
    std::vector<int> columns;
    std::vector<std::int32_t> symbol, every;  // see Call; empty where each row has its own inputs
    std::vector<std::ptrdiff_t> slot_at, state_at;
    std::unique_ptr<Buffer> slots, states, memories;
    std::vector<Memory> memory;
    std::vector<std::vector<int>> places;     // looked at, of each element's memory
    std::ptrdiff_t floats = 0;                // of all that is kept
};

Saved::Saved(std::unique_ptr<SavedStore> store) : store(std::move(store)) {}
Saved::~Saved() = default;
std::ptrdiff_t Saved::floats() const { return store->floats; }

namespace {

// Where the memories of a call are kept, and the weights of every row.
void place_memories(const Plan& plan, const Batch& batch, const Pointers& given, SavedStore& saved) {
    if (!plan.attends) return;
    const int lanes = saved.kernels->lanes;
    const auto arrays = pointers<const float>(given);
    std::vector<std::ptrdiff_t> sizes;
    for (int i = 0; i < plan.attends; i++) {
        const std::ptrdiff_t rows = std::ptrdiff_t(batch.size) * batch.places[i];
        sizes.push_back(rows * padded(plan.attend[i].size, lanes));
        sizes.push_back(rows * padded(plan.attend[i].width, lanes));
        sizes.push_back(saved.rows.rows * padded(batch.places[i], lanes));
    }
    const std::ptrdiff_t total = std::accumulate(sizes.begin(), sizes.end(), std::ptrdiff_t(0));
    saved.memories = std::make_unique<Buffer>(total);
    saved.floats += total;
    float* at = saved.memories->at;
    for (int i = 0; i < plan.attends; i++) {
        Memory memory{};
        memory.places = batch.places[i];
        memory.given_keys = arrays[3 * i], memory.bias = arrays[3 * i + 1], memory.given_values = arrays[3 * i + 2];
        memory.keys = at, memory.values = at + sizes[3 * i];
        memory.weights = memory.values + sizes[3 * i + 1];
        at = memory.weights + sizes[3 * i + 2];
        saved.places.emplace_back(batch.size);
        memory.length = saved.places.back().data();
        saved.memory.push_back(memory);
    }
}

// Everything that a call needs beside the caller's arrays; lives as long as the call.
struct Work {
    Call call{};
    Arranged arranged;
    std::vector<std::ptrdiff_t> table_at;
    std::vector<int> table_slot;
    std::vector<float*> scratch;
    std::unique_ptr<Buffer> memory, tables, d_memories;
    std::vector<Memory> looks;

    Work(const Plan& plan, SavedStore& saved, bool backward) {
        const Rows& rows = saved.rows;
        const Kernels& kernels = *saved.kernels;
        call.plan = &plan;
        call.lanes = kernels.lanes, call.threads = rows.threads, call.shares = int(rows.share.size()), call.time = rows.time, call.batch = rows.batch;
        call.rows = rows.rows;
        call.row_stride = stride_for(rows.rows), call.state_stride = stride_for(rows.state_rows);
        call.share = rows.share.data();
        call.outside = rows.outside.data();
        call.input_size = saved.columns.data();
        call.slots = saved.slots->at, call.states = saved.states->at;
        call.slot_at = saved.slot_at.data(), call.state_at = saved.state_at.data();
        looks = saved.memory;
        call.memory = looks.data();
        arranged = Arranged(plan, kernels, backward);
        std::ptrdiff_t total = arranged.floats;
        std::vector<std::ptrdiff_t> begin;
        for (int thread = 0; thread < rows.threads; thread++) {
            begin.push_back(total);
            total += (kernels.layout(call, thread).total + 1023) / 1024 * 1024 + 16;
        }
        memory = std::make_unique<Buffer>(total);
        arranged.place(call, memory->at);
        for (std::ptrdiff_t at : begin) scratch.push_back(memory->at + at);
        call.scratch = scratch.data();
        if (!saved.every.empty()) place_tables(plan, saved, backward);
    }

    // Room for the derivatives of the memories, which go to these arrays in the end.
    void place_derivatives(const Pointers& given) {
        const Plan& plan = *call.plan;
        if (!plan.attends) return;
        const auto arrays = pointers<float>(given);
        std::ptrdiff_t total = 0;
        auto take = [&](int which, int width) {
            const std::ptrdiff_t begin = total;
            total += std::ptrdiff_t(call.batch) * looks[which].places * padded(width, call.lanes);
            return begin;
        };
        std::vector<std::ptrdiff_t> at;
        for (int i = 0; i < plan.attends; i++) {
            at.push_back(take(i, plan.attend[i].size));
            at.push_back(take(i, plan.attend[i].width));
        }
        d_memories = std::make_unique<Buffer>(total);
        for (int i = 0; i < plan.attends; i++) {
            looks[i].d_keys = d_memories->at + at[2 * i], looks[i].d_values = d_memories->at + at[2 * i + 1];
            looks[i].given_d_keys = arrays[3 * i], looks[i].given_d_values = arrays[3 * i + 2];
        }
    }

  private:
    // The table of what is lifted forward, or one a thread of its derivatives backward.
    void place_tables(const Plan& plan, const SavedStore& saved, bool backward) {
        call.symbols = int(saved.every.size());
        call.symbol = saved.symbol.data(), call.every = saved.every.data();
        call.table_stride = stride_for(call.symbols);
        table_at.assign(plan.slots, -1);
        auto add = [&](int slot) {
            if (slot < 0 || table_at[slot] >= 0) return;
            table_slot.push_back(slot);
            table_at[slot] = call.table_size;
            call.table_size += call.table_stride * padded(plan.slot_width[slot], call.lanes);
        };
        for (int i = 0; i < plan.hoisted; i++)
            for (int gate = 0; gate < plan.lift[i].gates; gate++)
                add((backward ? plan.lift[i].gradients : plan.lift[i].slots)[gate]);
        for (int i = 0; i < plan.pieces; i++) add(backward ? plan.piece[i].gradient : plan.piece[i].slot);
        tables = std::make_unique<Buffer>(call.table_size * (backward ? call.threads : 1));
        call.table = tables->at, call.table_at = table_at.data();
        call.table_slot = table_slot.data(), call.table_slots = int(table_slot.size());
    }
};

}  // namespace

std::unique_ptr<Saved> scan_forward(const ScanPlan& owner, const Batch& batch, const std::string& name,
                                    const Pointers& inputs, const Pointers& weights, const Pointers& biases,
                                    const Pointers& params, const Pointers& memories, const Pointers& states,
                                    std::uintptr_t output, const Pointers& final_states) {
    const Plan& plan = owner.plan();
    auto saved = std::make_unique<SavedStore>();
    saved->kernels = &choose(scan_versions(batch.half), name);
    saved->rows = rows_of(batch);
    saved->columns = batch.columns;
    if (const auto* ids = reinterpret_cast<const std::int64_t*>(batch.ids)) {
        saved->every.resize(batch.symbols);
        std::iota(saved->every.begin(), saved->every.end(), 0);
        for (std::int32_t row : saved->rows.outside) saved->symbol.push_back(std::int32_t(ids[row]));
    }
    const int lanes = saved->kernels->lanes;
    auto place = [&](int count, const int* width, std::ptrdiff_t rows, std::vector<std::ptrdiff_t>& at) {
        std::ptrdiff_t total = 0;
        for (int i = 0; i < count; i++) {
            at.push_back(total);
            total += stride_for(rows) * padded(width[i], lanes);
        }
        saved->floats += total;
        return std::make_unique<Buffer>(total);
    };
    saved->slots = place(plan.slots, plan.slot_width, saved->rows.rows, saved->slot_at);
    saved->states = place(plan.states, plan.state_width, saved->rows.state_rows, saved->state_at);

    place_memories(plan, batch, memories, *saved);
    Work work(plan, *saved, false);
    const auto input = pointers<const float>(inputs), weight = pointers<const float>(weights),
               bias = pointers<const float>(biases), param = pointers<const float>(params),
               state = pointers<const float>(states);
    const auto final_state = pointers<float>(final_states);
    Call& call = work.call;
    call.input = input.data(), call.weight = weight.data(), call.bias = bias.data(), call.param = param.data();
    call.state = state.data(), call.output = reinterpret_cast<float*>(output), call.final_state = final_state.data();
    const Kernels& kernels = *saved->kernels;
    in_parallel(call.threads, [&](int thread, Barrier& barrier) {
        kernels.pack(call, thread, false);
        barrier.arrive_and_wait();
        if (call.symbols) {
            kernels.lift(call, thread);
            barrier.arrive_and_wait();
        }
        kernels.forward(call, thread, barrier);
    });
    return std::make_unique<Saved>(std::move(saved));
}

void scan_backward(const ScanPlan& owner, Saved& given, const Pointers& inputs, const Pointers& weights,
                   const Pointers& params, std::uintptr_t d_output, const Pointers& d_final, const Pointers& d_inputs,
                   const Pointers& d_weights, const Pointers& d_biases, const Pointers& d_params,
                   const Pointers& d_memories, const Pointers& d_states) {
    const Plan& plan = owner.plan();
    SavedStore& saved = *given.store;
    Work work(plan, saved, true);
    work.place_derivatives(d_memories);
    std::vector<std::vector<Segment>> runs;
    std::vector<const Segment*> segments;
    std::vector<int> counts;
    for (int i = 0; i < plan.products + plan.hoisted; i++)
        runs.push_back(segments_of(saved.rows, i < plan.products ? plan.product[i] : plan.lift[i - plan.products],
                                    int(saved.every.size())));
    for (const auto& run : runs) {
        segments.push_back(run.data());
        counts.push_back(int(run.size()));
    }
    const auto input = pointers<const float>(inputs), weight = pointers<const float>(weights),
               param = pointers<const float>(params), final_state = pointers<const float>(d_final);
    const auto d_input = pointers<float>(d_inputs), d_weight = pointers<float>(d_weights),
               d_bias = pointers<float>(d_biases), d_param = pointers<float>(d_params),
               d_state = pointers<float>(d_states);
    const std::vector<const float*> bias(weight.size(), nullptr);
    Call& call = work.call;
    call.input = input.data(), call.weight = weight.data(), call.bias = bias.data(), call.param = param.data();
    call.d_output = reinterpret_cast<const float*>(d_output), call.d_final = final_state.data();
    const std::vector<int> whole = whole_inputs(plan, saved.columns);
    call.inputs = int(saved.columns.size()), call.whole = whole.data();
    call.d_input = d_input.data(), call.d_weight = d_weight.data(), call.d_bias = d_bias.data();
    call.d_param = d_param.data(), call.d_state = d_state.data();
    call.segments = segments.data(), call.segment_count = counts.data();
    const Kernels& kernels = *saved.kernels;
    in_parallel(call.threads, [&](int thread, Barrier& barrier) {
        kernels.pack(call, thread, true);
        barrier.arrive_and_wait();
        kernels.backward(call, thread, barrier);
        barrier.arrive_and_wait();
        if (call.symbols) {
            kernels.merge(call, thread);
            barrier.arrive_and_wait();
        }
        kernels.gradients(call, thread);
    });
}

double fma_peak(const std::string& name, int threads) {
    constexpr int TRIES = 10, TURNS = 1 << 20, CHAINS = 12;  // as in peak.h
    const Kernels& kernels = choose(scan_versions(false), name);
    double best = 0.0;
    for (int i = 0; i < TRIES; i++) {
        const auto start = std::chrono::steady_clock::now();
        in_parallel(threads, [&](int, Barrier&) { kernels.peak(TURNS); });
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        best = std::max(best, 2.0 * CHAINS * kernels.lanes * TURNS * threads / taken.count());
    }
    return best;
}

std::vector<std::string> scan_kernels(bool half) {
    return names_of(scan_versions(half));
}

}  // namespace elman
