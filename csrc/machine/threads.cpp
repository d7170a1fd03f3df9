// The threads of torch's OpenMP, found when they are needed: nothing here is linked with an OpenMP library, for a second
// one would bring threads of its own, which fight with torch's for the cores.
#include "threads.h"

#include <dlfcn.h>
#include <pthread.h>

#include <thread>
#include <vector>

namespace elman {
namespace {

void pause_briefly() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// The entry points that GCC's and LLVM's OpenMP both have.
struct OpenMP {
    void (*parallel)(void (*)(void*), void*, unsigned, unsigned);
    int (*thread)();
    int (*threads)();

    OpenMP() {
        find(parallel, "GOMP_parallel");
        find(thread, "omp_get_thread_num");
        find(threads, "omp_get_num_threads");
    }
    explicit operator bool() const { return parallel && thread && threads; }

  private:
    template <class Function>
    static void find(Function& function, const char* name) {
        function = reinterpret_cast<Function>(dlsym(RTLD_DEFAULT, name));
    }
};

// A child has none of the threads that OpenMP counts on: whoever asks for them there waits for ever.
std::atomic<bool> forked{false};
const int watches_forks = pthread_atfork(nullptr, nullptr, [] { forked = true; });

struct Region {
    const OpenMP& library;
    int count;
    Task task;
    const void* work;
    Barrier barrier;
    bool done = false;
};

// False, with nothing done, where OpenMP gives fewer threads, as it does inside a region of its own.
bool on_threads_of_torch(int count, Task task, const void* work) {
    static const OpenMP library;
    if (watches_forks || forked || !library) return false;
    Region region{library, count, task, work, Barrier(count)};
    library.parallel(
        [](void* given) {
            Region& region = *static_cast<Region*>(given);
            if (region.library.threads() != region.count) return;
            const int thread = region.library.thread();
            region.task(region.work, thread, region.barrier);
            if (thread == 0) region.done = true;
        },
        &region, unsigned(count), 0);
    return region.done;
}

// None begins before all are there, since each waits for the others later.
void on_own_threads(int count, Task task, const void* work) {
    enum { WAIT, GO, LEAVE };
    Barrier barrier(count);
    std::atomic<int> start{WAIT};
    std::vector<std::thread> others;
    others.reserve(count);
    auto join = [&] {
        start.notify_all();
        for (std::thread& other : others) other.join();
    };
    try {
        for (int thread = 1; thread < count; thread++)
            others.emplace_back([&, thread] {
                start.wait(WAIT);
                if (start == GO) task(work, thread, barrier);
            });
    } catch (...) {
        start = LEAVE;
        join();
        throw;
    }
    start = GO;
    start.notify_all();
    task(work, 0, barrier);
    join();
}

}  // namespace

void Barrier::arrive_and_wait() {
    constexpr int TURNS = 2000;
    const unsigned now = phase.load(std::memory_order_relaxed);
    if (missing.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        missing.store(count, std::memory_order_relaxed);
        phase.store(now + 1, std::memory_order_release);
        phase.notify_all();
        return;
    }
    for (int i = 0; i < TURNS; i++) {
        if (phase.load(std::memory_order_acquire) != now) return;
        pause_briefly();
    }
    phase.wait(now, std::memory_order_acquire);
}

void meet(Barrier& barrier) { barrier.arrive_and_wait(); }

void in_parallel(int count, Task task, const void* work) {
    if (count == 1) {
        Barrier barrier(1);
        task(work, 0, barrier);
    } else if (!on_threads_of_torch(count, task, work)) {
        on_own_threads(count, task, work);
    }
}

}  // namespace elman
