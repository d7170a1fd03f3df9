// What a beam has found: prefixes completed, those of the same words added up, the best in order. Part of beam.cpp.
#pragma once

#include "beam.h"

namespace elman {

// Where the caller's model scores words, the end of a sentence is scored after each word that the end may complete.
template <class Real>
std::vector<Request> Beam<Real>::endings() const {
    std::vector<Request> asked;
    if (!settings.external || settings.symbol_model) return asked;
    for (const Final& last : finals({}))
        if (last.word >= 0) asked.push_back({contexts[nodes[now.node[last.slot]].context].row, last.word, -1});
    return asked;
}

template <class Real>
double Beam<Real>::end_score(const Context* context) const {
    if (!context) return 0;
    if (decoder.model) {
        NgramState after;
        return decoder.units.back() < 0 ? 0 : settings.alpha * decoder.score(context->state, decoder.units.back(), after);
    }
    const float* row = rows.data() + std::size_t(context->row) * settings.external;
    return settings.alpha * std::max(double(settings.symbol_model ? row[0] : row[settings.external - 1]), -1e4);
}

// The ways in which the live prefixes can end here; a prefix within a word has none.
template <class Real>
std::vector<typename Beam<Real>::Final> Beam<Real>::finals(const std::vector<double>& ends) const {
    std::vector<Final> all;
    std::size_t next_end = 0;
    for (int i = 0; i < live; i++) {
        const Node& node = nodes[now.node[i]];
        const Context* context = node.context < 0 ? nullptr : &contexts[node.context];
        double score = std::log(double(now.blank[i]) + double(now.symbol[i])) + log_scale;
        if (!decoder.automaton.last.empty()) score += decoder.automaton.last[node.state];
        if (node.lex == 0) {
            all.push_back({i, -1, score + end_score(context)});
            continue;
        }
        if (!lexicon->closes) continue;
        const LexiconNode& spot = lexicon->nodes[node.lex];
        for (std::uint32_t e = 0; e < spot.edge_count; e++) {
            const auto word = static_cast<std::int32_t>(lexicon->edges[spot.edges + e].word);
            double with_word = score + std::log(double(edge_factors[node.scores + e]));
            if (decoder.model && !settings.symbol_model) {
                Context after;
                decoder.score(context->state, decoder.units[word], after.state);
                with_word += end_score(&after);
            } else if (settings.symbol_model) {
                with_word += end_score(context);
            } else if (settings.external && next_end < ends.size()) {
                with_word += settings.alpha * std::max(ends[next_end++], -1e4);
            }
            all.push_back({i, word, with_word});
        }
    }
    return all;
}

template <class Real>
std::vector<std::int32_t> Beam<Real>::words_of(int slot, int word) const {
    std::vector<std::int32_t> words;
    if (word >= 0) words.push_back(word);
    for (int n = now.node[slot]; nodes[n].parent >= 0; n = nodes[n].parent)
        if (nodes[n].word >= 0) words.push_back(nodes[n].word);
    std::reverse(words.begin(), words.end());
    return words;
}

template <class Real>
Found Beam<Real>::found(int slot, int word, double score) const {
    Found one;
    one.score = score;
    one.words = words_of(slot, word);
    for (int n = now.node[slot]; nodes[n].parent >= 0; n = nodes[n].parent)
        one.symbols.push_back(static_cast<std::int32_t>(nodes[n].label));
    std::reverse(one.symbols.begin(), one.symbols.end());
    if (!settings.times || one.symbols.empty()) return one;
    const Track &blank = now.blank_track[slot], &symbol = now.symbol_track[slot];
    const Track& best = blank.value >= symbol.value ? blank : symbol;
    std::int32_t end = best.end;
    float peak = best.peak;
    for (std::int32_t entry = best.entry; entry >= 0; entry = entries[entry].before) {
        one.starts.push_back(entries[entry].start);
        one.ends.push_back(end + 1);
        one.confidences.push_back(peak);
        end = entries[entry].end;
        peak = entries[entry].peak;
    }
    std::reverse(one.starts.begin(), one.starts.end());
    std::reverse(one.ends.begin(), one.ends.end());
    std::reverse(one.confidences.begin(), one.confidences.end());
    return one;
}

template <class Real>
std::vector<Found> Beam<Real>::best(int count, bool whole, const std::vector<double>& ends) const {
    std::vector<Final> all;
    if (whole)
        all = finals(ends);
    else
        for (int i = 0; i < live; i++)
            all.push_back({i, -1, std::log(double(now.blank[i]) + double(now.symbol[i])) + log_scale});
    const auto better = [](const Final& a, const Final& b) { return a.score > b.score; };
    std::stable_sort(all.begin(), all.end(), better);
    if (whole && lexicon) {
        // Words may have several spellings, and a separator or none at the end: one sentence, shown by its likeliest.
        std::map<std::vector<std::int32_t>, std::size_t> place_of;
        std::vector<Final> sentences;
        for (const Final& one : all) {
            const auto [known, fresh] = place_of.try_emplace(words_of(one.slot, one.word), sentences.size());
            if (fresh) {
                sentences.push_back(one);
            } else {
                double& sum = sentences[known->second].score;
                sum += std::log1p(std::exp(one.score - sum));
            }
        }
        all = std::move(sentences);
        std::stable_sort(all.begin(), all.end(), better);
    }
    std::vector<Found> best;
    for (std::size_t k = 0; k < all.size() && k < std::size_t(count); k++)
        best.push_back(found(all[k].slot, all[k].word, all[k].score));
    return best;
}

}  // namespace elman
