#include "beam.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>

#include "beam_found.h"
#include "beam_sweep.h"
#include "beam_tree.h"

namespace elman {

namespace {

constexpr std::uint32_t NO_EDGE = 0xFFFFFFFF;

int bits_for(int numbers) { return static_cast<int>(std::bit_width(static_cast<unsigned>(numbers - 1))); }

}  // namespace

template <class Real>
Beam<Real>::Beam(const Decoder& decoder)
    : decoder(decoder),
      settings(decoder.settings),
      factors(decoder.factors<Real>()),
      lexicon(decoder.lexicon),
      classes(settings.classes),
      width(settings.beam),
      shift(bits_for(classes + static_cast<int>(most_edges()))),
      with_rows(settings.symbol_model),
      skip_words((classes + 63) / 64),
      y_buffer(std::ptrdiff_t(decoder.row) * sizeof(Real) / sizeof(float)),
      open_buffer(std::ptrdiff_t(decoder.row) * sizeof(Real) / sizeof(float)),
      y(reinterpret_cast<Real*>(y_buffer.at)),
      open(reinterpret_cast<Real*>(open_buffer.at)),
      codes(decoder.row, 0),
      place(classes, -1),
      picked(decoder.row, Real(0)) {
    for (Slots* slots : {&now, &next}) {
        slots->blank.resize(width);
        slots->symbol.resize(width);
        slots->node.resize(width);
        slots->blank_track.resize(width);
        slots->symbol_track.resize(width);
    }
    for (auto* part : {&total, &stay_blank, &stay_symbol}) part->resize(width);
    above.resize(width);
    last.resize(width);
    skip.resize(std::size_t(width) * skip_words);
    keys.resize(2 * std::size_t(width) + classes + most_edges() + SEARCH_PADDING);
    spare.resize(keys.size());
    if (lexicon && decoder.model && !settings.symbol_model) {
        constexpr unsigned A_PREFIX = 32, MOST = 1 << 14;
        completions.resize(std::bit_ceil(std::min(A_PREFIX * static_cast<unsigned>(width), MOST)), {{}, {}, NO_EDGE, Real(1)});
    }
    std::fill_n(y, decoder.row, Real(0));
    std::fill_n(open, decoder.row, Real(0));
    opened = classes - 1;
    for (int c = 1; c < classes; c++) {
        codes[c - 1] = static_cast<std::uint32_t>(c);
        place[c] = c - 1;
    }
    reset();
}

template <class Real>
void Beam<Real>::reset() {
    nodes.clear();
    contexts.clear();
    entries.clear();
    edge_factors.clear();
    asked.clear();
    waiting.clear();
    free_rows.clear();
    resident.clear();
    row_count = 0;
    log_scale = 0;
    time = 0;
    sweep_at = std::size_t(1) << 16;
    live = 1;
    Node root{-1, -1, -1, 0, 0, 0, 0, -1, -1, -1, Real(1)};
    if (decoder.model || settings.external) {
        root.context = 0;
        contexts.emplace_back();
        if (decoder.model) contexts[0].state = decoder.model->start();
    }
    put_scores(root);  // without a separator a word of one symbol is complete on an edge of the root
    nodes.push_back(root);
    now.blank[0] = 1;
    now.symbol[0] = 0;
    now.node[0] = 0;
    now.blank_track[0] = {0, -1, -1, 0};
    now.symbol_track[0] = {-std::numeric_limits<double>::infinity(), -1, -1, 0};
    settle();
}

template <class Real>
void Beam<Real>::advance(const Real* x, std::int64_t frames, std::int64_t stride) {
    for (std::int64_t t = 0; t < frames; t++) frame(x + t * stride);
}

template <class Real>
void Beam<Real>::frame(const Real* x) {
    asked.clear();
    waiting.clear();
    if (live) {
        release();
        prepare(x);
        sweep();
        choose(x);
        collect();
        settle();
    }
    time++;
}

template <class Real>
std::int64_t bad_frame(const Real* x, std::int64_t frames, std::int64_t stride, int classes) {
    constexpr Real infinity = std::numeric_limits<Real>::infinity();
    for (std::int64_t t = 0; t < frames; t++) {
        bool numbers = true, possible = false;
        for (int c = 0; c < classes; c++) {
            numbers &= x[t * stride + c] < infinity;  // false for a NaN too
            possible |= x[t * stride + c] > -infinity;
        }
        if (!numbers || !possible) return t;
    }
    return -1;
}

template std::int64_t bad_frame(const float*, std::int64_t, std::int64_t, int);
template std::int64_t bad_frame(const double*, std::int64_t, std::int64_t, int);

template class Beam<float>;
template class Beam<double>;

}  // namespace elman
