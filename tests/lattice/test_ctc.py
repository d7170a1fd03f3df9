"""CTC against every path written down, against torch in float64, and in places where others fail."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from elman import kernels
from elman.errors import ConfigError, DivergedError, KernelError, ShapeError
from elman.lattice.chain import k_best, marginals, viterbi
from elman.lattice.ctc import Reduction, alignments, chain_of, collapse, ctc_loss, ctc_tables
from elman.lattice.ctc_batch import check_batch, check_targets, frames_needed
from lattice_oracles import collapse as oracle_collapse
from lattice_oracles import ctc_paths, log_sum
from ways import compute_by

NATIVE = kernels.native_available()
INSTRUCTIONS = tuple(kernels.native_module().ctc_kernels()) if NATIVE else ()
WAYS = ["reference", *INSTRUCTIONS]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The reference, and the native kernels for each instruction set of this machine."""
    return compute_by(request.param, monkeypatch)


def example(
    seed: int, time: int, batch: int, classes: int, length: int, scale: float = 2.0
) -> tuple[Tensor, ...]:
    """logits, targets, input and target lengths that fit; the targets have repeats."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(time, batch, classes, generator=generator) * scale
    targets = torch.randint(1, min(classes, 4) if seed % 2 else classes, (batch, length), generator=generator)
    lengths = torch.randint(0, length + 1, (batch,), generator=generator)
    needed = torch.tensor([frames_needed(row[:n].tolist()) for row, n in zip(targets, lengths, strict=True)])
    lengths = torch.where(needed > time, 0, lengths)
    needed = torch.where(needed > time, 0, needed)
    frames = needed + (torch.rand(batch, generator=generator) * (time - needed + 1)).long()
    return logits, targets, frames.clamp(max=time), lengths


def torch_loss(logits: Tensor, targets: Tensor, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """torch's losses (N,) and the gradient of their sum, in float64; it refuses empty inputs."""
    values = logits.double().requires_grad_()
    there = frames > 0
    losses = torch.zeros(len(frames), dtype=torch.float64)
    losses[there] = functional.ctc_loss(
        values.log_softmax(2)[:, there], targets[there], frames[there], lengths[there], reduction="none"
    )
    losses.sum().backward()
    assert values.grad is not None
    return losses.detach(), values.grad


def own(logits: Tensor, *rest: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    values = logits.clone().requires_grad_()
    loss = ctc_loss(values, *rest, reduction="none", **options)
    loss.sum().backward()
    assert values.grad is not None
    return loss.detach(), values.grad


def enumerated(logits: Tensor, target: tuple[int, ...]) -> tuple[float, np.ndarray]:
    """-ln p and its gradient, from the paths; logits (T, C) float64."""
    log_probs = logits.log_softmax(1).numpy()
    paths = ctc_paths(log_probs, target)
    total = log_sum([score for score, _ in paths])
    gradient = np.exp(log_probs)
    for score, path in paths:
        for t, c in enumerate(path):
            gradient[t, c] -= math.exp(score - total)
    return -total, gradient


TARGETS = [(), (1,), (1, 1), (2, 1), (1, 2, 1), (2, 2, 1), (1, 1, 1)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("time", [5, 7])
def test_loss_and_gradient_are_sums_over_paths(way: str, target: tuple[int, ...], time: int) -> None:
    logits = example(time, time, 1, 3, 1)[0].double()
    expected, gradient = enumerated(logits[:, 0], target)
    exact = way == "reference"
    values = logits if exact else logits.float()
    if not exact:
        expected, gradient = enumerated(values[:, 0].double(), target)
    loss, found = own(values, torch.tensor([target], dtype=torch.int64).reshape(1, -1))
    assert float(loss[0]) == pytest.approx(expected, rel=0 if exact else 3e-7, abs=1e-10 if exact else 1e-6)
    np.testing.assert_allclose(found[:, 0].numpy(), gradient, atol=1e-10 if exact else 2e-6)


@pytest.mark.parametrize("target", TARGETS[1:])
def test_the_lattice_has_the_paths_of_the_target_and_their_order(target: tuple[int, ...]) -> None:
    time = 6
    logits = example(3, time, 1, 3, 1)[0].double()
    batch = check_batch(logits, torch.tensor([target]))
    log_probs = logits.log_softmax(2)
    chain = chain_of(log_probs, batch)
    expected = sorted(ctc_paths(log_probs[:, 0].numpy(), target), reverse=True)
    labels = [0, *itertools.chain.from_iterable((label, 0) for label in target)]
    best = k_best(chain, 5)
    for k, (score, path) in enumerate(expected[:5]):
        assert float(best.scores[0, k]) == pytest.approx(score, abs=1e-10)
        assert tuple(labels[s] for s in best.paths[:, 0, k].tolist()) == path
    assert float(viterbi(chain)[1]) == pytest.approx(expected[0][0], abs=1e-10)
    total = log_sum([score for score, _ in expected])
    by_class = torch.zeros(time, 3, dtype=torch.float64)
    states = marginals(chain).states[:, 0]
    for s, label in enumerate(labels):
        by_class[:, label] += states[:, s]
    for t, c in itertools.product(range(time), range(3)):
        weight = math.fsum(math.exp(score - total) for score, path in expected if path[t] == c)
        assert float(by_class[t, c]) == pytest.approx(weight, abs=1e-10)


@pytest.mark.parametrize(
    ("seed", "time", "batch", "classes", "length", "scale"),
    [
        (1, 1, 4, 12, 1, 2.0),
        (2, 50, 9, 12, 5, 2.0),  # several sequences to a span
        (3, 90, 5, 29, 40, 2.0),  # repeats
        (4, 70, 3, 64, 33, 2.0),
        (5, 40, 3, 65, 30, 2.0),
        (6, 33, 3, 500, 15, 2.0),
        (7, 150, 2, 16, 64, 30.0),
        (8, 150, 2, 32, 100, 100.0),
        (9, 20, 3, 2, 5, 2.0),
        (10, 12, 3, 17, 12, 0.0),
    ],
)
def test_loss_and_gradient_are_torchs_in_float64(
    way: str, seed: int, time: int, batch: int, classes: int, length: int, scale: float
) -> None:
    inputs = example(seed, time, batch, classes, length, scale)
    expected, gradient = torch_loss(*inputs)
    loss, found = own(*inputs)
    torch.testing.assert_close(loss.double(), expected, rtol=3e-7, atol=1e-6)
    torch.testing.assert_close(found.double(), gradient, rtol=0, atol=1e-5)
    with torch.no_grad():  # without a gradient the same kernel keeps less
        torch.testing.assert_close(ctc_loss(*inputs, reduction="none"), loss, rtol=1e-6, atol=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 24), st.integers(1, 5), st.integers(2, 7), st.integers(0, 9))
def test_native_is_the_reference_whatever_the_shape(
    seed: int, time: int, batch: int, classes: int, length: int
) -> None:
    if not NATIVE:
        pytest.skip("needs the native module")
    inputs = example(seed, time, batch, classes, length)
    logits = torch.where(inputs[0] < -4, -torch.inf, inputs[0])
    logits[..., 0] = logits[..., 0].clamp(min=-1)
    with pytest.MonkeyPatch.context() as patch:
        found = {}
        for name in WAYS:
            patch.setenv(kernels.VARIABLE, "reference" if name == "reference" else "native")
            patch.setenv(kernels.INSTRUCTIONS, "" if name == "reference" else name)
            found[name] = own(logits, *inputs[1:])
    for name in INSTRUCTIONS:
        torch.testing.assert_close(found[name][0], found["reference"][0], rtol=1e-6, atol=2e-6)
        torch.testing.assert_close(found[name][1], found["reference"][1], rtol=0, atol=5e-6)


def test_gradients_larger_than_caches_are_torchs_in_float64(way: str) -> None:
    inputs = example(21, 30, 3, 50_001, 9)  # rows begin anywhere in a line of the cache
    expected, gradient = torch_loss(*inputs)
    loss, found = own(*inputs)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.double(), gradient, rtol=0, atol=1e-5)


def test_confident_and_long_inputs_lose_nothing(way: str) -> None:
    generator = torch.Generator().manual_seed(0)
    time, length = (400, 20) if way == "reference" else (20_000, 60)
    targets = torch.randint(1, 6, (1, length), generator=generator)
    for scale in (1.0, 1e4):
        logits = torch.randn(time, 1, 6, generator=generator) * scale
        expected, gradient = torch_loss(logits, targets, torch.tensor([time]), torch.tensor([length]))
        loss, found = own(logits, targets)
        torch.testing.assert_close(loss.double(), expected, rtol=3e-7, atol=0)
        # Float32 mantissas are rounded once a step and state.
        assert float((found.double() - gradient).abs().max()) < 1e-4
        assert float(found.sum(2).abs().max()) < 1e-4


def test_what_an_element_is_padded_with_has_no_say(way: str) -> None:
    logits, targets, frames, lengths = example(11, 30, 6, 9, 8)
    loss, gradient = own(logits, targets, frames, lengths)
    for n in range(6):
        logits[int(frames[n]) :, n] = math.nan
        targets[n, int(lengths[n]) :] = -7
    again, found = own(logits, targets, frames, lengths)
    assert torch.equal(loss, again)
    assert torch.equal(gradient, found)
    for n in range(6):
        assert not found[int(frames[n]) :, n].any()


def test_impossible_through_ruled_out_classes_is_inf_with_no_gradient(way: str) -> None:
    logits, targets = example(12, 10, 2, 5, 3)[:2]
    targets[0], targets[1] = torch.tensor([1, 2, 3]), torch.tensor([1, 2, 1])
    logits[:, 0, 3] = -torch.inf
    loss, gradient = own(logits, targets)
    assert loss[0] == math.inf
    assert not gradient[:, 0].any()
    assert math.isfinite(float(loss[1]))
    assert gradient[:, 1].isfinite().all()


def test_empty_inputs_and_targets_have_their_values(way: str) -> None:
    logits = example(13, 4, 3, 5, 1)[0]
    targets = torch.ones(3, 1, dtype=torch.int64)
    loss, gradient = own(logits, targets, torch.tensor([0, 4, 4]), torch.tensor([0, 0, 1]))
    assert float(loss[0]) == 0
    assert float(loss[1]) == pytest.approx(-float(logits[:, 1].log_softmax(1)[:, 0].sum()), rel=1e-6)
    assert not gradient[:, 0].any()
    nothing, _ = own(logits[:0], targets[:, :0])
    assert nothing.tolist() == [0, 0, 0]
    none, none_gradient = own(logits[:, :0], targets[:0])
    assert none.shape == (0,)
    assert none_gradient.shape == (4, 0, 5)
    only_blank, _ = own(logits[..., :1], targets[:, :0])
    assert only_blank.tolist() == [0, 0, 0]


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_reductions_are_over_sequences(way: str, reduction: Reduction) -> None:
    logits, *rest = example(14, 20, 5, 6, 4)
    expected, gradient = own(logits, *rest)
    values = logits.clone().requires_grad_()
    loss = ctc_loss(values, *rest, reduction=reduction)
    share = 1 if reduction == "sum" else 1 / 5
    torch.testing.assert_close(loss.detach(), expected.sum() * share)
    for _ in range(2):  # the first takes what was computed with the loss, the second computes it again
        (found,) = torch.autograd.grad(loss * 3, values, retain_graph=True)
        torch.testing.assert_close(found, gradient * share * 3, rtol=1e-5, atol=1e-6)
    weights = torch.arange(5.0)
    (found,) = torch.autograd.grad(ctc_loss(values, *rest, reduction="none") @ weights, values)
    torch.testing.assert_close(found, gradient * weights[:, None], rtol=1e-5, atol=1e-6)


def test_label_smoothing_is_a_divergence_from_the_uniform(way: str) -> None:
    logits, targets, frames, lengths = example(15, 20, 4, 7, 4)
    plain, gradient = own(logits, targets, frames, lengths)
    loss, found = own(logits, targets, frames, lengths, label_smoothing=0.2)
    values = logits.double().requires_grad_()
    uniform = torch.full((7,), 1 / 7, dtype=torch.float64)
    divergence = torch.zeros(4, dtype=torch.float64)
    for n in range(4):
        log_probs = values[: int(frames[n]), n].log_softmax(1)
        divergence[n] = functional.kl_div(log_probs, uniform.expand_as(log_probs), reduction="sum")
    divergence.sum().backward()
    assert values.grad is not None
    torch.testing.assert_close(
        loss.double(), 0.8 * plain.double() + 0.2 * divergence.detach(), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(found.double(), 0.8 * gradient.double() + 0.2 * values.grad, rtol=0, atol=3e-6)


def test_gradients_of_gradients(way: str) -> None:
    logits, *rest = example(16, 6, 2, 4, 2)
    values = logits.clone().requires_grad_()

    def square(values: Tensor) -> Tensor:
        (gradient,) = torch.autograd.grad(
            ctc_loss(values, *rest, reduction="sum", label_smoothing=0.1), values, create_graph=True
        )
        return (gradient**2).sum()

    (found,) = torch.autograd.grad(square(values), values)
    exact = logits.double().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(kernels.VARIABLE, "reference")
        (expected,) = torch.autograd.grad(square(exact), exact)
        assert torch.autograd.gradgradcheck(
            lambda v: ctc_loss(v, *rest, reduction="none", label_smoothing=0.1), (exact,)
        )
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_computed_wider(dtype: torch.dtype) -> None:
    logits, *rest = example(17, 12, 3, 6, 3)
    loss, gradient = own(logits.to(dtype), *rest)
    expected, expected_gradient = torch_loss(logits.to(dtype), *rest)
    assert loss.dtype == gradient.dtype == dtype
    close = 1e-12 if dtype == torch.float64 else 0.01
    torch.testing.assert_close(loss.double(), expected, rtol=close, atol=close)
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=close, atol=close)


LOGITS = torch.zeros(5, 2, 4)
ROWS = torch.tensor([[1, 2], [3, 3]])


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: ctc_loss(LOGITS, torch.tensor([[1, 2], [3, 4]])),
            "row 1, label 1 is 4, no class; expected 1 to 3",
        ),
        (lambda: ctc_loss(LOGITS, torch.tensor([[1, 0], [3, 3]])), "row 0, label 1 is 0, the blank"),
        (lambda: ctc_loss(LOGITS, torch.tensor([[1, -1], [3, 3]])), "row 0, label 1 is -1"),
        (lambda: ctc_loss(LOGITS[:2], ROWS), "row 1: 2 labels with 1 repeat need 3 frames, there are 2"),
        (lambda: ctc_loss(LOGITS, ROWS, torch.tensor([0, 0])), r"row 0: 2 labels.*there are 0 \(1 more rows"),
        (
            lambda: ctc_loss(LOGITS, ROWS, torch.tensor([6, 5])),
            "input_lengths: element 0 is 6, expected 0 to 5",
        ),
        (lambda: ctc_loss(LOGITS, ROWS, None, torch.tensor([2, 3])), "target_lengths: element 1 is 3"),
        (lambda: ctc_loss(LOGITS, ROWS, torch.tensor([5.0, 5.0])), "input_lengths: expected integers"),
        (lambda: ctc_loss(LOGITS, ROWS.float()), "targets: expected integers"),
        (lambda: ctc_loss(LOGITS, ROWS[:1]), r"targets: expected \(2, L\)"),
        (lambda: ctc_loss(LOGITS, ROWS[0]), "pad_sequence"),
        (lambda: ctc_loss(LOGITS[..., :0], ROWS[:, :0]), "at least one class"),
        (lambda: ctc_loss(LOGITS[0], ROWS), r"\(T, N, C\)"),
        (lambda: ctc_loss(LOGITS.long(), ROWS), "floating-point"),
        (lambda: ctc_loss(LOGITS[:, :0], ROWS[:0]), "no sequence to take the mean over"),
        (lambda: ctc_tables(LOGITS, ROWS[0]), "of a batch take one"),
        (lambda: list(alignments([1, 0], 4)), "0 is the blank"),
    ],
)
def test_what_cannot_be_computed_is_named_by_row(call: Callable[[], object], told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        call()


@pytest.mark.parametrize(
    ("value", "told"), [(math.nan, "NaN"), (math.inf, "inf"), (-math.inf, "-inf in all classes")]
)
@pytest.mark.parametrize("classes", [5, 500])
def test_no_nan_is_silent(way: str, classes: int, value: float, told: str) -> None:
    logits = example(18, 8, 3, classes, 1)[0]
    if value == -math.inf:
        logits[6, 1] = value
    else:
        logits[6, 1, 4] = value
    with pytest.raises(DivergedError, match=f"row 1, frame 6: {told}"):
        ctc_loss(logits, torch.ones(3, 1, dtype=torch.int64))


def test_options_out_of_range() -> None:
    with pytest.raises(ConfigError, match="label_smoothing"):
        ctc_loss(LOGITS, ROWS, label_smoothing=1.0)
    with pytest.raises(ConfigError, match="reduction"):
        ctc_loss(LOGITS, ROWS, reduction="median")  # type: ignore[arg-type]


def test_native_says_what_it_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.VARIABLE, "native")
    with pytest.raises(KernelError, match="float32" if NATIVE else "no native module"):
        ctc_loss(LOGITS.double(), ROWS)


def test_threads_change_nothing() -> None:
    inputs = example(19, 120, 20, 29, 30)
    once = own(*inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        again = own(*inputs)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(once[0], again[0])
    assert torch.equal(once[1], again[1])


def test_the_collapse_map_on_words() -> None:
    letters = {letter: i for i, letter in enumerate("-abcdefghijklmnopqrstuvwxyz")}

    def word(path: str) -> str:
        return "".join("-abcdefghijklmnopqrstuvwxyz"[i] for i in collapse([letters[c] for c in path]))

    # Hannun, "Sequence modeling with CTC", 2017: the two l of hello are two because a blank stands between.
    assert word("hhe--lll-llo") == "hello"
    assert word("hhe--llllllo") == "helo"
    assert word("-aap-pp-l-ee-") == "apple"
    assert word("aappplle") == "aple"
    assert word("----") == ""


def test_alignments_are_all_paths_that_collapse_to_the_word() -> None:
    for target, frames in [
        ((1, 2, 3, 3, 4), 6),
        ((1, 2, 2, 3), 6),
        ((1, 1), 4),
        ((), 3),
        ((1,), 0),
        ((), 0),
        ((2, 1), 4),
    ]:
        found = list(alignments(target, frames))
        classes = range(max(target, default=0) + 1)
        expected = [p for p in itertools.product(classes, repeat=frames) if oracle_collapse(p) == target]
        assert sorted(found) == expected
        repeats = sum(a == b for a, b in itertools.pairwise(target))
        if frames >= len(target) + repeats:
            assert len(found) == math.comb(frames + len(target) - repeats, 2 * len(target))
        else:
            assert found == []


def test_tables_give_the_probability_at_every_frame() -> None:
    logits = example(20, 9, 1, 5, 1)[0][:, 0]
    target = torch.tensor([2, 2, 4])
    tables = ctc_tables(logits, target)
    expected, gradient = enumerated(logits[:7].double(), (2, 2, 4))
    assert ctc_tables(logits[:7], target).log_prob == pytest.approx(-expected, abs=1e-10)
    torch.testing.assert_close(
        tables.log_prob_by_frame(), torch.full((9,), tables.log_prob, dtype=torch.float64), rtol=0, atol=1e-10
    )
    torch.testing.assert_close(
        tables.posterior.sum(1), torch.ones(9, dtype=torch.float64), rtol=0, atol=1e-10
    )
    short = ctc_tables(logits[:7], target)
    by_class = logits[:7].double().softmax(1).numpy() - gradient
    for s, label in enumerate(short.labels.tolist()):
        by_class[:, label] -= short.posterior[:, s].numpy()
    np.testing.assert_allclose(by_class, 0, atol=1e-10)
    assert tables.alpha[0, 2:].tolist() == [-math.inf] * 5
    assert tables.beta[-1, :-2].tolist() == [-math.inf] * 5


def test_preflight_names_every_row_that_cannot_work() -> None:
    rows = [(5, [1, 2]), (2, [1, 1]), (0, []), (0, [3]), (9, [1, 0, 2]), (9, [7]), (-1, [])]
    found = check_targets(rows, classes=5)
    assert [(problem.row, problem.message) for problem in found] == [
        (1, "2 labels with 1 repeat need 3 frames, there are 2"),
        (3, "1 label with 0 repeats needs 1 frame, there are 0"),
        (4, "label 0, expected 1 to 4; 0 is the blank"),
        (5, "label 7, expected 1 to 4; 0 is the blank"),
        (6, "-1 frames, expected at least 0"),
    ]
    assert [problem.row for problem in check_targets(rows)] == [1, 3, 4, 6]


@given(st.lists(st.integers(1, 3), max_size=5))
def test_frames_needed_are_the_fewest_that_a_path_has(target: list[int]) -> None:
    needed = frames_needed(target)
    assert next(alignments(target, needed), None) is not None
    assert needed == 0 or next(alignments(target, needed - 1), None) is None
