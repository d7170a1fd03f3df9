// Texts under a model: their log probability, with the words that the model does not know counted apart.
#pragma once

#include <string_view>
#include <vector>

#include "ngram/ngram.h"

namespace elman::ngram {

struct Score {
    double log_prob = 0;          // of all words and of </s>
    double unknown_log_prob = 0;  // the part of it that falls to unknown words
    std::uint64_t words = 0;      // without </s>
    std::uint64_t unknown = 0;
    std::uint64_t characters = 0;  // Unicode characters of the words and between them, the line's end among them
};

Score score_line(const Model& model, std::string_view line);

// The ids of a line's words, <s> and </s> left out.
std::vector<std::uint32_t> encode_line(const Model& model, std::string_view line);

}  // namespace elman::ngram
