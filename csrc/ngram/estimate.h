// Interpolated modified Kneser-Ney estimation (estimate.cpp has the equations).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ngram/tables.h"
#include "ngram/text.h"
#include "ngram/windows.h"

namespace elman::ngram {

// What was found of one order.
struct OrderReport {
    std::uint64_t found = 0, kept = 0;          // n-grams, before and after pruning by counts
    std::array<std::uint64_t, 4> once{};        // how many have the adjusted count 1, 2, 3, 4
    std::array<double, 3> discounts{};          // of adjusted counts 1, 2, and 3 or more
    std::string fallback;                       // why the discounts are not those of the formula; empty if they are
};

// Counts the words of a text, for a vocabulary of the most frequent ones.
class WordCounter {
  public:
    explicit WordCounter(Unit unit) : unit_(unit) {}

    void feed(std::string_view piece);  // pieces of a text; throws std::invalid_argument, telling the line
    void finish();                      // the end of a file
    std::uint64_t words() const { return words_; }

    // The `most` most frequent of the words that were seen at least `least` times, ties in the order of their bytes.
    std::vector<std::string> frequent(std::uint64_t most, std::uint64_t least) const;

  private:
    Unit unit_;
    Lines lines_;
    Vocabulary vocabulary_;
    std::vector<std::uint64_t> counts_{0, 0, 0};
    std::uint64_t words_ = 0;
};

class Estimator {
  public:
    // `closed`: the words of the vocabulary, all others are <unk>; nullptr: every word of the text is one.
    Estimator(int order, Unit unit, const std::vector<std::string>* closed, std::uint64_t memory,
              const std::string& folder);

    void feed(std::string_view piece);
    void finish();
    std::uint64_t sentences() const { return sentences_; }
    std::uint64_t words() const { return words_; }  // with </s>, without <s>
    std::uint64_t unknown() const { return unknown_; }
    std::uint64_t distinct() const { return windows_->distinct(); }
    int runs() const { return windows_->runs(); }
    std::uint32_t vocabulary_size() const { return tables_.vocabulary.size(); }

    // thresholds[n - 1]: n-grams of order n seen at most that often are left out; the first is 0.
    Image estimate(const std::vector<std::uint64_t>& thresholds, const Tick& tick);
    const std::vector<OrderReport>& report() const { return report_; }

  private:
    void sentence(std::string_view line);

    int order_;
    bool closed_;
    Lines lines_;
    Tables tables_;
    std::unique_ptr<Windows> windows_;
    std::vector<std::uint32_t> ids_;
    std::uint64_t sentences_ = 0, words_ = 0, unknown_ = 0;
    std::vector<OrderReport> report_;
};

}  // namespace elman::ngram
