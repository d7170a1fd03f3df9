// The one form of an n-gram model, in memory and on disk: a block of bytes that needs no parsing.
//
//   header    sizes and checksums
//   starts    words + 1 numbers: where each word's text begins
//   text      the words, UTF-8, one after the other
//   slots     a hash table from text to word id, open addressing, a power of two of places
//   inner     a record for each n-gram that may be a context: the empty one (the root), then orders 1 to N - 1
//   top       a record for each n-gram of order N
//   labels    the last word of each n-gram
//
// The n-grams are the nodes of a trie over their words from left to right, numbered breadth first: node 0 is the
// empty n-gram, word w alone is node w + 1, and all n-grams of an order are sorted by their words. So the children
// of a node are neighbours, sorted by label, and end where the children of the next node begin.
//
// A link leads from an n-gram to the longest proper suffix of it that a context can be: one with children or with a
// back-off weight. It has a lower order, so it has a lower number. What a file holds is not trusted: each number that
// was read is held against its bound before it is used (see ngram.h), so a damaged file can give wrong values at
// worst, and the checksums find it before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace elman::ngram {

inline constexpr int MOST_ORDERS = 7;
inline constexpr std::uint32_t UNKNOWN = 0, BEGIN = 1, END = 2;  // <unk>, <s> and </s> are the first three words
inline constexpr std::uint32_t NO_WORD = 0xFFFFFFFFu;

enum class Unit : std::uint32_t { WORDS = 0, CHARACTERS = 1 };

struct Header {
    char magic[8];
    std::uint32_t version, order, unit, reserved;
    std::uint64_t size, words, slots, text;
    std::uint64_t counts[MOST_ORDERS];
    std::uint64_t content_sum, header_sum;
};
static_assert(sizeof(Header) == 128);

struct Inner {
    float log_prob, back_off;      // natural logarithms
    std::uint32_t children, link;  // the first child; the children end where those of the next record begin
};

struct Top {
    float log_prob;
    std::uint32_t link;
};

// Where the sections of an image are, in bytes from its start, and how many nodes there are.
struct Layout {
    std::uint64_t starts, text, slots, inner, top, labels, size;
    std::uint64_t inner_nodes, nodes;  // nodes < 2^32; inner has one record more, which ends the last children

    // Throws std::invalid_argument where the sizes in the header are impossible.
    explicit Layout(const Header& header);
};

// Throws std::invalid_argument that tells what is wrong with a block of bytes as an image: its kind, version and
// sizes; with `contents`, also the checksum of everything behind the header.
void check(const void* data, std::uint64_t size, bool contents);

// 64 bits in which a change of any one byte is always seen, and of several but for one chance in 2^64.
std::uint64_t checksum(const void* data, std::uint64_t size);

std::uint64_t hash_text(std::string_view text);

// An image that is being made, zero at first; `seal` writes its checksums.
class Image {
  public:
    Image(int order, Unit unit, std::uint64_t words, std::uint64_t slots, std::uint64_t text,
          const std::uint64_t* counts);

    const Layout& layout() const { return layout_; }
    std::uint64_t size() const { return layout_.size; }
    char* data() const { return bytes_.get(); }
    template <class T>
    T* at(std::uint64_t offset) const {
        return reinterpret_cast<T*>(bytes_.get() + offset);
    }
    void seal();

  private:
    struct Free {
        void operator()(char* bytes) const;
    };
    Layout layout_;
    std::unique_ptr<char, Free> bytes_;
};

}  // namespace elman::ngram
