"""N-gram models from their definition: exact fractions, dictionaries and nothing clever."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from fractions import Fraction

Gram = tuple[str, ...]
FALLBACK = (Fraction(1, 2), Fraction(1), Fraction(3, 2))


class KneserNey:
    """Interpolated modified Kneser-Ney of sentences, each a list of words.

    known: the vocabulary, all else is <unk>; None: every word. prune: as in elman.search.ngram_estimate.
    """

    def __init__(
        self,
        sentences: Sequence[Sequence[str]],
        order: int,
        prune: Sequence[int] = (0,),
        known: set[str] | None = None,
    ) -> None:
        self.order = order
        self.prune = [*prune, *[prune[-1]] * (order - len(prune))]
        rows = [["<unk>" if known is not None and w not in known else w for w in s] for s in sentences]
        rows = [["<s>", *row, "</s>"] for row in rows]
        self.words = {"<unk>", "</s>", *(known or ()), *(word for row in rows for word in row)} - {"<s>"}
        self.seen: Counter[Gram] = Counter(
            tuple(row[i : i + n])
            for row in rows
            for n in range(1, order + 1)
            for i in range(len(row) - n + 1)
        )
        before: dict[Gram, set[str]] = defaultdict(set)
        for gram in self.seen:
            before[gram[1:]].add(gram[0])
        self.adjusted = {
            gram: count if len(gram) == order or gram[0] == "<s>" else len(before[gram])
            for gram, count in self.seen.items()
            if gram != ("<s>",)
        }
        self.fallbacks: list[int] = []
        self.discounts = [self._discounts(n) for n in range(1, order + 1)]
        self.followers: dict[Gram, list[str]] = defaultdict(list)
        for gram in self.adjusted:
            self.followers[gram[:-1]].append(gram[-1])

    def _discounts(self, n: int) -> tuple[Fraction, ...]:
        of = Counter(count for gram, count in self.adjusted.items() if len(gram) == n)
        if not (of[1] and of[2] and of[3]):
            self.fallbacks.append(n)
            return FALLBACK
        y = Fraction(of[1], of[1] + 2 * of[2])
        found = tuple(j - (j + 1) * y * Fraction(of[j + 1], of[j]) for j in (1, 2, 3))
        if not all(0 < d <= j for j, d in enumerate(found, 1)):
            self.fallbacks.append(n)
            return FALLBACK
        return found

    def _discount(self, gram: Gram) -> Fraction:
        return self.discounts[len(gram) - 1][min(self.adjusted[gram], 3) - 1]

    def kept(self, gram: Gram) -> bool:
        return self.seen[gram] > (0 if len(gram) == 1 else self.prune[len(gram) - 1])

    def back_off(self, history: Gram) -> Fraction:
        grams = [(*history, word) for word in self.followers[history]]
        left = sum(self._discount(gram) if self.kept(gram) else self.adjusted[gram] for gram in grams)
        return Fraction(left) / sum(self.adjusted[gram] for gram in grams)

    def probability(self, word: str, history: Gram) -> Fraction:
        """p(word | history), the history of any length."""
        history = history[max(len(history) - self.order + 1, 0) :]
        if not history:
            total = sum(count for gram, count in self.adjusted.items() if len(gram) == 1)
            own = self.adjusted.get((word,), 0)
            discounted = Fraction(own) - (self._discount((word,)) if own else 0)
            return discounted / total + self.back_off(()) / len(self.words)
        lower = self.probability(word, history[1:])
        if not self.followers.get(history):
            return lower
        gram = (*history, word)
        own = Fraction(0)
        if self.seen[gram] and self.kept(gram):
            total = sum(self.adjusted[(*history, w)] for w in self.followers[history])
            own = (self.adjusted[gram] - self._discount(gram)) / Fraction(total)
        return own + self.back_off(history) * lower


class BackOff:
    """A model as the text of an ARPA file tells it, and the back-off rule; natural logarithms."""

    def __init__(self, arpa: str) -> None:
        self.log_probs: dict[Gram, float] = {}
        self.weights: dict[Gram, float] = {}
        self.order = 0
        for line in arpa.splitlines():
            if line.startswith("\\") and line.endswith("-grams:"):
                self.order = int(line[1 : line.index("-")])
            elif self.order and line and not line.startswith("\\"):
                fields = line.split()
                gram = tuple(fields[1 : self.order + 1])
                self.log_probs[gram] = float(fields[0]) * math.log(10)
                self.weights[gram] = (
                    float(fields[self.order + 1]) * math.log(10) if fields[self.order + 1 :] else 0
                )

    def log_probability(self, word: str, history: Gram) -> float:
        history = history[max(len(history) - self.order + 1, 0) :]
        if (*history, word) in self.log_probs or not history:
            return self.log_probs[(*history, word)]
        return self.weights.get(history, 0.0) + self.log_probability(word, history[1:])


def entropy_pruned(model: BackOff, threshold: float) -> set[Gram]:
    """The n-grams that Stolcke's rule (1998) keeps, by a sum over the whole vocabulary.

    D = sum over w of p(h) p(w|h) [log p(w|h) - log p'(w|h)], p' the model whose context h lost one n-gram.
    """
    words = [gram[0] for gram in model.log_probs if len(gram) == 1 and gram != ("<s>",)]
    kept = set(model.log_probs)
    for n in range(model.order, 1, -1):
        for gram in [g for g in model.log_probs if len(g) == n]:
            if any(other[:-1] == gram for other in kept if len(other) == n + 1):
                continue
            history = gram[:-1]
            rest = [g for g in model.log_probs if g[:-1] == history and g != gram and len(g) == n]
            own = {w: math.exp(model.log_probability(w, history)) for w in words}
            lower = {w: math.exp(model.log_probability(w, history[1:])) for w in words}
            listed = {g[-1] for g in rest}
            weight = (1 - sum(own[w] for w in listed)) / (1 - sum(lower[w] for w in listed))
            changed = {w: own[w] if w in listed else weight * lower[w] for w in words}
            p_history = math.exp(
                sum(
                    model.log_probability(history[i], history[:i])
                    for i in range(len(history))
                    if history[i] != "<s>"
                )
            )
            loss = p_history * sum(own[w] * (math.log(own[w]) - math.log(changed[w])) for w in words)
            if math.exp(loss) - 1 < threshold:
                kept.remove(gram)
    return kept
