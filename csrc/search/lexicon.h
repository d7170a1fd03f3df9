// A lexicon: words as paths of symbols through a trie, breadth first, so that the children of a node lie side by side.
//
// A word is complete on an edge that leads back to the root. With a separator (a space) the edge leaves the last node
// of the spelling and carries the separator; without one it is the last symbol itself, which leaves the node before.
// A node has as many word edges as there are words of that spelling.
#pragma once

#include <cstdint>
#include <vector>

namespace elman {

struct WordEdge {
    std::uint32_t label, word;
};

struct LexiconNode {
    std::uint32_t children, edges;  // where they begin
    std::uint32_t child_count, edge_count;
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

    // For each node the greatest of `values`, one a word, among the words that can still be completed from it.
    std::vector<double> greatest_below(const std::vector<double>& values) const;
};

}  // namespace elman
