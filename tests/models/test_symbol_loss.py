"""The loss of symbols against cross_entropy in float64, on every instruction set and by torch's blocks."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from elman import kernels
from elman.errors import ShapeError
from elman.models.symbol_loss import symbol_loss
from ways import compute_by

SIZES = [(1, 1), (3, 7), (5, 16), (70, 33), (4, 8003)]
WAYS = ["torch", *(kernels.native_module().loss_kernels() if kernels.native_available() else [])]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Computed by torch, or natively by the instruction set of this name."""
    return compute_by(request.param, monkeypatch)


def case(places: int, symbols: int, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Rows that do not begin where a vector would."""
    generator = torch.Generator().manual_seed(places + symbols)
    whole = torch.randn(places * symbols + 1, generator=generator) * scale
    return whole[1:].view(places, symbols), torch.randint(0, symbols, (places,), generator=generator)


def exact(logits: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor, Tensor]:
    """objective, gradient and the sum of nats, by torch in float64."""
    z = logits.detach().double().requires_grad_()
    objective = cross_entropy(z, targets, label_smoothing=smoothing)
    (gradient,) = torch.autograd.grad(objective, z)
    return objective.detach(), gradient, cross_entropy(z, targets, reduction="sum").detach()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_and_gradient_are_those_of_float64(size: tuple[int, int], smoothing: float) -> None:
    logits, targets = case(*size)
    logits.requires_grad_()
    objective, total = symbol_loss(logits, targets, smoothing)
    (gradient,) = torch.autograd.grad(objective, logits)
    wanted, slope, nats = exact(logits, targets, smoothing)
    assert objective.detach().item() == pytest.approx(wanted.item(), rel=1e-6, abs=1e-6)
    assert total.item() == pytest.approx(nats.item(), rel=1e-6, abs=1e-6)
    torch.testing.assert_close(gradient.double(), slope, atol=1e-7, rtol=2e-6)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("size", SIZES)
def test_bfloat16_is_read_exactly_and_written_rounded(size: tuple[int, int]) -> None:
    given, targets = case(*size)
    logits = given.bfloat16().requires_grad_()
    objective, _ = symbol_loss(logits, targets, 0.1)
    (gradient,) = torch.autograd.grad(objective, logits)
    wanted, slope, _ = exact(logits, targets, 0.1)
    assert objective.detach().item() == pytest.approx(wanted.item(), rel=1e-6, abs=1e-6)
    assert gradient.dtype == torch.bfloat16
    torch.testing.assert_close(gradient.double(), slope, atol=1e-9, rtol=2**-8)


@pytest.mark.skipif(not kernels.native_available(), reason="there is no native module")
def test_the_ways_round_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halves to the even one, as torch rounds: hardly a number differs in its last digit."""
    given, targets = case(50, 400)
    found = []
    for mode in ("torch", "native"):
        monkeypatch.setenv(kernels.VARIABLE, mode)
        logits = given.bfloat16().requires_grad_()
        found.append(torch.autograd.grad(symbol_loss(logits, targets, 0.1)[0], logits)[0])
    assert float((found[0] != found[1]).float().mean()) < 1e-3
    torch.testing.assert_close(*found, atol=0, rtol=2**-7)


@pytest.mark.usefixtures("way")
def test_large_and_impossible_logits() -> None:
    logits = torch.tensor(
        [[1e4, -1e4, 0.0], [-torch.inf, 2.0, 2.0], [-99.0, -99.0, -99.0]], requires_grad=True
    )
    objective, total = symbol_loss(logits, torch.tensor([0, 1, 2]))
    wanted = torch.tensor([0.0, 2.0, 3.0]).log()[1:].sum()
    assert total.item() == pytest.approx(wanted.item(), rel=1e-5)
    (gradient,) = torch.autograd.grad(objective, logits)
    rows = [[0.0, 0.0, 0.0], [0.0, -0.5, 0.5], [1 / 3, 1 / 3, -2 / 3]]
    torch.testing.assert_close(gradient, torch.tensor(rows) / 3)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_nan_is_never_lost(dtype: torch.dtype) -> None:
    """Wherever it stands, in a whole vector or past the last one, its row alone is NaN."""
    for place in (0, 17, 36):
        logits, targets = case(2, 37)
        logits[1, place] = torch.nan
        z = logits.to(dtype).requires_grad_()
        objective, total = symbol_loss(z, targets)
        assert total.isnan()
        (gradient,) = torch.autograd.grad(objective, z)
        assert gradient.isnan().all(1).tolist() == [False, True]
        assert not gradient[0].isnan().any()


def test_threads_change_nothing() -> None:
    logits, targets = case(300, 500)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            z = logits.clone().requires_grad_()
            objective, _ = symbol_loss(z, targets, 0.1)
            found.append((objective.detach(), *torch.autograd.grad(objective, z)))
    finally:
        torch.set_num_threads(before)
    for a, b in zip(*found, strict=True):
        assert torch.equal(a, b)


def test_it_is_scaled_with_what_it_is_part_of() -> None:
    logits, targets = case(3, 7)
    logits.requires_grad_()
    for factor in (1.0, -2.5):
        (found,) = torch.autograd.grad(symbol_loss(logits, targets, 0.1)[0] * factor, logits)
        torch.testing.assert_close(
            found.double(), exact(logits, targets, 0.1)[1] * factor, atol=1e-7, rtol=2e-6
        )


def test_other_types_and_no_places_are_left_to_torch() -> None:
    logits, targets = case(3, 7)
    assert symbol_loss(logits.double(), targets)[1].item() == pytest.approx(
        exact(logits, targets, 0)[2].item(), abs=1e-12
    )
    strided = logits.t().contiguous().t()
    assert symbol_loss(strided, targets)[1].item() == pytest.approx(symbol_loss(logits, targets)[1].item())
    objective, total = symbol_loss(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    assert (objective.item(), total.item()) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("logits", "targets", "told"),
    [
        ((3, 7), [1, 2], r"expected logits \(P, V\) and targets \(P,\), got \(3, 7\) and \(2,\)"),
        ((3, 7), [1, 7, 2], "target 1 is 7, of 7 symbols"),
        ((2, 7), [0, -1], "target 1 is -1, of 7 symbols"),
    ],
)
def test_what_does_not_fit_is_told(logits: tuple[int, ...], targets: list[int], told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        symbol_loss(torch.zeros(logits), torch.tensor(targets))
