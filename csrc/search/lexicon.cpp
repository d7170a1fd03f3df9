#include "lexicon.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace elman {

namespace {

// A run of sorted spellings that share their first `depth` symbols: a node to be.
struct Run {
    std::uint32_t first, last, depth;
};

}  // namespace

Lexicon::Lexicon(const std::vector<std::uint32_t>& spellings, const std::vector<std::uint32_t>& offsets,
                 const std::vector<std::uint32_t>& word_of, std::uint32_t words, int separator)
    : words(words), closes(separator >= 0) {
    const auto count = static_cast<std::uint32_t>(word_of.size());
    const auto length = [&](std::uint32_t i) { return offsets[i + 1] - offsets[i]; };
    const auto symbol = [&](std::uint32_t i, std::uint32_t place) { return spellings[offsets[i] + place]; };
    std::vector<std::uint32_t> order(count);
    std::iota(order.begin(), order.end(), 0u);
    std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
        const auto begin = spellings.begin();
        const auto first = begin + offsets[a], second = begin + offsets[b];
        const auto first_end = begin + offsets[a + 1], second_end = begin + offsets[b + 1];
        if (std::lexicographical_compare(first, first_end, second, second_end)) return true;
        if (std::lexicographical_compare(second, second_end, first, first_end)) return false;
        return word_of[a] < word_of[b];
    });
    const std::uint32_t closing = separator < 0 ? 1 : 0;  // symbols of the word edge that are part of the spelling
    std::vector<Run> runs{{0, count, 0}};
    labels.push_back(0);
    for (std::size_t n = 0; n < runs.size(); n++) {
        Run run = runs[n];
        LexiconNode node{static_cast<std::uint32_t>(runs.size()), static_cast<std::uint32_t>(edges.size()), 0, 0, 0};
        for (std::uint32_t i = run.first; i < run.last;) {
            const std::uint32_t spelling = order[i];
            if (length(spelling) == run.depth) {  // shorter spellings are sorted first; only with a separator
                edges.push_back({static_cast<std::uint32_t>(separator), word_of[spelling]});
                i++;
                continue;
            }
            const std::uint32_t label = symbol(spelling, run.depth);
            std::uint32_t longer = i;
            std::uint32_t end = i;
            for (; end < run.last && symbol(order[end], run.depth) == label; end++)
                if (length(order[end]) == run.depth + closing) {
                    edges.push_back({label, word_of[order[end]]});
                    longer = end + 1;
                }
            if (longer < end) {
                runs.push_back({longer, end, run.depth + 1});
                labels.push_back(label);
                node.child_count++;
                if (label < 64) node.below_64 |= std::uint64_t(1) << label;
            }
            i = end;
        }
        node.edge_count = static_cast<std::uint32_t>(edges.size()) - node.edges;
        most_edges = std::max(most_edges, node.edge_count);
        nodes.push_back(node);
    }
}

std::vector<double> Lexicon::greatest_below(const std::vector<double>& values) const {
    std::vector<double> greatest(nodes.size(), -std::numeric_limits<double>::infinity());
    for (std::size_t n = nodes.size(); n-- > 0;) {  // children come after their parents
        const LexiconNode& node = nodes[n];
        for (std::uint32_t e = 0; e < node.edge_count; e++)
            greatest[n] = std::max(greatest[n], values[edges[node.edges + e].word]);
        for (std::uint32_t c = 0; c < node.child_count; c++)
            greatest[n] = std::max(greatest[n], greatest[node.children + c]);
    }
    return greatest;
}

}  // namespace elman
