// A model that is being made: the levels of its trie, one an order, and their assembly to an image.
#pragma once

#include <cstdint>
#include <vector>

#include "ngram/array.h"
#include "ngram/image.h"
#include "ngram/ngram.h"
#include "ngram/text.h"
#include "ngram/windows.h"

namespace elman::ngram {

// The n-grams of one order, sorted by their words, and with one place more in `children`: those of n-gram i are
// children[i] to children[i + 1] of the next level. The last level has no children and no back-off weights.
// keep: 0 leaves an n-gram out; empty: all stay. What is left out takes its children with it.
struct Level {
    Array<std::uint32_t> labels, children;
    Array<float> log_probs, back_offs;
    Array<std::uint8_t> keep;

    bool kept(std::uint64_t i) const { return keep.empty() || keep[i]; }
};

struct Tables {
    Unit unit = Unit::WORDS;
    Vocabulary vocabulary;
    std::vector<Level> levels;
};

// The image of a model; the tables are used up. Not sealed.
Image assemble(Tables&& tables, const Tick& tick);

// The share of words that a model needs for its longest n-grams grows with each order, their use does not: this
// leaves out each n-gram whose loss raises the perplexity by less than a factor of 1 + threshold (see prune.cpp).
Image prune_by_entropy(const Image& image, double threshold, const Tick& tick);

}  // namespace elman::ngram
