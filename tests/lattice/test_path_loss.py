"""The loss of paths, fuzzed: whatever the scores, shapes and instruction set, what the definition in float64
says, or a refusal that names the place.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from elman import kernels
from elman.errors import ShapeError
from elman.lattice.crf import CRF

SETS = kernels.native_module().chain_kernels() if kernels.native_available() else []
ODD = [-math.inf, -1e4, -200.0, -40.0, 0.0, 60.0]

pytestmark = pytest.mark.skipif(not SETS, reason=kernels.native_status())


@st.composite
def problems(draw: st.DrawFn, values: list[float]) -> tuple[CRF, Tensor, Tensor, Tensor]:
    time, batch, size = draw(st.integers(0, 6)), draw(st.integers(0, 3)), draw(st.sampled_from([1, 2, 5, 17]))
    numbers = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    layer = CRF(size)

    def some(*shape: int) -> Tensor:
        found = numbers.normal(size=shape).astype(np.float32)
        odd = numbers.random(shape) < draw(st.sampled_from([0.0, 0.02, 0.5]))
        found[odd] = numbers.choice(values, size=int(odd.sum()))
        return torch.from_numpy(found)

    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(some(*parameter.shape))
    tags = torch.from_numpy(numbers.integers(size, size=(time, batch)))
    lengths = torch.from_numpy(numbers.integers(0, time + 1, size=batch))
    return layer, some(time, batch, size), tags, lengths


def by_enumeration(layer: CRF, scores: Tensor, tags: Tensor, length: int) -> float:
    """-ln p of one sequence's tags (T,), from the scores (T, S) of all paths; inf where it is impossible."""
    transitions, start, end = (table.detach().double().numpy() for table in layer._tables())
    rows = scores.double().numpy()

    def score(path: tuple[int, ...]) -> float:
        if not path:
            return 0.0
        total = start[path[0]] + end[path[-1]] + sum(rows[t, s] for t, s in enumerate(path))
        return float(total + sum(transitions[a, b] for a, b in itertools.pairwise(path)))

    every = np.array([score(path) for path in itertools.product(range(layer.size), repeat=length)])
    taken = score(tuple(tags[:length].tolist()))
    if taken == -math.inf:
        return math.inf
    return float(np.log(np.exp(every - every.max()).sum()) + every.max() - taken)


@pytest.mark.parametrize("instructions", SETS)
def test_losses_equal_enumeration_whatever_the_scores(instructions: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(problems(ODD))
    def check(problem: tuple[CRF, Tensor, Tensor, Tensor]) -> None:
        layer, scores, tags, lengths = problem
        if layer.size > 2:
            lengths = lengths.clamp(max=3 if layer.size == 5 else 2)
        scores.requires_grad_()
        losses = layer(scores, tags, lengths, "none")
        losses.sum().backward()
        for n, length in enumerate(lengths.tolist()):
            wanted = by_enumeration(layer, scores.detach()[:, n], tags[:, n], length)
            assert float(losses[n].detach()) == pytest.approx(wanted, rel=2e-6, abs=2e-5)
        gradient = scores.grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert float(gradient.abs().max() if gradient.numel() else 0) <= 1 + 1e-5
        past = torch.arange(len(scores))[:, None] >= lengths
        assert (gradient[past] == 0).all()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMAN_INSTRUCTIONS", instructions)
        check()


@pytest.mark.parametrize("instructions", SETS)
def test_what_is_no_score_is_refused_or_past_the_end(instructions: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(problems([*ODD, math.nan, math.inf]))
    def check(problem: tuple[CRF, Tensor, Tensor, Tensor]) -> None:
        layer, scores, tags, lengths = problem
        read = scores[torch.arange(len(scores))[:, None] < lengths]
        tables = list(layer.parameters())
        if all(bool((part < math.inf).all()) for part in [read, *tables]):
            losses = layer(scores, tags, lengths, "none")
            assert not losses.isnan().any()
            assert not layer.log_partition(scores, lengths).isnan().any()
            return
        for call in (lambda: layer(scores, tags, lengths), lambda: layer.log_partition(scores, lengths)):
            with pytest.raises(ShapeError, match="expected a finite score or -inf"):
                call()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELMAN_INSTRUCTIONS", instructions)
        check()
