"""The CRF layer: against enumeration and finite differences, its constraints tag by tag, and what it
refuses.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from elman import kernels
from elman.errors import ConfigError, ShapeError
from elman.lattice.crf import CRF
from elman.lattice.tags import legality
from lattice_oracles import chain_paths, log_sum

LENGTHS = torch.tensor([5, 0, 3, 1])
MODES = ["auto", "reference"]
TAGS = ["O", "B-x", "I-x", "B-y", "I-y"]
ALL_TAGS = ["O", "B-x", "I-x", "E-x", "S-x", "B-y", "I-y", "E-y", "S-y"]


def problem(size: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0) -> tuple[CRF, Tensor, Tensor]:
    torch.manual_seed(seed)
    layer = CRF(size).to(dtype)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    scores = torch.randn(5, 4, size, dtype=dtype, requires_grad=True)
    return layer, scores, torch.randint(size, (5, 4))


def every_path(layer: CRF, scores: Tensor, n: int) -> dict[tuple[int, ...], float]:
    length = int(LENGTHS[n])
    transitions, start, end = (table.detach().numpy() for table in layer._tables())
    steps = np.broadcast_to(transitions, (max(length - 1, 0), *transitions.shape))
    return {
        path: score for score, path in chain_paths(scores.detach()[:length, n].numpy(), steps, start, end)
    }


@pytest.mark.parametrize("mode", MODES)
def test_loss_marginals_decoding_and_k_best_equal_enumeration(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", mode)
    layer, scores, tags = problem()
    losses = layer(scores, tags, LENGTHS, "none").detach()
    total = layer.log_partition(scores, LENGTHS).detach()
    marginals, (paths, best) = layer.marginals(scores, LENGTHS), layer.decode(scores, LENGTHS)
    several = layer.k_best(scores, 4, LENGTHS)
    for n, length in enumerate(LENGTHS.tolist()):
        every = every_path(layer, scores, n)
        whole = log_sum(list(every.values()))
        gold = tuple(tags[:length, n].tolist())
        assert float(total[n]) == pytest.approx(whole, abs=1e-10)
        assert float(losses[n]) == pytest.approx(whole - every[gold], abs=1e-10)
        ranked = sorted(every, key=lambda path: -every[path])[:4]
        assert float(best[n]) == pytest.approx(every[ranked[0]], abs=1e-10)
        assert tuple(paths[:length, n].tolist()) == ranked[0]
        assert (paths[length:, n] == -1).all()
        for k, path in enumerate(ranked):
            assert tuple(several.paths[:length, n, k].tolist()) == path
            assert float(several.scores[n, k]) == pytest.approx(every[path], abs=1e-10)
        expected = torch.zeros(5, 3, dtype=torch.float64)
        for path, score in every.items():
            for t, s in enumerate(path):
                expected[t, s] += math.exp(score - whole)
        torch.testing.assert_close(marginals[:, n], expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gradients_equal_finite_differences(
    monkeypatch: pytest.MonkeyPatch, mode: str, reduction: str
) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", mode)
    layer, scores, tags = problem()
    share = torch.tensor([1.0, 2.0, -0.5, 3.0], dtype=torch.float64)  # unlike weights take another way

    def loss(scores: Tensor, *parameters: Tensor) -> Tensor:
        named = dict(zip(dict(layer.named_parameters()), parameters, strict=True))
        found = torch.func.functional_call(layer, named, (scores, tags, LENGTHS, reduction))
        return (found * share).sum() if reduction == "none" else found

    assert torch.autograd.gradcheck(loss, (scores, *layer.parameters()), atol=1e-7)


def test_single_precision_is_near_double() -> None:
    torch.manual_seed(1)
    layer, scores, tags = CRF(20), torch.randn(60, 6, 20) * 3, torch.randint(20, (60, 6))
    double = CRF(20).double()
    double.load_state_dict(layer.state_dict())
    found = []
    for model, given in ((layer, scores), (double, scores.double())):
        leaf = given.requires_grad_()
        loss = model(leaf, tags, torch.arange(55, 61))
        loss.backward()
        found.append([loss.detach(), leaf.grad, *(p.grad for p in model.parameters())])
    for single, wanted in zip(*found, strict=True):
        assert single is not None
        assert wanted is not None
        torch.testing.assert_close(single.double(), wanted, rtol=1e-5, atol=1e-6)


def test_scores_changed_before_backward_are_refused() -> None:
    if not kernels.native_available():
        pytest.skip(kernels.native_status())
    layer, _, tags = problem()
    scores = torch.randn(5, 4, 3, dtype=torch.float64, requires_grad=True) * 1
    loss = layer(scores, tags)
    with torch.no_grad():
        scores.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_add_up_over_backward_passes(reduction: str) -> None:
    layer, scores, tags = problem()
    loss = layer(scores, tags, LENGTHS, reduction)
    loss.backward(retain_graph=True)
    leaves = [scores, *layer.parameters()]
    once = [leaf.grad.clone() for leaf in leaves if leaf.grad is not None]
    loss.backward(torch.tensor(2.0), retain_graph=True)  # a second pass makes its own gradient
    (layer(scores, tags, LENGTHS, reduction) * -0.5).backward()
    for leaf, single in zip(leaves, once, strict=True):
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad, single * 2.5, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_impossible_has_infinite_loss_and_no_part_in_the_gradient(
    monkeypatch: pytest.MonkeyPatch, mode: str, dtype: torch.dtype
) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", mode)
    layer, scores, tags = problem(dtype=dtype)
    scores = scores.detach()
    scores[1, 2] = -math.inf  # no tag is possible: sequence 2 has no probability at all
    scores.requires_grad_()
    losses = layer(scores, tags, LENGTHS, "none")
    assert losses[2] == math.inf
    assert torch.isfinite(losses[[0, 1, 3]]).all()
    if mode == "reference":
        return
    losses.sum().backward()
    assert scores.grad is not None
    assert (scores.grad[:, 2] == 0).all()
    for leaf in (scores, *layer.parameters()):
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


def segments(tags: tuple[str, ...], scheme: str) -> bool:
    """Whether the tags are what some segmentation is written as: by writing down every segmentation."""

    def written(length: int) -> set[tuple[str, ...]]:
        if not length:
            return {()}
        found: set[tuple[str, ...]] = {("O", *rest) for rest in written(length - 1)}
        for kind, size in itertools.product("xy", range(1, length + 1)):
            if scheme == "IOB":
                segment = (f"B-{kind}", *(f"I-{kind}",) * (size - 1))
            elif size == 1:
                segment = (f"S-{kind}",)
            else:
                segment = (f"B-{kind}", *(f"I-{kind}",) * (size - 2), f"E-{kind}")
            found |= {(*segment, *rest) for rest in written(length - size)}
        return found

    return tags in written(len(tags))


@pytest.mark.parametrize(("scheme", "names"), [("IOB", TAGS), ("IOBES", ALL_TAGS)])
def test_legal_is_what_some_segmentation_is_written_as(scheme: str, names: list[str]) -> None:
    start, steps, end = legality(names, scheme)
    for length in (1, 2, 3):
        for path in itertools.product(range(len(names)), repeat=length):
            legal = bool(start[path[0]] and end[path[-1]])
            legal = legal and all(bool(steps[a, b]) for a, b in itertools.pairwise(path))
            assert legal == segments(tuple(names[s] for s in path), scheme), [names[s] for s in path]


@pytest.mark.parametrize("mode", MODES)
def test_what_is_forbidden_has_no_probability(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", mode)
    torch.manual_seed(2)
    layer = CRF(ALL_TAGS, "IOBES")
    scores = torch.randn(4, 30, 9) * 3
    scores.requires_grad_()
    paths, best = layer.decode(scores)
    for n in range(30):
        assert segments(tuple(ALL_TAGS[s] for s in paths[:, n].tolist()), "IOBES")
    assert torch.isfinite(best).all()
    inside = [ALL_TAGS.index(tag) for tag in ("I-x", "E-x", "I-y", "E-y")]
    assert float(layer.marginals(scores)[0, :, inside].detach().abs().max()) == 0
    loss = layer(scores, paths)
    loss.backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()
    assert layer.transitions.grad is not None
    assert float(layer.transitions.grad[~layer.legal_steps].abs().max()) == 0
    probability = torch.exp(-layer(scores, paths, reduction="none"))
    assert ((probability > 0) & (probability <= 1)).all()


def test_forbidden_tags_in_the_truth_are_named() -> None:
    layer, scores = CRF(TAGS, "IOB"), torch.zeros(3, 2, 5)
    with pytest.raises(ShapeError, match="sequence 1, time 2: I-y cannot stand after B-x in IOB"):
        layer(scores, torch.tensor([[0, 0], [0, 1], [0, 4]]))
    with pytest.raises(ShapeError, match="sequence 0, time 0: I-x cannot stand at the start"):
        layer(scores, torch.tensor([[2, 0], [0, 1], [0, 2]]))
    full = CRF(ALL_TAGS, "IOBES")
    with pytest.raises(ShapeError, match="sequence 0, time 1: B-x cannot be the last"):
        full(torch.zeros(3, 1, 9), torch.tensor([[0], [1], [0]]), torch.tensor([2]))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_no_score_is_told(monkeypatch: pytest.MonkeyPatch, mode: str, bad: float) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", mode)
    layer, scores, tags = problem(dtype=torch.float32)
    scores = scores.detach()
    scores[2, 2, 1] = bad
    for call in (lambda: layer(scores, tags, LENGTHS), lambda: layer.decode(scores, LENGTHS)):
        with pytest.raises(ShapeError, match="expected a finite score or -inf"):
            call()
    scores[2, 2, 1], scores[3:, 2] = 0.0, bad  # past the end it has no meaning
    assert math.isfinite(float(layer(scores, tags, LENGTHS).detach()))
    with torch.no_grad():
        layer.transitions[1, 1] = bad
    with pytest.raises(ShapeError, match="transitions"):
        layer(scores, tags, LENGTHS)


@pytest.mark.parametrize("shape", [(0, 4, 3), (5, 0, 3), (0, 0, 3)])
def test_no_time_and_no_batch(shape: tuple[int, ...]) -> None:
    layer = CRF(3)
    scores, tags = torch.zeros(shape, requires_grad=True), torch.zeros(shape[:2], dtype=torch.int64)
    losses = layer(scores, tags, reduction="none")
    assert losses.tolist() == [0.0] * shape[1]
    losses.sum().backward()
    assert float(layer(scores, tags).detach()) == 0.0
    assert layer.decode(scores)[0].shape == shape[:2]
    assert layer.marginals(scores).shape == shape


def test_what_does_not_fit_is_told() -> None:
    layer, scores, tags = problem()
    for call, told in (
        (lambda: layer(scores[..., :2], tags), r"scores: expected floating-point \(T, N, 3\)"),
        (lambda: layer(scores, tags[:4]), r"tags: expected int64 \(5, 4\)"),
        (lambda: layer(scores, tags + 3), "expected 0 to 2"),
        (lambda: layer(scores, tags, torch.tensor([6, 1, 1, 1])), "lengths: element 0 is 6"),
    ):
        with pytest.raises(ShapeError, match=told):
            call()
    for wrong, told in (
        ({"tags": 0}, "at least one tag"),
        ({"tags": 3, "scheme": "IOB"}, "needs the names"),
        ({"tags": TAGS, "scheme": "BIO"}, "expected one of IOB, IOBES"),
        ({"tags": ["O", "E-x"], "scheme": "IOB"}, "'E-x' is no tag of IOB"),
        ({"tags": ["O", "O"], "scheme": "IOB"}, "'O' is there twice"),
    ):
        with pytest.raises(ConfigError, match=told):
            CRF(**wrong)  # pyrefly: ignore[bad-argument-type]
    with pytest.raises(ConfigError, match="reduction"):
        layer(scores, tags, reduction="max")
