"""Products of bfloat16 in the native engine, against float64 with the same numbers rounded to bfloat16."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from elman import kernels
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.errors import ConfigError, KernelError
from elman.scan import scan
from elman.tokens import Tokens

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")

SETS = kernels.native_module().scan_bf16_kernels() if kernels.native_available() else []
CELLS: list[type[Cell]] = [ElmanCell, GRUCell, LSTMCell]


def rounded(x: Tensor) -> Tensor:
    return x.float().bfloat16().to(x.dtype)


class RoundedProduct(torch.autograd.Function):
    """x W^T with every operand of every product, forward and backward, rounded to bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return rounded(x) @ rounded(weight).T

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        x, weight = ctx.saved_tensors
        d = rounded(grad_outputs[0])
        return d @ rounded(weight), d.flatten(0, -2).T @ rounded(x).flatten(0, -2)


class RoundedLinear(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.nn.functional.linear:
            x, weight, *bias = args
            product = RoundedProduct.apply(x, weight)
            return product if not bias or bias[0] is None else product + bias[0]
        return func(*args, **(kwargs or {}))


def results(cell: Cell, inputs: Any, lengths: Tensor | None, **options: Any) -> list[Tensor]:
    """Outputs and the gradients of a fixed weighting."""
    if isinstance(inputs, Tensor):
        inputs = inputs.clone().requires_grad_()
    outputs, _ = scan(cell, inputs, lengths=lengths, **options)
    weights = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    wanted = [*([inputs] if isinstance(inputs, Tensor) else []), *cell.parameters()]
    return [outputs.detach(), *torch.autograd.grad((outputs * weights.to(outputs.dtype)).sum(), wanted)]


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    return max(
        float((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-30))
        for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("make", CELLS)
@pytest.mark.parametrize(
    ("time", "batch", "inputs", "hidden"), [(11, 7, 33, 48), (6, 3, 5, 17), (3, 2, 1, 1), (9, 26, 16, 31)]
)
def test_only_what_products_multiply_is_rounded(
    make: Any, time: int, batch: int, inputs: int, hidden: int, instructions: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv(kernels.INSTRUCTIONS, instructions)
    torch.manual_seed(hidden)
    cell = make(inputs, hidden)
    x = torch.randn(time, batch, inputs)
    lengths = torch.randint(0, time + 1, (batch,))
    lengths[0] = time
    found = results(cell, x, lengths, kernels="native", compute=torch.bfloat16)
    with RoundedLinear():
        expected = results(cell.double(), x.double(), lengths, kernels="reference")
    plain = results(cell, x.double(), lengths, kernels="reference")
    # A float32 state at the border between two bfloat16 may be rounded otherwise than its float64 twin.
    assert distance(found, expected) < 4e-4
    assert distance(plain, expected) > 1e-3


@settings(max_examples=15)
@given(
    time=st.integers(1, 6), batch=st.integers(1, 30), hidden=st.integers(1, 40), seed=st.integers(0, 99),
    make=st.sampled_from(CELLS),
)  # fmt: skip
def test_any_shape_stays_near_float32(time: int, batch: int, hidden: int, seed: int, make: Any) -> None:
    torch.manual_seed(seed)
    cell = make(7, hidden)
    x = torch.randn(time, batch, 7)
    found = results(cell, x, None, kernels="native", compute=torch.bfloat16)
    expected = results(cell, x, None, kernels="native")
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).abs().max()) <= 0.05 * float(b.abs().max()) + 1e-3


def test_symbols_are_those_of_their_rows() -> None:
    torch.manual_seed(0)
    cell, table = LSTMCell(6, 20), torch.randn(9, 6)
    ids = torch.randint(0, 9, (12, 5))
    found = results(cell, Tokens(ids, table), None, kernels="native", compute=torch.bfloat16)
    expected = results(cell, table[ids], None, kernels="native", compute=torch.bfloat16)
    assert torch.equal(found[0], expected[0])
    # Their derivatives are summed before they are rounded, those of positions after it.
    assert distance(found[1:], [expected[0], *expected[2:]][1:]) < 4e-3


def test_not_a_number_stays_one() -> None:
    cell = GRUCell(3, 17)
    x = torch.randn(4, 2, 3)
    x[2, 1, 0] = float("nan")
    outputs, _ = scan(cell, x, kernels="native", compute=torch.bfloat16)
    assert outputs[2:, 1].isnan().all()
    assert not outputs[:, 0].isnan().any()


def test_what_is_not_to_be_had_is_named(monkeypatch: Any) -> None:
    cell = GRUCell(3, 4)
    with pytest.raises(KernelError, match=r"float32 or bfloat16, not torch\.float16"):
        scan(cell, torch.randn(2, 1, 3), kernels="native", compute=torch.float16)
    monkeypatch.setenv(kernels.INSTRUCTIONS, "sse9")
    with pytest.raises(ConfigError, match=r"ELMAN_INSTRUCTIONS='sse9'"):
        scan(cell, torch.randn(2, 1, 3), kernels="native", compute=torch.bfloat16)
