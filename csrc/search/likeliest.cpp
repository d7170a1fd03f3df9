#include "likeliest.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "decoder.h"
#include "kernels.h"
#include "machine/threads.h"

namespace elman {

void likeliest(const Likeliest& asked, int threads, const std::string& name) {
    const SearchKernels& kernels = search_version(name);
    const std::int64_t* const stops_end = asked.stop + asked.stop_count;
    const auto work = [&](int thread, int count) {
        std::vector<float> value(std::size_t(asked.keep));
        std::vector<int> place(std::size_t(asked.keep));
        const std::int64_t width = asked.keep + asked.stop_count;
        for (std::int64_t row = asked.rows * thread / count; row < asked.rows * (thread + 1) / count; row++) {
            const float* x = asked.logits + row * asked.count;
            double* values = asked.values + row * width;
            std::int64_t* places = asked.places + row * width;
            const double norm = kernels.largest(x, asked.count, asked.keep, value.data(), place.data());
            for (std::size_t i = 0; i < value.size(); i++) {
                const bool stop = std::find(asked.stop, stops_end, place[i]) != stops_end;
                *values++ = stop ? -std::numeric_limits<double>::infinity() : double(value[i]) - norm;
                *places++ = place[i];
            }
            for (const std::int64_t* stop = asked.stop; stop != stops_end; stop++) {
                *values++ = double(x[*stop]) - norm;
                *places++ = *stop;
            }
        }
    };
    threads = int(std::min<std::int64_t>(threads, asked.rows));
    if (threads < 2) return work(0, 1);
    in_parallel(threads, [&](int thread, Barrier&) { work(thread, threads); });
}

}  // namespace elman
