// Aligned storage for the length of a call, kept for the next one.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace elman {

constexpr std::size_t HUGE_PAGE = std::size_t(2) << 20;

// Aligned storage that is kept for the next call: touching new pages costs as much as a step of the scan. At most
// KEPT blocks wait. After a fork the lock may be held by a thread that the child does not have: it is only tried.
class Pool {
  public:
    float* take(std::size_t floats, std::size_t& bytes) {
        if constexpr (WATCHED) {
            bytes = (floats * sizeof(float) + 63) / 64 * 64;
            return static_cast<float*>(std::aligned_alloc(64, bytes));
        }
        bytes = (floats * sizeof(float) + 4096) / 4096 * 4096;
        if (bytes >= HUGE_PAGE) bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        if (std::unique_lock lock(mutex, std::try_to_lock); lock) {
            for (auto i = blocks.begin(); i != blocks.end(); ++i)
                if (i->bytes >= bytes && i->bytes <= bytes + bytes / 2) {
                    bytes = i->bytes;
                    void* block = i->at;
                    blocks.erase(i);
                    return static_cast<float*>(block);
                }
        }
        void* block = std::aligned_alloc(bytes >= HUGE_PAGE ? HUGE_PAGE : 4096, bytes);
        if (!block) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
        if (bytes >= HUGE_PAGE) madvise(block, bytes, MADV_HUGEPAGE);
#endif
        return static_cast<float*>(block);
    }
    void give(float* block, std::size_t bytes) {
        if (std::unique_lock lock(mutex, std::try_to_lock); lock && !WATCHED) {
            blocks.insert(blocks.begin(), {block, bytes});
            if (blocks.size() <= KEPT) return;
            block = blocks.back().at;
            blocks.pop_back();
        }
        std::free(block);
    }

  private:
    static constexpr std::size_t KEPT = 8;
#if defined(__SANITIZE_ADDRESS__)  // what is kept, or larger than asked for, would hide a wrong address
    static constexpr bool WATCHED = true;
#else
    static constexpr bool WATCHED = false;
#endif
    struct Block {
        float* at;
        std::size_t bytes;
    };
    std::mutex mutex;
    std::vector<Block> blocks;
};

inline Pool& pool() {
    static Pool* one = new Pool;  // never destroyed: storage may come back after main has ended
    return *one;
}

class Buffer {
  public:
    explicit Buffer(std::ptrdiff_t floats) : at(pool().take(std::size_t(floats), bytes)) {}
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { pool().give(at, bytes); }
    std::size_t bytes = 0;
    float* const at;
};

}  // namespace elman
