#include "decoder.h"

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "machine/instructions.h"

namespace elman {

ELMAN_DECLARED(SearchKernels, search_kernels)

namespace {

constexpr double IMPOSSIBLE = -1e4;  // finite, so that differences of logarithms are numbers

const std::vector<const SearchKernels*>& versions() {
    static const std::vector<const SearchKernels*> found = usable<SearchKernels>({ELMAN_LISTED(search_kernels)});
    return found;
}

}  // namespace

const SearchKernels& search_version(const std::string& name) { return choose(versions(), name); }

std::vector<std::string> search_kernels() {
    return names_of(versions());
}

Decoder::Decoder(const BeamSettings& settings, const Lexicon* lexicon, const NgramModel* model,
                 const std::vector<std::int64_t>& units, const std::vector<double>& looks, const Automaton& automaton,
                 const std::string& kernels)
    : settings(settings),
      lexicon(lexicon),
      model(model),
      units(units),
      automaton(automaton),
      kernels(search_version(kernels)),
      row((settings.classes + SEARCH_PADDING - 1) / SEARCH_PADDING * SEARCH_PADDING + SEARCH_PADDING) {
    if (lexicon) {
        std::vector<double> values = looks;
        if (model && !settings.symbol_model) {
            values.resize(lexicon->words);
            NgramState after;
            for (std::uint32_t word = 0; word < lexicon->words; word++)
                values[word] = score(NgramState{}, units[word], after);
        }
        if (values.empty()) values.assign(lexicon->words, 0.0);
        look = lexicon->greatest_below(values);
        look[0] = 0;
    }
    fill(single);
    fill(twofold);
}

template <class Real>
void Decoder::fill(Factors<Real>& factors) const {
    if (lexicon) {
        factors.enter.assign(look.size() + SEARCH_PADDING, Real(1));
        for (std::size_t n = 0; n < look.size(); n++) {
            const LexiconNode& node = lexicon->nodes[n];
            for (std::uint32_t child = node.children; child < node.children + node.child_count; child++)
                factors.enter[child] = factor_of<Real>(settings.alpha * (look[child] - look[n]));
        }
    }
    const std::size_t states = automaton.last.size();
    factors.weights.assign(states * row, Real(0));
    for (std::size_t state = 0; state < states; state++)
        for (int c = 1; c < settings.classes; c++)
            factors.weights[state * row + c] = factor_of<Real>(automaton.weights[state * settings.classes + c]);
}

template <>
const Factors<float>& Decoder::factors<float>() const { return single; }
template <>
const Factors<double>& Decoder::factors<double>() const { return twofold; }

template <>
float factor_of<float>(double logarithm) {
    return static_cast<float>(std::exp(std::clamp(logarithm, -87.0, 87.0)));
}
template <>
double factor_of<double>(double logarithm) { return std::exp(std::clamp(logarithm, -700.0, 700.0)); }

double Decoder::score(const NgramState& in, std::int64_t unit, NgramState& out) const {
    return std::max(model->score(in, static_cast<std::uint32_t>(unit), out), IMPOSSIBLE);
}

}  // namespace elman
