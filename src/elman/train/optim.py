"""Optimizers, schedules and clipping.

The optimizers are torch's, but for an Adagrad whose epsilon may stand inside the root. A schedule is a pure
function of the update, so that a resumed run goes on with the rate that it would have had.

    adagrad (Duchi et al. 2011):  s += g^2;   w -= lr g / (sqrt(s) + eps)   or   w -= lr g / sqrt(s + eps)
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from elman.tasks.base import TrainSettings


class Adagrad(torch.optim.Optimizer):
    """Adagrad with epsilon inside the root: w -= lr g / sqrt(s + eps), s the sum of all g^2 so far."""

    def __init__(self, params: Iterable[Any], lr: float, eps: float, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """One update of every parameter that has a gradient; returns what `closure`, where given, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                gradient = parameter.grad
                if group["weight_decay"]:
                    gradient = gradient.add(parameter, alpha=group["weight_decay"])
                state = self.state[parameter]
                if not state:
                    state["sum"] = torch.zeros_like(parameter)
                state["sum"].addcmul_(gradient, gradient)
                parameter.addcdiv_(gradient, (state["sum"] + group["eps"]).sqrt_(), value=-group["lr"])
        return loss


def build_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """The optimizer that the settings name; matrices are decayed, biases are not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    match settings.optimizer:
        case "sgd":
            return torch.optim.SGD(groups, lr=rate, momentum=settings.momentum)
        case "adagrad" if settings.epsilon_inside:
            return Adagrad(groups, lr=rate, eps=settings.epsilon)
        case "adagrad":
            return torch.optim.Adagrad(groups, lr=rate, eps=settings.epsilon)
        case "adam":
            return torch.optim.Adam(groups, lr=rate, betas=settings.betas, eps=settings.epsilon, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=rate, betas=settings.betas, eps=settings.epsilon, fused=True)


def learning_rate(settings: TrainSettings, update: int) -> float:
    """The rate of update 0, 1, ...: a linear rise over `warmup` updates, then the schedule.

    linear, cosine: from the full rate after the warm-up to `final_fraction` of it at the last update.
    inverse_sqrt: falls as 1 / sqrt(update) from the warm-up's end. exponential: times `decay` after
    every `decay_every` updates that follow on update `decay_after`.
    """
    warm = min(1.0, (update + 1) / settings.warmup) if settings.warmup else 1.0
    span = max(settings.updates - settings.warmup - 1, 1)
    done = min(max((update - settings.warmup) / span, 0.0), 1.0)
    floor = settings.final_fraction
    match settings.schedule:
        case "constant":
            factor = 1.0
        case "linear":
            factor = 1 - (1 - floor) * done
        case "cosine":
            factor = floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
        case "inverse_sqrt":
            factor = math.sqrt(max(settings.warmup, 1) / max(update + 1, settings.warmup, 1))
        case "exponential":
            factor = settings.decay ** (max(update - settings.decay_after, 0) // settings.decay_every)
    return settings.learning_rate * warm * factor


def clip(model: nn.Module, settings: TrainSettings) -> Tensor:
    """Clips gradients by value, then by global norm (Pascanu et al. 2013); returns the norm before that."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    norm = _norm(parameters)
    if settings.clip_value is not None:
        torch.nn.utils.clip_grad_value_(parameters, settings.clip_value)
    if settings.clip_norm is not None:
        total = norm if settings.clip_value is None else _norm(parameters)
        torch.nn.utils.clip_grads_with_norm_(parameters, settings.clip_norm, total)
    return norm


def _norm(parameters: list[nn.Parameter]) -> Tensor:
    """The global norm of the gradients."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
