"""Scheduled sampling: what is read at each step, what is drawn, and how the rate falls."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from elman.errors import ConfigError
from elman.models.scheduled import SCHEDULES, rate_of, teaching
from elman.models.seq2seq import Seq2Seq
from elman.padded import Padded

LENGTHS = torch.tensor([6, 3, 5])


def model(order: str = "luong", attention: str | None = "additive") -> Seq2Seq:
    torch.manual_seed(3)
    options: dict[str, Any] = {"order": order, "attention": attention, "embedding": 4, "hidden": 6}
    if order == "bahdanau":
        options |= {"copy": True, "unknown": 2}
    return Seq2Seq(7, 7, **options).double().train()


def case() -> tuple[Padded, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    source = Padded(torch.randint(7, (4, 3), generator=generator), torch.tensor([4, 2, 3]))
    return source, torch.randint(7, (6, 3), generator=generator), LENGTHS


@pytest.mark.parametrize(
    ("order", "attention"), [("luong", "dot"), ("bahdanau", "additive"), ("luong", None)]
)
def test_where_all_is_told_it_is_teacher_forcing(order: str, attention: str | None) -> None:
    own = model(order, attention)
    wanted = own(*case()).logits
    own.teacher = 1 - 1e-9
    assert torch.allclose(own(*case()).logits, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", ["luong", "bahdanau"])
def test_a_symbol_of_its_own_is_read_where_none_is_told(order: str) -> None:
    """Stepping through all 7 symbols finds, at every place, exactly one that explains the next logits."""
    own = model(order)
    own.teacher = 0.0
    source, inputs, _ = case()
    lengths = torch.full((3,), 6)
    own.reseed(5)
    logits = own(source, inputs, lengths).logits.detach().unflatten(0, (6, 3))
    again = own(source, inputs.flip(0).index_copy(0, torch.tensor([0]), inputs[:1]), lengths).logits
    assert torch.equal(again.detach().unflatten(0, (6, 3)), logits)  # all but the begin symbol is ignored
    step, state = own.start(own.encode(source))
    read = inputs[0]
    for t in range(6):
        found, state = step(read, state)
        assert torch.allclose(found, logits[t], rtol=0, atol=1e-12)
        if t < 5:
            tried = [step(torch.full((3,), k), state)[0] for k in range(7)]
            close = torch.stack([(x - logits[t + 1]).abs().amax(1) < 1e-9 for x in tried])
            assert close.sum(0).tolist() == [1, 1, 1]
            read = close.int().argmax(0)


def test_draws_follow_the_model_and_the_seed() -> None:
    """Of 4000 equal elements the shares of the second symbol read are the probabilities of the first step."""
    own = model("luong", "dot")
    own.teacher = 0.0
    source = Padded(torch.tensor([[3], [1]]).expand(2, 4000), torch.full((4000,), 2))
    inputs, lengths = torch.zeros(2, 4000, dtype=torch.int64), torch.full((4000,), 2)
    with torch.no_grad():
        own.reseed(1)
        first, second = own(source, inputs, lengths).logits.unflatten(0, (2, 4000))
        step, state = own.start(own.encode(Padded(source.data[:, :1], lengths[:1])))
        _, state = step(inputs[0, :1], state)
        each = torch.cat([step(torch.tensor([k]), state)[0] for k in range(7)])
    read = (second[:, None] - each).abs().amax(2).argmin(1)
    shares = torch.bincount(read, minlength=7) / 4000
    wanted = first[0].softmax(0)
    assert bool(((shares - wanted).abs() <= 4 * (wanted * (1 - wanted) / 4000).sqrt()).all())


def test_every_parameter_learns_and_padding_does_not_matter() -> None:
    own = model()
    own.teacher = 0.5
    source, inputs, lengths = case()
    logits = own(source, inputs, lengths).logits
    assert logits.shape == (14, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in own.parameters())
    other = torch.where(torch.arange(6)[:, None] < lengths, inputs, 6 - inputs)
    assert torch.equal(own(source, other, lengths).logits, logits)


def test_how_the_rate_falls() -> None:
    assert [teaching(u, "linear", 0.1, 0.25) for u in (0, 5, 10)] == [1.0, 0.5, 0.25]
    assert teaching(3, "exponential", 0.9) == pytest.approx(0.729)
    assert teaching(40, "sigmoid", 20.0) == pytest.approx(20 / (20 + math.e**2))
    assert teaching(10**9, "sigmoid", 20.0) == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ConfigError, match=r"expected one of linear, .*, got 'cosine'"):
        teaching(1, "cosine", 0.5)
    with pytest.raises(ConfigError, match=r"rate k must be at least 1, got 0\.5"):
        teaching(1, "sigmoid", 0.5)
    with pytest.raises(ConfigError, match="a rate from 0 to 1, got 2"):
        teaching(1, "linear", 2)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("half", [1, 2, 40, 5000])
def test_it_has_fallen_to_a_half_where_it_should(schedule: str, half: int) -> None:
    rate = rate_of(schedule, half)
    assert teaching(half, schedule, rate) == pytest.approx(0.5, abs=1e-9)
    assert teaching(0, schedule, rate) > 0.6
    with pytest.raises(ConfigError, match=r"a half of at least 1, got .* and 0"):
        rate_of(schedule, 0)
