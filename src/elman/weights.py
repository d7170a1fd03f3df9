"""Weights by name: out of a model, and into one of the same architecture."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from elman.errors import RunError


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters by name; one that stands in two places (tied) is kept once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def put_weights(model: nn.Module, tensors: Mapping[str, Tensor], place: str) -> None:
    """Copies weights into the model.

    Raises RunError, naming `place` and the key, where names or shapes differ.
    """
    mine = dict(model.named_parameters())
    same_names(mine, tensors, place)
    with torch.no_grad():
        for name, parameter in mine.items():
            same_form(name, parameter, tensors[name], place)
            parameter.copy_(tensors[name])


def same_names(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], place: str) -> None:
    """Raises RunError, naming `place` and the first name that differs, unless both have the same names."""
    if missing := sorted(set(expected) - set(got)):
        raise RunError(
            f"{place}: {missing[0]!r} is missing ({len(missing)} of {len(expected)} in all); the file is not "
            "of this run"
        )
    if foreign := sorted(set(got) - set(expected)):
        raise RunError(f"{place}: {foreign[0]!r} is not part of this model; the file is not of this run")


def same_form(name: str, expected: Tensor, got: Tensor, place: str) -> None:
    """Raises RunError unless a tensor has the type and the shape that are expected of it."""
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise RunError(
            f"{place}: {name!r} is {got.dtype} {tuple(got.shape)}, expected {expected.dtype} "
            f"{tuple(expected.shape)}; the file "
            f"is not of this run"
        )
