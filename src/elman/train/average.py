"""A moving average of the weights: steadier than the last of them, and what is validated, kept and used.

    a_0 = w_0        a_t = k_t a_(t-1) + (1 - k_t) w_t        k_t = min(k, (1 + t) / (10 + t))

w_t are the weights after update t; the smaller k_t of the first updates let go of the weights drawn at
random. Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from elman.weights import put_weights, weights_of

TRAINED = "trained"
"""In the optimizer's file: the weights that are trained, where weights.safetensors has their average."""


class Average:
    """The average of a model's weights, with k = `keep`."""

    def __init__(self, model: nn.Module, keep: float) -> None:
        self.keep = keep
        self.tensors = {name: weight.clone() for name, weight in weights_of(model).items()}

    def take(self, model: nn.Module, update: int) -> None:
        """Counts in the weights after update 1, 2, ..."""
        keep = min(self.keep, (1 + update) / (10 + update))
        mine = list(self.tensors.values())
        torch._foreach_lerp_(mine, list(weights_of(model).values()), 1 - keep)

    @contextmanager
    def within(self, model: nn.Module) -> Iterator[None]:
        """The model has the average for weights; afterwards it has its own again."""
        own = {name: weight.clone() for name, weight in weights_of(model).items()}
        put_weights(model, self.tensors, "average")
        try:
            yield
        finally:
            put_weights(model, own, "trained weights")


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The weights that are trained, as the optimizer's file holds them beside an average."""
    return {f"{TRAINED}/{name}": weight for name, weight in weights_of(model).items()}


def split_trained(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The optimizer's file taken apart: trained weights by name, and the moments."""
    begin = f"{TRAINED}/"
    trained = {key.removeprefix(begin): value for key, value in tensors.items() if key.startswith(begin)}
    return trained, {key: value for key, value in tensors.items() if not key.startswith(begin)}
