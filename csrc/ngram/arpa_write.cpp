#include "ngram/arpa.h"
#include "ngram/number.h"

namespace elman::ngram {
namespace {

constexpr std::size_t PIECE = 1 << 20;  // bytes, about
constexpr double LN10 = 2.302585092994046;

void append_log10(std::string& text, float natural) { append(text, static_cast<float>(natural / LN10)); }

}  // namespace

ArpaWriter::ArpaWriter(const Model& model) : model_(model) {}

void ArpaWriter::heading(std::string& text) {
    if (order_ == 0) {
        text += "\\data\\\n";
        for (int n = 1; n <= model_.order(); n++)
            text += "ngram " + std::to_string(n) + "=" + std::to_string(model_.count(n)) + "\n";
    }
    if (order_ == model_.order()) {
        text += "\n\\end\\\n";
        finished_ = true;
        return;
    }
    order_++;
    end_ = node_ + static_cast<std::uint32_t>(model_.count(order_));
    text += "\n\\" + std::to_string(order_) + "-grams:\n";
    // The first n-gram of an order hangs from the first nodes that have children: begin the search at the first ones.
    std::uint32_t first = 1;
    for (int n = 0; n < order_; n++) {
        path_[n] = first;
        first += static_cast<std::uint32_t>(model_.count(n + 1));
    }
}

void ArpaWriter::ngram(std::string& text) {
    // Ancestors only move on, since all orders are sorted alike.
    path_[order_ - 1] = node_;
    for (int n = order_ - 2; n >= 0; n--)
        while (path_[n] + 1 < model_.inner_nodes() && model_.last_child(path_[n]) <= path_[n + 1]) path_[n]++;
    append_log10(text, model_.log_prob(node_));
    for (int n = 0; n < order_; n++) {
        text += n ? ' ' : '\t';
        text += model_.text(model_.label(path_[n]) < model_.words() ? model_.label(path_[n]) : UNKNOWN);
    }
    if (order_ < model_.order() && (model_.back_off(node_) != 0 || model_.first_child(node_) < model_.last_child(node_))) {
        text += '\t';
        append_log10(text, model_.back_off(node_));
    }
    text += '\n';
    node_++;
}

std::string ArpaWriter::next() {
    std::string text;
    while (!finished_ && text.size() < PIECE) {
        if (node_ == end_)
            heading(text);
        else
            ngram(text);
    }
    return text;
}

}  // namespace elman::ngram
