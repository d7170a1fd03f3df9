// An n-gram model with back-off weights, asked.
//
//   log p(w | h) = log_prob(h w)                         if the model has the n-gram h w
//                = back_off(h) + log p(w | h without its first word)   otherwise
//
// where back_off(h) is 0 if the model does not have h. Logarithms are natural.
//
// A state stands for all that the words so far can still tell: the longest suffix of them that the model has as a
// context. Histories that no word can ever tell apart have the same state. Scoring a word looks for it among the
// children of the state's node; where it is not there, the link leads to the next shorter context.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ngram/image.h"

namespace elman::ngram {

struct State {
    std::uint32_t node = 0;  // 0: nothing is known of the words before
    bool operator==(const State&) const = default;
};

struct StateHash {
    std::size_t operator()(const State& state) const noexcept {
        return static_cast<std::size_t>(state.node * std::uint64_t{0x9E3779B97F4A7C15u} >> 16);
    }
};

// A view of an image that passed `check` and lives longer than the view. All its methods may be called from many
// threads at once.
class Model {
  public:
    Model(const void* data, std::uint64_t size);

    int order() const { return order_; }
    Unit unit() const { return unit_; }
    std::uint32_t words() const { return words_; }
    std::uint64_t count(int n) const { return counts_[n - 1]; }

    // The state after <s>, and the one that knows nothing.
    State begin_state() const { return {context(BEGIN + 1)}; }
    static State null_state() { return {}; }

    // log p(word | in) and the state after the word. `word` < words(), `in` from this model.
    double score(const State& in, std::uint32_t word, State& out) const {
        double total = 0;
        for (std::uint32_t node = in.node;;) {
            if (const std::uint32_t child = find(node, word)) {
                out.node = context(child);
                return total + log_prob(child);
            }
            total += inner_[node].back_off;
            node = link(node);
        }
    }

    // log p(w | state) of every word w, into `log_probs` of words() numbers.
    void distribution(const State& state, double* log_probs) const;

    // The id of a word's text, UNKNOWN where it is not in the vocabulary; the text of an id.
    std::uint32_t id(std::string_view text) const;
    std::string_view text(std::uint32_t word) const;

    // The trie itself. Nodes are below nodes(), those below inner_nodes() may have children.
    std::uint32_t nodes() const { return nodes_; }
    std::uint32_t inner_nodes() const { return inner_nodes_; }
    std::uint32_t label(std::uint32_t node) const { return labels_[node]; }
    float log_prob(std::uint32_t node) const {
        return node < inner_nodes_ ? inner_[node].log_prob : top_[node - inner_nodes_].log_prob;
    }
    float back_off(std::uint32_t node) const { return node < inner_nodes_ ? inner_[node].back_off : 0.0f; }

    // The next shorter context. A link that does not lead down is a damaged one and is taken for 0, so that no walk
    // over links leaves the image or goes on for ever.
    std::uint32_t link(std::uint32_t node) const {
        const std::uint32_t to = node < inner_nodes_ ? inner_[node].link : top_[node - inner_nodes_].link;
        return to < std::min(node, inner_nodes_) ? to : 0;
    }
    std::uint32_t first_child(std::uint32_t node) const { return std::min(inner_[node].children, nodes_); }
    std::uint32_t last_child(std::uint32_t node) const { return first_child(node + 1); }

    // The child of an inner node by its label; 0 where it has none.
    std::uint32_t find(std::uint32_t node, std::uint32_t word) const {
        if (node == 0) return word + 1;
        std::uint32_t low = first_child(node);
        const std::uint32_t end = last_child(node);
        if (low >= end) return 0;
        for (std::uint32_t count = end - low; count > 1;) {  // the last label that is not above `word`
            const std::uint32_t half = count / 2;
            __builtin_prefetch(labels_ + low + half / 2);  // whichever half it is, its middle is on the way
            __builtin_prefetch(labels_ + low + half + half / 2);
            low += labels_[low + half] <= word ? half : 0;
            count -= half;
        }
        return labels_[low] == word ? low : 0;
    }

    // The node itself where it is a context that can tell anything, else the context it comes down to.
    std::uint32_t context(std::uint32_t node) const {
        const bool tells = node < inner_nodes_ &&
                           (first_child(node) < last_child(node) || inner_[node].back_off != 0.0f);
        return tells ? node : link(node);
    }

  private:
    int order_;
    Unit unit_;
    std::uint32_t words_, nodes_, inner_nodes_, text_size_, slot_mask_;
    std::uint64_t counts_[MOST_ORDERS];
    const std::uint32_t *starts_, *slots_, *labels_;
    const char* text_;
    const Inner* inner_;
    const Top* top_;
};

}  // namespace elman::ngram
