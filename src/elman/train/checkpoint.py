"""What a checkpoint of training holds beside the weights, as tensors with names: the optimizer's moments,
the carried state.

Names: optimizer as "moment/parameter" (beside an average also "trained/parameter"); carry by its path in the
state, as "layers.0.h".
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from elman.cells import State, map_state
from elman.errors import RunError
from elman.weights import same_form, same_names


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by moment and parameter."""
    return {
        f"{moment}/{name}": value
        for name, parameter in model.named_parameters()
        for moment, value in optimizer.state[parameter].items()
        if isinstance(value, Tensor)
    }


def put_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], place: str
) -> None:
    """Gives a new optimizer the state that was saved.

    Raises RunError where it names a parameter the model has not, or differs from it in shape.
    """
    mine = dict(model.named_parameters())
    for key, value in tensors.items():
        moment, _, name = key.partition("/")
        if name not in mine:
            raise RunError(
                f"{place}: {key!r} belongs to no parameter of this model; the file is not of this run"
            )
        if value.dim():  # a count of steps has none
            same_form(key, mine[name], value, place)
        optimizer.state[mine[name]][moment] = value.clone()


def carry_tensors(carry: State | None) -> dict[str, Tensor]:
    """The carried state by path."""
    return {} if carry is None else dict(_paths(carry, ""))


def take_carry(like: State | None, tensors: Mapping[str, Tensor], place: str) -> State | None:
    """The carried state in the structure of `like`; raises RunError where names or shapes differ."""
    if like is None:
        return None
    expected = dict(_paths(like, ""))
    same_names(expected, tensors, place)
    for name, value in expected.items():
        same_form(name, value, tensors[name], place)
    names = iter(expected)
    return map_state(lambda _: tensors[next(names)].clone(), like)


def _paths(state: State, prefix: str) -> list[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        return [(prefix, state)]
    names = getattr(state, "_fields", None) or [str(place) for place in range(len(state))]
    dot = f"{prefix}." if prefix else ""
    return [path for name, part in zip(names, state, strict=True) for path in _paths(part, f"{dot}{name}")]
