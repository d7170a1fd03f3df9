#include "path_loss.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "chain.h"

namespace elman {
namespace {

constexpr double NEVER = -std::numeric_limits<double>::infinity();

// Scores of a table in float64, -inf where not legal.
std::vector<double> table(const void* scores, bool wide, const bool* legal, std::ptrdiff_t count) {
    std::vector<double> found(count);
    for (std::ptrdiff_t i = 0; i < count; i++) {
        found[i] = wide ? static_cast<const double*>(scores)[i] : double(static_cast<const float*>(scores)[i]);
        if (legal && !legal[i]) found[i] = NEVER;
    }
    return found;
}

bool are_scores(const std::vector<double>& scores) {
    return std::all_of(scores.begin(), scores.end(), [](double score) { return score < -NEVER; });
}

// Whether all paths keep to the states there are and to what is legal.
bool may_be_taken(const PathLoss& given, const std::int64_t* lengths) {
    const std::int64_t states = given.states;
    bool sound = true;
    for (std::ptrdiff_t t = 0; t < given.time; t++)
        for (int n = 0; n < given.batch; n++)
            sound &= t >= lengths[n] || std::uint64_t(given.paths[t * given.batch + n]) < std::uint64_t(states);
    if (!sound || !given.legal_steps) return sound;
    for (int n = 0; n < given.batch; n++) {
        std::int64_t before = 0;
        for (std::ptrdiff_t t = 0; t < lengths[n]; t++) {
            const std::int64_t state = given.paths[t * given.batch + n];
            sound &= t ? given.legal_steps[before * states + state] : given.legal_start[state];
            before = state;
        }
        if (lengths[n]) sound &= given.legal_end[before];
    }
    return sound;
}

template <class Number>
void put(const std::vector<double>& from, void* to) {
    std::copy(from.begin(), from.end(), static_cast<Number*>(to));
}

void put(const std::vector<double>& from, bool wide, void* to) {
    wide ? put<double>(from, to) : put<float>(from, to);
}

// Zero for what the chains leave as it is.
template <class Number>
void clear_unused(const PathLoss& given, const std::int64_t* lengths, const std::vector<std::int32_t>& states,
                  void* gradient) {
    for (int n = 0; n < given.batch; n++) {
        const bool used = states[n] == std::int32_t(ChainState::SOUND);
        for (std::ptrdiff_t t = used ? lengths[n] : 0; t < given.time; t++) {
            Number* row = static_cast<Number*>(gradient) + (t * given.batch + n) * given.states;
            std::fill(row, row + given.states, Number(0));
        }
    }
}

}  // namespace

bool path_loss(const PathLoss& given, const double* weights, double weight, bool total, void* losses,
               const PathLossGradient* gradient) {
    const std::ptrdiff_t size = given.states;
    std::vector<std::int64_t> whole, first(given.batch);
    std::iota(first.begin(), first.end(), 0);
    if (!given.lengths) whole.assign(given.batch, given.time);
    const std::int64_t* lengths = given.lengths ? given.lengths : whole.data();
    const std::vector<double> transitions =
        table(given.transitions, given.wide_tables, given.legal_steps, size * size);
    const std::vector<double> start = table(given.start, given.wide_tables, given.legal_start, size);
    const std::vector<double> end = table(given.end, given.wide_tables, given.legal_end, size);
    if (!are_scores(transitions) || !are_scores(start) || !are_scores(end)) return false;
    if (given.paths && !may_be_taken(given, lengths)) return false;

    const ChainScores chains{given.states, given.batch, given.threads, given.scores, given.wide,
                             given.time * given.batch, nullptr, first.data(), lengths, std::max(given.batch, 1),
                             transitions.data(), start.data(), end.data(), given.wide, given.kernels};
    std::vector<double> found(given.batch), shares, pairs, firsts, lasts;
    std::vector<std::int32_t> states(given.batch);
    if (!weights) {
        shares.assign(given.batch, weight);
        weights = shares.data();
    }
    if (gradient) {
        pairs.resize(transitions.size());
        firsts.resize(start.size());
        lasts.resize(end.size());
    }
    const ChainGradient parts{weights, gradient ? gradient->scores : nullptr, pairs.data(), firsts.data(),
                              lasts.data()};
    chain_sums(chains, found.data(), states.data(), gradient ? &parts : nullptr, given.paths);
    for (const std::int32_t state : states)
        if (state == std::int32_t(ChainState::NOT_A_SCORE)) return false;
    if (gradient) {
        if (given.wide)
            clear_unused<double>(given, lengths, states, gradient->scores);
        else
            clear_unused<float>(given, lengths, states, gradient->scores);
        put(pairs, given.wide_tables, gradient->transitions);
        put(firsts, given.wide_tables, gradient->start);
        put(lasts, given.wide_tables, gradient->end);
    }
    if (total) found = {std::inner_product(found.begin(), found.end(), weights, 0.0)};
    put(found, given.wide, losses);
    return true;
}

}  // namespace elman
