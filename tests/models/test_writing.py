"""Searches stepped natively against the reference, and when they are."""

import copy
import itertools
from typing import Any

import pytest
import torch

from elman import kernels
from elman.cells import map_state
from elman.errors import ConfigError, KernelError
from elman.models import writing
from elman.models.captioner import Captioner, View
from elman.models.decoding import best_sequences
from elman.models.encoder_decoder import EncoderDecoder
from elman.models.seq2seq import Seq2Seq
from elman.models.writing import Writing, choose_steps
from elman.padded import Padded

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")
SOURCE = Padded(torch.randint(9, (7, 3), generator=torch.Generator().manual_seed(0)), torch.tensor([7, 2, 5]))


def model(**options: Any) -> Seq2Seq:
    torch.manual_seed(1)
    made = Seq2Seq(9, 12, embedding=8, hidden=16, **options).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


def follow(made: EncoderDecoder, source: Any, monkeypatch: pytest.MonkeyPatch) -> float:
    """The largest difference of logits and weights between native steps and the reference in float64."""
    calls: list[int] = []
    run = writing.Steps.__call__
    monkeypatch.setattr(writing.Steps, "__call__", lambda *given: (calls.append(1), run(*given))[1])
    exact = copy.deepcopy(made).double()
    wide = Padded(source.data.double(), source.lengths) if isinstance(source, Padded) else source
    wide = source if isinstance(source, Padded) and not source.data.is_floating_point() else wide
    if isinstance(source, View):
        assert isinstance(source.pictures, Padded)
        wide = View(Padded(source.pictures.data.double(), source.pictures.lengths), source.about)
    with torch.no_grad():
        (step, state), (slow, known) = made.start(made.encode(source)), exact.start(exact.encode(wide))
        ids, far = torch.ones(3, dtype=torch.int64), 0.0
        for rows in ([0, 1, 2], [2, 0, 0, 1, 1], [4, 1, 3], [0, 2]):
            (logits, state), (wanted, known) = step(ids, state), slow(ids, known)
            far = max(far, float((logits - wanted).abs().max()))
            looked, exactly = made.attention(state), exact.attention(known)
            if looked is not None and exactly is not None:
                far = max(far, float((looked - exactly).abs().max()))
            ids = wanted.argmax(1)[rows] % 12
            state, known = (map_state(lambda part, rows=rows: part[rows], s) for s in (state, known))
    assert len(calls) == 4
    return far


@pytest.mark.parametrize("attention", ["additive", "dot", None])
@pytest.mark.parametrize("order", ["luong", "bahdanau"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_form_equals_the_reference(
    attention: str | None, order: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cell, layers in (("gru", 1), ("lstm", 2)):
        made = model(attention=attention, order=order, tied=tied, cell=cell, layers=layers)
        assert follow(made, SOURCE, monkeypatch) < 2e-5
        monkeypatch.undo()


def test_copying(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    made = Seq2Seq(12, 12, embedding=8, hidden=16, copy=True, unknown=2).eval()
    assert follow(made, Padded(SOURCE.data + 5, SOURCE.lengths), monkeypatch) < 2e-5


def test_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    for attention, order in itertools.product(["additive", None], ["luong", "bahdanau"]):
        made = Captioner(12, features=5, embedding=8, hidden=16, attention=attention, order=order).eval()
        view = View(Padded(torch.randn(4, 2, 5), torch.tensor([4, 3])), torch.tensor([1, -1, 0]))
        assert follow(made, view, monkeypatch) < 2e-5
        monkeypatch.undo()


@pytest.mark.parametrize("attention", ["additive", None])
def test_a_search_finds_the_same(attention: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model(attention=attention, tied=True)
    options: dict[str, Any] = {"begin": 0, "stop": [1], "beam": 4, "best": 3, "alpha": 0.8}
    native = best_sequences(made, SOURCE, **options)
    monkeypatch.setenv("ELMAN_KERNELS", "reference")
    plain = best_sequences(made, SOURCE, **options)
    assert [[h.ids for h in found] for found in native] == [[h.ids for h in found] for found in plain]
    for h, other in zip(itertools.chain(*native), itertools.chain(*plain), strict=True):
        assert h.score == pytest.approx(other.score, abs=1e-5)
        if h.attention is not None and other.attention is not None:
            assert torch.allclose(h.attention, other.attention, atol=1e-5)


def test_a_vocabulary_too_large_for_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MOST_TABLE_BYTES", 0)
    for order in ("luong", "bahdanau"):
        assert follow(model(order=order), SOURCE, monkeypatch) < 2e-5


def test_a_symbol_that_there_is_not() -> None:
    made = model()
    with torch.no_grad():
        step, state = made.start(made.encode(SOURCE))
        for wrong in (12, -1):
            with pytest.raises(IndexError):
                step(torch.tensor([1, wrong, 3]), state)


def test_a_change_of_the_weights_is_seen() -> None:
    made = model()

    def logits() -> torch.Tensor:
        with torch.no_grad():
            step, state = made.start(made.encode(SOURCE))
            return step(torch.tensor([1, 2, 3]), state)[0]

    before = logits()
    assert torch.equal(logits(), before)
    with torch.no_grad():
        made.head.bias.add_(1)
    assert torch.allclose(logits(), before + 1, atol=1e-5)
    made.decoder.cells[0].weight_hh.data = torch.zeros_like(made.decoder.cells[0].weight_hh)
    assert not torch.allclose(logits(), before + 1, atol=1e-2)


def test_what_is_differentiated_is_torchs_own() -> None:
    made = model()
    step, state = made.start(made.encode(SOURCE))
    step(torch.tensor([1, 2, 3]), state)[0].sum().backward()
    assert made.head.bias.grad is not None


def test_which_way_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    made = model()
    assert choose_steps(made.decoder).path == "native"
    assert choose_steps(Writing(made.decoder), "bfloat16").reason.endswith("bfloat16")
    location = model(attention="location")
    assert "pad" in choose_steps(location.decoder).reason
    dropping = model(dropout=0.5, layers=2).train()
    assert choose_steps(dropping.decoder).reason == "it draws masks in training"
    assert "float64" in choose_steps(model().double().decoder).reason
    with pytest.raises(ConfigError, match="weights: expected float32 or bfloat16, got 'int8'"):
        made.start(made.encode(SOURCE), "int8")  # type: ignore[arg-type]
    monkeypatch.setenv("ELMAN_KERNELS", "torch")
    assert choose_steps(made.decoder).reason == "ELMAN_KERNELS=torch"
    monkeypatch.setenv("ELMAN_KERNELS", "native")
    assert choose_steps(made.decoder).path == "native"
    with pytest.raises(KernelError, match=r"steps of a search: .*pad"), torch.no_grad():
        location.start(location.encode(SOURCE))
    copying = Seq2Seq(9, 9, embedding=8, hidden=16, copy=True, unknown=2, order="bahdanau").eval()
    with pytest.raises(KernelError, match="before the readout"), torch.no_grad():
        copying.start(copying.encode(SOURCE))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("attention", ["additive", "hard", None])
def test_a_search_leaves_every_part_in_its_mode(attention: str | None, training: bool) -> None:
    made = model(attention=attention, order="bahdanau", end=1).train(training)
    made.decoder.train(False)  # parts may differ from the whole
    before = {name: part.training for name, part in made.named_modules()}
    best_sequences(made, SOURCE, begin=0, stop=[1], beam=2, length=5)
    assert {name: part.training for name, part in made.named_modules()} == before
