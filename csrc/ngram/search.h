// The model as a search asks for it (search/ngram.h): the node of a state is the newest of its words.
#pragma once

#include "ngram/ngram.h"
#include "search/ngram.h"

namespace elman::ngram {

struct SearchModel final : elman::NgramModel {
    explicit SearchModel(Model model) : model(model) {}

    State start() const override { return {1, {model.begin_state().node}}; }

    double score(const State& in, std::uint32_t word, State& out) const override {
        ngram::State next;
        const double log_prob = model.score({in.words[0]}, word, next);
        out.size = 1;
        out.words[0] = next.node;
        return log_prob;
    }

    Model model;
};

}  // namespace elman::ngram
