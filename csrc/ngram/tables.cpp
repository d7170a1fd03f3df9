#include "ngram/tables.h"

#include <cstring>

namespace elman::ngram {
namespace {

constexpr std::uint64_t PART = 1 << 20;  // nodes between two ticks

// Marks as left out what hangs from something left out, and counts what stays of each level.
std::vector<std::uint64_t> settle(std::vector<Level>& levels) {
    std::vector<std::uint64_t> counts(MOST_ORDERS, 0);
    for (std::size_t n = 0; n < levels.size(); n++) {
        Level& level = levels[n];
        for (std::uint64_t i = 0; i < level.labels.size(); i++) {
            counts[n] += level.kept(i);
            if (level.kept(i) || n + 1 == levels.size()) continue;
            for (std::uint32_t child = level.children[i]; child < level.children[i + 1]; child++)
                levels[n + 1].keep[child] = 0;
        }
    }
    return counts;
}

void fill_vocabulary(const Image& image, const Vocabulary& vocabulary) {
    const Layout& layout = image.layout();
    std::memcpy(image.data() + layout.starts, vocabulary.starts().data(), 4 * vocabulary.starts().size());
    std::memcpy(image.data() + layout.text, vocabulary.text().data(), vocabulary.text().size());
    std::memcpy(image.data() + layout.slots, vocabulary.slots().data(), 4 * vocabulary.slots().size());
}

// Copies the n-grams that stay, each order behind the one before.
void fill_nodes(const Image& image, std::vector<Level>& levels, const std::vector<std::uint64_t>& counts) {
    const Layout& layout = image.layout();
    Inner* inner = image.at<Inner>(layout.inner);
    Top* top = image.at<Top>(layout.top);
    std::uint32_t* labels = image.at<std::uint32_t>(layout.labels);
    std::uint64_t node = 1;
    inner[0] = {0, 0, 1, 0};
    for (std::size_t n = 0; n < levels.size(); n++) {
        Level& level = levels[n];
        const bool last = n + 1 == levels.size();
        std::uint64_t child = node + counts[n];
        for (std::uint64_t i = 0; i < level.labels.size(); i++) {
            if (!level.kept(i)) continue;
            labels[node] = level.labels[i];
            if (last) {
                top[node - layout.inner_nodes] = {level.log_probs[i], 0};
            } else {
                inner[node] = {level.log_probs[i], level.back_offs[i], static_cast<std::uint32_t>(child), 0};
                for (std::uint32_t c = level.children[i]; c < level.children[i + 1]; c++)
                    child += levels[n + 1].kept(c);
            }
            node++;
        }
        level = {};
    }
    inner[layout.inner_nodes].children = static_cast<std::uint32_t>(layout.nodes);
}

// The link of a child w of a node is the child w of the first of the shorter contexts that has one. Breadth first, the
// links that this needs are there before.
void fill_links(const Image& image, const Tick& tick) {
    const Layout& layout = image.layout();
    const Model model(image.data(), image.size());
    Inner* inner = image.at<Inner>(layout.inner);
    Top* top = image.at<Top>(layout.top);
    for (std::uint32_t node = 1; node < layout.inner_nodes; node++) {
        for (std::uint32_t child = model.first_child(node); child < model.last_child(node); child++) {
            std::uint32_t shorter = 0;
            for (std::uint32_t context = model.link(node); !shorter; context = model.link(context))
                shorter = model.find(context, model.label(child));
            shorter = model.context(shorter);
            if (child < layout.inner_nodes)
                inner[child].link = shorter;
            else
                top[child - layout.inner_nodes].link = shorter;
        }
        if (node % PART == 0) tick(static_cast<double>(node) / static_cast<double>(layout.inner_nodes));
    }
}

}  // namespace

Image assemble(Tables&& tables, const Tick& tick) {
    const std::vector<std::uint64_t> counts = settle(tables.levels);
    const Vocabulary& vocabulary = tables.vocabulary;
    Image image(static_cast<int>(tables.levels.size()), tables.unit, vocabulary.size(), vocabulary.slots().size(),
                vocabulary.text().size(), counts.data());
    fill_vocabulary(image, vocabulary);
    fill_nodes(image, tables.levels, counts);
    fill_links(image, tick);
    return image;
}

}  // namespace elman::ngram
