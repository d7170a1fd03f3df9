#include "batch.h"

#include <algorithm>
#include <atomic>
#include <exception>

#include "machine/threads.h"

namespace elman {

template <class Real>
std::vector<std::vector<Found>> decode(const Decoder& decoder, const std::vector<Utterance<Real>>& utterances, int count,
                                       int threads) {
    std::vector<std::vector<Found>> found(utterances.size());
    std::vector<std::exception_ptr> errors(std::max(threads, 1));
    std::atomic<std::size_t> next{0};
    const auto work = [&](int thread) {
        try {
            Beam<Real> beam(decoder);
            for (std::size_t n; (n = next++) < utterances.size();) {
                beam.reset();
                beam.advance(utterances[n].x, utterances[n].frames, utterances[n].stride);
                found[n] = beam.best(count, true, {});
            }
        } catch (...) {
            errors[thread] = std::current_exception();
        }
    };
    if (const int useful = std::min<int>(threads, static_cast<int>(utterances.size())); useful > 1)
        in_parallel(useful, [&](int thread, Barrier&) { work(thread); });
    else
        work(0);
    for (const std::exception_ptr& error : errors)
        if (error) std::rethrow_exception(error);
    return found;
}

template std::vector<std::vector<Found>> decode(const Decoder&, const std::vector<Utterance<float>>&, int, int);
template std::vector<std::vector<Found>> decode(const Decoder&, const std::vector<Utterance<double>>&, int, int);

}  // namespace elman
