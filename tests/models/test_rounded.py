"""Products of rounded numbers against torch's own of bfloat16, and in how few shapes they come."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from elman.models import rounded
from elman.models.filled import filled, unfilled
from elman.models.rounded import ROWS, RoundedLinear, rounded_linear


def tensors(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    sizes = (shape, (7, shape[-1]), (7,))
    return tuple(torch.randn(*size, generator=generator).to(dtype).requires_grad_() for size in sizes)


@pytest.mark.parametrize("shape", [(1, 5), (ROWS, 64), (ROWS + 1, 33), (3, 50, 16)])
def test_it_is_the_product_of_rounded_numbers(shape: tuple[int, ...]) -> None:
    x, weight, bias = tensors(shape)
    y = rounded_linear(x, weight, bias)
    wanted = linear(x.bfloat16(), weight.bfloat16(), bias.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, wanted, atol=2e-2, rtol=1e-2)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).bfloat16()
    found, expected = (torch.autograd.grad(z, (x, weight, bias), dy) for z in (y, wanted))
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b, atol=1e-2 * float(b.abs().max()), rtol=1e-2)


def test_rounded_it_is_near_what_it_is_exactly() -> None:
    """Against float64: the error of eight binary digits, and no more."""
    x, weight, bias = tensors((200, 64))
    exact = linear(x.double(), weight.double(), bias.double())
    error = (rounded_linear(x, weight, bias) - exact).abs().max() / exact.abs().max()
    assert 1e-4 < float(error.detach()) < 2**-7


def test_counts_of_rows_come_in_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()

    def spy(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        seen.add(len(x))
        return linear(x, weight, bias)

    monkeypatch.setattr(rounded, "linear", spy)
    for count in range(1, 3 * ROWS):
        assert rounded_linear(*tensors((count, 4))).shape == (count, 7)
    assert seen == {ROWS, 2 * ROWS, 3 * ROWS}


def test_only_what_is_asked_for_is_differentiated() -> None:
    x, weight, bias = tensors((3, 4))
    rounded_linear(x.detach(), weight, bias.detach()).sum().backward()
    assert x.grad is None
    assert bias.grad is None
    assert weight.grad is not None


def test_a_layer_rounds_in_training_alone() -> None:
    layer, x = RoundedLinear(4, 3, torch.bfloat16), torch.randn(2, 4)
    assert layer(x).dtype == torch.bfloat16
    assert torch.equal(layer.eval()(x), linear(x, layer.weight, layer.bias))
    assert RoundedLinear(4, 3)(x).dtype == torch.float32


@pytest.mark.parametrize("shape", [(0, 3), (4, 3), (5, 3), (2, 3, 3)])
def test_filled_and_back(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    rows = filled(x, 4)
    assert len(rows) % 4 == 0
    assert not rows[x.shape[:-1].numel() :].any()
    assert torch.equal(unfilled(rows, x), x)
