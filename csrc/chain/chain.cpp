// One call over many chains: the scores as the kernels want them, storage, threads, and what float32 cannot do given
// to the exact sums. Compiled once for every machine.
#include "chain.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <limits>
#include <memory>
#include <numeric>

#include "../machine/instructions.h"
#include "../machine/storage.h"
#include "../machine/threads.h"
#include "call.h"
#include "exact.h"

namespace elman {
namespace chain {

ELMAN_DECLARED(Kernels, kernels)

namespace {

constexpr double NEVER = -std::numeric_limits<double>::infinity();
constexpr double FAR = 23;  // ln of how much likelier one way into a state may be than another: SMALL stays small

const std::vector<const Kernels*>& versions() {
    static const std::vector<const Kernels*> known = usable<Kernels>({ELMAN_LISTED(kernels)});
    return known;
}

// The largest of some scores, 0 where all are impossible.
double highest(const double* scores, std::ptrdiff_t count) {
    const double most = *std::max_element(scores, scores + count);
    return most == NEVER ? 0 : most;
}

// Whether the ways into some state, or out of one, differ by more than FAR; the latter counts for what is read from
// its end. A NaN, where all are -inf, does.
bool far_apart(const ChainScores& scores) {
    const std::ptrdiff_t states = scores.states;
    for (std::ptrdiff_t j = 0; j < states; j++)
        for (const auto& [at, step] : {std::pair(j, states), std::pair(j * states, std::ptrdiff_t(1))}) {
            double low = scores.transitions[at], high = low;
            for (std::ptrdiff_t i = 1; i < states; i++) {
                low = std::min(low, scores.transitions[at + i * step]);
                high = std::max(high, scores.transitions[at + i * step]);
            }
            if (!(high - low < FAR)) return true;
        }
    return false;
}

// The model in the kernels' layout; `offset` is what all its parts were taken relative to: once, and at each step.
class Prepared {
  public:
    Prepared(const ChainScores& scores, const Kernels& kernels, bool log)
        : width((scores.states + kernels.lanes - 1) / kernels.lanes * kernels.lanes),
          storage((2 * width + 2) * width + 16) {
        const int states = scores.states;
        const double high = highest(scores.transitions, std::ptrdiff_t(states) * states);
        const double first = highest(scores.start, states), last = highest(scores.end, states);
        float* const at = storage.at;
        std::fill(at, at + (2 * width + 2) * width, log ? float(NEVER) : 0.0f);
        float *forward = at, *backward = at + width * width, *start = backward + width * width, *end = start + width;
        auto put = [&](double score, double top) { return float(log ? score - top : std::exp(score - top)); };
        for (int i = 0; i < states; i++) {
            for (int j = 0; j < states; j++)
                forward[i * width + j] = backward[j * width + i] =
                    put(scores.transitions[std::ptrdiff_t(i) * states + j], high);
            start[i] = put(scores.start[i], first);
            end[i] = put(scores.end[i], last);
        }
        const bool watched = !log && far_apart(scores);
        model = {states, width, forward, backward, start, end, watched};
        reversed = {states, width, backward, forward, end, start, watched};
        each_step = high;
        once = first + last;
    }
    const std::ptrdiff_t width;
    double once, each_step;
    Model model, reversed;  // reversed: of a chain that is read from its end

  private:
    Buffer storage;
};

// The chains of each thread: longest first, dealt out in turn, so that each has about the same work.
std::vector<std::vector<int>> deal(const ChainScores& scores) {
    const int threads = std::max(1, std::min(scores.threads, scores.chains));
    std::vector<int> order(scores.chains);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return scores.lengths[a] > scores.lengths[b]; });
    std::vector<std::vector<int>> dealt(threads);
    for (std::size_t i = 0; i < order.size(); i++) dealt[i % threads].push_back(order[i]);
    return dealt;
}

std::ptrdiff_t longest(const ChainScores& scores) {
    return scores.chains ? *std::max_element(scores.lengths, scores.lengths + scores.chains) : 0;
}

Rows rows_at(const ChainScores& scores, std::ptrdiff_t row, std::ptrdiff_t step, std::ptrdiff_t width) {
    const std::ptrdiff_t at = row * scores.states;
    const void* from = scores.wide ? static_cast<const void*>(static_cast<const double*>(scores.rows) + at)
                                   : static_cast<const void*>(static_cast<const float*>(scores.rows) + at);
    return {from, scores.wide, scores.states, step * scores.states, width};
}

// The rows that an index chooses from, prepared for all chains at once.
class Table {
  public:
    Table(const ChainScores& scores, const Kernels& kernels, std::ptrdiff_t width, bool log)
        : largest(scores.index ? scores.row_count : 0) {
        if (!scores.index) return;
        storage = std::make_unique<Buffer>(std::max<std::ptrdiff_t>(scores.row_count, 1) * width);
        sound = kernels.prepare(rows_at(scores, 0, 1, width), scores.row_count, log, storage->at, largest.data());
    }
    bool sound = true;
    std::vector<double> largest;
    std::unique_ptr<Buffer> storage;
};

// Runs `work(thread)` on some threads; what one of them throws is thrown here when all are done.
template <class Work>
void on_threads(int count, const Work& work) {
    std::vector<std::exception_ptr> thrown(count);
    in_parallel(count, [&](int thread, Barrier&) {
        try {
            work(thread);
        } catch (...) {
            thrown[thread] = std::current_exception();
        }
    });
    for (const std::exception_ptr& one : thrown)
        if (one) std::rethrow_exception(one);
}

// A chain, or a part of one, read from its first place: with a step below zero from its end.
struct Piece {
    std::ptrdiff_t first, step, time;
};

Piece whole(const ChainScores& scores, int n) { return {scores.first[n], scores.step, scores.lengths[n]}; }

// The two halves of a chain, the second from its end.
std::vector<Piece> halves(const ChainScores& scores, int n) {
    const std::ptrdiff_t time = scores.lengths[n], middle = time / 2;
    return {{scores.first[n], scores.step, middle},
            {scores.first[n] + (time - 1) * scores.step, -scores.step, time - middle}};
}

constexpr std::ptrdiff_t WORTH_HALVING = 1024;

bool in_halves(const ChainScores& scores) {
    return scores.chains == 1 && scores.threads > 1 && scores.lengths[0] >= WORTH_HALVING && !scores.exact;
}

// What one thread needs for one chain after the other; rows (kept_rows, W) of emissions, alpha likewise.
class Worker {
  public:
    Worker(const ChainScores& scores, const Kernels& kernels, const Prepared& prepared, const Table& table, bool log,
           std::ptrdiff_t kept_rows, std::ptrdiff_t alpha_rows)
        : scores(scores), kernels(kernels), prepared(prepared), table(table), log(log), width(prepared.width),
          largest(kept_rows), emissions((scores.index ? 1 : kept_rows) * width + 16),
          alpha((alpha_rows + 2) * width + 16), lost(2 * width + 16) {}

    // Prepares rows from .. to of a piece, to stand from row `place` on; false where one holds no scores. Adds up what
    // they are relative to.
    bool prepare(const Piece& piece, std::ptrdiff_t from, std::ptrdiff_t to, std::ptrdiff_t place, double& offset) {
        const std::ptrdiff_t first = piece.first + from * piece.step;
        if (scores.index) {
            for (std::ptrdiff_t t = 0; t < to - from; t++) offset += table.largest[scores.index[first + t * piece.step]];
            return table.sound;
        }
        const Rows rows = rows_at(scores, first, piece.step, width);
        const bool sound = kernels.prepare(rows, to - from, log, emissions.at + place * width, largest.data());
        for (std::ptrdiff_t t = 0; t < to - from; t++) offset += largest[t];
        return sound;
    }
    Chain chain(const Piece& piece, std::ptrdiff_t place) const {
        if (scores.index) return {table.storage->at, scores.index + piece.first, piece.step, piece.time, lost.at};
        return {emissions.at + place * width, nullptr, piece.step, piece.time, lost.at};
    }
    const Model& model(const Piece& piece) const {
        return piece.step < 0 ? prepared.reversed : prepared.model;
    }
    // The last rows of alpha and of the bound on what was lost, after a pass that kept rows or not.
    const float* last(const Piece& piece, bool keep) const {
        return alpha.at + (keep ? piece.time - 1 : (piece.time - 1) % BLOCK + 1) * width;
    }
    const float* dropped(const Piece& piece) const { return lost.at + piece.time % 2 * width; }

    const ChainScores& scores;
    const Kernels& kernels;
    const Prepared& prepared;
    const Table& table;
    const bool log;
    const std::ptrdiff_t width;
    std::vector<double> largest;
    Buffer emissions, alpha, lost;
};

// The forward pass over a piece, block by block; all rows are kept where `keep`.
ChainState forward(Worker& worker, const Piece& piece, bool keep, Sum& sum) {
    const std::ptrdiff_t width = worker.width;
    double offset = 0;
    sum = {0, false};
    for (std::ptrdiff_t from = 0; from < piece.time && !sum.lost; from += BLOCK) {
        const std::ptrdiff_t to = std::min(from + BLOCK, piece.time), place = keep ? from : 0;
        if (!worker.prepare(piece, from, to, place, offset)) return ChainState::NOT_A_SCORE;
        // Without keeping, a block's rows stand after row 0, which holds the last of the block before.
        float* alpha = worker.alpha.at;
        if (!keep && from > 0) std::copy(alpha + BLOCK * width, alpha + (BLOCK + 1) * width, alpha);
        worker.kernels.forward(worker.model(piece), worker.chain(piece, place), from, to, alpha, keep ? 0 : from - 1,
                               sum);
    }
    sum.log += offset;
    return ChainState::SOUND;
}

// Adds to `sum` the paths that end in `last` with a weight for each state; `dropped` bounds what was lost of it.
void finish(const double* weights, const double* lost_weights, const float* last, const float* dropped,
            const Prepared& prepared, double once, Sum& sum) {
    double total = 0, gone = 0;
    for (int s = 0; s < prepared.model.states; s++) {
        total += double(last[s]) * weights[s];
        if (prepared.model.watched)
            gone += double(dropped[s]) * weights[s] + double(last[s]) * lost_weights[s] +
                    double(dropped[s]) * double(SMALL) * lost_weights[s];
    }
    sum.lost |= !(total > double(LEAST)) || !(gone * double(SMALL) <= total * double(SHARE));
    sum.log += std::log(total) + once;
}

// A whole chain's sum is complete with the scores of its last state.
ChainState sum_whole(Worker& worker, const Piece& piece, bool keep, Sum& sum) {
    const ChainState state = forward(worker, piece, keep, sum);
    if (state != ChainState::SOUND || sum.lost) return state;
    const Prepared& prepared = worker.prepared;
    const std::vector<double> end(prepared.model.end, prepared.model.end + prepared.model.states), nothing(end.size());
    finish(end.data(), nothing.data(), worker.last(piece, keep), worker.dropped(piece), prepared,
           prepared.once + double(piece.time - 1) * prepared.each_step, sum);
    return state;
}

// Both halves of the only chain at once: they meet in a step of the middle.
ChainState sum_halves(const std::vector<std::unique_ptr<Worker>>& workers, const ChainScores& scores, Sum& sum) {
    const std::vector<Piece> piece = halves(scores, 0);
    const Prepared& prepared = workers[0]->prepared;
    ChainState states[2];
    Sum sums[2];
    on_threads(2, [&](int side) { states[side] = forward(*workers[side], piece[side], false, sums[side]); });
    sum = {sums[0].log + sums[1].log, sums[0].lost || sums[1].lost};
    const ChainState state = std::max(states[0], states[1]);
    if (state != ChainState::SOUND || sum.lost) return state;
    const int count = scores.states;
    const float *ahead = workers[1]->last(piece[1], false), *dropped = workers[1]->dropped(piece[1]);
    std::vector<double> weights(count), lost(count);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            const double step = double(prepared.model.forward[i * prepared.width + j]);
            weights[i] += step * double(ahead[j]);
            if (prepared.model.watched) lost[i] += step * double(dropped[j]);
        }
    finish(weights.data(), lost.data(), workers[0]->last(piece[0], false), workers[0]->dropped(piece[0]), prepared,
           prepared.once + double(scores.lengths[0] - 1) * prepared.each_step, sum);
    return state;
}

// -- best paths -----------------------------------------------------------------------------------------------------

// The best scores into each state at a piece's end: worker.lost's first row, and where they came from in its alpha.
ChainState best_scores(Worker& worker, const Piece& piece) {
    double offset = 0;
    if (!worker.prepare(piece, 0, piece.time, 0, offset)) return ChainState::NOT_A_SCORE;
    const bool possible =
        worker.kernels.viterbi(worker.model(piece), worker.chain(piece, 0), worker.lost.at, worker.alpha.at);
    return possible ? ChainState::SOUND : ChainState::IMPOSSIBLE;
}

// Writes the best path that ends a piece in a state.
void trace(const Worker& worker, const Piece& piece, std::ptrdiff_t state, std::int64_t* paths) {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(worker.alpha.at);
    const auto* words = reinterpret_cast<const std::uint16_t*>(worker.alpha.at);
    const bool small = worker.scores.states <= 256;
    for (std::ptrdiff_t t = piece.time - 1; t >= 0; t--) {
        paths[piece.first + t * piece.step] = state;
        if (t) state = small ? bytes[t * worker.width + state] : words[t * worker.width + state];
    }
}

ChainState best_whole(Worker& worker, int n, std::int64_t* paths) {
    const Piece piece = whole(worker.scores, n);
    const ChainState state = best_scores(worker, piece);
    if (state != ChainState::SOUND) return state;
    const float *row = worker.lost.at, *end = worker.prepared.model.end;
    int last = 0;
    for (int s = 1; s < worker.scores.states; s++)
        if (row[s] + end[s] > row[last] + end[last]) last = s;
    if (!(row[last] + end[last] > float(NEVER))) return ChainState::IMPOSSIBLE;
    trace(worker, piece, last, paths);
    return state;
}

ChainState best_of_halves(const std::vector<std::unique_ptr<Worker>>& workers, const ChainScores& scores,
                          std::int64_t* paths) {
    const std::vector<Piece> piece = halves(scores, 0);
    const Model& model = workers[0]->prepared.model;
    ChainState states[2];
    on_threads(2, [&](int side) { states[side] = best_scores(*workers[side], piece[side]); });
    const ChainState state = std::max(states[0], states[1]);
    if (state != ChainState::SOUND) return state;
    const float *before = workers[0]->lost.at, *after = workers[1]->lost.at;
    float most = float(NEVER);
    int left = 0, right = 0;
    for (int i = 0; i < scores.states; i++)
        for (int j = 0; j < scores.states; j++) {
            const float score = before[i] + model.forward[i * model.width + j] + after[j];
            if (score > most) most = score, left = i, right = j;
        }
    if (!(most > float(NEVER))) return ChainState::IMPOSSIBLE;
    on_threads(2, [&](int side) { trace(*workers[side], piece[side], side ? right : left, paths); });
    return state;
}

// The sums of one thread's chains: in float32 as the kernels leave them, and in float64.
struct Parts {
    Parts(const ChainScores& scores, std::ptrdiff_t width)
        : rows(scores.index ? scores.row_count * width : 0), floats((width + 2 + BLOCK + 3) * width + rows + 16),
          pairs(std::size_t(scores.states) * scores.states), first(scores.states), last(scores.states),
          sums(scores.index ? scores.row_count * scores.states : 0) {
        std::fill(floats.at, floats.at + (width + 2) * width + rows, 0.0f);
    }
    std::ptrdiff_t rows;
    Buffer floats;
    std::vector<double> pairs, first, last, sums;
};

Gradient gradient_of(const ChainScores& scores, const ChainGradient& asked, Parts& parts, std::ptrdiff_t width, int n) {
    float* const at = parts.floats.at;
    float* const sums = at + (width + 2) * width;
    void* gamma = nullptr;
    const std::ptrdiff_t place = scores.first[n] * scores.states;
    if (asked.rows && !scores.index)
        gamma = scores.wide ? static_cast<void*>(static_cast<double*>(asked.rows) + place)
                            : static_cast<void*>(static_cast<float*>(asked.rows) + place);
    return {gamma, scores.wide, scores.step * scores.states, scores.index ? sums : nullptr, float(asked.weights[n]), at,
            at + width * width, at + (width + 1) * width, sums + parts.rows};
}

// Adds what the kernels summed in float32 to the sums in float64, and clears it.
void drain(const ChainScores& scores, const Prepared& prepared, Parts& parts) {
    const std::ptrdiff_t width = prepared.width;
    const int states = scores.states;
    float* const at = parts.floats.at;
    for (int i = 0; i < states; i++) {
        for (int j = 0; j < states; j++)
            parts.pairs[std::size_t(i) * states + j] +=
                double(at[i * width + j]) * double(prepared.model.forward[i * width + j]);
        parts.first[i] += double(at[width * width + i]);
        parts.last[i] += double(at[(width + 1) * width + i]);
    }
    const float* sums = at + (width + 2) * width;
    for (std::ptrdiff_t r = 0; r < std::ptrdiff_t(parts.sums.size()) / states; r++)
        for (int s = 0; s < states; s++) parts.sums[r * states + s] += double(sums[r * width + s]);
    std::fill(at, at + (width + 2) * width + parts.rows, 0.0f);
}

// Takes the gradient of a path's score, times the chain's weight, from the sums.
void take_path(const ChainScores& scores, const ChainGradient& asked, const std::int64_t* paths, int n, Parts& parts) {
    const double weight = asked.weights[n];
    const std::ptrdiff_t states = scores.states, time = scores.lengths[n];
    std::ptrdiff_t before = 0;
    for (std::ptrdiff_t t = 0; t < time; t++) {
        const std::ptrdiff_t place = scores.first[n] + t * scores.step, state = std::ptrdiff_t(paths[place]);
        if (scores.wide)
            static_cast<double*>(asked.rows)[place * states + state] -= weight;
        else
            static_cast<float*>(asked.rows)[place * states + state] -= float(weight);
        (t ? parts.pairs[before * states + state] : parts.first[state]) -= weight;
        before = state;
    }
    if (time) parts.last[before] -= weight;
}

void add(const std::vector<double>& from, double* to) {
    for (std::size_t i = 0; i < from.size(); i++) to[i] += from[i];
}

}  // namespace
}  // namespace chain

using namespace chain;

void chain_sums(const ChainScores& scores, double* log_partition, std::int32_t* states, const ChainGradient* gradient,
                const std::int64_t* paths) {
    const Kernels& kernels = choose(versions(), scores.kernels);
    const Prepared prepared(scores, kernels, false);
    const Table table(scores, kernels, prepared.width, false);
    Exact exact(scores);
    const std::vector<std::vector<int>> dealt = deal(scores);
    const int threads = int(dealt.size());
    const bool split = !gradient && in_halves(scores);
    const std::ptrdiff_t time = longest(scores), kept = gradient ? time : BLOCK;
    std::vector<std::unique_ptr<Parts>> parts(threads);
    std::vector<std::unique_ptr<Worker>> workers(split ? 2 : threads);
    for (auto& own : parts) own = gradient ? std::make_unique<Parts>(scores, prepared.width) : nullptr;
    for (auto& worker : workers)
        worker = std::make_unique<Worker>(scores, kernels, prepared, table, false, kept, kept);
    on_threads(threads, [&](int thread) {
        Worker& worker = *workers[thread];
        std::ptrdiff_t steps = 0;
        for (const int n : dealt[thread]) {
            ChainState state = ChainState::SOUND;
            log_partition[n] = 0;
            Sum sum{0, true};
            const Piece piece = whole(scores, n);
            if (piece.time && !scores.exact)
                state = split ? sum_halves(workers, scores, sum) : sum_whole(worker, piece, gradient != nullptr, sum);
            if (state == ChainState::SOUND && sum.lost) {
                Exact::Parts to{};
                if (gradient) {
                    Parts& own = *parts[thread];
                    to = {own.pairs.data(), own.first.data(), own.last.data(), own.sums.data()};
                }
                state = exact.sum(n, log_partition[n], gradient, to);
            } else if (state == ChainState::SOUND) {
                log_partition[n] = sum.log;
                if (gradient) {
                    Parts& own = *parts[thread];
                    kernels.backward(prepared.model, worker.chain(piece, 0), worker.alpha.at,
                                     gradient_of(scores, *gradient, own, worker.width, n));
                    steps += scores.lengths[n];
                    if (steps > 1 << 14) drain(scores, prepared, own), steps = 0;
                }
            }
            states[n] = std::int32_t(state);
            if (!paths) continue;
            const double taken = exact.along(n, paths);
            log_partition[n] = taken > NEVER ? log_partition[n] - taken : -NEVER;
            if (gradient && state == ChainState::SOUND) take_path(scores, *gradient, paths, n, *parts[thread]);
        }
        if (gradient) drain(scores, prepared, *parts[thread]);
    });
    if (!gradient) return;
    for (const auto& own : parts) {
        add(own->pairs, gradient->transitions);
        add(own->first, gradient->start);
        add(own->last, gradient->end);
        if (scores.index && gradient->rows) {
            if (scores.wide)
                add(own->sums, static_cast<double*>(gradient->rows));
            else
                for (std::size_t i = 0; i < own->sums.size(); i++)
                    static_cast<float*>(gradient->rows)[i] += float(own->sums[i]);
        }
    }
}

void chain_viterbi(const ChainScores& scores, double* best, std::int32_t* states, std::int64_t* paths) {
    const Kernels& kernels = choose(versions(), scores.kernels);
    const Prepared prepared(scores, kernels, true);
    const Table table(scores, kernels, prepared.width, true);
    Exact exact(scores);
    const bool split = in_halves(scores);
    const std::vector<std::vector<int>> dealt = deal(scores);
    const std::ptrdiff_t time = longest(scores);
    std::vector<std::unique_ptr<Worker>> workers(split ? 2 : dealt.size());
    if (!scores.exact)
        for (auto& worker : workers)
            worker = std::make_unique<Worker>(scores, kernels, prepared, table, true, time, time / 2);
    on_threads(int(dealt.size()), [&](int thread) {
        for (const int n : dealt[thread]) {
            ChainState state = ChainState::SOUND;
            best[n] = 0;
            if (scores.exact) {
                state = exact.best(n, best[n], paths);
            } else if (scores.lengths[n]) {
                state = split ? best_of_halves(workers, scores, paths) : best_whole(*workers[thread], n, paths);
                if (state == ChainState::SOUND) best[n] = exact.along(n, paths);
            }
            if (state == ChainState::IMPOSSIBLE) best[n] = NEVER;
            states[n] = std::int32_t(state);
        }
    });
}

std::vector<std::string> chain_kernels() {
    return names_of(versions());
}

}  // namespace elman
