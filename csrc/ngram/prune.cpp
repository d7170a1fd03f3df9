// Entropy pruning (Stolcke 1998). What leaving out the n-gram h w does to the model's distribution p, in nats a word:
//
//   D = -p(h) { p(w|h) [ln p(w|h') + ln b' - ln p(w|h)] + (1 - s) [ln b' - ln b] }
//
// h' is h without its first word, s the sum of p(x|h) over the n-grams h x that there are, b the back-off weight of h
// and b' the one that it would have without h w:
//
//   b = (1 - s) / (1 - s'),   b' = (1 - s + p(w|h)) / (1 - s' + p(w|h')),   s' = the sum of p(x|h') over the same x
//
// An n-gram goes if exp(D) - 1 < threshold and nothing longer begins with it. As in Stolcke's paper each is judged
// alone, against the model as it was, from the highest order down; p(h) is the model's own.
#include <cmath>

#include "ngram/tables.h"

namespace elman::ngram {
namespace {

constexpr std::uint64_t PART = 1 << 18;

struct Sums {
    double own = 0, lower = 0;  // s and s'
};

class Pruner {
  public:
    Pruner(const Model& model, double threshold, const Tick& tick) : model_(model), threshold_(threshold), tick_(tick) {
        keep_ = Array<std::uint8_t>(model.nodes(), 1);
        parents_ = Array<std::uint32_t>(model.inner_nodes(), 0);
        for (std::uint32_t node = 1; node < model.inner_nodes(); node++)
            for (std::uint32_t child = model.first_child(node);
                 child < std::min(model.last_child(node), model.inner_nodes()); child++)
                parents_[child] = node;
    }

    // The nodes of lower orders have lower numbers: backwards is from the highest order down.
    const Array<std::uint8_t>& run() {
        for (std::uint32_t node = model_.inner_nodes(); --node > 0;) {
            consider(node);
            if (node % PART == 0) tick_(1 - static_cast<double>(node) / static_cast<double>(model_.inner_nodes()));
        }
        return keep_;
    }

  private:
    // ln p(w | h') for a child h w of h.
    double lower(std::uint32_t node, std::uint32_t child) const {
        State out;
        return model_.score({model_.link(node)}, model_.label(child), out);
    }

    bool has_longer(std::uint32_t child) const {
        if (child >= model_.inner_nodes()) return false;
        for (std::uint32_t c = model_.first_child(child); c < model_.last_child(child); c++)
            if (keep_[c]) return true;
        return false;
    }

    double log_prob_of_context(std::uint32_t node) const {
        std::uint32_t words[MOST_ORDERS];
        int count = 0;
        for (; node; node = parents_[node]) words[count++] = model_.label(node);
        double total = 0;
        State state = Model::null_state();
        while (count--) {
            State next;
            const double log_prob = model_.score(state, words[count], next);
            // A sentence's begin is certain, and foretold by nothing.
            total += words[count] == BEGIN ? 0 : log_prob;
            state = next;
        }
        return total;
    }

    void consider(std::uint32_t node) {
        const std::uint32_t from = model_.first_child(node), to = model_.last_child(node);
        if (from == to) return;
        Sums sums;
        for (std::uint32_t child = from; child < to; child++) {
            sums.own += std::exp(model_.log_prob(child));
            sums.lower += std::exp(lower(node, child));
        }
        const double p_context = std::exp(log_prob_of_context(node));
        for (std::uint32_t child = from; child < to; child++) {
            if (has_longer(child)) continue;
            const double log_own = model_.log_prob(child), log_lower = lower(node, child);
            const double own = std::exp(log_own), low = std::exp(log_lower);
            const double log_after = std::log((1 - sums.own + own) / (1 - sums.lower + low));
            const double loss = -p_context * (own * (log_lower + log_after - log_own) +
                                              (1 - sums.own) * (log_after - model_.back_off(node)));
            if (std::expm1(loss) < threshold_) keep_[child] = 0;
        }
    }

    const Model& model_;
    double threshold_;
    const Tick& tick_;
    Array<std::uint8_t> keep_;
    Array<std::uint32_t> parents_;
};

Vocabulary vocabulary_of(const Model& model) {
    Vocabulary vocabulary;
    for (std::uint32_t word = END + 1; word < model.words(); word++) vocabulary.add(model.text(word));
    return vocabulary;
}

Tables tables_of(const Model& model, const Array<std::uint8_t>& keep) {
    Tables tables{model.unit(), vocabulary_of(model), std::vector<Level>(model.order())};
    std::uint32_t node = 1;
    for (int n = 0; n < model.order(); n++) {
        Level& level = tables.levels[n];
        const std::uint32_t end = node + static_cast<std::uint32_t>(model.count(n + 1));
        const bool last = n + 1 == model.order();
        for (; node < end; node++) {
            level.labels.push_back(model.label(node));
            level.log_probs.push_back(model.log_prob(node));
            if (n > 0) level.keep.push_back(keep[node]);
            if (last) continue;
            level.children.push_back(model.first_child(node) - end);
            bool any = false;
            for (std::uint32_t child = model.first_child(node); child < model.last_child(node); child++)
                any |= keep[child] != 0;
            level.back_offs.push_back(any ? model.back_off(node) : 0.0f);
        }
        if (!last) level.children.push_back(static_cast<std::uint32_t>(model.count(n + 2)));
    }
    return tables;
}

// From the lowest order up, since s' of a context is a matter of the weights of shorter ones.
void normalise(const Image& image) {
    const Model model(image.data(), image.size());
    Inner* inner = image.at<Inner>(image.layout().inner);
    for (std::uint32_t node = 1; node < model.inner_nodes(); node++) {
        double left = 1, lower_left = 1;
        for (std::uint32_t child = model.first_child(node); child < model.last_child(node); child++) {
            State out;
            left -= std::exp(model.log_prob(child));
            lower_left -= std::exp(model.score({model.link(node)}, model.label(child), out));
        }
        // Where all words are there, nothing is left to give, and rounding decides the sign: the weight stays.
        if (model.first_child(node) < model.last_child(node) && left > 1e-6 && lower_left > 1e-6)
            inner[node].back_off = static_cast<float>(std::log(left / lower_left));
    }
}

}  // namespace

Image prune_by_entropy(const Image& image, double threshold, const Tick& tick) {
    const Model model(image.data(), image.size());
    Image pruned = assemble(tables_of(model, Pruner(model, threshold, tick).run()), tick);
    normalise(pruned);
    return pruned;
}

}  // namespace elman::ngram
