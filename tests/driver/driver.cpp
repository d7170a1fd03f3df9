// Repeats calls of the scan that tests/driver/cases.py wrote, on every instruction set of the machine, with one to three
// threads, which divide sequences or units, and from several threads at once, and compares what comes out. Steps it makes
// one by one too, as a search does.
//
//     driver FILE...          exit status 1 where anything differs by more than rounding
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "scan/scan.h"
#include "scan/stepper.h"

namespace {

struct Array {
    bool there = false;
    std::vector<float> values;
    std::uintptr_t address() { return there ? reinterpret_cast<std::uintptr_t>(values.data()) : 0; }
};
using Group = std::vector<Array>;

struct Reader {
    std::ifstream file;
    explicit Reader(const char* path) : file(path, std::ios::binary) {}

    template <class T>
    T one() {
        T value{};
        file.read(reinterpret_cast<char*>(&value), sizeof(value));
        if (!file) std::fprintf(stderr, "a case ends too early\n"), std::exit(2);
        return value;
    }
    std::vector<std::int64_t> numbers(bool* there = nullptr) {
        const auto count = one<std::int64_t>();
        if (there) *there = count >= 0;
        std::vector<std::int64_t> values;
        for (std::int64_t i = 0; i < count; i++) values.push_back(one<std::int64_t>());
        return values;
    }
    Array array() {
        Array found;
        const auto count = one<std::int64_t>();
        found.there = count >= 0;
        for (std::int64_t i = 0; i < count; i++) found.values.push_back(one<float>());
        return found;
    }
    Group group() {
        Group found(numbers().at(0));
        for (Array& array : found) array = this->array();
        return found;
    }
};

elman::Pointers addresses(Group& group) {
    elman::Pointers found;
    for (Array& array : group) found.push_back(array.address());
    return found;
}

struct Case {
    std::vector<int> plan, columns, places;
    std::vector<float> constants;
    int time, batch, symbols;
    bool reverse, half, divisible, ragged = false, tokens = false;
    std::vector<std::int64_t> lengths, ids;
    Group inputs, weights, biases, params, memories, states, results, d_outputs, derivatives[6];

    explicit Case(const char* path) {
        Reader reader(path);
        for (auto n : reader.numbers()) plan.push_back(int(n));
        constants = reader.array().values;
        const auto sizes = reader.numbers();
        time = int(sizes.at(0)), batch = int(sizes.at(1)), reverse = sizes.at(2), symbols = int(sizes.at(3));
        half = sizes.at(4), divisible = sizes.at(5);
        for (auto n : reader.numbers()) columns.push_back(int(n));
        for (auto n : reader.numbers()) places.push_back(int(n));
        lengths = reader.numbers(&ragged);
        ids = reader.numbers(&tokens);
        for (Group* group : {&inputs, &weights, &biases, &params, &memories, &states, &results, &d_outputs})
            *group = reader.group();
        for (Group& group : derivatives) group = reader.group();
    }
};

// The largest difference, beside the largest number expected.
double difference(const Group& found, const Group& expected) {
    double worst = 0.0;
    for (std::size_t i = 0; i < found.size(); i++) {
        double apart = 0.0, size = 1e-3;
        for (std::size_t j = 0; j < found[i].values.size(); j++) {
            const double a = found[i].values[j], b = expected[i].values[j];
            apart = std::max(apart, std::isfinite(a) ? std::fabs(a - b) : 1e30);
            size = std::max(size, std::fabs(b));
        }
        worst = std::max(worst, apart / size);
    }
    return worst;
}

double run(const elman::ScanPlan& plan, Case one, const std::string& kernels, int threads, bool units) {
    Case expected = one;
    auto clear = [](Group& group) {
        for (Array& array : group) std::fill(array.values.begin(), array.values.end(), NAN);
    };
    Group output(one.results.begin(), one.results.begin() + 1), final_states(one.results.begin() + 1, one.results.end());
    clear(output);
    for (std::size_t i = 0; i < final_states.size(); i++) final_states[i] = one.states[i];  // an empty element keeps its own
    const elman::Batch batch{one.time, one.batch, threads, one.reverse,
                             one.ragged ? reinterpret_cast<std::uintptr_t>(one.lengths.data()) : 0, one.columns,
                             one.tokens ? reinterpret_cast<std::uintptr_t>(one.ids.data()) : 0, one.symbols, one.half,
                             units, one.places};
    auto saved = elman::scan_forward(plan, batch, kernels, addresses(one.inputs), addresses(one.weights),
                                     addresses(one.biases), addresses(one.params), addresses(one.memories),
                                     addresses(one.states), output[0].address(), addresses(final_states));
    Group d_final(one.d_outputs.begin() + 1, one.d_outputs.end());
    for (Group& group : one.derivatives) clear(group);
    elman::scan_backward(plan, *saved, addresses(one.inputs), addresses(one.weights), addresses(one.params),
                         one.d_outputs[0].address(), addresses(d_final), addresses(one.derivatives[0]),
                         addresses(one.derivatives[1]), addresses(one.derivatives[2]), addresses(one.derivatives[3]),
                         addresses(one.derivatives[4]), addresses(one.derivatives[5]));
    output.insert(output.end(), final_states.begin(), final_states.end());
    double worst = difference(output, expected.results);
    for (int i = 0; i < 6; i++) {
        Group &found = one.derivatives[i], &wanted = expected.derivatives[i];
        if (i == 4)  // a memory's bias has none
            for (std::size_t j = 1; j < found.size(); j += 3) found[j] = wanted[j];
        worst = std::max(worst, difference(found, wanted));
    }
    return worst;
}

// The same outputs step by step, and logits that are twice the outputs plus one.
double walk(const elman::Stepper& stepper, Case one, int threads, bool units) {
    const std::size_t width = one.results[0].values.size() / (std::size_t(one.time) * one.batch);
    std::unique_ptr<elman::StepMemory> memory;
    if (!one.places.empty())
        memory = stepper.memory(one.batch, one.places[0], one.memories[0].address(), one.memories[1].address(),
                                one.memories[2].address());
    std::vector<std::int64_t> source(one.batch);
    for (int n = 0; n < one.batch; n++) source[n] = n;
    Group found(2), expected(2), output(2), states = one.states;
    for (Array& array : output) array.there = true, array.values.resize(one.batch * width);
    for (int t = 0; t < one.time; t++) {
        elman::Pointers inputs;
        for (std::size_t i = 0; i < one.inputs.size(); i++)
            inputs.push_back(one.inputs[i].address() + sizeof(float) * t * one.batch * one.columns[i]);
        Group before = states;
        stepper.step({one.batch, threads, units, reinterpret_cast<std::uintptr_t>(source.data()), inputs,
                      addresses(before), output[0].address(), output[1].address(), addresses(states), 0},
                     memory.get());
        for (int n = 0; n < one.batch; n++)
            for (std::size_t k = 0; k < width && (!one.ragged || t < one.lengths[n]); k++) {
                const float wanted = one.results[0].values[(std::size_t(t) * one.batch + n) * width + k];
                for (int i = 0; i < 2; i++) {
                    found[i].values.push_back(output[i].values[n * width + k]);
                    expected[i].values.push_back(i ? 2.0f * wanted + 1.0f : wanted);
                }
            }
    }
    return difference(found, expected);
}

elman::Stepper stepper_of(const elman::ScanPlan& plan, Case& one, const std::string& kernels) {
    const std::size_t width = one.results[0].values.size() / (std::size_t(one.time) * one.batch);
    std::vector<float> head(width * width, 0.0f), bias(width, 1.0f);
    for (std::size_t i = 0; i < width; i++) head[i * width + i] = 2.0f;
    return {plan, kernels, one.half, one.columns, addresses(one.weights), addresses(one.biases), addresses(one.params),
            int(width), reinterpret_cast<std::uintptr_t>(head.data()), reinterpret_cast<std::uintptr_t>(bias.data())};
}

}  // namespace

int main(int count, char** paths) {
    bool failed = count < 2;
    for (int i = 1; i < count; i++) {
        Case one(paths[i]);
        const elman::ScanPlan plan(one.plan, one.constants);
        // In bfloat16 a number at a border may be rounded the other way after a sum in another order.
        const double allowed = one.half ? 2e-2 : 2e-5;
        for (const std::string& kernels : elman::scan_kernels(one.half)) {
            const elman::Stepper stepper = stepper_of(plan, one, kernels);
            for (int turn = 0; turn < (one.divisible ? 5 : 3); turn++) {
                const int threads = turn < 3 ? turn + 1 : turn - 1;
                const bool units = turn >= 3;
                std::vector<double> worst(3);
                std::vector<std::thread> callers;
                for (double& result : worst)
                    callers.emplace_back([&] {
                        result = run(plan, one, kernels, threads, units);
                        if (!one.tokens && !one.reverse) result = std::max(result, walk(stepper, one, threads, units));
                    });
                for (std::thread& caller : callers) caller.join();
                const double most = *std::max_element(worst.begin(), worst.end());
                std::printf("%s %s, %d threads%s: %.1e\n", paths[i], kernels.c_str(), threads,
                            units ? " dividing units" : "", most);
                failed = failed || !(most <= allowed);
            }
        }
    }
    return failed;
}
