// Interpolated modified Kneser-Ney (Chen and Goodman 1998), in the form of Heafield et al. 2013.
//
//   a(h w)     the adjusted count: how often an n-gram was seen, if it is of the highest order or begins with <s>;
//              else in how many different words before it: N1+(. h w)
//   n_j        how many n-grams of an order have the adjusted count j
//   D(j)       = j - (j + 1) Y n_(j+1) / n_j,  Y = n_1 / (n_1 + 2 n_2),  for j = 1, 2 and 3; D(j) = D(3) above
//   p(w | h)   = (a(h w) - D(a(h w))) / sum_x a(h x)  +  b(h) p(w | h without its first word)
//   b(h)       = (sum of D(a(h x)) over the x that are kept + sum of a(h x) over those pruned) / sum_x a(h x)
//   p(w | )    = (a(w) - D(a(w))) / sum_x a(x)  +  b() / number of words, <unk> among them and <s> not
//
// An n-gram is pruned if it was seen at most `threshold` times; discounts are taken before. Thresholds do not fall
// with the order, so whatever a kept n-gram begins or ends with is kept too.
#include "ngram/estimate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <stdexcept>

namespace elman::ngram {
namespace {

constexpr std::uint64_t PART = 1 << 20;
constexpr double NEVER = -99 * 2.302585092994046;  // of <s>, which is never foretold: 10^-99, as is the custom

// What is known of an order while it is counted; the Level beside it has labels and children.
struct Counted {
    Array<std::uint64_t> counts;       // seen, later adjusted
    Array<std::uint32_t> suffixes;     // the place of an n-gram without its first word, on the level below
};

struct Range {
    std::uint64_t from, to;
};

// The trie of all n-grams, from the sorted windows.
void build(Windows& windows, std::vector<Level>& levels, std::vector<Counted>& counted, std::uint32_t words,
           const Tick& tick) {
    const int order = static_cast<int>(levels.size());
    std::vector<std::uint32_t> path;  // the words of the window before
    const std::uint32_t* window = nullptr;
    std::uint64_t count = 0, done = 0;
    const double all = static_cast<double>(std::max<std::uint64_t>(windows.distinct(), 1));
    auto open = [&](int n, std::uint32_t word) {
        levels[n].labels.push_back(word);
        counted[n].counts.push_back(0);
        if (n + 1 < order) levels[n].children.push_back(static_cast<std::uint32_t>(levels[n + 1].labels.size()));
    };
    while (windows.next(window, count)) {
        while (levels[0].labels.size() < window[0]) open(0, static_cast<std::uint32_t>(levels[0].labels.size()));
        int n = 0;
        while (n < static_cast<int>(path.size()) && path[n] == window[n]) counted[n++].counts.back() += count;
        path.resize(n);
        for (; n < order && window[n] != NO_WORD; n++) {
            open(n, window[n]);
            path.push_back(window[n]);
            counted[n].counts.back() += count;
        }
        if (++done % PART == 0) tick(static_cast<double>(done) / all);
    }
    while (levels[0].labels.size() < words) open(0, static_cast<std::uint32_t>(levels[0].labels.size()));
    for (int n = 0; n < order; n++) {
        if (levels[n].labels.size() >= NO_WORD)
            throw std::invalid_argument("more than 4,294,967,294 different n-grams, which have no numbers");
        if (n + 1 < order) levels[n].children.push_back(static_cast<std::uint32_t>(levels[n + 1].labels.size()));
    }
}

// The children of h are among those of its suffix, and both are sorted.
void find_suffixes(const std::vector<Level>& levels, std::vector<Counted>& counted) {
    for (std::size_t n = 0; n + 1 < levels.size(); n++) {
        const Level& level = levels[n];
        Array<std::uint32_t>& suffixes = counted[n + 1].suffixes;
        for (std::uint64_t i = 0; i < level.labels.size(); i++) {
            const std::uint32_t end = level.children[i + 1];
            if (n == 0) {
                for (std::uint32_t c = level.children[i]; c < end; c++) suffixes.push_back(levels[1].labels[c]);
                continue;
            }
            const std::uint32_t suffix = counted[n].suffixes[i];
            const std::uint32_t* from = levels[n].labels.begin() + levels[n - 1].children[suffix];
            const std::uint32_t* to = levels[n].labels.begin() + levels[n - 1].children[suffix + 1];
            for (std::uint32_t c = level.children[i]; c < end; c++) {
                from = std::lower_bound(from, to, levels[n + 1].labels[c]);
                suffixes.push_back(static_cast<std::uint32_t>(from - levels[n].labels.begin()));
            }
        }
    }
}

void mark_pruned(std::vector<Level>& levels, const std::vector<Counted>& counted,
                 const std::vector<std::uint64_t>& thresholds) {
    const bool any = std::any_of(thresholds.begin(), thresholds.end(), [](std::uint64_t t) { return t > 0; });
    for (std::size_t n = 1; any && n < levels.size(); n++) {
        levels[n].keep = Array<std::uint8_t>(levels[n].labels.size(), 1);
        for (std::uint64_t i = 0; i < levels[n].labels.size(); i++)
            levels[n].keep[i] = counted[n].counts[i] > thresholds[n];
    }
}

// Replaces counts by adjusted counts, except those of the highest order and of n-grams that begin with <s>.
void adjust(const std::vector<Level>& levels, std::vector<Counted>& counted) {
    const int order = static_cast<int>(levels.size());
    Range kept{BEGIN, BEGIN + 1};
    for (int n = 0; n + 1 < order; n++) {
        Array<std::uint64_t>& counts = counted[n].counts;
        for (std::uint64_t i = 0; i < counts.size(); i++)
            if (i < kept.from || i >= kept.to) counts[i] = 0;
        for (std::uint32_t suffix : counted[n + 1].suffixes)
            if (suffix < kept.from || suffix >= kept.to) counts[suffix]++;
        kept = {levels[n].children[kept.from], levels[n].children[kept.to]};
    }
    counted[0].counts[BEGIN] = 0;
}

// "" or why the formula gives no discounts.
std::string discounts(const std::array<std::uint64_t, 4>& n, std::array<double, 3>& discounts) {
    for (int j = 0; j < 3; j++)
        if (n[j] == 0) return "no n-gram has the adjusted count " + std::to_string(j + 1);
    const double y = static_cast<double>(n[0]) / static_cast<double>(n[0] + 2 * n[1]);
    for (int j = 0; j < 3; j++) {
        discounts[j] = j + 1 - (j + 2) * y * static_cast<double>(n[j + 1]) / static_cast<double>(n[j]);
        if (discounts[j] <= 0 || discounts[j] > j + 1) {
            char text[80];
            std::snprintf(text, sizeof text, "the discount of the adjusted count %d would be %.4g", j + 1, discounts[j]);
            return text;
        }
    }
    return "";
}

std::vector<OrderReport> report_of(const std::vector<Level>& levels, const std::vector<Counted>& counted) {
    std::vector<OrderReport> reports(levels.size());
    for (std::size_t n = 0; n < levels.size(); n++) {
        OrderReport& report = reports[n];
        for (std::uint64_t i = 0; i < levels[n].labels.size(); i++) {
            const std::uint64_t count = counted[n].counts[i];
            if (count >= 1 && count <= 4) report.once[count - 1]++;
            report.kept += levels[n].kept(i);
        }
        report.found = levels[n].labels.size();
        report.fallback = discounts(report.once, report.discounts);
        if (!report.fallback.empty()) report.discounts = {0.5, 1, 1.5};
    }
    return reports;
}

double discount(const OrderReport& report, std::uint64_t count) {
    return count == 0 ? 0 : report.discounts[std::min<std::uint64_t>(count, 3) - 1];
}

// Probabilities of order 1.
Array<double> first_probs(Level& level, const Counted& counted, const OrderReport& report) {
    double total = 0, taken = 0;
    for (std::uint64_t count : counted.counts) {
        total += static_cast<double>(count);
        taken += discount(report, count);
    }
    Array<double> probs(level.labels.size());
    const double rest = taken / total / static_cast<double>(probs.size() - 1);
    for (std::uint64_t i = 0; i < probs.size(); i++) {
        const std::uint64_t count = counted.counts[i];
        probs[i] = (static_cast<double>(count) - discount(report, count)) / total + rest;
        level.log_probs.push_back(static_cast<float>(i == BEGIN ? NEVER : std::log(probs[i])));
    }
    return probs;
}

// Probabilities of the next order, and the back-off weights of `contexts`. `lower`: probabilities of the contexts'
// order, which are those of the children's suffixes.
Array<double> next_probs(Level& contexts, Level& level, const Counted& counted, const OrderReport& report,
                         const Array<double>& lower, const Tick& tick) {
    Array<double> probs;
    for (std::uint64_t h = 0; h < contexts.labels.size(); h++) {
        const std::uint32_t from = contexts.children[h], to = contexts.children[h + 1];
        double total = 0, left = 0;
        for (std::uint32_t c = from; c < to; c++) {
            const std::uint64_t count = counted.counts[c];
            total += static_cast<double>(count);
            left += level.kept(c) ? discount(report, count) : static_cast<double>(count);
        }
        const double back_off = from == to ? 1 : left / total;
        contexts.back_offs.push_back(static_cast<float>(std::log(back_off)));
        for (std::uint32_t c = from; c < to; c++) {
            const std::uint64_t count = counted.counts[c];
            probs.push_back((static_cast<double>(count) - discount(report, count)) / total +
                            back_off * lower[counted.suffixes[c]]);
            level.log_probs.push_back(static_cast<float>(std::log(probs.back())));
        }
        if (h % PART == 0) tick(static_cast<double>(h) / static_cast<double>(contexts.labels.size()));
    }
    return probs;
}

}  // namespace

Image Estimator::estimate(const std::vector<std::uint64_t>& thresholds, const Tick& tick) {
    if (words_ == sentences_) throw std::invalid_argument("no words in the text; expected some");
    std::vector<Level>& levels = tables_.levels;
    levels.resize(order_);
    std::vector<Counted> counted(order_);
    windows_->sort(tick);
    build(*windows_, levels, counted, tables_.vocabulary.size(), tick);
    find_suffixes(levels, counted);
    mark_pruned(levels, counted, thresholds);
    adjust(levels, counted);
    report_ = report_of(levels, counted);
    Array<double> probs = first_probs(levels[0], counted[0], report_[0]);
    for (int n = 1; n < order_; n++) {
        counted[n - 1] = {};
        probs = next_probs(levels[n - 1], levels[n], counted[n], report_[n], probs, tick);
    }
    counted.clear();
    probs = {};
    return assemble(std::move(tables_), tick);
}

}  // namespace elman::ngram
