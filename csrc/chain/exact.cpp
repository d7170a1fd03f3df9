#include "exact.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace elman {
namespace chain {

namespace {

constexpr double NEVER = -std::numeric_limits<double>::infinity();

// ln sum exp of what is added, in the order of adding.
class LogSum {
  public:
    void add(double x) {
        if (x == NEVER) return;
        if (x <= high) {
            sum += std::exp(x - high);
        } else {
            sum = sum * std::exp(high - x) + 1;
            high = x;
        }
    }
    double value() const { return sum > 0 ? high + std::log(sum) : NEVER; }

  private:
    double high = NEVER, sum = 0;
};

}  // namespace

void Exact::find_ways() {
    into.resize(scores.states);
    out_of.resize(scores.states);
    for (int i = 0; i < scores.states; i++)
        for (int j = 0; j < scores.states; j++) {
            const double score = scores.transitions[std::ptrdiff_t(i) * scores.states + j];
            if (score == NEVER) continue;
            into[j].push_back({i, score});
            out_of[i].push_back({j, score});
        }
}

double Exact::emission(int chain, std::ptrdiff_t t, int state) const {
    const std::ptrdiff_t place = scores.first[chain] + t * scores.step;
    const std::ptrdiff_t at = (scores.index ? scores.index[place] : place) * scores.states + state;
    return scores.wide ? static_cast<const double*>(scores.rows)[at] : double(static_cast<const float*>(scores.rows)[at]);
}

bool Exact::is_sound(int chain) const {
    for (std::ptrdiff_t t = 0; t < scores.lengths[chain]; t++)
        for (int s = 0; s < scores.states; s++)
            if (!(emission(chain, t, s) < -NEVER)) return false;
    return true;
}

// alpha (T, S): ln of the sum over the paths that are in a state at a time.
void Exact::forward(int chain, std::vector<double>& alpha) const {
    const std::ptrdiff_t time = scores.lengths[chain];
    const int states = scores.states;
    for (int s = 0; s < states; s++) alpha[s] = scores.start[s] + emission(chain, 0, s);
    for (std::ptrdiff_t t = 1; t < time; t++) {
        const double* before = &alpha[(t - 1) * states];
        for (int s = 0; s < states; s++) {
            LogSum sum;
            for (const Way& way : into[s]) sum.add(before[way.state] + way.score);
            alpha[t * states + s] = sum.value() + emission(chain, t, s);
        }
    }
}

ChainState Exact::sum(int chain, double& log_partition, const ChainGradient* gradient, const Parts& parts) {
    const std::ptrdiff_t time = scores.lengths[chain];
    const int states = scores.states;
    log_partition = 0;
    if (time == 0) return ChainState::SOUND;
    if (!is_sound(chain)) return ChainState::NOT_A_SCORE;
    std::call_once(found, [&] { find_ways(); });
    std::vector<double> alpha(time * states);
    forward(chain, alpha);
    LogSum whole;
    for (int s = 0; s < states; s++) whole.add(alpha[(time - 1) * states + s] + scores.end[s]);
    log_partition = whole.value();
    if (log_partition == NEVER) return ChainState::IMPOSSIBLE;
    if (!gradient) return ChainState::SOUND;
    const double weight = gradient->weights[chain];
    std::vector<double> beta(scores.end, scores.end + states), ahead(states);
    for (std::ptrdiff_t t = time - 1; t >= 0; t--) {
        const double* a = &alpha[t * states];
        const std::ptrdiff_t place = scores.first[chain] + t * scores.step;
        for (int s = 0; s < states; s++) {
            if (t + 1 < time) {  // `ahead` is emission and beta of t + 1
                LogSum sum;
                for (const Way& way : out_of[s]) {
                    const double rest = way.score + ahead[way.state];
                    sum.add(rest);
                    if (a[s] != NEVER)
                        parts.pairs[s * states + way.state] += weight * std::exp(a[s] + rest - log_partition);
                }
                beta[s] = sum.value();
            }
            const double part = weight * std::exp(a[s] + beta[s] - log_partition);
            if (scores.index)
                parts.sums[std::ptrdiff_t(scores.index[place]) * states + s] += part;
            else if (gradient->rows && scores.wide)
                static_cast<double*>(gradient->rows)[place * states + s] = part;
            else if (gradient->rows)
                static_cast<float*>(gradient->rows)[place * states + s] = float(part);
            if (t == 0) parts.first[s] += part;
            if (t == time - 1) parts.last[s] += part;
        }
        for (int s = 0; s < states; s++) ahead[s] = emission(chain, t, s) + beta[s];
    }
    return ChainState::SOUND;
}

ChainState Exact::best(int chain, double& score, std::int64_t* paths) {
    const std::ptrdiff_t time = scores.lengths[chain];
    const int states = scores.states;
    score = 0;
    if (time == 0) return ChainState::SOUND;
    if (!is_sound(chain)) return ChainState::NOT_A_SCORE;
    std::call_once(found, [&] { find_ways(); });
    std::vector<double> now(states), before(states);
    std::vector<std::int32_t> came(time * states);
    for (int s = 0; s < states; s++) now[s] = scores.start[s] + emission(chain, 0, s);
    for (std::ptrdiff_t t = 1; t < time; t++) {
        std::swap(now, before);
        for (int s = 0; s < states; s++) {
            double most = NEVER;
            int from = 0;
            for (const Way& way : into[s])
                if (before[way.state] + way.score > most) most = before[way.state] + way.score, from = way.state;
            now[s] = most + emission(chain, t, s);
            came[t * states + s] = from;
        }
    }
    for (int s = 0; s < states; s++) now[s] += scores.end[s];
    int state = int(std::max_element(now.begin(), now.end()) - now.begin());
    score = now[state];
    if (score == NEVER) return ChainState::IMPOSSIBLE;
    for (std::ptrdiff_t t = time - 1; t >= 0; t--) {
        paths[scores.first[chain] + t * scores.step] = state;
        state = came[t * states + state];
    }
    return ChainState::SOUND;
}

double Exact::along(int chain, const std::int64_t* paths) const {
    const std::ptrdiff_t time = scores.lengths[chain];
    double total = 0;
    std::int64_t before = -1;
    for (std::ptrdiff_t t = 0; t < time; t++) {
        const std::int64_t state = paths[scores.first[chain] + t * scores.step];
        total += (t ? scores.transitions[before * scores.states + state] : scores.start[state]) +
                 emission(chain, t, int(state));
        before = state;
    }
    return time ? total + scores.end[before] : total;
}

}  // namespace chain
}  // namespace elman
