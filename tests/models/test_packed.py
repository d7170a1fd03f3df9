"""Products by packed weights against torch's, and that a weight is never an old one."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from elman.models import packed
from elman.models.decoding import best_sequences
from elman.models.filled import filled
from elman.models.packed import with_packed
from elman.models.seq2seq import Seq2Seq
from elman.padded import Padded

pytestmark = pytest.mark.skipif(not packed.serves(), reason="torch has no oneDNN here, or may not use it")


def run(x: Tensor, weight: Tensor, bias: Tensor | None, weights: packed.Weights = "float32") -> Tensor:
    with torch.no_grad():
        return with_packed(lambda ids, state: (linear(x, weight, bias), state), weights)(x, ())[0]


@pytest.mark.parametrize("shape", [(1, 7), (5, 64), (3, 2, 33)])
@pytest.mark.parametrize("biased", [False, True])
def test_equals_torchs(shape: tuple[int, ...], biased: bool) -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(shape), nn.Parameter(torch.randn(19, shape[-1]))
    bias = nn.Parameter(torch.randn(19)) if biased else None
    exact = linear(x.double(), weight.double(), None if bias is None else bias.double()).detach()
    scale = float(exact.abs().max())
    got, rounded = run(x, weight, bias), run(x, weight, bias, "bfloat16")
    assert got.dtype == rounded.dtype == torch.float32
    assert float((got - exact).abs().max()) < 1e-6 * scale
    assert 1e-5 * scale < float((rounded - exact).abs().max()) < 0.03 * scale


def test_a_search_of_any_rows_comes_in_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each count gives what it would give alone; beyond a few rows they are filled up."""
    seen: set[int] = set()

    def spy(x: Tensor, multiple: int) -> Tensor:
        rows = filled(x, multiple)
        seen.add(len(rows))
        return rows

    monkeypatch.setattr(packed, "filled", spy)
    weight, rows = nn.Parameter(torch.randn(19, 8)), torch.randn(64, 8)
    whole = run(rows, weight, None)
    for count in range(1, 65):
        torch.testing.assert_close(run(rows[:count], weight, None), whole[:count], atol=1e-6, rtol=1e-6)
    assert seen == {1, 2, 3, 4, 16, 32, 48, 64}


def test_a_change_of_the_weight_is_seen() -> None:
    x, weight = torch.eye(3), nn.Parameter(torch.ones(2, 3))
    assert torch.equal(run(x, weight, None), torch.ones(3, 2))
    with torch.no_grad():
        weight.mul_(2)
    assert torch.equal(run(x, weight, None), 2 * torch.ones(3, 2))
    weight.data = 3 * torch.ones(2, 3)
    assert torch.equal(run(x, weight, None), 3 * torch.ones(3, 2))


def test_what_was_packed_goes_with_its_parameter() -> None:
    weight = nn.Parameter(torch.ones(2, 3))
    run(torch.eye(3), weight, None)
    kept = weakref.ref(packed._pack(weight, torch.float32))
    assert kept() is not None
    del weight
    gc.collect()
    assert kept() is None


def test_other_types_and_gradients_are_torchs_own() -> None:
    x, weight = torch.randn(2, 3).double(), nn.Parameter(torch.randn(4, 3).double())
    assert torch.equal(run(x, weight, None), linear(x, weight))
    weight = nn.Parameter(torch.randn(4, 3))
    step = with_packed(lambda ids, state: (linear(ids, weight), state))
    step(torch.ones(1, 3), ())[0].sum().backward()
    assert torch.equal(weight.grad, torch.ones(4, 3))  # type: ignore[arg-type]


def test_a_search_finds_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    # Of a kind that the native engine does not step.
    model = Seq2Seq(9, 12, embedding=8, hidden=16, cell="lstm", tied=True, attention="location").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    source = Padded(torch.randint(9, (5, 4)), torch.tensor([5, 1, 3, 4]))
    calls: list[int] = []
    monkeypatch.setattr(packed, "_pack", lambda *given, pack=packed._pack: (calls.append(1), pack(*given))[1])
    found = best_sequences(model, source, begin=0, stop=[1], beam=3, best=2)
    assert calls
    calls.clear()
    monkeypatch.setenv("ELMAN_KERNELS", "reference")
    plain = best_sequences(model, source, begin=0, stop=[1], beam=3, best=2)
    assert not calls
    assert [[h.ids for h in hypotheses] for hypotheses in found] == [
        [h.ids for h in hypotheses] for hypotheses in plain
    ]
