// A lexicon: words as paths of symbols through a trie, breadth first, so that the children of a node lie side by side.
//
// A word is complete on an edge that leads back to the root. With a separator (a space) the edge leaves the last node
// of the spelling and carries the separator; without one it is the last symbol itself, which leaves the node before.
// A node has as many word edges as there are words of that spelling.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace elman {

struct WordEdge {
    std::uint32_t label, word;
};

struct LexiconNode {
    std::uint32_t children, edges;  // where they begin; children are in the order of their labels
    std::uint32_t child_count, edge_count;
    std::uint64_t below_64;  // which of the labels 0 to 63 lead to a child
};

struct Lexicon {
    std::vector<LexiconNode> nodes;     // 0 is the root
    std::vector<std::uint32_t> labels;  // that lead into a node
    std::vector<WordEdge> edges;
    std::uint32_t words = 0;
    std::uint32_t most_edges = 0;  // of one node
    const bool closes;             // the end of the input too completes a word: there is a separator

    // spellings: symbols of all spellings on end, the i-th at offsets[i] .. offsets[i + 1], of word word_of[i]; none is
    // empty. separator: -1 where there is none.
    Lexicon(const std::vector<std::uint32_t>& spellings, const std::vector<std::uint32_t>& offsets,
            const std::vector<std::uint32_t>& word_of, std::uint32_t words, int separator);

    // The child that `label` leads to; 0, which is nobody's child, where there is none.
    std::uint32_t child(const LexiconNode& node, std::uint32_t label) const {
        if (label < 64) {
            if (!(node.below_64 >> label & 1)) return 0;
            return node.children + static_cast<std::uint32_t>(std::popcount(node.below_64 & ((std::uint64_t(1) << label) - 1)));
        }
        const auto begin = labels.begin() + node.children, end = begin + node.child_count;
        const auto at = std::lower_bound(begin, end, label);
        return at != end && *at == label ? static_cast<std::uint32_t>(at - labels.begin()) : 0;
    }

    // For each node the greatest of `values`, one a word, among the words that can still be completed from it.
    std::vector<double> greatest_below(const std::vector<double>& values) const;
};

}  // namespace elman
