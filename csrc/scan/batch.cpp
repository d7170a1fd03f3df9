#include "batch.h"

#include <algorithm>
#include <numeric>

namespace elman {

ELMAN_DECLARED(Kernels, kernels)
namespace baseline_bf16 { extern const Kernels kernels; }
ELMAN_WITH_AVX512(namespace avx512_bf16 { extern const Kernels kernels; })

const std::vector<const Kernels*>& scan_versions(bool half) {
    static const std::vector<const Kernels*> of_halves = usable<Kernels>({
        ELMAN_WITH_AVX512({Instructions::AVX512_BF16, &avx512_bf16::kernels}, )
        {Instructions::BASELINE, &baseline_bf16::kernels}});
    static const std::vector<const Kernels*> known = usable<Kernels>({ELMAN_LISTED(kernels)});
    return half ? of_halves : known;
}

Rows rows_of(const Batch& batch) {
    Rows rows;
    rows.time = batch.time;
    rows.batch = batch.size;
    const int shares = batch.units ? 1 : std::max(1, std::min(batch.threads, batch.size));
    rows.threads = batch.units ? std::max(1, batch.threads) : shares;
    const auto* given = reinterpret_cast<const std::int64_t*>(batch.lengths);
    std::vector<int> length(batch.size, batch.time), order(batch.size);
    if (given)
        for (int i = 0; i < batch.size; i++) length[i] = int(given[i]);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return length[a] > length[b]; });
    rows.store.resize(shares);
    for (int place = 0; place < shares; place++) {
        ShareStore& own = rows.store[place];
        // Sequences of one length keep their places in the caller's arrays together.
        if (length[order.front()] == length[order.back()])
            for (int i = batch.size * place / shares; i < batch.size * (place + 1) / shares; i++)
                own.element.push_back(order[i]);
        else
            for (int i = place; i < batch.size; i += shares) own.element.push_back(order[i]);
        own.first = rows.rows;
        own.first_state = rows.state_rows;
        const int steps = length[own.element.front()];
        std::ptrdiff_t total = 0;
        int live = int(own.element.size());
        own.start_state.push_back(0);
        for (int t = 0; t < steps; t++) {
            while (length[own.element[live - 1]] <= t) live--;
            own.live.push_back(live);
            own.start.push_back(total);
            own.start_state.push_back(std::ptrdiff_t(own.element.size()) + total);
            for (int i = 0; i < live; i++) {
                const int element = own.element[i];
                const int when = batch.reverse ? length[element] - 1 - t : t;
                rows.outside.push_back(std::int32_t(when) * batch.size + element);
            }
            total += live;
        }
        own.live.push_back(0);
        own.start.push_back(total);
        rows.rows += total;
        rows.state_rows += total + std::ptrdiff_t(own.element.size());
        rows.share.push_back({int(own.element.size()), steps, own.first, own.first_state, own.element.data(),
                              own.live.data(), own.start.data(), own.start_state.data()});
    }
    return rows;
}

Arranged::Arranged(const Plan& plan, const Kernels& kernels, bool backward) {
    for (int i = 0; i < plan.products + plan.hoisted; i++) {
        packed_at.push_back(params);
        params += kernels.packed_size(i < plan.products ? plan.product[i] : plan.lift[i - plan.products], backward);
    }
    std::ptrdiff_t of_params = 0;
    for (int i = 0; i < plan.params; i++) {
        param_at.push_back(of_params);
        of_params += padded(plan.param_width[i], kernels.lanes);
    }
    constants = params + of_params;
    floats = (constants + std::ptrdiff_t(plan.consts) * kernels.lanes + 15) / 16 * 16;
}

void Arranged::place(Call& call, float* at) const {
    call.packed = at, call.packed_at = packed_at.data();
    call.params = at + params, call.param_at = param_at.data();
    call.constants = at + constants;
}

}  // namespace elman
