// The likeliest symbols of rows of logits, for a beam search.
#pragma once

#include <cstdint>
#include <string>

namespace elman {

// logits (rows, count), row-major. For each row the log probabilities and places of its `keep` likeliest symbols, in
// order, of equal ones the first first; a stop symbol among them is -inf. Then those of all `stop_count` stop symbols.
// values and places (rows, keep + stop_count).
struct Likeliest {
    const float* logits;
    std::int64_t rows;
    int count, keep;
    const std::int64_t* stop;
    int stop_count;
    double* values;
    std::int64_t* places;
};

void likeliest(const Likeliest& asked, int threads, const std::string& kernels);

}  // namespace elman
