// Memories that rows look at (attend.h), as the kernels read them: a place is a vector of whole machine vectors, zero past
// its width; an element has its places one after the other, and so have their derivatives. Only the places up to the last
// one that is not barred (bias -inf) are copied and looked at.
//
// Included inside the namespace of the instruction set.

struct Seen {  // of one row: units in whole machine vectors, places in whole machine vectors
    float *query, *context, *back, *vector, *weight, *change;
    ptrdiff_t size;
};

static ELMAN_INLINE ptrdiff_t whole(int width) { return ptrdiff_t(blocks(width)) * L; }

static Seen seen(const Call& call, float* p) {
    ptrdiff_t units = 0, places = 0;
    for (int i = 0; i < call.plan->attends; i++) {
        const Attend& look = call.plan->attend[i];
        const ptrdiff_t most = whole(look.size > look.width ? look.size : look.width);
        units = most > units ? most : units;
        places = whole(call.memory[i].places) > places ? whole(call.memory[i].places) : places;
    }
    return {p, p + units, p + 2 * units, p + 3 * units, p + 4 * units, p + 4 * units + places, 4 * units + 2 * places};
}

// The memories of the thread's elements, or of its part of them where threads have them together, and how many places of
// each are looked at.
static void take_memories(const Call& call, int thread) {
    const Share& share = share_of(call, thread);
    const Part own = part_of(call, thread, share.elements);
    for (int which = 0; which < call.plan->attends; which++) {
        const Attend& look = call.plan->attend[which];
        const Memory& memory = call.memory[which];
        if (!memory.given_keys) continue;
        for (ptrdiff_t i = own.first; i < own.last; i++) {
            const ptrdiff_t first = ptrdiff_t(share.element[i]) * memory.places;
            int length = memory.places;
            while (length && memory.bias[first + length - 1] == -__builtin_inff()) length--;
            memory.length[share.element[i]] = length;
            auto copy = [&](const float* from, int width, float* to) {
                for (ptrdiff_t s = first; s < first + length; s++) {
                    __builtin_memcpy(to + s * whole(width), from + s * width, sizeof(float) * width);
                    for (int j = width; j < whole(width); j++) to[s * whole(width) + j] = 0.0f;
                }
            };
            copy(memory.given_keys, look.size, memory.keys);
            copy(memory.given_values, look.width, memory.values);
        }
    }
}

// Their derivatives begin at zero.
static void clear_memories(const Call& call, int thread) {
    const Share& share = share_of(call, thread);
    const Part own = part_of(call, thread, share.elements);
    for (int which = 0; which < call.plan->attends; which++) {
        const Attend& look = call.plan->attend[which];
        const Memory& memory = call.memory[which];
        for (ptrdiff_t i = own.first; i < own.last; i++) {
            const ptrdiff_t first = ptrdiff_t(share.element[i]) * memory.places, count = memory.length[share.element[i]];
            __builtin_memset(memory.d_keys + first * whole(look.size), 0, sizeof(float) * count * whole(look.size));
            __builtin_memset(memory.d_values + first * whole(look.width), 0, sizeof(float) * count * whole(look.width));
        }
    }
}

// Their derivatives to the caller's arrays.
static void give_memories(const Call& call, int thread) {
    const Share& share = share_of(call, thread);
    const Part own = part_of(call, thread, share.elements);
    for (int which = 0; which < call.plan->attends; which++) {
        const Attend& look = call.plan->attend[which];
        const Memory& memory = call.memory[which];
        for (ptrdiff_t i = own.first; i < own.last; i++) {
            const ptrdiff_t first = ptrdiff_t(share.element[i]) * memory.places;
            const int length = memory.length[share.element[i]];
            auto copy = [&](const float* from, int width, float* to) {
                for (ptrdiff_t s = first; s < first + length; s++)
                    __builtin_memcpy(to + s * width, from + s * whole(width), sizeof(float) * width);
                __builtin_memset(to + (first + length) * width, 0, sizeof(float) * (memory.places - length) * width);
            };
            copy(memory.d_keys, look.size, memory.given_d_keys);
            copy(memory.d_values, look.width, memory.given_d_values);
        }
    }
}
