// The beam search over several utterances at once.
#pragma once

#include <vector>

#include "beam.h"

namespace elman {

template <class Real>
struct Utterance {
    const Real* x;
    std::int64_t frames, stride;
};

// The `count` best of each utterance, whole; on at most `threads` threads.
template <class Real>
std::vector<std::vector<Found>> decode(const Decoder& decoder, const std::vector<Utterance<Real>>& utterances, int count,
                                       int threads);

}  // namespace elman
