// Prefix beam search over the frames of one utterance.
//
// A hypothesis is a prefix: symbols, and the words that they spell. Its mass is kept in two parts, of the alignments that
// end in blank and of those that end in its last symbol, times its factors (decoder.h):
//     blank'(p) = (blank(p) + symbol(p)) y(blank)
//     symbol'(p) = symbol(p) y(l) + m(parent) y(l) f(p),  l the last symbol of p, f the factor of entering p,
//                  m = blank where the parent too ends in l, else blank + symbol
// Masses are probabilities, scaled by a power of two at each frame; the prefixes of the greatest sums stay. What is
// e^-87 (in float64 e^-700) below the best is lost.
//
// Prefixes are nodes of a tree that is never taken down (but swept now and then), so that a prefix which comes back
// is the same node, and the masses of all its alignments meet.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "decoder.h"
#include "machine/storage.h"

namespace elman {

struct Found {
    std::vector<std::int32_t> symbols, words, starts, ends;
    std::vector<float> confidences;
    double score;
};

// A row of log probabilities that the caller is to supply: of what follows `unit` in the context of row `parent` (-1: at
// the start), to be kept as row `row`.
struct Request {
    std::int32_t parent, unit, row;
};

// A candidate for the next frame: its mass, and a code that says from where it comes. Ordered by mass, then code.
template <class Real>
struct Key {
    Real value;
    std::uint32_t from;

    Key() = default;
    Key(Real value, std::uint32_t from) : value(value), from(from) {}
    Real mass() const { return value; }
    std::uint32_t code() const { return from; }
    bool operator>(const Key& other) const { return value > other.value || (value == other.value && from > other.from); }
};
template <>
struct Key<float> {  // of masses that are not negative, in one number
    std::uint64_t bits;

    Key() = default;
    Key(float value, std::uint32_t from) : bits(std::uint64_t(std::bit_cast<std::uint32_t>(value)) << 32 | from) {}
    float mass() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits >> 32)); }
    std::uint32_t code() const { return static_cast<std::uint32_t>(bits); }
    bool operator>(const Key& other) const { return bits > other.bits; }
};

template <class Real>
class Beam {
  public:
    explicit Beam(const Decoder& decoder);
    void reset();

    // frames of logits, the first at `x`, `stride` numbers apart. With a model of the caller's, one frame at a time, and
    // `supply` after it.
    void advance(const Real* x, std::int64_t frames, std::int64_t stride);
    const std::vector<Request>& requests() const { return asked; }
    void supply(const float* rows);

    // The contexts (row, word) whose ends the caller's model has to score before `best` with `whole`.
    std::vector<Request> endings() const;
    // The best prefixes. whole: completed, with what is added at the end; `ends`: a number for each of `endings`.
    std::vector<Found> best(int count, bool whole, const std::vector<double>& ends) const;

    std::int64_t frames() const { return time; }

  private:
    struct Node {
        std::int32_t parent, child, sibling, slot;
        std::uint32_t label, lex, state;  // the symbol; the lexicon's node; the automaton's state
        std::int32_t word;                // completed by the symbol; -1: none
        std::int32_t context;             // -1: there is no model
        std::int32_t scores;              // where the factors of the word edges begin; -1: not known
        Real factor;                      // of entering from the parent
        Real greatest = 1;                // of what any symbol can be multiplied by: 1, and the factors of word edges
    };
    struct Context {
        NgramState state;
        std::int32_t row = -1;  // of log probabilities and factors, while a live prefix needs them
        std::int64_t used = 0;
    };
    // The likeliest alignment of a prefix that ends so: its logarithm, its last entry, and where the last symbol ends
    // and was likeliest.
    struct Track {
        double value;
        std::int32_t entry, end;
        float peak;
    };
    // A symbol's first frame on such an alignment, with the end and the peak of the symbol before.
    struct Entry {
        std::int32_t before, start, end;
        float peak;
    };
    // The factor of a word's edge in a context, and the context after: prefixes that differ further back ask for the
    // same ones.
    struct Completion {
        NgramState state, after;
        std::uint32_t edge;
        Real factor;
    };
    struct Slots {
        std::vector<Real> blank, symbol;
        std::vector<std::int32_t> node;
        std::vector<Track> blank_track, symbol_track;
    };
    struct Final {
        std::int32_t slot, word;  // word: completed by the end; -1: none
        double score;
    };

    void frame(const Real* x);
    void prepare(const Real* x);
    void prune();
    void sweep();
    void cut(Real& least);
    void rank_symbols(Real greatest, Real least);
    void extend_freely(int i, Real least);
    void extend_by_row(int i, Real least, const Real* row);
    void extend_in_lexicon(int i, Real least);
    void sweep_in_logarithms(const Real* x);
    template <class Term>
    void each_term(const Real* x, const Term& term);
    void choose(const Real* x);
    void stay(int i, int w, Real scale, const Real* x);
    void extend(int i, std::uint32_t code, int w, Real mass, const Real* x);
    double logarithm(const Real* x, std::uint32_t label) const {  // of y, for a symbol; what was left out is impossible
        return place[label] < 0 ? -std::numeric_limits<double>::infinity() : double(x[label]) - log_sum;
    }
    Track arrive(int i, std::uint32_t label, const Real* x);
    int child_of(int parent, std::uint32_t code);
    int find_child(int parent, std::uint32_t label, int word) const;
    void put_context(Node& node, const Node& parent, std::uint32_t edge);
    void put_scores(Node& node);
    const Completion& completing(const NgramState& state, std::uint32_t lex, std::uint32_t edge);
    void settle();
    void fill_row(const Node& node);
    void release();
    const Real* row_of(const Node& node) const;
    std::size_t most_edges() const { return lexicon ? lexicon->most_edges : 0; }
    std::uint64_t* skips(int i) { return skip.data() + std::size_t(i) * skip_words; }
    bool skipped(int i, std::uint32_t bit) { return skips(i)[bit >> 6] >> (bit & 63) & 1; }
    void collect();
    std::vector<Final> finals(const std::vector<double>& ends) const;
    double end_score(const Context* context) const;
    std::vector<std::int32_t> words_of(int slot, int word) const;
    Found found(int slot, int word, double score) const;

    const Decoder& decoder;
    const BeamSettings& settings;
    const Factors<Real>& factors;
    const Lexicon* const lexicon;
    const int classes, width, shift;  // a candidate's code: the slot << shift | 0, a symbol, or classes + a word edge
    const bool with_rows;             // each live prefix has a row of factors of its own
    const int skip_words;

    std::vector<Node> nodes;
    std::vector<Context> contexts;
    std::vector<Entry> entries;
    std::vector<Real> edge_factors;
    std::vector<Completion> completions;  // the latest, by a hash
    Slots now, next;
    int live = 0;
    double log_scale = 0, log_sum = 0;
    std::int64_t time = 0;
    std::size_t sweep_at = 0;  // nodes and entries at which the tree is swept

    Buffer y_buffer, open_buffer;
    Real *const y, *const open;  // of all classes; of the symbols that are looked at, side by side
    std::vector<std::uint32_t> codes;
    std::vector<std::int32_t> place;  // of a symbol in `open`; -1: left out
    std::vector<Real> picked, sorted;
    std::vector<int> ranked;
    Real top = 0;  // the greatest of a symbol
    int opened = 0;
    std::vector<Real> total, stay_blank, stay_symbol;
    std::vector<std::int32_t> above, last;  // the parent's slot, the last symbol; -1: none
    // Symbols that lead to a prefix which is live itself, a bit each: by their places, with a lexicon by themselves.
    std::vector<std::uint64_t> skip;
    std::vector<Key<Real>> keys, spare;
    int found_keys = 0;

    std::vector<Request> asked;
    std::vector<std::int32_t> waiting;  // the nodes that it was asked for
    std::vector<std::int32_t> free_rows, resident;
    std::vector<float> rows;       // log probabilities that the caller supplied
    std::vector<Real> row_factors;
    int row_count = 0;
};

// The first frame with a NaN, +inf, or nothing above -inf; -1: there is none.
template <class Real>
std::int64_t bad_frame(const Real* x, std::int64_t frames, std::int64_t stride, int classes);

extern template class Beam<float>;
extern template class Beam<double>;

}  // namespace elman
