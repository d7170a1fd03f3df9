#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ngram/arpa.h"
#include "ngram/number.h"

namespace elman::ngram {
namespace {

constexpr double LN10 = 2.302585092994046;
constexpr double UNSEEN = -100;  // log10 of the probability of <unk> where a file has none
constexpr std::uint64_t NOT_READ = ~std::uint64_t{0};

std::string_view trimmed(std::string_view line) {
    while (!line.empty() && is_space(line.front())) line.remove_prefix(1);
    while (!line.empty() && is_space(line.back())) line.remove_suffix(1);
    return line;
}

std::string shown(std::string_view text) {
    return "'" + std::string(text.substr(0, 60)) + (text.size() > 60 ? "...'" : "'");
}

std::string of_order(int n) { return std::to_string(n) + "-grams"; }

}  // namespace

ArpaReader::ArpaReader(Unit unit) { tables_.unit = unit; }

void ArpaReader::refuse(const std::string& what) const {
    throw std::invalid_argument("line " + std::to_string(line_) + ": " + what);
}

void ArpaReader::feed(std::string_view piece) {
    lines_.feed(piece, [&](std::string_view line) {
        line_ = lines_.line();
        read(line);
    });
}

void ArpaReader::read(std::string_view line) {
    line = trimmed(line);
    if (part_ == Part::AFTER) return;
    if (part_ == Part::BEFORE) {
        if (line == "\\data\\") part_ = Part::COUNTS;
        return;
    }
    if (line.empty()) return;
    // A word may begin with a backslash, but no n-gram does: it begins with a number.
    if (line[0] == '\\')
        read_heading(line);
    else if (part_ == Part::COUNTS)
        read_count(line);
    else
        read_ngram(line);
}

void ArpaReader::read_count(std::string_view line) {
    const std::size_t equals = line.find('=');
    std::uint64_t order = 0, count = 0;
    if (line.substr(0, 5) != "ngram" || equals == std::string_view::npos ||
        !parse(trimmed(line.substr(5, equals - 5)), order) || !parse(trimmed(line.substr(equals + 1)), count))
        refuse("expected `ngram n=count`, got " + shown(line));
    if (order != counts_.size() + 1)
        refuse("the orders must follow each other: expected `ngram " + std::to_string(counts_.size() + 1) + "=...`, got " +
               shown(line));
    if (order > MOST_ORDERS) refuse("order " + std::to_string(order) + ", expected at most 7");
    counts_.push_back(count);
}

void ArpaReader::read_heading(std::string_view line) {
    if (part_ == Part::NGRAMS) end_section();
    const int last = static_cast<int>(counts_.size());
    const std::string expected = order_ == last ? "\\end\\" : "\\" + of_order(order_ + 1) + ":";
    if (last == 0) refuse("expected `ngram 1=count` after \\data\\, got " + shown(line));
    if (line != expected) refuse("expected " + expected + ", got " + shown(line));
    if (order_ == last) {
        part_ = Part::AFTER;
        return;
    }
    order_++;
    part_ = Part::NGRAMS;
    tables_.levels.emplace_back();
}

float ArpaReader::read_number(std::string_view text, const char* what) const {
    double value = 0;
    if (!parse(text, value) || std::isnan(value)) refuse(std::string("expected ") + what + ", got " + shown(text));
    return static_cast<float>(std::max(value, -1e30) * LN10);  // a few tools write -inf
}

void ArpaReader::read_ngram(std::string_view line) {
    if (part_ != Part::NGRAMS) refuse("expected a heading such as \\1-grams:, got " + shown(line));
    fields_.clear();
    each_word(line, [&](std::string_view field) { fields_.push_back(field); });
    const std::size_t words = order_, fields = fields_.size();
    const bool last = order_ == static_cast<int>(counts_.size());
    if (fields != words + 1 && (fields != words + 2 || last))
        refuse("expected a logarithm, " + std::to_string(words) + " words" + (last ? "" : " and perhaps a weight") +
               ", got " + std::to_string(fields) + " fields: " + shown(line));
    Entry entry{0, 0, read_number(fields_[0], "the logarithm of a probability"), 0, line_};
    if (entry.log_prob > 0) refuse("the logarithm of a probability above 1: " + shown(fields_[0]));
    if (fields == words + 2) entry.back_off = read_number(fields_.back(), "the logarithm of a weight");
    if (!(std::abs(entry.back_off) <= 1e30f)) refuse("an infinite back-off weight: " + shown(fields_.back()));
    if (order_ == 1) {
        entry.word = tables_.vocabulary.add(fields_[1]);
    } else {
        entry.parent = find_context(fields_);
        entry.word = tables_.vocabulary.find(fields_[order_]);
        if (entry.word == NO_WORD) refuse("the word " + shown(fields_[order_]) + " is not among the 1-grams");
    }
    entries_.push_back(entry);
    if (entries_.size() > counts_[order_ - 1])
        refuse("more " + of_order(order_) + " than the " + std::to_string(counts_[order_ - 1]) + " that \\data\\ tells");
}

// The place, on the level below, of the n-gram but for its last word.
std::uint32_t ArpaReader::find_context(const std::vector<std::string_view>& fields) {
    std::uint32_t place = tables_.vocabulary.find(fields[1]);
    if (place == NO_WORD) refuse("the word " + shown(fields[1]) + " is not among the 1-grams");
    for (int n = 1; n + 1 < order_; n++) {
        const std::uint32_t word = tables_.vocabulary.find(fields[n + 1]);
        const Array<std::uint32_t>& labels = tables_.levels[n].labels;
        const std::uint32_t* end = labels.begin() + tables_.levels[n - 1].children[place + 1];
        const std::uint32_t* at = std::lower_bound(labels.begin() + tables_.levels[n - 1].children[place], end, word);
        if (at == end || *at != word)
            refuse("the n-gram is there, but not what it begins with among the " + of_order(n + 1));
        place = static_cast<std::uint32_t>(at - labels.begin());
    }
    return place;
}

// Sorts what was read of an order and makes it a level of the trie.
void ArpaReader::end_section() {
    if (entries_.size() != counts_[order_ - 1])
        refuse("the section before has " + std::to_string(entries_.size()) + " " + of_order(order_) + ", but \\data\\ tells " +
               std::to_string(counts_[order_ - 1]));
    if (order_ == 1) end_unigrams();
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
        return a.parent != b.parent ? a.parent < b.parent : a.word != b.word ? a.word < b.word : a.line < b.line;
    });
    Level& level = tables_.levels.back();
    const bool last = order_ == static_cast<int>(counts_.size());
    Array<std::uint32_t>* children = order_ > 1 ? &tables_.levels[order_ - 2].children : nullptr;
    const std::uint64_t parents = order_ > 1 ? tables_.levels[order_ - 2].labels.size() : 0;
    for (std::uint64_t i = 0; i < entries_.size(); i++) {
        const Entry& entry = entries_[i];
        if (i && entries_[i - 1].parent == entry.parent && entries_[i - 1].word == entry.word) {
            line_ = entry.line;
            refuse("this n-gram was there before, in line " + std::to_string(entries_[i - 1].line));
        }
        while (children && children->size() <= entry.parent) children->push_back(static_cast<std::uint32_t>(i));
        level.labels.push_back(entry.word);
        level.log_probs.push_back(entry.log_prob);
        if (!last) level.back_offs.push_back(entry.back_off);
    }
    while (children && children->size() <= parents) children->push_back(static_cast<std::uint32_t>(entries_.size()));
    entries_ = {};
}

// The first three words must be there; a model without <unk> is a usual thing.
void ArpaReader::end_unigrams() {
    std::vector<bool> seen(tables_.vocabulary.size());
    for (const Entry& entry : entries_) seen[entry.word] = true;
    for (std::uint32_t word : {BEGIN, END})
        if (!seen[word]) refuse(std::string("no ") + (word == BEGIN ? "<s>" : "</s>") + " among the 1-grams");
    if (seen[UNKNOWN]) return;
    entries_.push_back({0, UNKNOWN, static_cast<float>(UNSEEN * LN10), 0, NOT_READ});
    remarks_.push_back("there is no <unk>; unknown words get the probability 1e-100");
}

Image ArpaReader::finish(const Tick& tick) {
    lines_.finish([&](std::string_view line) {
        line_++;
        read(line);
    });
    if (part_ == Part::BEFORE) throw std::invalid_argument("no line \\data\\ in it: not an ARPA file");
    if (part_ != Part::AFTER) refuse("the file ends here, before \\end\\; it is cut off");
    return assemble(std::move(tables_), tick);
}

}  // namespace elman::ngram
