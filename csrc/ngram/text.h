// Text to word ids: lines, words between white space or the characters of a line, and the vocabulary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ngram/image.h"

namespace elman::ngram {

// Words and their ids. The first three are <unk>, <s> and </s>. Its arrays are sections of an image.
class Vocabulary {
  public:
    Vocabulary();

    std::uint32_t find(std::string_view text) const;  // NO_WORD where it is not there
    std::uint32_t add(std::string_view text);         // the id, also of a word that was there
    std::string_view text(std::uint32_t word) const {
        return std::string_view(text_).substr(starts_[word], starts_[word + 1] - starts_[word]);
    }
    std::uint32_t size() const { return static_cast<std::uint32_t>(starts_.size() - 1); }

    const std::vector<std::uint32_t>& starts() const { return starts_; }
    const std::string& text() const { return text_; }
    const std::vector<std::uint32_t>& slots() const { return slots_; }

  private:
    std::size_t place(std::string_view text) const;

    std::vector<std::uint32_t> starts_{0}, slots_;
    std::string text_;
};

inline bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Calls `use(word)` for what stands between white space (that of ASCII) in a line.
template <class Use>
void each_word(std::string_view line, const Use& use) {
    for (std::size_t at = 0; at < line.size();) {
        while (at < line.size() && is_space(line[at])) at++;
        const std::size_t from = at;
        while (at < line.size() && !is_space(line[at])) at++;
        if (at > from) use(line.substr(from, at - from));
    }
}

// Calls `use(symbol)` for each character of a line of UTF-8. White space has names, since it could not stand in an
// ARPA file: <space>, and <0x09> for a tab.
template <class Use>
void each_character(std::string_view line, const Use& use) {
    for (std::size_t at = 0; at < line.size();) {
        std::size_t next = at + 1;
        while (next < line.size() && (line[next] & 0xC0) == 0x80) next++;
        if (line[at] == ' ') {
            use(std::string_view("<space>"));
        } else if (is_space(line[at])) {
            const char name[] = {'<', '0', 'x', '0', "9abcd"[line[at] - '\t'], '>'};
            use(std::string_view(name, sizeof name));
        } else {
            use(line.substr(at, next - at));
        }
        at = next;
    }
}

template <class Use>
void each_symbol(Unit unit, std::string_view line, const Use& use) {
    if (unit == Unit::WORDS)
        each_word(line, use);
    else
        each_character(line, use);
}

// Cuts what comes in pieces into lines, without their ends ("\n", or "\r\n"). `finish` gives a last line that has none.
class Lines {
  public:
    template <class Use>
    void feed(std::string_view piece, const Use& use) {
        std::size_t end;
        while ((end = piece.find('\n')) != std::string_view::npos) {
            if (rest_.empty()) {
                give(piece.substr(0, end), use);
            } else {
                rest_.append(piece.substr(0, end));
                give(rest_, use);
                rest_.clear();
            }
            piece.remove_prefix(end + 1);
        }
        rest_.append(piece);
    }
    template <class Use>
    void finish(const Use& use) {
        if (!rest_.empty()) give(rest_, use);
        rest_.clear();
        line_ = 0;
    }
    std::uint64_t line() const { return line_; }  // of the one that was given last, counted from 1

  private:
    template <class Use>
    void give(std::string_view line, const Use& use) {
        line_++;
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        use(line);
    }

    std::string rest_;
    std::uint64_t line_ = 0;
};

}  // namespace elman::ngram
