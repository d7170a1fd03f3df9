// What all utterances of a decoder share: the settings, the lexicon with its look-ahead, the language model, and the
// automaton of hotwords and word counts.
//
// A hypothesis has the mass p(symbols | x) times its factors, exp of what lexicon, language model and automaton add:
//     continuing a word     alpha (look(child) - look(node)), look the greatest ln p(word) below a node without context
//     completing a word     alpha (ln p(word | context) - look(node)) + beta
//     a symbol              alpha ln p(symbol | context) where the model is one of symbols; weight(state, symbol)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels.h"
#include "lexicon.h"
#include "ngram.h"

namespace elman {

struct BeamSettings {
    int classes, beam;
    int kept;      // symbols looked at in a frame, at most; 0: all
    double least;  // probability below which a symbol is left out of a frame
    double alpha, beta;
    bool times;        // follow the best alignment of each hypothesis
    bool symbol_model; // the language model's units are the classes, not the words of the lexicon
    int external;      // columns of a row of log probabilities that the caller supplies; 0: no such model
};

// Rows of weights (natural logarithms) and of next states, one a state; state 0 is the first. Empty where there is none.
struct Automaton {
    std::vector<double> weights;     // (states, classes)
    std::vector<std::int32_t> next;  // (states, classes)
    std::vector<double> last;        // (states,): what is added at the end
};

// The factors of what is known beforehand, in the arithmetic of the search.
template <class Real>
struct Factors {
    std::vector<Real> enter;    // of each node of the lexicon
    std::vector<Real> weights;  // (states, row) of the automaton
};

// exp of what is added to a hypothesis, held where the arithmetic can hold it.
template <class Real>
Real factor_of(double logarithm);

class Decoder {
  public:
    // units: the model's id of each word (or class), and last that of the end, each -1 where it has none.
    Decoder(const BeamSettings& settings, const Lexicon* lexicon, const NgramModel* model,
            const std::vector<std::int64_t>& units, const std::vector<double>& looks, const Automaton& automaton,
            const std::string& kernels);

    // ln p(unit | context) and the context after it.
    double score(const NgramState& in, std::int64_t unit, NgramState& out) const;

    const BeamSettings settings;
    const Lexicon* const lexicon;
    const NgramModel* const model;
    const std::vector<std::int64_t> units;
    const Automaton automaton;
    const SearchKernels& kernels;
    const int row;             // a row of factors: the classes, padded so that vectors may begin at class 1
    std::vector<double> look;  // of each node of the lexicon; the root's is 0

    template <class Real>
    const Factors<Real>& factors() const;

  private:
    template <class Real>
    void fill(Factors<Real>& factors) const;
    Factors<float> single;
    Factors<double> twofold;
};

std::vector<std::string> search_kernels();
const SearchKernels& search_version(const std::string& name);  // the widest where it is ""

}  // namespace elman
