// The beam's work on a frame: probabilities, candidates, choice. Part of beam.cpp.
#pragma once

#include "beam.h"

namespace elman {

namespace {

double softmax(const SearchKernels& kernels, const float* x, int count, float* y, int padded) {
    return kernels.softmax(x, count, y, padded);
}

double softmax(const SearchKernels&, const double* x, int count, double* y, int) {
    const double top = *std::max_element(x, x + count);
    double sum = 0;
    for (int c = 0; c < count; c++) sum += y[c] = std::exp(x[c] - top);
    for (int c = 0; c < count; c++) y[c] /= sum;
    return top + std::log(sum);
}

int extend_all(const SearchKernels& kernels, const float* y, const float* row, const std::uint32_t* codes, int padded,
               float mass, float least, const std::uint64_t* skip, std::uint32_t base, Key<float>* keys) {
    static_assert(sizeof(Key<float>) == sizeof(std::uint64_t));
    return kernels.extend(y, row, codes, padded, mass, least, skip, base, &keys->bits);
}

int extend_all(const SearchKernels&, const double* y, const double* row, const std::uint32_t* codes, int padded,
               double mass, double least, const std::uint64_t* skip, std::uint32_t base, Key<double>* keys) {
    int found = 0;
    for (int j = 0; j < padded; j++) {
        const double score = row ? mass * y[j] * row[j] : mass * y[j];
        if (score > least && !(skip[j >> 6] >> (j & 63) & 1)) keys[found++] = {score, base + codes[j]};
    }
    return found;
}

template <class Real>
int median_of_three(const Key<Real>* keys, int count) {
    const int middle = count / 2, end = count - 1;
    const bool first = keys[0] > keys[middle], second = keys[middle] > keys[end], third = keys[0] > keys[end];
    return first == second ? middle : first == third ? end : 0;
}

int enter_all(const SearchKernels& kernels, const float* y, int classes, std::uint64_t children, std::uint64_t open,
              const float* factors, float mass, float least, std::uint32_t base, Key<float>* keys) {
    return kernels.enter(y, classes, children, open, factors, mass, least, base, &keys->bits);
}

int enter_all(const SearchKernels&, const double* y, int, std::uint64_t children, std::uint64_t open,
              const double* factors, double mass, double least, std::uint32_t base, Key<double>* keys) {
    int found = 0;
    for (; open; open &= open - 1) {
        const int label = std::countr_zero(open);
        const double score = mass * y[label] * factors[std::popcount(children & ((std::uint64_t(1) << label) - 1))];
        if (score > least) keys[found++] = {score, base + static_cast<std::uint32_t>(label)};
    }
    return found;
}

}  // namespace

template <class Real>
void Beam<Real>::prepare(const Real* x) {
    log_sum = softmax(decoder.kernels, x, classes, y, decoder.row - SEARCH_PADDING);
    if (settings.least > 0 || (settings.kept > 0 && settings.kept < classes - 1)) {
        prune();
    } else {
        std::copy_n(y + 1, opened, open);
    }
    top = classes > 1 ? *std::max_element(y + 1, y + classes) : Real(0);
}

// Symbols below `least` and all but the `kept` likeliest are as impossible in this frame as those of -inf.
template <class Real>
void Beam<Real>::prune() {
    const bool counted = settings.kept > 0 && settings.kept < classes - 1;
    Real bound = 0;  // where all that equal it would be too many, the first come in
    int equals = classes;
    if (counted) {
        sorted.assign(y + 1, y + classes);
        std::nth_element(sorted.begin(), sorted.begin() + settings.kept - 1, sorted.end(), std::greater<Real>());
        bound = sorted[settings.kept - 1];
        equals = settings.kept - static_cast<int>(std::count_if(y + 1, y + classes, [&](Real p) { return p > bound; }));
    }
    std::fill_n(open, opened, Real(0));
    opened = 0;
    for (int c = 1; c < classes; c++) {
        const bool wanted = y[c] > bound || (y[c] == bound && equals-- > 0);
        if (wanted && y[c] >= settings.least) {
            codes[opened] = static_cast<std::uint32_t>(c);
            place[c] = opened;
            open[opened++] = y[c];
        } else {
            place[c] = -1;
            y[c] = 0;
        }
    }
}

template <class Real>
void Beam<Real>::sweep() {
    std::fill_n(skip.begin(), std::size_t(live) * skip_words, 0);
    for (int i = 0; i < live; i++) total[i] = now.blank[i] + now.symbol[i];
    found_keys = 0;
    Real smallest = std::numeric_limits<Real>::max();
    for (int i = 0; i < live; i++) {
        const Node& node = nodes[now.node[i]];
        const Real to_blank = total[i] * y[0];
        Real to_symbol = 0;
        last[i] = above[i] = -1;
        if (node.parent >= 0) {
            const auto label = static_cast<std::int32_t>(node.label);
            last[i] = label;
            to_symbol = now.symbol[i] * y[label];
            const int parent = nodes[node.parent].slot;
            if (parent >= 0) {
                above[i] = parent;
                const bool repeats = nodes[node.parent].parent >= 0 && nodes[node.parent].label == node.label;
                to_symbol += (repeats ? now.blank[parent] : total[parent]) * y[label] * node.factor;
                if (const int bit = lexicon ? label : place[label]; node.word < 0 && bit >= 0)
                    skips(parent)[bit >> 6] |= std::uint64_t(1) << (bit & 63);
            }
        }
        stay_blank[i] = to_blank;
        stay_symbol[i] = to_symbol;
        const Real mass = to_blank + to_symbol;
        keys[found_keys++] = Key<Real>(mass, static_cast<std::uint32_t>(i) << shift);
        smallest = std::min(smallest, mass);
    }
    // Where the beam is full, whoever is not above the least of those that stay cannot come in. The greatest masses go
    // first: what they lead to raises that bound for the many that come after.
    Real least = live == width ? smallest : Real(0);
    const Real greatest = *std::max_element(total.begin(), total.begin() + live);
    if (lexicon && classes > 64) rank_symbols(greatest, least);
    for (const bool first : {true, false}) {
        for (int i = 0; i < live; i++) {
            if ((total[i] >= greatest / 16) != first) continue;
            lexicon ? extend_in_lexicon(i, least) : extend_freely(i, least);
            if (found_keys >= 2 * width) cut(least);
        }
        if (first && found_keys > width) cut(least);
    }
}

// Keeps the best candidates, as many as the beam is wide; `least` becomes the worst of them.
//
// Quickselect without a branch on a key: each is written to both sides of the pivot and counted on one. Those that are
// sure to be kept gather at the front; either side may be written over what is read, which it never overtakes.
template <class Real>
void Beam<Real>::cut(Real& least) {
    int sure = 0, count = found_keys;
    for (Key<Real>* from = keys.data(); sure < width;) {
        const int middle = median_of_three(from, count);
        const Key<Real> pivot = from[middle];
        from[middle] = from[--count];
        Key<Real>*const above = keys.data() + sure, *const below = spare.data();
        int greater = 0, rest = 0;
        for (int k = 0; k < count; k++) {
            const Key<Real> key = from[k];
            const bool is_greater = key > pivot;
            above[greater] = key;
            below[rest] = key;
            greater += is_greater;
            rest += !is_greater;
        }
        if (sure + greater > width) {
            from = above;
            count = greater;
        } else {
            sure += greater;
            if (sure < width) keys[sure++] = pivot;
            from = spare.data();
            count = rest;
        }
    }
    found_keys = width;
    Key<Real> worst = keys[0];
    for (int k = 1; k < width; k++) worst = worst > keys[k] ? keys[k] : worst;
    least = std::max(least, worst.mass());
}

// The symbols that can bring any prefix above `least`, the likeliest first.
template <class Real>
void Beam<Real>::rank_symbols(Real greatest, Real least) {
    ranked.clear();
    for (int c = 1; c < classes; c++)
        if (greatest * y[c] > least) ranked.push_back(c);
    std::sort(ranked.begin(), ranked.end(), [&](int a, int b) { return y[a] > y[b]; });
}

template <class Real>
void Beam<Real>::extend_freely(int i, Real least) {
    const Node& node = nodes[now.node[i]];
    const Real* row = row_of(node);
    if (!row && total[i] * top <= least) return;
    extend_by_row(i, least, row);
}

// All symbols at once, each with its factor in `row`; null: they have none.
template <class Real>
void Beam<Real>::extend_by_row(int i, Real least, const Real* row) {
    const std::uint32_t base = static_cast<std::uint32_t>(i) << shift;
    if (last[i] >= 0 && place[last[i]] >= 0) {  // twice the same symbol: a blank must stand between
        const auto at = static_cast<std::uint32_t>(place[last[i]]);
        const Real mass = now.blank[i] * y[last[i]] * (row ? row[last[i]] : Real(1));
        if (mass > least && !skipped(i, at)) keys[found_keys++] = Key<Real>(mass, base + last[i]);
        skips(i)[at >> 6] |= std::uint64_t(1) << (at & 63);
    }
    if (row && opened == classes - 1) {
        row++;
    } else if (row) {  // side by side as in `open`
        for (int j = 0; j < opened; j++) picked[j] = row[codes[j]];
        row = picked.data();
    }
    const int padded = (opened + SEARCH_PADDING - 1) / SEARCH_PADDING * SEARCH_PADDING;
    found_keys += extend_all(decoder.kernels, open, row, codes.data(), padded, total[i], least, skips(i), base,
                             keys.data() + found_keys);
}

template <class Real>
void Beam<Real>::extend_in_lexicon(int i, Real least) {
    const int id = now.node[i];
    const Node& node = nodes[id];
    const Real* row = row_of(node);
    if (!row && total[i] * top * node.greatest <= least) return;
    const LexiconNode& spot = lexicon->nodes[node.lex];
    const std::uint32_t base = static_cast<std::uint32_t>(i) << shift;
    const auto own = static_cast<std::uint32_t>(last[i]);
    const auto mass_of = [&](std::uint32_t label) {
        const Real mass = (label == own ? now.blank[i] : total[i]) * y[label];
        return row ? mass * row[label] : mass;
    };
    const auto enter = [&](std::uint32_t label, std::uint32_t child) {
        const Real mass = mass_of(label) * factors.enter[child];
        if (mass > least && !skipped(i, label))
            keys[found_keys++] = Key<Real>(mass, base + label);
    };
    if (!row && classes <= 64) {
        std::uint64_t others = spot.below_64 & ~skips(i)[0];
        if (last[i] >= 0 && others >> own & 1) {  // twice the same symbol
            if (now.blank[i] * y[own] > least) enter(own, lexicon->child(spot, own));
            others &= ~(std::uint64_t(1) << own);
        }
        found_keys += enter_all(decoder.kernels, y, classes, spot.below_64, others,
                                factors.enter.data() + spot.children, total[i], least, base, keys.data() + found_keys);
    } else if (row || ranked.size() > spot.child_count) {
        for (std::uint32_t child = spot.children; child < spot.children + spot.child_count; child++)
            enter(lexicon->labels[child], child);
    } else {
        for (const int rank : ranked) {
            const auto label = static_cast<std::uint32_t>(rank);
            if (total[i] * y[label] <= least) break;  // entering a node is no gain: look-ahead only falls
            if (const std::uint32_t child = lexicon->child(spot, label)) enter(label, child);
        }
    }
    for (std::uint32_t e = 0; e < spot.edge_count; e++) {
        const WordEdge& edge = lexicon->edges[spot.edges + e];
        const Real mass = mass_of(edge.label) * edge_factors[node.scores + e];
        if (mass > least) {
            const int child = find_child(id, edge.label, static_cast<int>(edge.word));
            if (child < 0 || nodes[child].slot < 0) keys[found_keys++] = Key<Real>(mass, base + classes + e);
        }
    }
}

// Calls term(code, part, logarithm) for each summand of each candidate: part 0 ends in blank, 1 in its last symbol.
template <class Real>
template <class Term>
void Beam<Real>::each_term(const Real* x, const Term& term) {
    const auto seen = [&](std::uint32_t label) { return place[label] >= 0; };
    for (int i = 0; i < live; i++) {
        const int id = now.node[i];
        const Node& node = nodes[id];
        const std::uint32_t base = static_cast<std::uint32_t>(i) << shift;
        const double blank = std::log(double(now.blank[i])), symbol = std::log(double(now.symbol[i]));
        const double sum = std::log(double(total[i]));
        term(base, 0, sum + x[0]);
        if (last[i] >= 0 && seen(node.label)) {
            term(base, 1, symbol + x[node.label]);
            if (above[i] >= 0) {
                const bool repeats = last[above[i]] == last[i];
                const double from = repeats ? now.blank[above[i]] : total[above[i]];
                term(base, 1, std::log(from) + x[node.label] + std::log(double(node.factor)));
            }
        }
        const Real* row = row_of(node);
        const auto extension = [&](std::uint32_t code, std::uint32_t label, int word, double factor) {
            if (!seen(label)) return;
            const int child = find_child(id, label, word);
            if (child >= 0 && nodes[child].slot >= 0) return;
            const double from = static_cast<int>(label) == last[i] ? blank : sum;
            term(base + code, 1, from + x[label] + std::log(factor) + (row ? std::log(double(row[label])) : 0.0));
        };
        if (!lexicon) {
            for (int c = 1; c < classes; c++) extension(c, c, -1, 1);
            continue;
        }
        const LexiconNode& spot = lexicon->nodes[node.lex];
        for (std::uint32_t child = spot.children; child < spot.children + spot.child_count; child++)
            extension(lexicon->labels[child], lexicon->labels[child], -1, factors.enter[child]);
        for (std::uint32_t e = 0; e < spot.edge_count; e++) {
            const WordEdge& edge = lexicon->edges[spot.edges + e];
            extension(classes + e, edge.label, static_cast<int>(edge.word), edge_factors[node.scores + e]);
        }
    }
}

// The same candidates where all products have become zero: every live prefix met a symbol of almost no probability.
template <class Real>
void Beam<Real>::sweep_in_logarithms(const Real* x) {
    double greatest = -std::numeric_limits<double>::infinity();
    each_term(x, [&](std::uint32_t, int, double value) { greatest = std::max(greatest, value); });
    found_keys = 0;
    keys.resize(std::max(keys.size(), std::size_t(live) * (classes + most_edges()) + SEARCH_PADDING));
    spare.resize(keys.size());
    if (greatest == -std::numeric_limits<double>::infinity()) return;
    std::fill_n(stay_blank.begin(), live, Real(0));
    std::fill_n(stay_symbol.begin(), live, Real(0));
    each_term(x, [&](std::uint32_t code, int part, double value) {
        const auto mass = static_cast<Real>(std::exp(value - greatest));
        if (code & ((1u << shift) - 1))
            keys[found_keys++] = Key<Real>(mass, code);
        else
            (part ? stay_symbol : stay_blank)[code >> shift] += mass;
    });
    for (int i = 0; i < live; i++)
        keys[found_keys++] = Key<Real>(stay_blank[i] + stay_symbol[i], static_cast<std::uint32_t>(i) << shift);
    log_scale += greatest - log_sum;
}

template <class Real>
void Beam<Real>::choose(const Real* x) {
    const auto keep_best = [&] {
        Real least = 0, most = 0;
        if (found_keys > width) cut(least);
        for (int k = 0; k < found_keys; k++) most = std::max(most, keys[k].mass());
        return most;
    };
    Real most = keep_best();
    if (!(most > 0)) {
        sweep_in_logarithms(x);
        most = keep_best();
    }
    for (int i = 0; i < live; i++) nodes[now.node[i]].slot = -1;
    int exponent;
    std::frexp(most, &exponent);
    const Real scale = std::ldexp(Real(1), std::clamp(-exponent, -120, 120));
    int w = 0;
    for (int k = 0; k < found_keys; k++) {
        const Real mass = keys[k].mass();
        if (!(mass > 0)) continue;
        const int i = static_cast<int>(keys[k].code() >> shift);
        const std::uint32_t code = keys[k].code() & ((1u << shift) - 1);
        if (code == 0)
            stay(i, w, scale, x);
        else
            extend(i, code, w, mass * scale, x);
        nodes[next.node[w]].slot = w;
        w++;
    }
    live = w;
    log_scale -= std::log(2.0) * std::clamp(-exponent, -120, 120);
    std::swap(now, next);
}

template <class Real>
void Beam<Real>::stay(int i, int w, Real scale, const Real* x) {
    next.node[w] = now.node[i];
    next.blank[w] = stay_blank[i] * scale;
    next.symbol[w] = stay_symbol[i] * scale;
    if (!settings.times) return;
    const Track &blank = now.blank_track[i], &symbol = now.symbol_track[i];
    Track& to_blank = next.blank_track[w] = blank.value >= symbol.value ? blank : symbol;
    to_blank.value += x[0] - log_sum;
    Track& to_symbol = next.symbol_track[w] = symbol;
    if (last[i] < 0) return;
    const auto label = static_cast<std::uint32_t>(last[i]);
    if (above[i] >= 0) {
        const bool repeats = last[above[i]] == last[i];
        const double best = repeats ? now.blank_track[above[i]].value
                                    : std::max(now.blank_track[above[i]].value, now.symbol_track[above[i]].value);
        if (best > symbol.value) {
            to_symbol = arrive(above[i], label, x);
            return;
        }
    }
    to_symbol.value += logarithm(x, label);
    to_symbol.end = static_cast<std::int32_t>(time);
    to_symbol.peak = std::max(to_symbol.peak, static_cast<float>(y[label]));
}

template <class Real>
void Beam<Real>::extend(int i, std::uint32_t code, int w, Real mass, const Real* x) {
    const int child = child_of(now.node[i], code);
    next.node[w] = child;
    next.blank[w] = 0;
    next.symbol[w] = mass;
    if (!settings.times) return;
    next.blank_track[w] = {-std::numeric_limits<double>::infinity(), -1, -1, 0};
    next.symbol_track[w] = arrive(i, nodes[child].label, x);
}

// The best alignment that comes from slot i to the symbol `label` in this frame.
template <class Real>
typename Beam<Real>::Track Beam<Real>::arrive(int i, std::uint32_t label, const Real* x) {
    const Track &blank = now.blank_track[i], &symbol = now.symbol_track[i];
    const bool repeats = static_cast<int>(label) == last[i];
    const Track& from = repeats || blank.value >= symbol.value ? blank : symbol;
    entries.push_back({from.entry, static_cast<std::int32_t>(time), from.end, from.peak});
    return {from.value + logarithm(x, label), static_cast<std::int32_t>(entries.size()) - 1,
            static_cast<std::int32_t>(time), static_cast<float>(y[label])};
}

}  // namespace elman
