"""What is added to the loss: sums over the weights, and the gradient of hard attention in a whole model."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from elman.attention.penalties import coverage, doubly_stochastic
from elman.models.attention_loss import AttentionLoss
from elman.models.seq2seq import Seq2Seq
from elman.padded import Padded

STEPS, PLACES, END = 2, 3, 4


def test_the_term_is_a_mean_for_each_symbol() -> None:
    weights = torch.rand(3, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    lengths, sources = torch.tensor([3, 2]), torch.tensor([4, 3])
    weights = torch.where(torch.arange(4) < sources[:, None], weights, 0)
    loss = AttentionLoss(0.5, 0.25, draws=False, symbols=7)
    found = loss(weights, lengths, sources)
    wanted = 0.5 * doubly_stochastic(weights, sources) + 0.25 * coverage(weights)
    assert float(found) == pytest.approx(float(wanted) / 5, abs=1e-14)
    assert not AttentionLoss(draws=False, symbols=7).wanted


def test_the_baseline_is_a_moving_average() -> None:
    """It begins at the likelihood of symbols that are all alike, and is used before it moves."""
    loss = AttentionLoss(kept=0.8, draws=True, symbols=10, end=1)
    assert loss.baseline is not None
    weights = torch.full((1, 2, 2), 0.5, requires_grad=True)
    lengths, choices = torch.tensor([1, 1]), torch.tensor([[0, 1]])
    means, expected = (-1.0, -3.0), -math.log(10)
    for mean in means:
        assert float(loss.baseline) == pytest.approx(expected, abs=1e-6)
        p = math.exp(mean)
        logits = torch.tensor([[1 - p, p], [1 - p, p]]).log()
        term = loss(weights, lengths, lengths, choices, logits, torch.tensor([[0, 0]]))
        (gradient,) = torch.autograd.grad(term, weights)
        assert float(gradient[0, 0, 0]) == pytest.approx(-(mean - expected) / 0.5 / 2, rel=1e-5)
        expected = 0.8 * expected + 0.2 * mean
    assert float(loss.baseline) == pytest.approx(expected, abs=1e-6)


def model(order: str) -> tuple[Seq2Seq, Padded, Tensor, Tensor]:
    torch.manual_seed(4)
    hard = Seq2Seq(5, 5, embedding=3, hidden=4, attention="hard", order=order, end=END).double().train()
    with torch.no_grad():
        for name, parameter in hard.named_parameters():
            if parameter.requires_grad:
                parameter.mul_(3 if "attention" in name else 1.5)
    inputs = torch.tensor([[0], [2]])
    return hard, Padded(torch.tensor([[1], [3], [2]]), torch.tensor([PLACES])), inputs, torch.tensor([STEPS])


@pytest.mark.parametrize("order", ["luong", "bahdanau"])
def test_hard_attention_learns_the_expected_likelihood(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient of loss and term, every sequence of choices weighed by its probability, is that of the
    expected loss, differentiated directly."""
    hard, source, inputs, lengths = model(order)
    parameters = [p for p in hard.parameters() if p.requires_grad]
    targets = torch.tensor([2, END])
    expected_loss = torch.zeros((), dtype=torch.float64)
    estimate = [torch.zeros_like(p) for p in parameters]
    baseline = hard.attention_loss.baseline
    assert baseline is not None
    start = baseline.detach().clone()
    for path in itertools.product(range(PLACES), repeat=STEPS):

        def choose(weights: Tensor, steps: Tensor, path: tuple[int, ...] = path) -> Tensor:
            return torch.tensor([path[int(step)] for step in steps])

        monkeypatch.setattr(hard.decoder.attention, "choose", choose)
        _, _, shown = hard._taught(hard.encode(source), inputs, lengths)
        assert shown["choice"][:, 0].tolist() == list(path)
        probability = shown["attention"].gather(2, shown["choice"][:, :, None]).prod()
        baseline.data.copy_(start)
        logits, term = hard(source, inputs, lengths)
        loss = torch.nn.functional.cross_entropy(logits, targets)
        expected_loss = expected_loss + probability * loss
        parts = torch.autograd.grad(loss + term, parameters, retain_graph=True)
        for total, part in zip(estimate, parts, strict=True):
            total += float(probability.detach()) * part
    wanted = torch.autograd.grad(expected_loss, parameters)
    for a, b in zip(estimate, wanted, strict=True):
        assert float((a - b).abs().max()) < 1e-13
    assert max(float(g.abs().max()) for g in wanted) > 0.05
