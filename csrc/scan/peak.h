// The most that the registers can do: products and sums that wait for nothing but each other, 12 chains of them.
//
// Included inside the namespace of the instruction set. Nothing of the engine uses it; benchmarks put what the engine
// does beside it.

constexpr int CHAINS = 12;  // more than the instruction takes cycles times the units that execute it

// 2 CHAINS L operations a turn.
static void peak(ptrdiff_t turns) {
    V chain[CHAINS];
    for (int i = 0; i < CHAINS; i++) chain[i] = all(float(i));
    V factor = all(0.999f), term = all(0.001f);
    asm volatile("" : "+m"(factor), "+m"(term));
    const V by = factor, plus = term;
    for (ptrdiff_t turn = 0; turn < turns; turn++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) chain[i] = chain[i] * by + plus;
    V sum{};
    for (int i = 0; i < CHAINS; i++) sum += chain[i];
    asm volatile("" : "+m"(sum));
}
