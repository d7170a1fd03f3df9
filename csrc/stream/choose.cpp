#include "choose.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace elman {
namespace {

// Colder and hotter than this nothing changes: differences of logits are endless, or none.
constexpr double COLDEST = 1e-30, HOTTEST = 1e30;

// The symbols that top_k and top_p leave, in the order of their numbers. Likeliest first they are found by a heap: few
// are kept, and many are never sorted.
void keep(const float* logits, const float* weight, int count, std::int64_t top_k, double top_p, double total,
          std::vector<int>& kept) {
    kept.resize(std::size_t(count));
    std::iota(kept.begin(), kept.end(), 0);
    const auto less = [&](int a, int b) { return logits[a] < logits[b] || (logits[a] == logits[b] && a > b); };
    std::make_heap(kept.begin(), kept.end(), less);
    const std::int64_t most = top_k > 0 ? std::min<std::int64_t>(top_k, count) : count;
    auto heap_end = kept.end();
    const bool cut = top_p < 1.0;
    double before = 0.0;
    for (std::int64_t found = 0; found < most; found++) {
        if (cut && top_k <= 0 && before >= top_p * total) break;
        std::pop_heap(kept.begin(), heap_end, less);
        before += weight[*--heap_end];
    }
    std::reverse(heap_end, kept.end());  // the likeliest first
    kept.erase(kept.begin(), heap_end);
    if (cut && top_k > 0) {
        double sum = 0.0;
        std::size_t enough = 0;
        while (enough < kept.size() && sum < top_p * before) sum += weight[kept[enough++]];
        kept.resize(enough);
    }
    std::sort(kept.begin(), kept.end());
}

int pick_of(const std::vector<int>& kept, const float* weight, double uniform) {
    double total = 0.0, sum = 0.0;
    for (int id : kept) total += weight[id];
    int last = kept.front();
    for (int id : kept) {
        sum += weight[id];
        if (sum > uniform * total) return id;
        if (weight[id] > 0.0f) last = id;
    }
    return last;
}

}  // namespace

Choice choose_symbol(const StreamKernels& kernels, const float* logits, float* weight, int count, double temperature,
                     std::int64_t top_k, double top_p, double uniform, std::vector<int>& room) {
    float largest = 0.0f;
    const double whole = kernels.weigh(logits, count, 1.0f, weight, largest);
    if (!(whole > 0.0 && whole <= double(count) + 1.0)) return {-1, 0.0};
    int id = 0;
    if (temperature == 0.0) {
        while (logits[id] != largest) id++;
    } else {
        double total = whole;
        if (temperature != 1.0)
            total = kernels.weigh(logits, count, float(1.0 / std::clamp(temperature, COLDEST, HOTTEST)), weight, largest);
        if ((top_k > 0 && top_k < count) || top_p < 1.0) {
            keep(logits, weight, count, top_k, top_p, total, room);
            id = pick_of(room, weight, uniform);
        } else {
            id = kernels.pick(weight, count, uniform * total);
        }
    }
    return {id, double(logits[id]) - double(largest) - std::log(whole)};
}

}  // namespace elman
