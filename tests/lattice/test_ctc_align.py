"""Forced alignment against every path written down, and on words."""

import itertools
import math

import pytest
import torch

from elman import kernels
from elman.errors import DivergedError, ShapeError
from elman.lattice.ctc import collapse
from elman.lattice.ctc_align import ctc_align
from elman.lattice.ctc_batch import frames_needed
from lattice_oracles import ctc_paths

LETTERS = "-abcdefghijklmnopqrstuvwxyz"
WAYS = ["reference", *(kernels.native_module().ctc_kernels() if kernels.native_available() else ())]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    reference = request.param == "reference"
    monkeypatch.setenv(kernels.VARIABLE, "reference" if reference else "native")
    monkeypatch.setenv(kernels.INSTRUCTIONS, "" if reference else request.param)
    return request.param


def spelled(path: str, confidence: float) -> torch.Tensor:
    """Logits (T, 1, 27) that give each letter of the path that probability."""
    logits = torch.full((len(path), 1, 27), math.log((1 - confidence) / 26))
    for t, letter in enumerate(path):
        logits[t, 0, LETTERS.index(letter)] = math.log(confidence)
    return logits


@pytest.mark.parametrize(
    ("word", "path"), [("hello", "hhe--lll-llo"), ("hello", "hel-lo"), ("apple", "-aap-pp-l-ee-")]
)
def test_words_stand_where_their_letters_are(way: str, word: str, path: str) -> None:
    target = torch.tensor([[LETTERS.index(letter) for letter in word]])
    (found,) = ctc_align(spelled(path, 0.9), target)
    assert "".join(LETTERS[c] for c in found.path.tolist()) == path
    runs = [(c, len(list(run))) for c, run in itertools.groupby(path)]
    starts = list(itertools.accumulate((n for _, n in runs), initial=0))
    letters = [(c, start, start + n) for (c, n), start in zip(runs, starts, strict=False) if c != "-"]
    spans = zip(found.labels.tolist(), found.starts.tolist(), found.ends.tolist(), strict=True)
    assert [(LETTERS[c], start, end) for c, start, end in spans] == letters
    torch.testing.assert_close(
        found.confidences, torch.full((5,), 0.9, dtype=torch.float64), rtol=0, atol=1e-6
    )
    assert found.score == pytest.approx(len(path) * math.log(0.9), abs=1e-5)
    assert found.times(0.02)[1, 0] == pytest.approx(letters[1][1] * 0.02)


def test_the_path_is_the_best_of_all(way: str) -> None:
    generator = torch.Generator().manual_seed(4)
    for target in [(), (1,), (1, 1), (2, 1), (2, 2, 1)]:
        for time in (5, 7):
            logits = torch.randn(time, 1, 3, generator=generator) * 2
            score, path = max(ctc_paths(logits[:, 0].double().log_softmax(1).numpy(), target))
            (found,) = ctc_align(logits, torch.tensor([target], dtype=torch.int64).reshape(1, -1))
            assert tuple(found.path.tolist()) == path
            assert found.score == pytest.approx(score, abs=1e-10)


@pytest.mark.parametrize("classes", [12, 29, 60, 70])
def test_a_ragged_batch_is_aligned_as_the_reference_does(
    way: str, classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(classes)
    time, batch, length = 120, 6, 45
    logits = torch.randn(time, batch, classes, generator=generator) * 3
    targets = torch.randint(1, 9, (batch, length), generator=generator)
    lengths = torch.tensor([0, 45, 30, 16, 1, 40])
    needed = torch.tensor([frames_needed(row[:n].tolist()) for row, n in zip(targets, lengths, strict=True)])
    frames = torch.tensor([0, 120, int(needed[2]), 64, 1, 97])
    found = ctc_align(logits, targets, frames, lengths)
    monkeypatch.setenv(kernels.VARIABLE, "reference")
    for n, (one, expected) in enumerate(zip(found, ctc_align(logits, targets, frames, lengths), strict=True)):
        assert one.score == pytest.approx(expected.score, abs=1e-4)
        assert collapse(one.path.tolist()) == tuple(targets[n, : lengths[n]].tolist())
        assert one.path.shape == (int(frames[n]),)
        torch.testing.assert_close(one.starts, expected.starts)
        torch.testing.assert_close(one.ends, expected.ends)


def test_a_long_alignment_keeps_the_difference_of_neighbours(way: str) -> None:
    """Float32 scores near -5e5 differ by 0.03 at the least; the planted path is 0.02 a frame better."""
    time, length = (500, 40) if way == "reference" else (20_000, 900)
    generator = torch.Generator().manual_seed(1)
    targets = torch.randint(1, 29, (1, length), generator=generator)
    logits = torch.zeros(time, 1, 29) - 50 * torch.rand(time, 1, 1, generator=generator)
    at = torch.linspace(0, time - 2, length).long()
    planted = torch.zeros(time, dtype=torch.int64)
    planted[at] = targets[0]
    logits[torch.arange(time), 0, planted] += 0.02
    (found,) = ctc_align(logits, targets)
    assert torch.equal(found.path, planted)


def test_what_cannot_be_aligned_is_named(way: str) -> None:
    logits = torch.zeros(4, 2, 3)
    targets = torch.tensor([[1, 1], [1, 2]])
    with pytest.raises(ShapeError, match="row 0: 2 labels with 1 repeat need 3 frames, there are 2"):
        ctc_align(logits[:2], targets)
    logits[:, 1, 2] = -torch.inf
    with pytest.raises(ShapeError, match="row 1: every path of its target meets a class of -inf"):
        ctc_align(logits, targets)
    logits[1, 0, 0] = math.nan
    with pytest.raises(DivergedError, match="row 0, frame 1: NaN"):
        ctc_align(logits, targets)
    assert ctc_align(torch.zeros(4, 0, 3), targets[:0]) == []
