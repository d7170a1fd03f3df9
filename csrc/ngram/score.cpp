#include "ngram/score.h"

#include "ngram/text.h"

namespace elman::ngram {

Score score_line(const Model& model, std::string_view line) {
    Score total;
    State state = model.begin_state(), next;
    each_symbol(model.unit(), line, [&](std::string_view text) {
        const std::uint32_t word = model.id(text);
        const double log_prob = model.score(state, word, next);
        state = next;
        total.words++;
        total.log_prob += log_prob;
        if (word != UNKNOWN) return;
        total.unknown++;
        total.unknown_log_prob += log_prob;
    });
    total.log_prob += model.score(state, END, next);
    for (char byte : line) total.characters += (byte & 0xC0) != 0x80;
    total.characters++;
    return total;
}

std::vector<std::uint32_t> encode_line(const Model& model, std::string_view line) {
    std::vector<std::uint32_t> words;
    each_symbol(model.unit(), line, [&](std::string_view text) { words.push_back(model.id(text)); });
    return words;
}

}  // namespace elman::ngram
