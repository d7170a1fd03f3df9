// From text to the windows of its sentences. Every line is a sentence, an empty one too: <s> </s>.
#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "ngram/estimate.h"

namespace elman::ngram {
namespace {

// <unk> may stand in a text whose rare words somebody has replaced; <s> and </s> may not.
void refuse_marks(std::uint32_t word, std::uint64_t line) {
    if (word != BEGIN && word != END) return;
    throw std::invalid_argument("line " + std::to_string(line) + ": the word " + (word == BEGIN ? "<s>" : "</s>") +
                                " stands for the " + (word == BEGIN ? "begin" : "end") +
                                " of a line and cannot be in the text; take it out");
}

}  // namespace

void WordCounter::feed(std::string_view piece) {
    lines_.feed(piece, [&](std::string_view line) {
        each_symbol(unit_, line, [&](std::string_view text) {
            const std::uint32_t word = vocabulary_.add(text);
            refuse_marks(word, lines_.line());
            if (word == counts_.size()) counts_.push_back(0);
            counts_[word]++;
            words_++;
        });
    });
}

void WordCounter::finish() {
    feed("\n");
    lines_.finish([](std::string_view) {});
}

std::vector<std::string> WordCounter::frequent(std::uint64_t most, std::uint64_t least) const {
    std::vector<std::uint32_t> ranked;
    for (std::uint32_t word = END + 1; word < vocabulary_.size(); word++)
        if (counts_[word] >= least) ranked.push_back(word);
    std::sort(ranked.begin(), ranked.end(), [&](std::uint32_t a, std::uint32_t b) {
        return counts_[a] != counts_[b] ? counts_[a] > counts_[b] : vocabulary_.text(a) < vocabulary_.text(b);
    });
    std::vector<std::string> words;
    for (std::uint32_t word : ranked) {
        if (words.size() == most) break;
        words.emplace_back(vocabulary_.text(word));
    }
    return words;
}

Estimator::Estimator(int order, Unit unit, const std::vector<std::string>* closed, std::uint64_t memory,
                     const std::string& folder)
    : order_(order), closed_(closed != nullptr), windows_(Windows::make(order, memory, folder)) {
    tables_.unit = unit;
    if (!closed) return;
    for (const std::string& word : *closed) tables_.vocabulary.add(word);
}

void Estimator::feed(std::string_view piece) {
    lines_.feed(piece, [&](std::string_view line) { sentence(line); });
}

void Estimator::finish() {
    lines_.finish([&](std::string_view line) { sentence(line); });
}

void Estimator::sentence(std::string_view line) {
    ids_.assign(1, BEGIN);
    each_symbol(tables_.unit, line, [&](std::string_view text) {
        std::uint32_t word = closed_ ? tables_.vocabulary.find(text) : tables_.vocabulary.add(text);
        if (word == NO_WORD) word = UNKNOWN;
        refuse_marks(word, lines_.line());
        unknown_ += word == UNKNOWN;
        ids_.push_back(word);
    });
    ids_.push_back(END);
    sentences_++;
    words_ += ids_.size() - 1;
    windows_->add(ids_.data(), ids_.size());
}

}  // namespace elman::ngram
