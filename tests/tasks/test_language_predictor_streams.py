"""A language model in use on the native engine: the same text as by the definition, whatever the codec.

The definition is elman.search.sampling over LanguageModel.step, which ELMAN_KERNELS=reference asks for.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from elman import kernels
from elman.data.codec import ByteCodec, CharacterCodec, Codec, WordCodec
from elman.errors import ConfigError, KernelError, ShapeError
from elman.tasks.language_predictor import Generation, LanguagePredictor
from language_oracles import small

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason=kernels.native_status())

CODECS: dict[str, Codec] = {
    "characters": CharacterCodec.of("abc.é"),
    "words": WordCodec.of("to be or not to be\nthat is the question\n"),
    "bytes": ByteCodec(),
}


@pytest.fixture(autouse=True)
def kernels_by_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    monkeypatch.delenv(kernels.INSTRUCTIONS, raising=False)


def predictor(unit: str = "characters", cell: str = "lstm", **options: Any) -> LanguagePredictor:
    codec = CODECS[unit]
    model = small(len(codec), cell, hidden=12, layers=2, embedding=12, residual=True, seed=4)
    return LanguagePredictor(model.float(), codec, **options)


def both(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Generation]) -> tuple[Generation, Generation]:
    """By the engine, and by the definition."""
    got = act()
    with monkeypatch.context() as patch:
        patch.setenv(kernels.VARIABLE, "reference")
        return got, act()


def assert_same(got: Generation, expected: Generation) -> None:
    assert (got.text, got.ids) == (expected.text, expected.ids)
    assert got.log_probs == pytest.approx(expected.log_probs, abs=2e-5)
    assert got.context.position == expected.context.position
    assert got.context.last == expected.context.last
    assert torch.allclose(got.context.logits, expected.context.logits, atol=2e-5)
    for a, b in zip(got.context.state.layers, expected.context.state.layers, strict=True):
        assert all(torch.allclose(x, y, atol=1e-5) for x, y in zip(a, b, strict=True))
    assert torch.equal(got.context.state.step, expected.context.state.step)


@pytest.mark.parametrize("unit", CODECS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "elman"])
def test_the_text_is_that_of_the_definition(unit: str, cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor(unit, cell)
    assert model.choice.path == "native"
    prompt = {"characters": "abc", "words": "to be", "bytes": "kůň"}[unit]
    choices: list[dict[str, Any]] = [
        {}, {"temperature": 0.5, "top_k": 3}, {"top_p": 0.7, "seed": 11}, {"temperature": 0.0},
    ]  # fmt: skip
    for options in choices:
        assert_same(*both(monkeypatch, lambda options=options: model.generate(prompt, length=150, **options)))


@pytest.mark.parametrize(
    ("unit", "stop"),
    [
        ("characters", ["."]),
        ("characters", ["ab", "c.c", "éé"]),
        ("characters", ["xyz"]),
        ("words", ["be"]),
        ("words", ["to be", "is the"]),
        ("words", ["hat", "\n"]),
        ("words", ["not "]),
        ("bytes", [*"aeiou \n", "é"]),
        ("bytes", ["\ufffd"]),
    ],
)
def test_stops_are_texts(unit: str, stop: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor(unit)
    lengths = set()
    for seed in range(6):
        got, expected = both(
            monkeypatch, lambda seed=seed: model.generate(length=80, seed=seed, stop=stop, temperature=1.3)
        )
        assert_same(got, expected)
        lengths.add(len(got.ids))
        # The context is that of what was said: going on from it is going on.
        on = model.generate(length=5, seed=seed, context=got.context, temperature=1.3)
        assert (
            on.ids == model.generate(length=len(got.ids) + 5, seed=seed, temperature=1.3).ids[len(got.ids) :]
        )
    if stop not in (["xyz"], ["not "]):
        assert min(lengths) < 80


def test_pieces_make_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor("bytes")
    whole = model.generate("é", length=70, seed=2)
    for patience in (0.0, 10.0):
        monkeypatch.setattr("elman.streaming.streamer.PATIENCE", patience)
        assert "".join(model.stream("é", length=70, seed=2)) == whole.text
        parts = model.generate("é", length=30, seed=2)
        parts = model.generate(length=40, seed=2, context=parts.context)
        assert parts.ids == whole.ids[30:]
        assert torch.equal(parts.context.logits, whole.context.logits)
    assert model.generate("a", length=0).ids == ()


def test_completions_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor()
    got = model.complete("ab", best=4, length=6)
    monkeypatch.setenv(kernels.VARIABLE, "reference")
    expected = model.complete("ab", best=4, length=6)
    assert [item.text for item in got] == [item.text for item in expected]
    assert [item.log_prob for item in got] == pytest.approx([item.log_prob for item in expected], abs=1e-4)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_few_bits_are_used_for_everything(weights: Any) -> None:
    model = predictor(weights=weights)
    text = "abc.cab.é"
    score = model.score(text)
    logits, _ = model.model.stream(weights)(model.codec.encode(text)[:, None])
    ids = model.codec.encode(text)
    assert score.log_probs[1:] == pytest.approx(
        logits[:-1, 0].double().log_softmax(1).gather(1, ids[1:, None])[:, 0].tolist()
    )
    assert score.log_probs != predictor().score(text).log_probs
    assert score.log_probs == pytest.approx(predictor().score(text).log_probs, abs=0.1)
    total, context = 0.0, model.start()
    for symbol in text:
        total += math.log(dict(model.next(context, best=9))[symbol])
        context = model.read(symbol, context)
    assert score.log_prob == pytest.approx(total, abs=1e-6)
    drawn = model.generate("ab", length=40)
    assert model.score(drawn.text, context=model.read("ab")).log_probs == pytest.approx(
        drawn.log_probs, abs=1e-5
    )


def test_weights_that_change_are_packed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor()
    model.generate(length=3)
    with torch.no_grad():
        model.model.head.weight.mul_(-1.0)
    assert_same(*both(monkeypatch, lambda: model.generate("a", length=60)))
    model.model.head.weight.data = model.model.head.weight.data.clone() * 0.5
    assert_same(*both(monkeypatch, lambda: model.generate("a", length=60)))


def test_what_the_engine_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    model = predictor()
    model.model.double()
    assert model.choice.path == "reference"
    assert "float64" in model.choice.reason
    assert len(model.generate(length=5).ids) == 5
    with pytest.raises(KernelError, match="float64"):
        LanguagePredictor(model.model, model.codec, "int8")
    with pytest.raises(ConfigError, match="weights: expected one of"):
        LanguagePredictor(model.model, model.codec, "int4")  # pyrefly: ignore[bad-argument-type]
    monkeypatch.setenv(kernels.VARIABLE, "native")
    with pytest.raises(KernelError, match="float64"):
        model.generate(length=5)


def test_weights_that_are_not_finite_are_named() -> None:
    model = predictor()
    with torch.no_grad():
        model.model.stack.cells[1].bias_hh[5] = torch.nan
    with pytest.raises(ShapeError, match=r"cells\.1\.bias_hh holds nan at \(5,\)"):
        model.generate(length=100)
