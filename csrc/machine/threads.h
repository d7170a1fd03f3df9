// Work on several threads at once.
#pragma once

#include <atomic>

namespace elman {

// All of `count` threads meet here, again and again. One that waits turns for some microseconds, for the others are
// mostly near, and then sleeps, for they may not have a core.
class Barrier {
  public:
    explicit Barrier(int count) : count(count), missing(count) {}
    void arrive_and_wait();

  private:
    const int count;
    // Apart, so that those who wait for the one do not hold up those who count down the other.
    alignas(64) std::atomic<int> missing;
    alignas(64) std::atomic<unsigned> phase{0};
};

// The same, for what is compiled once for each instruction set and takes no inline function from here.
void meet(Barrier& barrier);

using Task = void (*)(const void* work, int thread, Barrier& barrier);

void in_parallel(int count, Task task, const void* work);

// Runs `work(thread, barrier)` on `count` threads, this one among them. They are torch's where there are such, for
// those are awake, and for some time after each operation of torch they keep their cores; elsewhere, as in a forked
// child, which does not have torch's, they are started for the call. Work does not throw.
template <class Work>
void in_parallel(int count, const Work& work) {
    in_parallel(
        count,
        [](const void* given, int thread, Barrier& barrier) { (*static_cast<const Work*>(given))(thread, barrier); },
        &work);
}

}  // namespace elman
