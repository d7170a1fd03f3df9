"""What is told to have changed: all that torch counts, and what it does not."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from elman.models.decoding import best_sequences
from elman.models.marks import SAMPLE, all_unchanged, mark, unchanged
from elman.models.seq2seq import Seq2Seq
from elman.padded import Padded


def fused_step(parameter: nn.Parameter) -> None:
    """An update that leaves no version behind, and no gradient."""
    optimizer = torch.optim.AdamW([parameter], lr=0.1, fused=True)
    parameter.grad = torch.ones_like(parameter)
    version = parameter._version
    optimizer.step()
    assert parameter._version == version, "torch counts it now: elman.models.marks may be simpler"
    optimizer.zero_grad(set_to_none=True)


def through_numpy(parameter: nn.Parameter) -> None:
    parameter.detach().numpy()[...] *= 2


def in_place(parameter: nn.Parameter) -> None:
    """A single number, which is none of those looked at; but torch counts it."""
    with torch.no_grad():
        parameter.view(-1)[1] += 1


def replaced(parameter: nn.Parameter) -> None:
    parameter.data = parameter.data.clone()


def learning(parameter: nn.Parameter) -> None:
    parameter.grad = torch.zeros_like(parameter)


@pytest.mark.parametrize("change", [fused_step, through_numpy, in_place, replaced, learning])
@pytest.mark.parametrize("shape", [(3,), (40, 50)])
def test_a_change_is_told(change: Callable[[nn.Parameter], None], shape: tuple[int, ...]) -> None:
    parameter = nn.Parameter(torch.randn(shape))
    marked = mark(parameter)
    assert unchanged(parameter, marked)
    change(parameter)
    assert not unchanged(parameter, marked)


def test_a_mark_is_small_and_of_the_whole() -> None:
    parameter = nn.Parameter(torch.arange(1000.0))
    assert len(mark(parameter).numbers) <= SAMPLE
    assert float(mark(parameter).numbers[-1]) > 900
    assert len(mark(nn.Parameter(torch.zeros(0))).numbers) == 0


def test_of_several_none_may_have_changed() -> None:
    parameters = [nn.Parameter(torch.randn(3)) for _ in range(3)]
    marks = tuple(map(mark, parameters))
    assert all_unchanged(parameters, marks)
    assert not all_unchanged(parameters[:2], marks)
    parameters[2].data.mul_(2)
    assert not all_unchanged(parameters, marks)


@pytest.mark.parametrize("attention", ["additive", "location", "hard"])
def test_a_search_between_updates_has_the_weights_of_now(attention: str) -> None:
    """Native steps and torch's: what a fused optimizer wrote is what is searched with."""
    torch.manual_seed(2)
    model = Seq2Seq(9, 9, embedding=8, hidden=16, attention=attention, order="bahdanau", end=1).eval()
    source = Padded.of([torch.tensor([4, 5, 6]), torch.tensor([7])])

    def scores(searched: Seq2Seq) -> list[float]:
        found = best_sequences(searched, source, begin=0, stop=[1], beam=3, best=3, length=6)
        return [one.score for row in found for one in row]

    before = scores(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05, fused=True)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    fresh = Seq2Seq(9, 9, embedding=8, hidden=16, attention=attention, order="bahdanau", end=1).eval()
    fresh.load_state_dict(model.state_dict())
    assert scores(model) == pytest.approx(scores(fresh), abs=1e-5)
    assert scores(model) != pytest.approx(before, abs=1e-2)
