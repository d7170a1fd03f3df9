//   search_kernels()    the versions of the search that can run here, widest first
//   Lexicon, Decoder    what utterances share (search/lexicon.h, search/decoder.h)
//   BeamSingle, BeamTwofold  the search over one utterance, in float32 and in float64 (search/beam.h)
//   likeliest           the likeliest symbols of rows of logits (search/likeliest.h)
//   beam_decode         whole utterances on several threads; beam_bad_frame checks their numbers
#include "search/batch.h"
#include "search/likeliest.h"

#include "bindings.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace {

using elman::Decoder;
using Numbers = std::vector<std::int64_t>;

template <class Real>
const Real* at(std::uintptr_t address) {
    return reinterpret_cast<const Real*>(address);
}

template <class Real>
void bind_one(nb::module_& module, const char* name) {
    using Beam = elman::Beam<Real>;
    nb::class_<Beam>(module, name)
        .def(nb::init<const Decoder&>(), "decoder"_a, nb::keep_alive<1, 2>())
        .def(
            "advance",
            [](Beam& beam, std::uintptr_t x, std::int64_t frames, std::int64_t stride) {
                beam.advance(at<Real>(x), frames, stride);
            },
            "x"_a, "frames"_a, "stride"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("requests", &Beam::requests)
        .def("supply", [](Beam& beam, std::uintptr_t rows) { beam.supply(at<float>(rows)); }, "rows"_a)
        .def("endings", &Beam::endings)
        .def("best", &Beam::best, "count"_a, "whole"_a, "ends"_a)
        .def("frames", &Beam::frames);
}

template <class Real>
std::vector<std::vector<elman::Found>> decode(const Decoder& decoder, const std::vector<std::uintptr_t>& addresses,
                                              const Numbers& frames, std::int64_t stride, int count, int threads) {
    std::vector<elman::Utterance<Real>> utterances;
    for (std::size_t n = 0; n < addresses.size(); n++)
        utterances.push_back({at<Real>(addresses[n]), frames[n], stride});
    return elman::decode<Real>(decoder, utterances, count, threads);
}

}  // namespace

void bind_beam(nb::module_& module) {
    module.def("search_kernels", &elman::search_kernels, "Versions of the search that can run here, widest first.");
    nb::class_<elman::NgramModel>(module, "NgramModel", "An n-gram model as the search asks it.");
    nb::class_<elman::Found>(module, "Found", "A completed hypothesis.")
        .def_ro("symbols", &elman::Found::symbols)
        .def_ro("words", &elman::Found::words)
        .def_ro("starts", &elman::Found::starts)
        .def_ro("ends", &elman::Found::ends)
        .def_ro("confidences", &elman::Found::confidences)
        .def_ro("score", &elman::Found::score);
    nb::class_<elman::Request>(module, "Request", "A row of log probabilities that is wanted.")
        .def_ro("parent", &elman::Request::parent)
        .def_ro("unit", &elman::Request::unit)
        .def_ro("row", &elman::Request::row);
    nb::class_<elman::Lexicon>(module, "Lexicon", "Words as paths of symbols through a trie.")
        .def(nb::init<const std::vector<std::uint32_t>&, const std::vector<std::uint32_t>&,
                      const std::vector<std::uint32_t>&, std::uint32_t, int>(),
             "spellings"_a, "offsets"_a, "word_of"_a, "words"_a, "separator"_a)
        .def("size", [](const elman::Lexicon& lexicon) { return lexicon.nodes.size(); })
        .def("most_edges", [](const elman::Lexicon& lexicon) { return lexicon.most_edges; });
    nb::class_<Decoder>(module, "Decoder", "Settings, lexicon, model and automaton of a beam search.")
        .def(
            "__init__",
            [](Decoder* self, int classes, int beam, int kept, double least, double alpha, double beta, bool times,
               bool symbol_model, int external, const elman::Lexicon* lexicon, const elman::NgramModel* model,
               const Numbers& units, const std::vector<double>& looks, const std::vector<double>& weights,
               const std::vector<std::int32_t>& next, const std::vector<double>& last, const std::string& kernels) {
                new (self) Decoder({classes, beam, kept, least, alpha, beta, times, symbol_model, external}, lexicon,
                                   model, units, looks, {weights, next, last}, kernels);
            },
            "classes"_a, "beam"_a, "kept"_a, "least"_a, "alpha"_a, "beta"_a, "times"_a, "symbol_model"_a, "external"_a,
            "lexicon"_a.none(), "model"_a.none(), "units"_a, "looks"_a, "weights"_a, "next"_a, "last"_a, "kernels"_a,
            nb::keep_alive<1, 11>(), nb::keep_alive<1, 12>());
    bind_one<float>(module, "BeamSingle");
    bind_one<double>(module, "BeamTwofold");
    module.def(
        "likeliest",
        [](std::uintptr_t logits, std::int64_t rows, int count, int keep, std::uintptr_t stop, int stop_count,
           std::uintptr_t values, std::uintptr_t places, int threads, const std::string& kernels) {
            elman::likeliest({at<float>(logits), rows, count, keep, at<std::int64_t>(stop), stop_count,
                              const_cast<double*>(at<double>(values)), const_cast<std::int64_t*>(at<std::int64_t>(places))},
                             threads, kernels);
        },
        "logits"_a, "rows"_a, "count"_a, "keep"_a, "stop"_a, "stop_count"_a, "values"_a, "places"_a, "threads"_a,
        "kernels"_a, nb::call_guard<nb::gil_scoped_release>(), "Log probabilities and places of a row's likeliest.");
    module.def(
        "beam_decode",
        [](const Decoder& decoder, const std::vector<std::uintptr_t>& addresses, const Numbers& frames,
           std::int64_t stride, int count, int threads, bool twofold) {
            return (twofold ? decode<double> : decode<float>)(decoder, addresses, frames, stride, count, threads);
        },
        "decoder"_a, "addresses"_a, "frames"_a, "stride"_a, "count"_a, "threads"_a, "twofold"_a,
        nb::call_guard<nb::gil_scoped_release>(), "The best hypotheses of each utterance.");
    module.def(
        "beam_bad_frame",
        [](std::uintptr_t x, std::int64_t frames, std::int64_t stride, int classes, bool twofold) {
            return twofold ? elman::bad_frame(at<double>(x), frames, stride, classes)
                           : elman::bad_frame(at<float>(x), frames, stride, classes);
        },
        "x"_a, "frames"_a, "stride"_a, "classes"_a, "twofold"_a,
        "The first frame with a NaN, +inf, or nothing above -inf; -1: there is none.");
}
