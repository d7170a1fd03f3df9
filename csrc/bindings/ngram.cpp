//   NgramImage        a model as a block of bytes, made here (ngram/image.h)
//   NgramView         the model in such a block, also in a file that is mapped: what queries and searches use
//   NgramWordCounter, NgramEstimator          text to an image (ngram/estimate.h)
//   NgramArpaReader, NgramArpaWriter          ARPA text to an image and back (ngram/arpa.h)
//
// std::invalid_argument becomes ValueError: a file or text is wrong. std::runtime_error becomes RuntimeError: the
// disk refuses. Long work takes a function, called now and then with the share that is done; a signal ends it.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>

#include "bindings.h"
#include "ngram/arpa.h"
#include "ngram/estimate.h"
#include "ngram/score.h"
#include "ngram/search.h"

namespace nb = nanobind;
using namespace nb::literals;
using namespace elman::ngram;

namespace {

std::string_view view(const nb::bytes& text) { return {text.c_str(), text.size()}; }

nb::bytes bytes(std::string_view text) { return nb::bytes(text.data(), text.size()); }

Tick ticking(const nb::object& progress) {
    return [callable = nb::handle(progress)](double share) {
        const nb::gil_scoped_acquire acquire;
        if (PyErr_CheckSignals() != 0) throw nb::python_error();
        callable(share);
    };
}

// Lines of a text as (log_prob, unknown_log_prob, words, unknown, characters).
using Row = std::tuple<double, double, std::uint64_t, std::uint64_t, std::uint64_t>;

std::vector<Row> score_lines(const SearchModel& self, const nb::bytes& text) {
    std::vector<Row> rows;
    const std::string_view piece = view(text);
    const nb::gil_scoped_release release;
    auto use = [&](std::string_view line) {
        const Score score = score_line(self.model, line);
        rows.emplace_back(score.log_prob, score.unknown_log_prob, score.words, score.unknown, score.characters);
    };
    Lines lines;
    lines.feed(piece, use);
    lines.finish(use);
    return rows;
}

void score_many(const SearchModel& self, std::uintptr_t nodes, std::uintptr_t words, std::uint64_t count,
                std::uintptr_t log_probs, std::uintptr_t next_nodes) {
    for (std::uint64_t i = 0; i < count; i++) {
        State next;
        reinterpret_cast<double*>(log_probs)[i] =
            self.model.score({reinterpret_cast<const std::uint32_t*>(nodes)[i]},
                             reinterpret_cast<const std::uint32_t*>(words)[i], next);
        reinterpret_cast<std::uint32_t*>(next_nodes)[i] = next.node;
    }
}

void bind_view(nb::module_& module) {
    nb::class_<SearchModel, elman::NgramModel>(module, "NgramView", "A model in a block of bytes that it keeps alive.")
        .def("__init__",
             [](SearchModel* self, const nb::object&, std::uintptr_t address, std::uint64_t size) {
                 new (self) SearchModel(Model(reinterpret_cast<const void*>(address), size));
             },
             "owner"_a, "address"_a, "size"_a, nb::keep_alive<1, 2>())
        .def_prop_ro("order", [](const SearchModel& self) { return self.model.order(); })
        .def_prop_ro("unit", [](const SearchModel& self) { return static_cast<int>(self.model.unit()); })
        .def_prop_ro("words", [](const SearchModel& self) { return self.model.words(); })
        .def_prop_ro("contexts", [](const SearchModel& self) { return self.model.inner_nodes(); })
        .def_prop_ro("counts", [](const SearchModel& self) {
            std::vector<std::uint64_t> counts;
            for (int n = 1; n <= self.model.order(); n++) counts.push_back(self.model.count(n));
            return counts;
        })
        .def_prop_ro("begin", [](const SearchModel& self) { return self.model.begin_state().node; })
        .def("score", [](const SearchModel& self, std::uint32_t node, std::uint32_t word) {
            State next;
            const double log_prob = self.model.score({node}, word, next);
            return std::pair(log_prob, next.node);
        }, "node"_a, "word"_a)
        .def("score_many", &score_many, "nodes"_a, "words"_a, "count"_a, "log_probs"_a, "next_nodes"_a,
             nb::call_guard<nb::gil_scoped_release>())
        .def("distribution", [](const SearchModel& self, std::uint32_t node, std::uintptr_t log_probs) {
            self.model.distribution({node}, reinterpret_cast<double*>(log_probs));
        }, "node"_a, "log_probs"_a, nb::call_guard<nb::gil_scoped_release>())
        .def("id", [](const SearchModel& self, const nb::bytes& text) { return self.model.id(view(text)); }, "text"_a)
        .def("text", [](const SearchModel& self, std::uint32_t word) { return bytes(self.model.text(word)); }, "word"_a)
        .def("encode", [](const SearchModel& self, const nb::bytes& line) { return encode_line(self.model, view(line)); },
             "line"_a)
        .def("score_lines", &score_lines, "text"_a);
}

void bind_estimate(nb::module_& module) {
    nb::class_<WordCounter>(module, "NgramWordCounter", "Counts words, for a vocabulary of the most frequent.")
        .def("__init__", [](WordCounter* self, int unit) { new (self) WordCounter(static_cast<Unit>(unit)); }, "unit"_a)
        .def("feed", [](WordCounter& self, const nb::bytes& piece) {
            const std::string_view text = view(piece);
            const nb::gil_scoped_release release;
            self.feed(text);
        }, "piece"_a)
        .def("finish", &WordCounter::finish)
        .def_prop_ro("words", &WordCounter::words)
        .def("frequent", [](const WordCounter& self, std::uint64_t most, std::uint64_t least) {
            nb::list words;
            for (const std::string& word : self.frequent(most, least)) words.append(bytes(word));
            return words;
        }, "most"_a, "least"_a);
    nb::class_<OrderReport>(module, "NgramOrderReport", "What an estimation found of one order.")
        .def_ro("found", &OrderReport::found)
        .def_ro("kept", &OrderReport::kept)
        .def_prop_ro("adjusted", [](const OrderReport& self) { return std::vector(self.once.begin(), self.once.end()); })
        .def_prop_ro("discounts",
                     [](const OrderReport& self) { return std::vector(self.discounts.begin(), self.discounts.end()); })
        .def_ro("fallback", &OrderReport::fallback);
    nb::class_<Estimator>(module, "NgramEstimator", "Text to a model.")
        .def("__init__",
             [](Estimator* self, int order, int unit, const std::optional<std::vector<nb::bytes>>& closed,
                std::uint64_t memory, const std::string& folder) {
                 std::vector<std::string> words;
                 for (const nb::bytes& word : closed.value_or(std::vector<nb::bytes>())) words.emplace_back(view(word));
                 new (self) Estimator(order, static_cast<Unit>(unit), closed ? &words : nullptr, memory, folder);
             },
             "order"_a, "unit"_a, "closed"_a.none(), "memory"_a, "folder"_a)
        .def("feed", [](Estimator& self, const nb::bytes& piece) {
            const std::string_view text = view(piece);
            const nb::gil_scoped_release release;
            self.feed(text);
        }, "piece"_a)
        .def("finish", &Estimator::finish, nb::call_guard<nb::gil_scoped_release>())
        .def_prop_ro("sentences", &Estimator::sentences)
        .def_prop_ro("words", &Estimator::words)
        .def_prop_ro("unknown", &Estimator::unknown)
        .def_prop_ro("distinct", &Estimator::distinct)
        .def_prop_ro("runs", &Estimator::runs)
        .def("estimate", [](Estimator& self, const std::vector<std::uint64_t>& thresholds, const nb::object& progress) {
            const Tick tick = ticking(progress);
            const nb::gil_scoped_release release;
            return self.estimate(thresholds, tick);
        }, "thresholds"_a, "progress"_a)
        .def_prop_ro("report", &Estimator::report);
    module.def("ngram_prune", [](const Image& image, double threshold, const nb::object& progress) {
        const Tick tick = ticking(progress);
        const nb::gil_scoped_release release;
        return prune_by_entropy(image, threshold, tick);
    }, "image"_a, "threshold"_a, "progress"_a, "Entropy pruning of a model that was made here.");
}

void bind_arpa(nb::module_& module) {
    nb::class_<ArpaReader>(module, "NgramArpaReader", "ARPA text to a model.")
        .def("__init__", [](ArpaReader* self, int unit) { new (self) ArpaReader(static_cast<Unit>(unit)); }, "unit"_a)
        .def("feed", [](ArpaReader& self, const nb::bytes& piece) {
            const std::string_view text = view(piece);
            const nb::gil_scoped_release release;
            self.feed(text);
        }, "piece"_a)
        .def("finish", [](ArpaReader& self, const nb::object& progress) {
            const Tick tick = ticking(progress);
            const nb::gil_scoped_release release;
            return self.finish(tick);
        }, "progress"_a)
        .def_prop_ro("line", &ArpaReader::line)
        .def_prop_ro("remarks", &ArpaReader::remarks);
    nb::class_<ArpaWriter>(module, "NgramArpaWriter", "A model to ARPA text, piece by piece.")
        .def("__init__", [](ArpaWriter* self, const SearchModel& view) { new (self) ArpaWriter(view.model); }, "view"_a,
             nb::keep_alive<1, 2>())
        .def("next", [](ArpaWriter& self) { return bytes(self.next()); })
        .def_prop_ro("done", &ArpaWriter::done);
}

}  // namespace

void bind_ngram(nb::module_& module) {
    nb::class_<Image>(module, "NgramImage", "A model as a block of bytes.")
        .def_prop_ro("address", [](const Image& self) { return reinterpret_cast<std::uintptr_t>(self.data()); })
        .def_prop_ro("size", &Image::size)
        .def("seal", &Image::seal, nb::call_guard<nb::gil_scoped_release>());
    module.def("ngram_check", [](std::uintptr_t address, std::uint64_t size, bool contents) {
        check(reinterpret_cast<const void*>(address), size, contents);
    }, "address"_a, "size"_a, "contents"_a, nb::call_guard<nb::gil_scoped_release>(),
               "Raises ValueError with what is wrong with a block of bytes as a model.");
    bind_view(module);
    bind_estimate(module);
    bind_arpa(module);
}
