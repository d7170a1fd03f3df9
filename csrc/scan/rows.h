// Rows of the caller's arrays to panels and back.
//
// Included inside the namespace of the instruction set.

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
