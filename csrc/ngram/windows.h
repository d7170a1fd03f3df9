// Counting windows: the N words that begin at each place of a sentence, fewer at its end.
//
// Each n-gram of any order n <= N at a place is the beginning of just one window there. So the windows with their
// counts, sorted by their words, tell the counts of all n-grams of all orders, in the order in which a trie takes them.
//
// They are counted in a hash table. When it is full, its content is sorted and written to a file, a run, and the
// runs are merged at the end: memory is bounded by the table, whatever the length of the text.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace elman::ngram {

// Called now and then in long work with the share of it that is done; may throw to stop it.
using Tick = std::function<void(double)>;

class Windows {
  public:
    virtual ~Windows() = default;

    // The windows of a sentence of `count` words.
    virtual void add(const std::uint32_t* words, std::uint64_t count) = 0;

    // Ends the counting: from now on `next` gives the windows, sorted.
    virtual void sort(const Tick& tick) = 0;

    // A window of order() words, a short one filled up with NO_WORD, and how often it was seen; false at the end.
    virtual bool next(const std::uint32_t*& words, std::uint64_t& count) = 0;

    virtual std::uint64_t distinct() const = 0;  // in memory and, until they are merged, in each run apart
    virtual int runs() const = 0;

    // order 1 to 7; `memory`: bytes of the table, at most; `folder`: for the runs.
    static std::unique_ptr<Windows> make(int order, std::uint64_t memory, const std::string& folder);
};

}  // namespace elman::ngram
