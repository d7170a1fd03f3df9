"""Second definitions of what elman computes, slow and obvious: NumPy or Python integers, one thing at a time.

A step function takes the parameters by name, one element's x (C,) and its state, a tuple of vectors, and
gives the output, the new state and the intermediates by name. `over_time` is the loop around it, one element
after the other. Shapes: T time, N batch, C input, H hidden. Everything is float64.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Parameters = Mapping[str, Array]
Vectors = tuple[Array, ...]
Result = tuple[Array, Vectors, dict[str, Array]]
Step = Callable[[Parameters, Array, Vectors], Result]

WORD = 0xFFFFFFFF


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.0)


def identity(x: Array) -> Array:
    return x


NONLINEARITIES: dict[str, Callable[[Array], Array]] = {
    "tanh": np.tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "identity": identity,
}


def product(parameters: Parameters, side: str, gate: int, size: int, vector: Array) -> Array:
    """W v + b for one gate: its rows of weight_ih or weight_hh (`side`), its part of the bias, if any."""
    weight, bias = parameters[f"weight_{side}"], parameters.get(f"bias_{side}")
    result = np.zeros(size)
    for unit in range(size):
        row = gate * size + unit
        result[unit] = sum(weight[row, k] * vector[k] for k in range(len(vector)))
        if bias is not None:
            result[unit] += bias[row]
    return result


def elman(nonlinearity: str = "tanh") -> Step:
    """h' = f(W_ih x + b_ih + W_hh h + b_hh)"""

    def step(parameters: Parameters, x: Array, state: Vectors) -> Result:
        (h,) = state
        a = product(parameters, "ih", 0, len(h), x) + product(parameters, "hh", 0, len(h), h)
        new = NONLINEARITIES[nonlinearity](a)
        return new, (new,), {"preactivation": a}

    return step


def gru(reset: str = "after", update: str = "keep") -> Step:
    """Gates r z n; where the reset gate stands and what z does by name."""

    def step(parameters: Parameters, x: Array, state: Vectors) -> Result:
        (h,) = state
        size = len(h)
        r = sigmoid(product(parameters, "ih", 0, size, x) + product(parameters, "hh", 0, size, h))
        z = sigmoid(product(parameters, "ih", 1, size, x) + product(parameters, "hh", 1, size, h))
        if reset == "after":
            inner = r * product(parameters, "hh", 2, size, h)
        else:
            inner = product(parameters, "hh", 2, size, r * h)
        n = np.tanh(product(parameters, "ih", 2, size, x) + inner)
        new = z * h + (1 - z) * n if update == "keep" else (1 - z) * h + z * n
        return new, (new,), {"r": r, "z": z, "n": n}

    return step


def lstm() -> Step:
    """Gates i f g o; peepholes where there is `peephole` (3, H) for i f o, projection where `weight_hr`."""

    def step(parameters: Parameters, x: Array, state: Vectors) -> Result:
        h, c = state
        size = len(c)
        p_i, p_f, p_o = parameters.get("peephole", np.zeros((3, size)))
        i = sigmoid(product(parameters, "ih", 0, size, x) + product(parameters, "hh", 0, size, h) + p_i * c)
        f = sigmoid(product(parameters, "ih", 1, size, x) + product(parameters, "hh", 1, size, h) + p_f * c)
        g = np.tanh(product(parameters, "ih", 2, size, x) + product(parameters, "hh", 2, size, h))
        new_c = f * c + i * g
        o = sigmoid(
            product(parameters, "ih", 3, size, x) + product(parameters, "hh", 3, size, h) + p_o * new_c
        )
        new_h = o * np.tanh(new_c)
        if "weight_hr" in parameters:
            new_h = parameters["weight_hr"] @ new_h
        return new_h, (new_h, new_c), {"i": i, "f": f, "g": g, "o": o, "c": new_c}

    return step


def normalised(z: Array, epsilon: float) -> Array:
    centred = z - np.mean(z)
    return centred / np.sqrt(np.mean(centred**2) + epsilon)


def layer_norm_lstm(epsilon: float) -> Step:
    """Ba, Kiros and Hinton 2016, equations 20-22."""

    def step(parameters: Parameters, x: Array, state: Vectors) -> Result:
        h, c = state
        p = parameters
        gates = p["gain_ih"] * normalised(p["weight_ih"] @ x, epsilon) + p["bias"]
        gates = gates + p["gain_hh"] * normalised(p["weight_hh"] @ h, epsilon)
        i, f, g, o = np.split(gates, 4)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        h = o * np.tanh(p["gain_c"] * normalised(c, epsilon) + p["bias_c"])
        return h, (h, c), {"i": i, "f": f, "g": g, "o": o, "c": c}

    return step


def over_time(
    step: Step,
    parameters: Parameters,
    inputs: Array,
    start: Sequence[Vectors],
    *,
    lengths: Sequence[int] | None = None,
    reverse: bool = False,
    resets: NDArray[np.bool_] | None = None,
) -> tuple[Array, list[Vectors], dict[str, Array]]:
    """Outputs (T, N, H), zero past an element's end, each element's last state, and the intermediates.

    start: each element's state before its first step; a reset brings a state of zeros.
    """
    time, batch = inputs.shape[:2]
    outputs: dict[tuple[int, int], Array] = {}
    shown: dict[str, dict[tuple[int, int], Array]] = {}
    finals = []
    for n in range(batch):
        state = start[n]
        order = list(range(time if lengths is None else lengths[n]))
        for t in reversed(order) if reverse else order:
            if resets is not None and resets[t, n]:
                state = tuple(np.zeros_like(part) for part in state)
            outputs[t, n], state, intermediates = step(parameters, inputs[t, n], state)
            for name, value in intermediates.items():
                shown.setdefault(name, {})[t, n] = value
        finals.append(state)
    return (
        table(outputs, time, batch),
        finals,
        {name: table(values, time, batch) for name, values in shown.items()},
    )


def table(entries: dict[tuple[int, int], Array], time: int, batch: int) -> Array:
    """(T, N, H) with the entries at their places and zero where there is none."""
    size = len(next(iter(entries.values())))
    result = np.zeros((time, batch, size))
    for place, entry in entries.items():
        result[place] = entry
    return result


def mix(x: int) -> int:
    """The 32-bit finalizer of elman.counter on unsigned Python integers."""
    x ^= x >> 16
    x = x * 0x7FEB352D & WORD
    x ^= x >> 15
    x = x * 0x846CA68B & WORD
    return x ^ (x >> 16)


def counter_bits(key: int, *coordinates: int) -> int:
    """elman.counter.bits at one place, as an unsigned integer."""
    value = mix(mix(key & WORD) ^ (key >> 32 & WORD))
    for coordinate in coordinates:
        value = mix(value ^ (coordinate & WORD))
    return value


def counter_uniform(key: int, *coordinates: int) -> float:
    """elman.counter.uniform at one place: the upper 24 bits as a fraction."""
    return (counter_bits(key, *coordinates) >> 8) / 2**24


def counter_child(key: int, index: int) -> int:
    """elman.counter.child: 64 bits, the lower half as at a place `index`, the upper half mixed from it."""
    low = counter_bits(key, index)
    return mix(low ^ 0x846CA68B) << 32 | low


def dropout_factors(key: int, probability: float, steps: NDArray[np.int64], units: int) -> Array:
    """What inverted dropout multiplies with: steps (T, N) -> (T, N, units) of 0 and 1 / (1 - probability)."""
    time, batch = steps.shape
    factors = np.zeros((time, batch, units))
    for t in range(time):
        for n in range(batch):
            for unit in range(units):
                if counter_uniform(key, n, int(steps[t, n]), unit) >= probability:
                    factors[t, n, unit] = 1 / (1 - probability)
    return factors
