// The storage of a stepper and of one call: a scan of one step, whose weights and memories are there already.
#include "stepper.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "../machine/storage.h"
#include "../machine/threads.h"
#include "batch.h"

namespace elman {

struct StepMemoryStore {
    int places;
    std::unique_ptr<Buffer> floats;
    std::vector<int> length;
    float *keys, *values, *bias;
};

struct StepperStore {
    const ScanPlan* plan;
    const Kernels* kernels;
    std::vector<int> columns;
    Arranged arranged;
    std::unique_ptr<Buffer> weights, head;
    Product product{};  // of the head
};

namespace {

// The weights of a plan, arranged.
void pack(const Plan& plan, const StepperStore& store, const Arranged& arranged, const Buffer& to,
          const Pointers& weights, const Pointers& biases, const Pointers& params) {
    const auto weight = pointers<const float>(weights), bias = pointers<const float>(biases),
               param = pointers<const float>(params);
    Call call{};
    call.plan = &plan;
    call.lanes = store.kernels->lanes, call.threads = call.shares = 1;
    call.weight = weight.data(), call.bias = bias.data(), call.param = param.data();
    arranged.place(call, to.at);
    store.kernels->pack(call, 0, false);
}

// The places of one source as rows of whole machine vectors, zero past their width.
void widen(const float* from, int width, int lanes, int count, float* to) {
    const std::ptrdiff_t whole = padded(width, lanes);
    for (int s = 0; s < count; s++, from += width, to += whole)
        std::fill(std::copy_n(from, width, to), to + whole, 0.0f);
}

}  // namespace

StepMemory::StepMemory(std::unique_ptr<StepMemoryStore> store) : store(std::move(store)) {}
StepMemory::~StepMemory() = default;

Stepper::Stepper(const ScanPlan& plan, const std::string& kernels, bool half, const std::vector<int>& columns,
                 const Pointers& weights, const Pointers& biases, const Pointers& params, int symbols,
                 std::uintptr_t head_weight, std::uintptr_t head_bias)
    : store(std::make_unique<StepperStore>()) {
    StepperStore& s = *store;
    s.plan = &plan;
    s.kernels = &choose(scan_versions(half), kernels);
    s.columns = columns;
    s.arranged = Arranged(plan.plan(), *s.kernels, false);
    s.weights = std::make_unique<Buffer>(s.arranged.floats);
    pack(plan.plan(), s, s.arranged, *s.weights, weights, biases, params);
    s.product.kind = -1, s.product.gates = 1;
    s.product.size = plan.plan().output_width, s.product.width = symbols;
    Plan head{};
    head.hoisted = 1, head.lift = &s.product;
    const Arranged of_head(head, *s.kernels, false);
    s.head = std::make_unique<Buffer>(of_head.floats);
    pack(head, s, of_head, *s.head, {head_weight}, {head_bias}, {});
}

Stepper::~Stepper() = default;

std::unique_ptr<StepMemory> Stepper::memory(int sources, int places, std::uintptr_t keys, std::uintptr_t bias,
                                            std::uintptr_t values) const {
    const Attend& look = store->plan->plan().attend[0];
    const int lanes = store->kernels->lanes;
    const std::ptrdiff_t size = padded(look.size, lanes), width = padded(look.width, lanes);
    const std::ptrdiff_t all = std::ptrdiff_t(sources) * places;
    auto found = std::make_unique<StepMemoryStore>();
    found->places = places;
    found->length.resize(sources);
    found->floats = std::make_unique<Buffer>(all * (size + width + 1));
    found->keys = found->floats->at, found->values = found->keys + all * size, found->bias = found->values + all * width;
    const auto *key = reinterpret_cast<const float*>(keys), *value = reinterpret_cast<const float*>(values);
    std::copy_n(reinterpret_cast<const float*>(bias), all, found->bias);
    for (int n = 0; n < sources; n++) {
        const std::ptrdiff_t first = std::ptrdiff_t(n) * places;
        int length = places;
        while (length && found->bias[first + length - 1] == -std::numeric_limits<float>::infinity()) length--;
        found->length[n] = length;
        widen(key + first * look.size, look.size, lanes, length, found->keys + first * size);
        widen(value + first * look.width, look.width, lanes, length, found->values + first * width);
    }
    return std::make_unique<StepMemory>(std::move(found));
}

void Stepper::step(const StepRows& given, const StepMemory* memory) const {
    const StepperStore& s = *store;
    const Plan& plan = s.plan->plan();
    const Kernels& kernels = *s.kernels;
    const Rows rows = rows_of({1, given.rows, given.threads, false, 0, s.columns, 0, 0, false, given.units, {}});
    const auto input = pointers<const float>(given.inputs), state = pointers<const float>(given.states);
    const auto final_state = pointers<float>(given.final_states);
    auto* output = reinterpret_cast<float*>(given.output);
    Call call{};
    call.plan = &plan;
    call.lanes = kernels.lanes, call.threads = rows.threads, call.shares = int(rows.share.size());
    call.time = 1, call.batch = given.rows, call.rows = rows.rows;
    call.row_stride = stride_for(rows.rows), call.state_stride = stride_for(rows.state_rows);
    call.share = rows.share.data(), call.outside = rows.outside.data();
    call.input = input.data(), call.input_size = s.columns.data(), call.state = state.data();
    call.output = output, call.final_state = final_state.data();
    s.arranged.place(call, s.weights->at);

    std::ptrdiff_t total = 0;
    auto take = [&](std::ptrdiff_t floats) {
        const std::ptrdiff_t begin = total;
        total += (floats + 15) / 16 * 16;
        return begin;
    };
    std::vector<std::ptrdiff_t> slot_at, state_at, begin, project_at;
    const std::ptrdiff_t slots = take(0);
    for (int i = 0; i < plan.slots; i++) slot_at.push_back(take(call.row_stride * padded(plan.slot_width[i], kernels.lanes)));
    for (int i = 0; i < plan.states; i++)
        state_at.push_back(take(call.state_stride * padded(plan.state_width[i], kernels.lanes)));
    Memory look{};
    std::ptrdiff_t weights_at = 0;
    if (memory) {
        StepMemoryStore& m = *memory->store;
        look.places = m.places, look.keys = m.keys, look.values = m.values, look.bias = m.bias;
        look.length = m.length.data();
        weights_at = take(std::ptrdiff_t(given.rows) * padded(m.places, kernels.lanes));
        call.memory = &look, call.source = reinterpret_cast<const std::int64_t*>(given.source);
    }
    Projection head{};
    head.product = s.product, head.packed = s.head->at;
    head.rows = output, head.out = reinterpret_cast<float*>(given.logits);
    head.count = given.rows, head.threads = rows.threads, head.units = given.units;
    for (int thread = 0; thread < rows.threads; thread++) {
        begin.push_back(take(kernels.layout(call, thread).total));
        project_at.push_back(take(kernels.projection_scratch(head)));
    }
    const Buffer buffer(total);
    std::vector<float*> scratch, project_scratch;
    for (int thread = 0; thread < rows.threads; thread++) {
        scratch.push_back(buffer.at + begin[thread]);
        project_scratch.push_back(buffer.at + project_at[thread]);
    }
    call.scratch = scratch.data(), head.scratch = project_scratch.data();
    call.slots = call.states = buffer.at + slots;
    call.slot_at = slot_at.data(), call.state_at = state_at.data();
    look.weights = buffer.at + weights_at;
    std::vector<std::int32_t> every(given.rows);
    std::iota(every.begin(), every.end(), 0);
    head.every = every.data();
    in_parallel(rows.threads, [&](int thread, Barrier& barrier) {
        kernels.forward(call, thread, barrier);
        barrier.arrive_and_wait();
        kernels.project(head, thread);
    });
    auto* weights = reinterpret_cast<float*>(given.weights);
    for (int row = 0; weights && row < given.rows; row++, weights += look.places) {
        const int length = look.length[call.source[row]];
        std::copy_n(look.weights + row * padded(look.places, kernels.lanes), length, weights);
        std::fill(weights + length, weights + look.places, 0.0f);
    }
}

}  // namespace elman
