"""What a checkpoint of training holds, as tensors with names: weights, the optimizer's moments, the carried state.

Names: weights by parameter; optimizer as "moment/parameter"; carry by its path in the state, as "0.1.h".
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from elman.cells import State, map_state
from elman.errors import RunError


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters by name; one that stands in two places (tied) is kept once."""
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def put_weights(model: nn.Module, tensors: Mapping[str, Tensor], place: str) -> None:
    """Copies weights into the model; raises RunError, naming `place` and the key, where names or shapes differ."""
    mine = dict(model.named_parameters())
    _same_names(mine, tensors, place)
    with torch.no_grad():
        for name, parameter in mine.items():
            _same_form(name, parameter, tensors[name], place)
            parameter.copy_(tensors[name])


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by moment and parameter."""
    return {
        f"{moment}/{name}": value
        for name, parameter in model.named_parameters()
        for moment, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def put_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], place: str) -> None:
    """Gives a new optimizer the state that was saved; raises RunError where it names a parameter the model has not."""
    mine = dict(model.named_parameters())
    for key, value in tensors.items():
        moment, _, name = key.partition("/")
        if name not in mine:
            raise RunError(f"{place}: {key!r} belongs to no parameter of this model; the file is not of this run")
        optimizer.state[mine[name]][moment] = value.clone()


def carry_tensors(carry: State | None) -> dict[str, Tensor]:
    """The carried state by path."""
    return {} if carry is None else dict(_paths(carry, ""))


def take_carry(like: State | None, tensors: Mapping[str, Tensor], place: str) -> State | None:
    """The carried state in the structure of `like`; raises RunError where names or shapes differ."""
    if like is None:
        return None
    expected = dict(_paths(like, ""))
    _same_names(expected, tensors, place)
    for name, value in expected.items():
        _same_form(name, value, tensors[name], place)
    names = iter(expected)
    return map_state(lambda _: tensors[next(names)].clone(), like)


def _paths(state: State, prefix: str) -> list[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        return [(prefix, state)]
    names = getattr(state, "_fields", None) or [str(place) for place in range(len(state))]
    dot = f"{prefix}." if prefix else ""
    return [path for name, part in zip(names, state, strict=True) for path in _paths(part, f"{dot}{name}")]


def _same_names(expected: Mapping[str, Tensor], got: Mapping[str, Tensor], place: str) -> None:
    if missing := sorted(set(expected) - set(got)):
        raise RunError(f"{place}: {missing[0]!r} is missing ({len(missing)} of {len(expected)} in all); the file is not of this run")
    if foreign := sorted(set(got) - set(expected)):
        raise RunError(f"{place}: {foreign[0]!r} is not part of this model; the file is not of this run")


def _same_form(name: str, expected: Tensor, got: Tensor, place: str) -> None:
    if expected.shape != got.shape or expected.dtype != got.dtype:
        raise RunError(
            f"{place}: {name!r} is {got.dtype} {tuple(got.shape)}, expected {expected.dtype} {tuple(expected.shape)}; the file "
            f"is not of this run"
        )
