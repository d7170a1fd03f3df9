#include "ngram/image.h"

#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <stdexcept>

namespace elman::ngram {
namespace {

constexpr char MAGIC[8] = {'e', 'l', 'm', 'a', 'n', '-', 'n', 'g'};
constexpr std::uint32_t VERSION = 1;
constexpr std::uint64_t LIMIT = std::uint64_t{1} << 32;

std::uint64_t aligned(std::uint64_t size) { return (size + 15) & ~std::uint64_t{15}; }

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument(what); }

Header make_header(int order, Unit unit, std::uint64_t words, std::uint64_t slots, std::uint64_t text,
                   const std::uint64_t* counts) {
    Header header{};
    std::memcpy(header.magic, MAGIC, sizeof MAGIC);
    header.version = VERSION;
    header.order = static_cast<std::uint32_t>(order);
    header.unit = static_cast<std::uint32_t>(unit);
    header.words = words;
    header.slots = slots;
    header.text = text;
    for (int n = 0; n < order; n++) header.counts[n] = counts[n];
    return header;
}

}  // namespace

Layout::Layout(const Header& header) {
    if (header.order < 1 || header.order > MOST_ORDERS)
        refuse("an order of " + std::to_string(header.order) + ", expected 1 to 7");
    if (header.words < 3 || header.words >= LIMIT - 1 || header.counts[0] != header.words)
        refuse("impossible numbers of words, " + std::to_string(header.words) + ", and of 1-grams, " +
               std::to_string(header.counts[0]));
    if (!std::has_single_bit(header.slots) || header.slots <= header.words || header.slots > LIMIT)
        refuse("an impossible hash table of " + std::to_string(header.slots) + " places");
    if (header.text >= LIMIT) refuse("an impossible " + std::to_string(header.text) + " bytes of words");
    nodes = 1;
    inner_nodes = 1;
    for (std::uint32_t n = 0; n < MOST_ORDERS; n++) {
        if (header.counts[n] >= LIMIT || (n >= header.order && header.counts[n]))
            refuse("an impossible number of n-grams of order " + std::to_string(n + 1));
        nodes += header.counts[n];
        if (n + 1 < header.order) inner_nodes += header.counts[n];
    }
    if (nodes >= LIMIT) refuse("more than 4,294,967,294 n-grams, which have no numbers; prune them");
    starts = sizeof(Header);
    text = aligned(starts + 4 * (header.words + 1));
    slots = aligned(text + header.text);
    inner = aligned(slots + 4 * header.slots);
    top = aligned(inner + sizeof(Inner) * (inner_nodes + 1));
    labels = aligned(top + sizeof(Top) * (nodes - inner_nodes));
    size = aligned(labels + 4 * nodes);
}

void check(const void* data, std::uint64_t size, bool contents) {
    Header header;
    if (size < sizeof header)
        refuse(std::to_string(size) + " bytes, too short for a header of " + std::to_string(sizeof header));
    std::memcpy(&header, data, sizeof header);
    if (std::memcmp(header.magic, MAGIC, sizeof MAGIC) != 0) refuse("it does not begin as an n-gram model does");
    if (header.version != VERSION)
        refuse("version " + std::to_string(header.version) + " of the form, expected " + std::to_string(VERSION));
    const std::uint64_t sum = header.header_sum;
    header.header_sum = 0;
    if (checksum(&header, sizeof header) != sum) refuse("its header does not have the checksum written; it is damaged");
    if (header.unit > 1) refuse("unknown unit " + std::to_string(header.unit));
    const Layout layout(header);
    if (header.size != layout.size) refuse("a header that contradicts itself");
    if (size != layout.size)
        refuse(std::to_string(size) + " bytes, expected " + std::to_string(layout.size) +
               (size < layout.size ? "; it is cut off" : "; something was added"));
    if (contents && checksum(static_cast<const char*>(data) + sizeof header, size - sizeof header) != header.content_sum)
        refuse("its content does not have the checksum written; it is damaged");
}

std::uint64_t checksum(const void* data, std::uint64_t size) {
    // Each lane is a bijection of its state for a given word and of the word for a given state: two texts that
    // differ in one word cannot meet again.
    constexpr std::uint64_t FACTOR = 0x9E3779B97F4A7C15u;
    const char* bytes = static_cast<const char*>(data);
    std::uint64_t lanes[4] = {size, 1, 2, 3};
    auto mix = [&](int lane, std::uint64_t word) {
        lanes[lane] = std::rotl((lanes[lane] ^ word) * FACTOR, 29);
    };
    std::uint64_t at = 0, words[4];
    for (; at + 32 <= size; at += 32) {
        std::memcpy(words, bytes + at, 32);
        for (int lane = 0; lane < 4; lane++) mix(lane, words[lane]);
    }
    for (; at < size; at += 8) {
        std::uint64_t word = 0;
        std::memcpy(&word, bytes + at, size - at < 8 ? size - at : 8);
        mix(0, word);
    }
    for (int lane = 1; lane < 4; lane++) mix(0, lanes[lane]);
    return lanes[0] ^ lanes[0] >> 31;
}

std::uint64_t hash_text(std::string_view text) {
    std::uint64_t value = 0xCBF29CE484222325u;  // FNV-1a, its bits mixed once more for the low ones
    for (unsigned char byte : text) value = (value ^ byte) * 0x100000001B3u;
    value = (value ^ value >> 32) * 0xD6E8FEB86659FD93u;
    return value ^ value >> 32;
}

Image::Image(int order, Unit unit, std::uint64_t words, std::uint64_t slots, std::uint64_t text,
             const std::uint64_t* counts)
    : layout_(make_header(order, unit, words, slots, text, counts)) {
    Header header = make_header(order, unit, words, slots, text, counts);
    header.size = layout_.size;
    bytes_.reset(static_cast<char*>(std::calloc(layout_.size, 1)));
    if (!bytes_) throw std::bad_alloc();
    header.header_sum = checksum(&header, sizeof header);
    std::memcpy(data(), &header, sizeof header);
}

void Image::Free::operator()(char* bytes) const { std::free(bytes); }

void Image::seal() {
    Header& header = *at<Header>(0);
    header.content_sum = checksum(data() + sizeof header, size() - sizeof header);
    header.header_sum = 0;
    header.header_sum = checksum(&header, sizeof header);
}

}  // namespace elman::ngram
