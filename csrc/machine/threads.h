// Work on several threads at once.
#pragma once

#include <atomic>
#include <barrier>
#include <thread>
#include <vector>

namespace elman {

// Runs `work(thread, barrier)` on `count` threads, this one among them. They live for one call: starting one takes
// some tens of microseconds, and there is nothing for a fork to find in a wrong state. None begins before all are
// there, since each waits for the others later.
template <class Work>
void in_parallel(int count, const Work& work) {
    enum { WAIT, GO, LEAVE };
    std::barrier<> barrier(count);
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
                if (start == GO) work(thread, barrier);
            });
    } catch (...) {
        start = LEAVE;
        join();
        throw;
    }
    start = GO;
    start.notify_all();
    work(0, barrier);
    join();
}

}  // namespace elman
