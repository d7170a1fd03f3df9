// Rows of the caller's arrays to panels and back.
//
// Included inside the namespace of the instruction set.

#if ELMAN_LANES == 16
#define ELMAN_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ELMAN_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif ELMAN_LANES == 8
#define ELMAN_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define ELMAN_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#else
#define ELMAN_LOW 0, 4, 1, 5
#define ELMAN_HIGH 2, 6, 3, 7
#endif

// L rows of L numbers become its columns: to[i][j] = from[j][i]; a step is the floats from one row to the next. Rows of
// the upper and the lower half are shuffled like cards until each is a column.
static void transpose(const float* from, ptrdiff_t from_step, float* to, ptrdiff_t to_step) {
    V row[L], next[L];
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) __builtin_memcpy(&row[i], from + i * from_step, sizeof(V));
#pragma GCC unroll 4
    for (int turn = 1; turn < L; turn *= 2) {
#pragma GCC unroll 8
        for (int i = 0; i < L / 2; i++) {
            next[2 * i] = __builtin_shufflevector(row[i], row[i + L / 2], ELMAN_LOW);
            next[2 * i + 1] = __builtin_shufflevector(row[i], row[i + L / 2], ELMAN_HIGH);
        }
#pragma GCC unroll 16
        for (int i = 0; i < L; i++) row[i] = next[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) __builtin_memcpy(to + i * to_step, &row[i], sizeof(V));
}

#undef ELMAN_LOW
#undef ELMAN_HIGH

// `rows` rows of `from` (row_size floats each, starting at column `start`), named by `outside`, to panels.
static void gather(const float* from, int row_size, int start, int width, const int32_t* outside, int rows, float* to,
                   ptrdiff_t stride) {
    for (int u = 0; u < blocks(width); u++) {
        const int count = least(L, width - u * L);
        for (int r = 0; r < rows; r++) {
            const float* source = from + ptrdiff_t(outside[r]) * row_size + start + u * L;
            float* target = to + (u * stride + r) * L;
            if (count == L) {
                __builtin_memcpy(target, source, sizeof(V));
            } else {
                for (int i = 0; i < L; i++) target[i] = i < count ? source[i] : 0.0f;
            }
        }
    }
}

// Zeroes what the caller's array has of this thread's elements past their ends; all that it has of them where `all`.
static void clear(const Call& call, const Share& share, float* to, int row_size, bool all) {
    for (int i = 0, length = share.steps; i < share.elements; i++) {  // longest first
        while (length && share.live[length - 1] <= i) length--;
        for (int t = all ? 0 : length; t < call.time; t++)
            __builtin_memset(to + (ptrdiff_t(t) * call.batch + share.element[i]) * row_size, 0, sizeof(float) * row_size);
    }
}

static void scatter(const float* from, ptrdiff_t stride, int rows, const int32_t* outside, float* to, int row_size,
                    int start, int width, bool add) {
    for (int u = 0; u < blocks(width); u++) {
        const int count = least(L, width - u * L);
        for (int r = 0; r < rows; r++) {
            const float* source = from + (u * stride + r) * L;
            float* target = to + ptrdiff_t(outside[r]) * row_size + start + u * L;
            if (add) {
                for (int i = 0; i < count; i++) target[i] += source[i];
            } else if (count == L) {
                __builtin_memcpy(target, source, sizeof(V));
            } else {
                for (int i = 0; i < count; i++) target[i] = source[i];
            }
        }
    }
}
