// What a search asks of an n-gram model: ln p(word | the words before it), and the context that follows.
#pragma once

#include <cstdint>

namespace elman {

// The words before, as far as the model looks back: words[0] is the newest. A context that the model has not seen is
// shortened to the longest one that it has, so that equal states have equal futures. Small, copied, compared.
struct NgramState {
    static constexpr std::uint32_t MOST = 7;  // words looked back, at most: orders up to 8
    std::uint32_t size = 0;
    std::uint32_t words[MOST] = {};

    bool operator==(const NgramState& other) const {
        if (size != other.size) return false;
        for (std::uint32_t i = 0; i < size; i++)
            if (words[i] != other.words[i]) return false;
        return true;
    }
};

// Word ids are places in the model's vocabulary; Python translates. Natural logarithms; any thread may ask at any time.
struct NgramModel {
    using State = NgramState;
    virtual ~NgramModel() = default;
    virtual State start() const = 0;  // after <s>
    virtual double score(const State& in, std::uint32_t word, State& out) const = 0;
};

}  // namespace elman
