#include "ngram/text.h"

#include <stdexcept>

namespace elman::ngram {

Vocabulary::Vocabulary() : slots_(1024, NO_WORD) {
    for (const char* word : {"<unk>", "<s>", "</s>"}) add(word);
}

std::size_t Vocabulary::place(std::string_view wanted) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash_text(wanted) & mask;
    while (slots_[at] != NO_WORD && text(slots_[at]) != wanted) at = (at + 1) & mask;
    return at;
}

std::uint32_t Vocabulary::find(std::string_view text) const { return slots_[place(text)]; }

std::uint32_t Vocabulary::add(std::string_view text) {
    const std::size_t at = place(text);
    if (slots_[at] != NO_WORD) return slots_[at];
    if (text_.size() + text.size() >= NO_WORD)
        throw std::invalid_argument("the words have more than 4 GiB of text; limit the vocabulary");
    const std::uint32_t word = size();
    text_.append(text);
    starts_.push_back(static_cast<std::uint32_t>(text_.size()));
    slots_[at] = word;
    if (2 * starts_.size() > slots_.size()) {
        slots_.assign(2 * slots_.size(), NO_WORD);
        for (std::uint32_t old = 0; old < size(); old++) slots_[place(this->text(old))] = old;
    }
    return word;
}

}  // namespace elman::ngram
