"""Optimizers, schedules and clipping against their formulas in NumPy and by hand.

w weights, g gradient, r rate, d weight decay.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from elman.tasks.base import TrainSettings
from elman.train.optim import Adagrad, build_optimizer, clip, learning_rate

Array = NDArray[np.float64]
Update = Callable[[Array, Array, float, float, int], Array]
RATES = (0.1, 0.05, 0.2, 0.1, 0.01, 0.3)


def settings(**options: Any) -> TrainSettings:
    return TrainSettings(**options)


def sgd(momentum: float) -> Callable[[], Update]:
    """v = momentum v + g;  w -= r v"""

    def make() -> Update:
        v = np.zeros(())

        def update(w: Array, g: Array, rate: float, decay: float, t: int) -> Array:
            nonlocal v
            v = momentum * v + g + decay * w
            return w - rate * v

        return update

    return make


def adagrad(epsilon: float, inside: bool) -> Callable[[], Update]:
    """s += g^2;  w -= r g / (sqrt(s) + epsilon) or r g / sqrt(s + epsilon)"""

    def make() -> Update:
        s = np.zeros(())

        def update(w: Array, g: Array, rate: float, decay: float, t: int) -> Array:
            nonlocal s
            g = g + decay * w
            s = s + g * g
            return w - rate * g / (np.sqrt(s + epsilon) if inside else np.sqrt(s) + epsilon)

        return update

    return make


def adam(betas: tuple[float, float], epsilon: float, decoupled: bool) -> Callable[[], Update]:
    """m, v running means of g, g^2, divided by 1 - beta^t;  w -= r m / (sqrt(v) + epsilon)

    decoupled: w -= r d w, and no decay in g (Loshchilov and Hutter 2019).
    """

    def make() -> Update:
        m = v = np.zeros(())

        def update(w: Array, g: Array, rate: float, decay: float, t: int) -> Array:
            nonlocal m, v
            if not decoupled:
                g = g + decay * w
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            step = (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + epsilon)
            return w - rate * step - (rate * decay * w if decoupled else 0)

        return update

    return make


# Epsilons so large that their place matters.
FORMULAS: dict[str, tuple[dict[str, Any], Callable[[], Update]]] = {
    "sgd": ({"optimizer": "sgd"}, sgd(0.0)),
    "momentum": ({"optimizer": "sgd", "momentum": 0.8}, sgd(0.8)),
    "adagrad": ({"optimizer": "adagrad", "epsilon": 0.3}, adagrad(0.3, inside=False)),
    "adagrad, epsilon inside": (
        {"optimizer": "adagrad", "epsilon": 0.3, "epsilon_inside": True},
        adagrad(0.3, inside=True),
    ),
    "adam": ({"optimizer": "adam", "betas": (0.8, 0.95), "epsilon": 0.2}, adam((0.8, 0.95), 0.2, False)),
    "adamw": ({"optimizer": "adamw", "betas": (0.7, 0.9), "epsilon": 0.1}, adam((0.7, 0.9), 0.1, True)),
}


@pytest.mark.parametrize("decay", [0.0, 0.25])
@pytest.mark.parametrize("name", FORMULAS)
def test_optimizers(name: str, decay: float) -> None:
    options, formula = FORMULAS[name]
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    optimizer = build_optimizer(model, settings(**options, weight_decay=decay, learning_rate=RATES[0]))
    draw = np.random.default_rng(0)
    expected = {key: parameter.detach().numpy().copy() for key, parameter in model.named_parameters()}
    updates = {key: formula() for key in expected}
    for t, rate in enumerate(RATES, 1):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for key, parameter in model.named_parameters():
            gradient = draw.normal(size=parameter.shape)
            parameter.grad = torch.from_numpy(gradient)
            own = decay if parameter.dim() > 1 else 0.0  # biases are not decayed
            expected[key] = updates[key](expected[key], gradient, rate, own, t)
        optimizer.step()
        for key, parameter in model.named_parameters():
            assert np.abs(parameter.detach().numpy() - expected[key]).max() < 1e-12


def test_the_rate_that_the_settings_name_is_the_first() -> None:
    for options, _ in FORMULAS.values():
        optimizer = build_optimizer(nn.Linear(2, 2), settings(**options, learning_rate=0.0625))
        assert [group["lr"] for group in optimizer.param_groups] == [0.0625, 0.0625]


class TestAdagrad:
    def test_without_a_gradient_nothing_moves(self) -> None:
        still, moved = (nn.Parameter(torch.ones(2)) for _ in range(2))
        optimizer = Adagrad([still, moved], lr=0.5, eps=0.0)
        moved.grad = torch.tensor([4.0, -3.0])
        optimizer.step()
        assert still.tolist() == [1, 1]
        assert moved.tolist() == [0.5, 1.5]
        assert still not in optimizer.state

    def test_a_closure_is_asked_with_gradients_on(self) -> None:
        weight = nn.Parameter(torch.tensor([2.0]))
        optimizer = Adagrad([weight], lr=0.5, eps=0.0)

        def closure() -> float:
            loss = (weight**2).sum()
            loss.backward()
            return loss.item()

        assert optimizer.step(closure) == 4
        assert weight.tolist() == [1.5]
        assert optimizer.step() is None


class TestSchedules:
    """Rates in parts of the highest, of updates that are counted from 0."""

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"schedule": "constant", "warmup": 0}, {0: 1, 7: 1, 10**6: 1}),
            # The rise: a quarter more with each of four updates, the full rate with the fourth.
            ({"schedule": "constant", "warmup": 4}, {0: 0.25, 1: 0.5, 2: 0.75, 3: 1, 4: 1, 9: 1}),
            # Eleven updates without a rise: ten equal steps down to the last.
            (
                {"schedule": "linear", "warmup": 0, "updates": 11, "final_fraction": 0.0},
                {0: 1, 1: 0.9, 5: 0.5, 9: 0.1, 10: 0, 11: 0, 99: 0},
            ),
            (
                {"schedule": "linear", "warmup": 2, "updates": 13, "final_fraction": 0.2},
                {0: 0.5, 1: 1, 2: 1, 7: 0.6, 12: 0.2, 13: 0.2},
            ),
            (
                {"schedule": "cosine", "warmup": 0, "updates": 13, "final_fraction": 0.0},
                {0: 1, 3: (1 + math.sqrt(0.5)) / 2, 4: 0.75, 6: 0.5, 8: 0.25, 12: 0, 20: 0},
            ),
            (
                {"schedule": "cosine", "warmup": 3, "updates": 16, "final_fraction": 0.5},
                {0: 1 / 3, 2: 1, 3: 1, 7: 0.875, 9: 0.75, 15: 0.5, 16: 0.5},
            ),
            # Past the rise: sqrt(warmup / count of updates).
            (
                {"schedule": "inverse_sqrt", "warmup": 4},
                {0: 0.25, 3: 1, 4: math.sqrt(4 / 5), 15: 0.5, 63: 0.25, 399: 0.1},
            ),
            ({"schedule": "inverse_sqrt", "warmup": 0}, {0: 1, 3: 0.5, 24: 0.2}),
            # Half as much after every ten.
            (
                {"schedule": "exponential", "warmup": 0, "decay": 0.5, "decay_every": 10},
                {0: 1, 9: 1, 10: 0.5, 19: 0.5, 20: 0.25, 39: 0.125, 100: 2**-10},
            ),
            # The same, counted from the 25th.
            (
                {"schedule": "exponential", "warmup": 0, "decay": 0.9, "decay_every": 10, "decay_after": 25},
                {0: 1, 24: 1, 25: 1, 34: 1, 35: 0.9, 44: 0.9, 45: 0.81, 55: 0.729},
            ),
            (
                {"schedule": "exponential", "warmup": 20, "decay": 0.5, "decay_every": 10},
                {0: 0.05, 9: 0.5, 10: 0.275, 19: 0.5, 20: 0.25},
            ),
        ],
    )
    def test_by_hand(self, options: dict[str, Any], expected: dict[int, float]) -> None:
        made = settings(learning_rate=0.004, **options)
        for update, part in expected.items():
            assert learning_rate(made, update) == pytest.approx(0.004 * part, rel=1e-12, abs=1e-18), update

    def test_the_end_is_that_of_the_last_update(self) -> None:
        for schedule in ("linear", "cosine"):
            made = settings(schedule=schedule, learning_rate=1.0, updates=777, warmup=77, final_fraction=0.02)
            assert learning_rate(made, 776) == pytest.approx(0.02, rel=1e-12)
            assert learning_rate(made, 775) > 0.02

    def test_a_rise_longer_than_the_run(self) -> None:
        for schedule in ("constant", "linear", "cosine", "inverse_sqrt", "exponential"):
            made = settings(schedule=schedule, learning_rate=1.0, updates=5, warmup=10)
            assert learning_rate(made, 4) == pytest.approx(0.5)


def norm(arrays: list[Array]) -> float:
    return math.sqrt(sum(float((a * a).sum()) for a in arrays))


class TestClip:
    @pytest.mark.parametrize("clip_norm", [None, 0.5, 3.0, 100.0])
    @pytest.mark.parametrize("clip_value", [None, 0.7, 50.0])
    def test_by_value_and_then_by_norm(self, clip_value: float | None, clip_norm: float | None) -> None:
        model = nn.Linear(4, 3).double()
        draw = np.random.default_rng(1)
        before = [draw.normal(size=p.shape) * 2 for p in model.parameters()]
        for parameter, gradient in zip(model.parameters(), before, strict=True):
            parameter.grad = torch.from_numpy(gradient.copy())
        told = clip(model, settings(clip_norm=clip_norm, clip_value=clip_value))

        expected = before if clip_value is None else [np.clip(g, -clip_value, clip_value) for g in before]
        if clip_norm is not None and norm(expected) > clip_norm:
            expected = [g * clip_norm / norm(expected) for g in expected]
        assert float(told) == pytest.approx(norm(before), rel=1e-12)
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            assert parameter.grad is not None
            # torch's clipping by norm divides by norm + 1e-6; what is not clipped is not touched.
            allowed = 1e-5 * np.abs(gradient).max() if clip_norm is not None else 0.0
            assert np.abs(parameter.grad.numpy() - gradient).max() <= allowed

    def test_parameters_without_a_gradient_are_left_alone(self) -> None:
        model = nn.Linear(2, 1)
        model.weight.grad = torch.tensor([[3.0, 4.0]])
        assert float(clip(model, settings(clip_norm=1.0))) == 5
        assert model.weight.grad.tolist() == pytest.approx(np.array([[0.6, 0.8]]), abs=1e-6)
        assert model.bias.grad is None

    def test_what_is_not_finite_is_told(self) -> None:
        model = nn.Linear(2, 1)
        model.weight.grad = torch.tensor([[math.nan, 1.0]])
        assert math.isnan(clip(model, settings()))
