#include "ngram/ngram.h"

namespace elman::ngram {

Model::Model(const void* data, std::uint64_t size) {
    check(data, size, false);
    const char* bytes = static_cast<const char*>(data);
    const Header& header = *reinterpret_cast<const Header*>(bytes);
    const Layout layout(header);
    order_ = static_cast<int>(header.order);
    unit_ = static_cast<Unit>(header.unit);
    words_ = static_cast<std::uint32_t>(header.words);
    nodes_ = static_cast<std::uint32_t>(layout.nodes);
    inner_nodes_ = static_cast<std::uint32_t>(layout.inner_nodes);
    text_size_ = static_cast<std::uint32_t>(header.text);
    slot_mask_ = static_cast<std::uint32_t>(header.slots - 1);
    std::copy(header.counts, header.counts + MOST_ORDERS, counts_);
    starts_ = reinterpret_cast<const std::uint32_t*>(bytes + layout.starts);
    text_ = bytes + layout.text;
    slots_ = reinterpret_cast<const std::uint32_t*>(bytes + layout.slots);
    inner_ = reinterpret_cast<const Inner*>(bytes + layout.inner);
    top_ = reinterpret_cast<const Top*>(bytes + layout.top);
    labels_ = reinterpret_cast<const std::uint32_t*>(bytes + layout.labels);
}

std::string_view Model::text(std::uint32_t word) const {
    const std::uint32_t end = std::min(starts_[word + 1], text_size_), begin = std::min(starts_[word], end);
    return {text_ + begin, end - begin};
}

std::uint32_t Model::id(std::string_view wanted) const {
    std::uint32_t place = static_cast<std::uint32_t>(hash_text(wanted)) & slot_mask_;
    for (std::uint32_t tried = 0; tried <= slot_mask_; tried++, place = (place + 1) & slot_mask_) {
        const std::uint32_t word = slots_[place];
        if (word >= words_) return UNKNOWN;  // an empty place
        if (text(word) == wanted) return word;
    }
    return UNKNOWN;
}

void Model::distribution(const State& state, double* log_probs) const {
    // From the shortest context to the longest: what a context does not have, it takes from the one before.
    std::uint32_t chain[MOST_ORDERS + 1];
    int length = 0;
    for (std::uint32_t node = state.node; node && length < MOST_ORDERS; node = link(node)) chain[length++] = node;
    for (std::uint32_t word = 0; word < words_; word++) log_probs[word] = log_prob(word + 1);
    while (length--) {
        const std::uint32_t node = chain[length];
        for (std::uint32_t word = 0; word < words_; word++) log_probs[word] += inner_[node].back_off;
        for (std::uint32_t child = first_child(node), end = last_child(node); child < end; child++)
            if (labels_[child] < words_) log_probs[labels_[child]] = log_prob(child);
    }
}

}  // namespace elman::ngram
