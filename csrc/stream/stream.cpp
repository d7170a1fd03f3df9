// What is compiled once for every machine: a network's storage, the streams of a call, the loop over its steps. The
// work of a step is in step.h and product.h.
#include "stream.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <limits>

#include "../machine/counter.h"
#include "../machine/instructions.h"
#include "../machine/storage.h"
#include "../machine/threads.h"
#include "../scan/scan.h"
#include "choose.h"
#include "net.h"

namespace elman {

ELMAN_DECLARED(StreamKernels, stream_kernels)
ELMAN_WITH_AVX512(namespace avx512vnni { extern const StreamKernels stream_kernels; })

namespace {

const std::vector<const StreamKernels*>& versions() {
    static const std::vector<const StreamKernels*> known = usable<StreamKernels>({
        ELMAN_WITH_AVX512({Instructions::AVX512VNNI, &avx512vnni::stream_kernels}, )
        ELMAN_LISTED(stream_kernels)});
    return known;
}

// Places in an arena, each at the beginning of a line of the cache.
struct Places {
    std::ptrdiff_t total = 0;
    std::ptrdiff_t take(std::ptrdiff_t floats) {
        const std::ptrdiff_t begin = total;
        total += (floats + 15) / 16 * 16;
        return begin;
    }
};

Precision precision_of(const std::string& name) {
    return name == "int8" ? Precision::INT8 : name == "bfloat16" ? Precision::BFLOAT16 : Precision::FLOAT32;
}

const float* floats(std::uintptr_t address) { return reinterpret_cast<const float*>(address); }

}  // namespace

struct StreamStore {
    const StreamKernels* kernels;
    Precision precision;
    Network net{};
    std::vector<StreamLayer> layer;
    std::vector<Matrix> matrix;  // of all layers; as many as were reserved, so that none moves
    std::vector<std::unique_ptr<std::ptrdiff_t[]>> lists;
    std::vector<std::unique_ptr<Buffer>> memory;
    std::vector<int> state_width;
    std::vector<std::ptrdiff_t> state_place;
    std::size_t bytes = 0;

    float* keep(std::ptrdiff_t count) {
        memory.push_back(std::make_unique<Buffer>(std::max<std::ptrdiff_t>(count, 16)));
        return memory.back()->at;
    }
    std::ptrdiff_t padded(int width) const { return (width + kernels->lanes - 1) / kernels->lanes * kernels->lanes; }
    std::ptrdiff_t* list(int count) {
        lists.push_back(std::make_unique<std::ptrdiff_t[]>(std::size_t(count) + 1));
        return lists.back().get();
    }
    float* copied(const float* from, std::ptrdiff_t count) {
        float* to = keep(count);
        std::memcpy(to, from, sizeof(float) * std::size_t(count));
        return to;
    }
    void pack(int gates, int width, int size, std::uintptr_t weight, std::uintptr_t bias, float bias_of_padding);
    void cell(const CellSource& source, Places& places, Places& states);
    void symbols(const SymbolSource& source, const CellSource& lowest, Places& places);
};

void StreamStore::pack(int gates, int width, int size, std::uintptr_t weight, std::uintptr_t bias,
                       float bias_of_padding) {
    const int vectors = int(gates * padded(width) / kernels->lanes);
    const std::ptrdiff_t packed = kernels->packed_bytes(precision, size, vectors);
    const std::ptrdiff_t rows = std::ptrdiff_t(vectors) * kernels->lanes;
    bytes += std::size_t(packed);
    matrix.push_back({precision, size, gates, width, vectors, reinterpret_cast<char*>(keep((packed + 3) / 4)),
                      precision == Precision::INT8 ? keep(rows) : nullptr, keep(rows)});
    kernels->pack(matrix.back(), floats(weight), floats(bias), bias_of_padding);
    net.acc_at = std::max(net.acc_at, rows);  // the greatest, until it has a place
    net.left_at = std::max<std::ptrdiff_t>(net.left_at, size);
}

void StreamStore::cell(const CellSource& source, Places& places, Places& states) {
    const Plan& plan = source.plan->plan();
    StreamLayer one{};
    one.plan = &plan;
    one.input = source.input, one.output = source.output, one.residual = source.residual;
    one.product = matrix.data() + matrix.size();
    for (int i = 0; i < plan.products; i++) {
        const Product& p = plan.product[i];
        pack(p.gates, p.width, p.size, source.weights[std::size_t(i)], source.biases[std::size_t(i)], 0.0f);
    }
    one.lift = matrix.data() + matrix.size();
    for (int i = 0; i < plan.hoisted; i++) {
        const Product& p = plan.lift[i];
        const auto which = std::size_t(plan.products + i);
        pack(p.gates, p.width, p.size, source.weights[which], source.biases[which], 0.0f);
    }
    std::ptrdiff_t *slot_at = list(plan.slots), *temp_at = list(plan.temps), *state_at = list(plan.states),
                   *param_at = list(plan.params);
    one.input_at = places.take(padded(one.input));
    // The columns of a product of the input follow each other, as it writes them.
    std::fill(slot_at, slot_at + plan.slots, -1);
    for (int i = 0; i < plan.hoisted; i++) {
        const Product& p = plan.lift[i];
        const std::ptrdiff_t begin = places.take(p.gates * padded(p.width));
        for (int g = 0; g < p.gates; g++) slot_at[p.slots[g]] = begin + g * padded(p.width);
    }
    for (int i = 0; i < plan.slots; i++)
        if (slot_at[i] < 0) slot_at[i] = places.take(padded(plan.slot_width[i]));
    for (int i = 0; i < plan.temps; i++) temp_at[i] = places.take(padded(plan.temp_width[i]));
    for (int i = 0; i < plan.states; i++) {
        state_at[i] = states.take(padded(plan.state_width[i]));
        state_width.push_back(plan.state_width[i]);
    }
    std::ptrdiff_t params = 0;
    for (int i = 0; i < plan.params; i++) {
        param_at[i] = params;
        params += padded(plan.param_width[i]);
    }
    float* to = keep(params);
    std::fill(to, to + params, 0.0f);
    for (int i = 0; i < plan.params; i++)
        std::copy_n(floats(source.params[std::size_t(i)]), plan.param_width[i], to + param_at[i]);
    float* constants = keep(std::ptrdiff_t(plan.consts) * kernels->lanes);
    for (int i = 0; i < plan.consts; i++)
        std::fill_n(constants + std::ptrdiff_t(i) * kernels->lanes, kernels->lanes, plan.constant[i]);
    one.params = to, one.param_at = param_at, one.constants = constants;
    one.slot_at = slot_at, one.temp_at = temp_at, one.state_at = state_at;
    for (int i = 0; i < plan.forward; i++)
        net.widest = std::max(net.widest, int(padded(plan.forward_stage[i].width)));
    net.reg_at = std::max<std::ptrdiff_t>(net.reg_at, plan.registers);
    layer.push_back(one);
}

void StreamStore::symbols(const SymbolSource& source, const CellSource& lowest, Places& places) {
    const Plan& plan = lowest.plan->plan();
    net.vocabulary = source.vocabulary;
    if (!net.vocabulary) return;
    if (source.embedding)
        net.embedding = copied(floats(source.embedding), std::ptrdiff_t(net.vocabulary) * lowest.input);
    if (source.table && plan.hoisted) {
        std::ptrdiff_t columns = 0;
        for (int i = 0; i < plan.hoisted; i++) {
            columns += plan.lift[i].gates * plan.lift[i].width;
            net.table_row += (plan.lift[i].gates * padded(plan.lift[i].width) + 15) / 16 * 16;
        }
        net.table_at = layer.front().slot_at[plan.lift[0].slots[0]];
        float* table = keep(net.vocabulary * net.table_row);
        std::fill_n(table, net.vocabulary * net.table_row, 0.0f);
        const float* from = floats(source.table);
        for (int v = 0; v < net.vocabulary; v++) {
            float* row = table + v * net.table_row;
            for (int i = 0; i < plan.hoisted; i++) {
                const Product& p = plan.lift[i];
                for (int g = 0; g < p.gates; g++, from += p.width)
                    std::copy_n(from, p.width, row + g * padded(p.width));
                row += (p.gates * padded(p.width) + 15) / 16 * 16;
            }
        }
        net.table = table;
    }
    pack(1, net.vocabulary, layer.back().output, source.head_weight, source.head_bias,
         -std::numeric_limits<float>::infinity());
    net.head = &matrix.back();
    net.logits_at = places.take(padded(net.vocabulary));
    net.weight_at = places.take(padded(net.vocabulary));
}

StreamNet::StreamNet(const std::string& kernels, const std::string& precision, const std::vector<CellSource>& cells,
                     const SymbolSource& symbols)
    : store(std::make_unique<StreamStore>()) {
    StreamStore& s = *store;
    s.kernels = &choose(versions(), kernels);
    s.precision = precision_of(precision);
    std::size_t products = 1;
    for (const CellSource& cell : cells) products += cell.weights.size();
    s.matrix.reserve(products);
    Places places, states;
    for (const CellSource& cell : cells) s.cell(cell, places, states);
    s.symbols(symbols, cells.front(), places);
    Network& net = s.net;
    net.layers = int(s.layer.size());
    net.output_at = places.take(s.padded(s.layer.back().output));
    net.reg_at = places.take(net.reg_at * net.widest);
    net.acc_at = places.take(net.acc_at);
    net.left_at = places.take((net.left_at + 2) / 2);
    net.states = states.total;
    const std::ptrdiff_t begin = places.take(2 * states.total);
    for (std::size_t i = 0; i < s.layer.size(); i++) {
        auto* at = const_cast<std::ptrdiff_t*>(s.layer[i].state_at);
        for (int j = 0; j < s.layer[i].plan->states; j++) {
            at[j] += begin;
            s.state_place.push_back(at[j]);
        }
    }
    net.arena = places.total;
    net.layer = s.layer.data();
}

StreamNet::~StreamNet() = default;
std::size_t StreamNet::bytes() const { return store->bytes; }

namespace {

// The streams of one call: their arenas, and what the caller's states become and come from.
class Streams {
  public:
    // Of weights: what fits into the second cache of one core is read faster than two can meet. Of steps.
    static constexpr std::int64_t LARGE = 3 << 18, LONG = 8;

    Streams(const StreamStore& store, int count, const Addresses& states)
        : store(store), states(states), memory(store.net.arena * count) {
        std::fill_n(memory.at, store.net.arena * count, 0.0f);
        for (int n = 0; n < count; n++) arena.push_back(memory.at + store.net.arena * n);
        call.network = &store.net, call.streams = count, call.arena = arena.data(), call.threads = 1;
        each([](float* own, float* given, int width) { std::copy_n(given, width, own); });
    }
    void write_states() {
        each([](float* own, float* given, int width) { std::copy_n(own, width, given); });
    }
    void step(const std::int64_t* tokens) {
        call.token = tokens;
        store.kernels->step(call);
        call.odd = !call.odd;
    }
    // Runs `steps` here, with the help of other threads in their products where that pays.
    template <class Steps>
    void with_help(int threads, std::int64_t count, const Steps& steps) {
        threads = std::int64_t(store.bytes) >= LARGE && count >= LONG ? threads : 1;
        if (threads < 2) return steps();
        call.threads = threads;
        call.meet = [](void* barrier) { static_cast<Barrier*>(barrier)->arrive_and_wait(); };
        in_parallel(threads, [&](int thread, Barrier& barrier) {
            if (thread) {
                for (barrier.arrive_and_wait(); call.task; barrier.arrive_and_wait()) {
                    store.kernels->help(call, thread);
                    barrier.arrive_and_wait();
                }
                return;
            }
            call.barrier = &barrier;
            steps();
            call.task = nullptr;
            barrier.arrive_and_wait();
        });
    }
    // Undoes the last step of one stream.
    void hold(int n) {
        const std::ptrdiff_t first = store.state_place.empty() ? 0 : store.state_place.front();
        float *now = arena[std::size_t(n)] + first + (call.odd ? store.net.states : 0),
              *last = arena[std::size_t(n)] + first + (call.odd ? 0 : store.net.states);
        std::copy_n(last, store.net.states, now);
    }
    float* of(int n, std::ptrdiff_t place) const { return arena[std::size_t(n)] + place; }

  private:
    template <class Move>
    void each(Move move) {
        for (std::size_t i = 0; i < states.size(); i++)
            for (int n = 0; n < call.streams; n++)
                move(of(n, store.state_place[i] + (call.odd ? store.net.states : 0)),
                     reinterpret_cast<float*>(states[i]) + std::ptrdiff_t(n) * store.state_width[i],
                     store.state_width[i]);
    }

    const StreamStore& store;
    const Addresses& states;
    Buffer memory;
    std::vector<float*> arena;
    StreamCall call{};
};

// Ends a call from time to time, so that its caller can be interrupted.
class Deadline {
  public:
    explicit Deadline(double seconds)
        : end(std::chrono::steady_clock::now() + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                                                     std::chrono::duration<double>(seconds))) {}
    bool over() const { return std::chrono::steady_clock::now() >= end; }

  private:
    std::chrono::steady_clock::time_point end;
};

}  // namespace

Made StreamNet::run(std::int64_t time, int count, std::uintptr_t tokens, std::uintptr_t inputs, const Addresses& states,
                    std::uintptr_t outputs, const Manner& manner) const {
    const Network& net = store->net;
    const StreamLayer& lowest = net.layer[0];
    Streams streams(*store, count, states);
    const auto* token = reinterpret_cast<const std::int64_t*>(tokens);
    const float* x = floats(inputs);
    auto* y = reinterpret_cast<float*>(outputs);
    const int width = net.head ? net.vocabulary : net.layer[net.layers - 1].output;
    const Deadline deadline(manner.seconds);
    std::int64_t t = 0;
    streams.with_help(manner.threads, time, [&] {
        while (t < time && !(t && deadline.over())) {
            for (int n = 0; x && n < count; n++, x += lowest.input)
                std::copy_n(x, lowest.input, streams.of(n, lowest.input_at));
            streams.step(token ? token + t * count : nullptr);
            for (int n = 0; n < count; n++, y += width)
                std::copy_n(streams.of(n, net.head ? net.logits_at : net.output_at), width, y);
            t++;
        }
    });
    streams.write_states();
    return {t, -1};
}

Made StreamNet::generate(std::int64_t count, int size, const Draw& draw, const Addresses& states,
                         std::uintptr_t logits, std::uintptr_t done, std::uintptr_t ids, std::uintptr_t log_probs,
                         const Manner& manner) const {
    const Network& net = store->net;
    const int symbols = net.vocabulary;
    Streams streams(*store, size, states);
    auto* given = reinterpret_cast<float*>(logits);
    auto* finished = reinterpret_cast<std::uint8_t*>(done);
    const auto* stop = reinterpret_cast<const std::uint8_t*>(draw.stop);
    auto* id = reinterpret_cast<std::int64_t*>(ids);
    auto* log_prob = reinterpret_cast<double*>(log_probs);
    for (int n = 0; n < size; n++) {
        float* own = streams.of(n, net.logits_at);
        std::fill_n(own, store->padded(symbols), -std::numeric_limits<float>::infinity());
        std::copy_n(given + std::ptrdiff_t(n) * symbols, symbols, own);
    }
    std::vector<std::int64_t> tokens(std::size_t(size), 0);
    std::vector<int> room(std::size_t(symbols), 0);
    const Deadline deadline(manner.seconds);
    std::int64_t t = 0, broken = -1;
    streams.with_help(manner.threads, count, [&] {
        while (t < count && !(t && deadline.over()) && std::find(finished, finished + size, 0) != finished + size) {
            for (int n = 0; n < size && broken < 0; n++, id++, log_prob++) {
                *id = -1;
                *log_prob = 0.0;
                if (finished[n]) continue;
                const double uniform = counter_uniform(draw.seed, std::uint32_t(draw.start + t), std::uint32_t(n));
                const Choice choice =
                    choose_symbol(*store->kernels, streams.of(n, net.logits_at), streams.of(n, net.weight_at), symbols,
                                  draw.temperature, draw.top_k, draw.top_p, uniform, room);
                if (choice.id < 0) broken = t;
                *id = tokens[std::size_t(n)] = std::max(choice.id, 0);
                *log_prob = choice.log_prob;
            }
            if (broken >= 0) break;
            streams.step(tokens.data());
            t++;
            for (int n = 0; n < size; n++) {
                if (finished[n]) {
                    streams.hold(n);
                    continue;
                }
                if (!stop || !stop[tokens[std::size_t(n)]]) continue;
                finished[n] = 1;
                std::copy_n(streams.of(n, net.logits_at), symbols, given + std::ptrdiff_t(n) * symbols);
            }
        }
    });
    for (int n = 0; n < size; n++)
        if (!finished[n]) std::copy_n(streams.of(n, net.logits_at), symbols, given + std::ptrdiff_t(n) * symbols);
    streams.write_states();
    return {t, broken};
}

std::vector<std::string> stream_kernels() {
    return names_of(versions());
}

}  // namespace elman
