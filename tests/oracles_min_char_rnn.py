"""The minimal character model in NumPy: its equations, and their derivatives worked out by hand.

    h_t = tanh(Wxh x_t + Whh h_(t-1) + bh)      y_t = Why h_t + by      p_t = exp(y_t) / sum exp(y_t)
    L = - sum_t ln p_t[s_(t+1)]                 x_t one-hot, h_(-1) the state that the last window left

    dL/dy_t = p_t - 1[s_(t+1)]                  dL/dh_t = Why' dL/dy_t + Whh' dL/da_(t+1)
    dL/da_t = (1 - h_t^2) dL/dh_t               a_t what tanh is taken of
    gradients cut off at -5 and 5;  m += g * g;  w -= 0.1 g / sqrt(m + 1e-8)
    smoothed: s += 0.001 (loss - s)

Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015, whose first figure is the
smoothed loss of such a model. Shapes: V vocabulary, H hidden; Wxh (H, V), Whh (H, H), Why (V, H).
"""

from collections.abc import Mapping, Sequence

import numpy as np

from oracles import Array

RATE, EPSILON, LIMIT, SMOOTHING = 0.1, 1e-8, 5.0, 0.999
WINDOW = 25


def softmax(y: Array) -> Array:
    e = np.exp(y - y.max())
    return e / e.sum()


class MinCharRNN:
    """Weights by the names of the equations, Adagrad's memory of each, and the state between windows."""

    def __init__(self, weights: Mapping[str, Array], rate: float = RATE) -> None:
        self.rate = rate
        self.weights = {name: weights[name].copy() for name in ("Wxh", "Whh", "Why", "bh", "by")}
        self.memory = {name: np.zeros_like(value) for name, value in self.weights.items()}
        self.h = np.zeros(len(self.weights["bh"]))
        self.smoothed: float | None = None

    def go_on_from(self, weights: Mapping[str, Array], memory: Mapping[str, Array], h: Array) -> None:
        """Takes another's weights, memory and state for its own."""
        self.weights = {name: weights[name].copy() for name in self.weights}
        self.memory = {name: memory[name].copy() for name in self.memory}
        self.h = h.copy()

    def step(self, symbol: int, h: Array) -> tuple[Array, Array]:
        """The next state, and the distribution of the next symbol."""
        w = self.weights
        h = np.tanh(w["Wxh"][:, symbol] + w["Whh"] @ h + w["bh"])
        return h, softmax(w["Why"] @ h + w["by"])

    def loss_and_gradients(
        self, symbols: Sequence[int], targets: Sequence[int | None], anew: Sequence[bool]
    ) -> tuple[float, dict[str, Array]]:
        """One window. Where a target is None nothing is predicted; where `anew`, the state before is zero."""
        states, distributions = [self.h], []
        before = []
        for symbol, zero in zip(symbols, anew, strict=True):
            before.append(np.zeros_like(self.h) if zero else states[-1])
            h, p = self.step(symbol, before[-1])
            states.append(h)
            distributions.append(p)
        known = [(t, target) for t, target in enumerate(targets) if target is not None]
        loss = -sum(float(np.log(distributions[t][target])) for t, target in known)

        gradients = {name: np.zeros_like(value) for name, value in self.weights.items()}
        from_later = np.zeros_like(self.h)
        for t in reversed(range(len(symbols))):
            dy, target = np.zeros_like(self.weights["by"]), targets[t]
            if target is not None:
                dy = distributions[t].copy()
                dy[target] -= 1
            gradients["Why"] += np.outer(dy, states[t + 1])
            gradients["by"] += dy
            da = (1 - states[t + 1] ** 2) * (self.weights["Why"].T @ dy + from_later)
            gradients["Wxh"][:, symbols[t]] += da
            gradients["Whh"] += np.outer(da, before[t])
            gradients["bh"] += da
            from_later = np.zeros_like(da) if anew[t] else self.weights["Whh"].T @ da
        self.h = states[-1]
        return loss, gradients

    def update(
        self, symbols: Sequence[int], targets: Sequence[int | None], anew: Sequence[bool] | None = None
    ) -> float:
        """Learns from one window; returns its loss, a sum."""
        loss, gradients = self.loss_and_gradients(symbols, targets, anew or [False] * len(symbols))
        for name, gradient in gradients.items():
            g = np.clip(gradient, -LIMIT, LIMIT)
            self.memory[name] += g * g
            self.weights[name] -= self.rate * g / np.sqrt(self.memory[name] + EPSILON)
        per_symbol = loss / max(sum(target is not None for target in targets), 1)
        before = per_symbol if self.smoothed is None else self.smoothed
        self.smoothed = SMOOTHING * before + (1 - SMOOTHING) * per_symbol
        return loss
