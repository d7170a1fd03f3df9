// The beam's tree of prefixes and what hangs on it: contexts of the language model, rows of factors. Part of beam.cpp.
#pragma once

#include "beam.h"

namespace elman {

template <class Real>
int Beam<Real>::find_child(int parent, std::uint32_t label, int word) const {
    int child = nodes[parent].child;
    while (child >= 0 && (nodes[child].label != label || nodes[child].word != word)) child = nodes[child].sibling;
    return child;
}

// The node that a candidate's code leads to, made where it is new.
template <class Real>
int Beam<Real>::child_of(int parent, std::uint32_t code) {
    std::uint32_t label = code, edge = 0;
    int word = -1;
    if (code >= static_cast<std::uint32_t>(classes)) {
        edge = lexicon->nodes[nodes[parent].lex].edges + code - classes;
        const WordEdge& taken = lexicon->edges[edge];
        label = taken.label;
        word = static_cast<int>(taken.word);
    }
    if (const int known = find_child(parent, label, word); known >= 0) return known;
    const Node from = nodes[parent];
    Node node{parent, -1, from.child, -1, label, 0, 0, word, from.context, -1, Real(1)};
    if (word >= 0) {
        node.factor = edge_factors[from.scores + code - classes];
    } else if (lexicon) {
        node.lex = lexicon->child(lexicon->nodes[from.lex], label);
        node.factor = factors.enter[node.lex];
    }
    if (const Real* row = row_of(from)) node.factor *= row[label];
    if (!decoder.automaton.last.empty()) node.state = decoder.automaton.next[std::size_t(from.state) * classes + label];
    put_context(node, from, edge);
    put_scores(node);
    nodes.push_back(node);
    nodes[parent].child = static_cast<std::int32_t>(nodes.size()) - 1;
    return nodes[parent].child;
}

// A new context after each unit of the language model; inside a word the one before goes on.
template <class Real>
void Beam<Real>::put_context(Node& node, const Node& parent, std::uint32_t edge) {
    if (parent.context < 0 || (!settings.symbol_model && node.word < 0)) return;
    Context context;
    const NgramState& before = contexts[parent.context].state;
    if (decoder.model && settings.symbol_model)
        decoder.score(before, decoder.units[node.label], context.state);
    else if (decoder.model)
        context.state = completing(before, parent.lex, edge).after;
    node.context = static_cast<std::int32_t>(contexts.size());
    contexts.push_back(context);
}

// The factors of completing each of the words that end here; later where the caller has yet to supply them.
template <class Real>
void Beam<Real>::put_scores(Node& node) {
    if (!lexicon || node.scores >= 0) return;
    const LexiconNode& spot = lexicon->nodes[node.lex];
    if (!spot.edge_count) return;
    const bool words = node.context >= 0 && !settings.symbol_model;
    if (words && !decoder.model && contexts[node.context].row < 0) return;
    node.scores = static_cast<std::int32_t>(edge_factors.size());
    for (std::uint32_t e = 0; e < spot.edge_count; e++) {
        if (words && decoder.model) {
            edge_factors.push_back(completing(contexts[node.context].state, node.lex, spot.edges + e).factor);
            continue;
        }
        const std::uint32_t word = lexicon->edges[spot.edges + e].word;
        double value = 0;
        if (words)
            value = std::max(double(rows[std::size_t(contexts[node.context].row) * settings.external + word]), -1e4);
        edge_factors.push_back(factor_of<Real>(settings.alpha * (value - decoder.look[node.lex]) + settings.beta));
    }
    node.greatest = std::max(Real(1), *std::max_element(edge_factors.begin() + node.scores, edge_factors.end()));
}

template <class Real>
const typename Beam<Real>::Completion& Beam<Real>::completing(const NgramState& state, std::uint32_t lex,
                                                              std::uint32_t edge) {
    std::uint64_t hash = edge;
    for (std::uint32_t i = 0; i < state.size; i++) hash = (hash ^ state.words[i] ^ hash >> 29) * 0x9E3779B97F4A7C15u;
    Completion& known = completions[hash >> 32 & (completions.size() - 1)];
    if (known.edge != edge || !(known.state == state)) {
        known.state = state;
        known.edge = edge;
        const double value = decoder.score(state, decoder.units[lexicon->edges[edge].word], known.after);
        known.factor = factor_of<Real>(settings.alpha * (value - decoder.look[lex]) + settings.beta);
    }
    return known;
}

// The row of factors that all symbols have for a prefix; null: they have none.
template <class Real>
const Real* Beam<Real>::row_of(const Node& node) const {
    if (with_rows) return row_factors.data() + std::size_t(contexts[node.context].row) * decoder.row;
    return decoder.automaton.last.empty() ? nullptr : factors.weights.data() + std::size_t(node.state) * decoder.row;
}

// Gives up the rows of contexts that no live prefix is in. Done before a frame, so that those asked for after it can still
// be computed from their parents'.
template <class Real>
void Beam<Real>::release() {
    if (!with_rows && !settings.external) return;
    for (int i = 0; i < live; i++) contexts[nodes[now.node[i]].context].used = time + 1;
    std::size_t kept = 0;
    for (const std::int32_t context : resident) {
        if (contexts[context].used == time + 1) {
            resident[kept++] = context;
        } else {
            free_rows.push_back(contexts[context].row);
            contexts[context].row = -1;
        }
    }
    resident.resize(kept);
}

// Gives every live prefix the row that it needs, or asks the caller for it.
template <class Real>
void Beam<Real>::settle() {
    if (!with_rows && !settings.external) return;
    for (int i = 0; i < live; i++) {
        const Node& node = nodes[now.node[i]];
        Context& context = contexts[node.context];
        if (context.row >= 0) continue;
        if (free_rows.empty()) {
            free_rows.push_back(row_count++);
            rows.resize(std::size_t(row_count) * settings.external);
            if (with_rows) row_factors.resize(std::size_t(row_count) * decoder.row);
        }
        context.row = free_rows.back();
        free_rows.pop_back();
        resident.push_back(node.context);
        if (decoder.model) {
            fill_row(node);
        } else {
            const int parent = node.parent < 0 ? -1 : contexts[nodes[node.parent].context].row;
            const int unit = settings.symbol_model ? static_cast<int>(node.label) : node.word;
            asked.push_back({parent, node.parent < 0 ? -1 : unit, context.row});
            waiting.push_back(now.node[i]);
        }
    }
}

template <class Real>
void Beam<Real>::fill_row(const Node& node) {
    const Context& context = contexts[node.context];
    Real* row = row_factors.data() + std::size_t(context.row) * decoder.row;
    const double* weights =
        decoder.automaton.last.empty() ? nullptr : decoder.automaton.weights.data() + std::size_t(node.state) * classes;
    NgramState after;
    std::fill_n(row, decoder.row, Real(0));
    for (int c = 1; c < classes; c++) {
        const double value = decoder.model ? decoder.score(context.state, decoder.units[c], after)
                                           : double(rows[std::size_t(context.row) * settings.external + c]);
        row[c] = factor_of<Real>(settings.alpha * std::max(value, -1e4) + (weights ? weights[c] : 0.0));
    }
}

template <class Real>
void Beam<Real>::supply(const float* given) {
    for (const Request& request : asked) {
        std::copy_n(given, settings.external, rows.data() + std::size_t(request.row) * settings.external);
        given += settings.external;
    }
    asked.clear();
    for (const std::int32_t node : waiting) {
        if (with_rows) fill_row(nodes[node]);
        put_scores(nodes[node]);
    }
    waiting.clear();
}

// Takes out of the tree what leads to no live prefix, once it has doubled: the memory of a stream stays that of its text.
template <class Real>
void Beam<Real>::collect() {
    if (nodes.size() + entries.size() < sweep_at) return;
    std::vector<std::int32_t> node_at(nodes.size(), -1), entry_at(entries.size(), -1), context_at(contexts.size(), -1);
    const auto mark_entries = [&](std::int32_t entry) {
        for (; entry >= 0 && entry_at[entry] < 0; entry = entries[entry].before) entry_at[entry] = 0;
    };
    for (int i = 0; i < live; i++) {
        for (int n = now.node[i]; n >= 0 && node_at[n] < 0; n = nodes[n].parent) {
            node_at[n] = 0;
            if (nodes[n].context >= 0) context_at[nodes[n].context] = 0;
        }
        if (settings.times) {
            mark_entries(now.blank_track[i].entry);
            mark_entries(now.symbol_track[i].entry);
        }
    }
    for (const std::int32_t context : resident) context_at[context] = 0;
    // Whoever is kept moves down, never past its parent, which stands before it.
    const auto keep = [](auto& things, std::vector<std::int32_t>& at) {
        std::int32_t kept = 0;
        for (std::size_t n = 0; n < things.size(); n++)
            if (at[n] == 0) {
                things[kept] = things[n];
                at[n] = kept++;
            }
        things.resize(kept);
    };
    const auto moved = [](const std::vector<std::int32_t>& at, std::int32_t old) { return old < 0 ? -1 : at[old]; };
    keep(nodes, node_at);
    keep(entries, entry_at);
    keep(contexts, context_at);
    for (Entry& entry : entries) entry.before = moved(entry_at, entry.before);
    std::vector<Real> scores;
    for (Node& node : nodes) node.child = node.sibling = -1;
    for (std::size_t n = 0; n < nodes.size(); n++) {
        Node& node = nodes[n];
        node.parent = moved(node_at, node.parent);
        node.context = moved(context_at, node.context);
        if (node.parent >= 0) {
            node.sibling = nodes[node.parent].child;
            nodes[node.parent].child = static_cast<std::int32_t>(n);
        }
        if (node.scores < 0) continue;
        const auto begin = edge_factors.begin() + node.scores;
        node.scores = static_cast<std::int32_t>(scores.size());
        scores.insert(scores.end(), begin, begin + lexicon->nodes[node.lex].edge_count);
    }
    edge_factors = std::move(scores);
    for (std::int32_t& context : resident) context = context_at[context];
    for (int i = 0; i < live; i++) {
        now.node[i] = moved(node_at, now.node[i]);
        now.blank_track[i].entry = moved(entry_at, now.blank_track[i].entry);
        now.symbol_track[i].entry = moved(entry_at, now.symbol_track[i].entry);
    }
    sweep_at = std::max(std::size_t(1) << 16, 2 * (nodes.size() + entries.size()));
}

}  // namespace elman
