// The ARPA form of a model: text, an n-gram a line, logarithms to base 10.
//
//   \data\                      then a line `ngram n=count` for each order,
//   \n-grams:                   and for each order its n-grams:
//   log_prob w1 ... wn back_off     the weight may be missing, and is for the highest order
//   \end\                       what comes before \data\ and after \end\ is not looked at
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ngram/tables.h"

namespace elman::ngram {

// Reads pieces of a file; throws std::invalid_argument, telling the line, where it is not of that form.
class ArpaReader {
  public:
    explicit ArpaReader(Unit unit);

    void feed(std::string_view piece);
    Image finish(const Tick& tick);
    std::uint64_t line() const { return line_; }
    const std::vector<std::string>& remarks() const { return remarks_; }  // what was taken for granted

  private:
    enum class Part { BEFORE, COUNTS, NGRAMS, BETWEEN, AFTER };
    struct Entry {
        std::uint32_t parent, word;
        float log_prob, back_off;
        std::uint64_t line;
    };

    [[noreturn]] void refuse(const std::string& what) const;
    void read(std::string_view line);
    void read_count(std::string_view line);
    void read_heading(std::string_view line);
    void read_ngram(std::string_view line);
    float read_number(std::string_view text, const char* what) const;
    std::uint32_t find_context(const std::vector<std::string_view>& words);
    void end_section();
    void end_unigrams();

    Lines lines_;
    std::uint64_t line_ = 0;
    Part part_ = Part::BEFORE;
    int order_ = 0;  // of the section that is read
    std::vector<std::uint64_t> counts_;
    Tables tables_;
    Array<Entry> entries_;
    std::vector<std::string_view> fields_;
    std::vector<std::string> remarks_;
};

class ArpaWriter {
  public:
    explicit ArpaWriter(const Model& model);

    std::string next();  // the next piece, some lines; empty at the end
    double done() const { return static_cast<double>(node_) / static_cast<double>(model_.nodes()); }

  private:
    void heading(std::string& text);
    void ngram(std::string& text);

    Model model_;
    int order_ = 0;
    std::uint32_t node_ = 1, end_ = 1;  // the next one to write, and the first of the next order
    std::uint32_t path_[MOST_ORDERS];   // an ancestor an order, of the n-gram written last
    bool finished_ = false;
};

}  // namespace elman::ngram
