"""What the engine keeps for the derivative, counted in floats: at most what docs/native-engine.md says."""

from typing import Any

import pytest
import torch

from elman import kernels
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.scan import scan

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")

TIME, BATCH, HIDDEN = 100, 32, 64


def kept(cell: Cell, lengths: torch.Tensor | None, *, recompute: bool) -> list[int]:
    """Floats that each forward call of the engine leaves, the recomputed ones among them."""
    found: list[int] = []
    module = kernels.native_module()
    forward = module.scan_forward

    def counted(*arguments: Any) -> Any:
        saved = forward(*arguments)
        found.append(saved.floats())
        return saved

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "scan_forward", counted)
        inputs = torch.randn(TIME, BATCH, cell.input_size)
        outputs, _ = scan(cell, inputs, lengths=lengths, kernels="native", recompute=recompute)
        node = outputs.grad_fn
        assert node is not None
        between = [state for states in getattr(node, "kept", []) for state in states]
        outputs.sum().backward()
    return [*found, sum(state.numel() for state in between)]


@pytest.mark.parametrize(
    ("make", "vectors"),
    [(lambda: LSTMCell(8, HIDDEN), 6), (lambda: LSTMCell(8, HIDDEN, peepholes=True), 7),
     (lambda: GRUCell(8, HIDDEN), 5), (lambda: ElmanCell(8, HIDDEN), 2)],
)  # fmt: skip
def test_vectors_of_a_step_and_element(make: Any, vectors: int) -> None:
    rows = TIME * BATCH
    first, *_ = kept(make(), None, recompute=False)
    assert 0.9 * vectors * rows * HIDDEN < first
    # The state before the first step, and rows kept apart so that they do not meet in one set of the cache.
    assert first <= vectors * (rows + 2 * BATCH) * HIDDEN


def test_of_live_steps_only() -> None:
    lengths = torch.arange(BATCH) * TIME // BATCH
    first, *_ = kept(LSTMCell(8, HIDDEN), lengths, recompute=False)
    assert first <= 6 * (int(lengths.sum()) + 2 * BATCH) * HIDDEN


def test_with_recompute_one_vector_where_six_were() -> None:
    """At most 2 H floats a step and element, what is computed again at a time among them."""
    *stretches, between = kept(LSTMCell(8, HIDDEN), None, recompute=True)
    assert max(stretches) + between <= 1.3 * TIME * BATCH * HIDDEN
