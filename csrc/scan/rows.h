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
