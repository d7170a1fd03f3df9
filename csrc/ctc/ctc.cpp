// One call: the batch cut into spans, storage, threads. What is compiled once for every machine; the work itself is in
// loss.h and align.h.
#include "ctc.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "../machine/instructions.h"
#include "../machine/storage.h"
#include "../machine/threads.h"
#include "kernels.h"

namespace elman::ctc {

ELMAN_DECLARED(Kernels, kernels)

namespace {

const std::vector<const Kernels*>& versions() {
    static const std::vector<const Kernels*> known = usable<Kernels>({ELMAN_LISTED(kernels)});
    return known;
}

// Vectors of a span whose steps are independent of each other: enough to fill the waits, few enough for the caches.
constexpr std::ptrdiff_t VECTORS = 8;

std::vector<Span> spans_of(const Batch& batch, int lanes, int threads) {
    std::vector<Span> spans;
    const std::ptrdiff_t fair = (batch.size + threads - 1) / threads;
    std::ptrdiff_t vectors = 0;
    for (std::ptrdiff_t n = 0; n < batch.size; n++) {
        const std::ptrdiff_t own = batch.lengths[n] / lanes + 1;
        if (spans.empty() || vectors + own > VECTORS || spans.back().count == fair) {
            spans.push_back({n, 0});
            vectors = 0;
        }
        spans.back().count++;
        vectors += own;
    }
    return spans;
}

// Runs `work(i, storage)` for i < count. Each thread has neighbours of its own, since two threads that write to the same
// lines of a cache wait for each other, and takes over from another when it is done.
template <class Work>
void share(std::ptrdiff_t count, int threads, std::size_t bytes, const Work& work) {
    threads = int(std::min<std::ptrdiff_t>(threads, count));
    std::vector<std::unique_ptr<Buffer>> storage;
    for (int i = 0; i < threads; i++)
        storage.push_back(std::make_unique<Buffer>(std::ptrdiff_t(bytes / sizeof(float) + 1)));
    std::vector<std::atomic<std::ptrdiff_t>> next(threads);
    for (int i = 0; i < threads; i++) next[i] = count * i / threads;
    in_parallel(threads, [&](int thread, Barrier&) {
        for (int turn = 0; turn < threads; turn++) {
            const int owner = (thread + turn) % threads;
            const std::ptrdiff_t end = count * (owner + 1) / threads;
            for (std::ptrdiff_t i; (i = next[owner]++) < end;) work(i, reinterpret_cast<char*>(storage[thread]->at));
        }
    });
}

}  // namespace

void loss(const Batch& batch, int threads, const std::string& name) {
    const Kernels& kernels = choose(versions(), name);
    const std::vector<Span> spans = spans_of(batch, kernels.lanes, threads);
    std::size_t bytes = 0;
    for (const Span& span : spans) bytes = std::max(bytes, kernels.loss_storage(batch, span));
    share(std::ptrdiff_t(spans.size()), threads, bytes,
          [&](std::ptrdiff_t i, char* storage) { kernels.loss(batch, spans[i], storage); });
}

bool sound(const Batch& batch) {
    for (std::ptrdiff_t n = 0; n < batch.size; n++) {
        const std::int64_t frames = batch.frames[n], length = batch.lengths[n];
        if (frames < 0 || frames > batch.time || length < 0 || length > batch.stride) return false;
        const std::int64_t* target = batch.targets + n * batch.stride;
        std::int64_t needed = length;
        for (std::int64_t i = 0; i < length; i++) {
            if (target[i] <= 0 || target[i] >= batch.classes) return false;
            needed += i > 0 && target[i] == target[i - 1];
        }
        if (needed > frames) return false;
    }
    return true;
}

void align(const Batch& batch, int threads, const std::string& name) {
    const Kernels& kernels = choose(versions(), name);
    std::size_t bytes = 0;
    for (std::ptrdiff_t n = 0; n < batch.size; n++) bytes = std::max(bytes, kernels.align_storage(batch, n));
    share(batch.size, threads, bytes, [&](std::ptrdiff_t n, char* storage) { kernels.align(batch, n, storage); });
}

std::vector<std::string> kernel_names() {
    return names_of(versions());
}

}  // namespace elman::ctc
