"""Seq2Seq: decoding step by step is teacher forcing, batches are their elements, padding reaches nothing."""

from typing import Any

import pytest
import torch
from torch import Tensor

from elman.cells import map_state
from elman.errors import ConfigError, ShapeError
from elman.kernels import multiplies_bfloat16
from elman.models.seq2seq import Decoding, Seq2Seq
from elman.padded import Padded

SOURCE, TARGET = 7, 9
LENGTHS = torch.tensor([4, 1, 3])
SOURCE_LENGTHS = torch.tensor([5, 2, 1])

MODELS: dict[str, dict[str, Any]] = {
    "luong": {"attention": "additive"},
    "bahdanau": {"attention": "additive", "order": "bahdanau", "layers": 2},
    "tied lstm": {"attention": "dot", "cell": "lstm", "tied": True, "start": "last"},
    "deep states": {"attention": "general", "cell": "lstm", "layers": 2, "start": "states"},
    "one direction": {"attention": "concat", "bidirectional": False, "order": "bahdanau", "tied": True},
    "pyramid": {"attention": "location", "layers": 3, "decoder_layers": 1, "pyramid": True},
    "hard": {"attention": "hard", "order": "bahdanau", "end": 1, "entropy": 0.1},
    "copy": {"attention": "coverage", "copy": True, "source": TARGET, "unknown": 3, "coverage": 0.5},
    "windows": {"attention": "local-p", "doubly_stochastic": 0.5, "attention_options": {"reach": 1}},
    "fixed": {"attention": None, "cell": "lstm", "layers": 2},
    "fixed tied": {"attention": None, "tied": True, "start": "mean", "decoder_layers": 2},
}
every_model = pytest.mark.parametrize("name", list(MODELS))


def make(name: str, **options: Any) -> Seq2Seq:
    torch.manual_seed(2)
    sizes: dict[str, Any] = {"source": SOURCE, "target": TARGET, "embedding": 4, "hidden": 6}
    return Seq2Seq(**(sizes | MODELS[name] | options)).double().eval()


def ids(symbols: int, time: int, batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(symbols, (time, batch), generator=torch.Generator().manual_seed(seed))


def pair() -> tuple[Padded, Tensor, Tensor]:
    return Padded(ids(SOURCE, 5), SOURCE_LENGTHS), ids(TARGET, 4, seed=1), LENGTHS


def stepped(model: Seq2Seq, source: Padded, inputs: Tensor, rows: Tensor | None = None) -> Tensor:
    """logits (T, n, V) symbol by symbol; rows: of which elements, in which order."""
    step, state = model.start(model.encode(source))
    if rows is not None:
        state = map_state(lambda part: part[rows], state)
    found = []
    for t in range(len(inputs)):
        logits, state = step(inputs[t], state)
        found.append(logits)
    return torch.stack(found)


def close(a: Tensor, b: Tensor) -> None:
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) < 1e-12


@every_model
def test_stepping_is_teacher_forcing(name: str) -> None:
    model, (source, inputs, lengths) = make(name), pair()
    taught = model(source, inputs, lengths)
    assert taught.penalty is None  # at evaluation there is none
    places = torch.arange(len(inputs))[:, None] < lengths
    close(stepped(model, source, inputs)[places], taught.logits)
    assert float(taught.logits.detach().std()) > 0.05


@every_model
def test_a_batch_is_its_elements(name: str) -> None:
    model, (source, inputs, lengths) = make(name), pair()
    together = model(source, inputs, lengths).logits
    places = torch.arange(len(inputs))[:, None] < lengths
    whole = torch.zeros(*inputs.shape, TARGET, dtype=together.dtype)
    whole[places] = together
    for n, (own, length) in enumerate(zip(SOURCE_LENGTHS.tolist(), lengths.tolist(), strict=True)):
        alone = Padded(source.data[:own, n : n + 1], source.lengths[n : n + 1])
        close(model(alone, inputs[:length, n : n + 1], lengths[n : n + 1]).logits, whole[:length, n])


@every_model
def test_rows_of_a_search_are_the_elements_that_they_name(name: str) -> None:
    model, (source, inputs, _) = make(name), pair()
    rows = torch.tensor([1, 1, 2, 0])
    close(stepped(model, source, inputs[:, rows], rows), stepped(model, source, inputs)[:, rows])


def test_rows_may_change_on_the_way() -> None:
    model, (source, inputs, _) = make("luong"), pair()
    step, state = model.start(model.encode(source))
    _, state = step(inputs[0], state)
    rows = torch.tensor([2, 0])
    got, after = step(inputs[1, rows], map_state(lambda part: part[rows], state))
    close(got, stepped(model, source, inputs[:2])[1, rows])
    assert isinstance(after, Decoding)
    weights = model.attention(after)
    assert weights is not None
    assert weights.shape == (2, 5)
    close(weights.sum(1), torch.ones(2, dtype=torch.float64))
    assert bool((weights[0, 1:] == 0).all())


def test_without_attention_there_are_no_weights() -> None:
    model, (source, inputs, _) = make("fixed"), pair()
    step, state = model.start(model.encode(source))
    assert model.attention(step(inputs[0], state)[1]) is None


@every_model
def test_padding_reaches_nothing(name: str) -> None:
    """Features that are NaN past a source's end, ids that are no symbol, inputs past a target's end."""
    _, inputs, lengths = pair()
    values = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    past_end = torch.arange(5)[:, None] >= SOURCE_LENGTHS
    if name != "copy":
        model = make(name, source=0, features=2)
        wanted = model(Padded(values, SOURCE_LENGTHS), inputs, lengths).logits
        dirty = Padded(values.masked_fill(past_end[:, :, None], torch.nan), SOURCE_LENGTHS)
        other = torch.where(torch.arange(4)[:, None] < lengths, inputs, 0)
        close(model(dirty, other, lengths).logits, wanted)
    model, (source, _, _) = make(name), pair()
    odd = Padded(source.data.masked_fill(past_end, -1), SOURCE_LENGTHS)
    close(model(odd, inputs, lengths).logits, model(source, inputs, lengths).logits)


@every_model
def test_dropout_is_a_function_of_the_seed(name: str) -> None:
    odds = dict.fromkeys(("dropout", "dropout_source", "dropout_target", "dropout_output"), 0.3)
    model, (source, inputs, lengths) = make(name, **odds).train(), pair()
    found = []
    for seed in (1, 1, 2):
        model.reseed(seed)
        found.append(model(source, inputs, lengths).logits)
    assert torch.equal(found[0], found[1])
    assert float((found[0] - found[2]).detach().abs().max()) > 1e-3
    plain = model.eval()(source, inputs, lengths).logits
    assert float((found[0] - plain).detach().abs().max()) > 1e-3


@every_model
def test_every_parameter_learns(name: str) -> None:
    model, (source, inputs, lengths) = make(name).train(), pair()
    logits, penalty = model(source, inputs, lengths)
    (logits.square().sum() + (0 if penalty is None else penalty)).backward()
    learned = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    still = [n for n, p in learned if p.grad is None or not bool(p.grad.any())]
    assert still == []


def test_one_embedding_for_both_sides() -> None:
    model = make("luong", source=TARGET, shared=True, tied=True)
    assert model.source_embedding is model.target_embedding
    assert model.head.weight is model.target_embedding.weight


def test_bfloat16_rounds_products_in_training_only() -> None:
    model, (source, inputs, lengths) = make("luong", compute=torch.bfloat16).float(), pair()
    exact = make("luong").float()(source, inputs, lengths).logits
    assert torch.equal(model(source, inputs, lengths).logits, exact)
    rounded = model.train()(source, inputs, lengths).logits
    assert rounded.dtype == torch.bfloat16
    assert 0 < float((rounded - exact).detach().abs().max()) < 0.02


@pytest.mark.skipif(not multiplies_bfloat16(), reason="the processor does not multiply bfloat16")
def test_a_decoder_that_attends_is_computed_in_bfloat16_too() -> None:
    """From one float32 encoding, its outputs are rounded where `compute` asks for it, and near."""
    model, (source, inputs, lengths) = make("luong").float().train(), pair()
    encoded = model.encode(source)
    exact = model._taught(encoded, inputs, lengths)[0]
    model.compute = torch.bfloat16
    rounded = model._taught(encoded, inputs, lengths)[0]
    assert 0 < float((rounded - exact).detach().abs().max()) < 0.02


def test_what_does_not_fit_is_told() -> None:
    for options, message in (
        ({"attention": "north"}, "attention: expected one of additive, .* got 'north'"),
        ({"cell": "tree"}, "cell: expected one of elman, .* got 'tree'"),
        ({"attention": None, "decoder_layers": 2}, r"encoder's states have the units \[6\], the .* \[6, 6\]"),
        ({"start": "first"}, "start: expected one of mean, last, states, got 'first'"),
        ({"shared": True}, "shared: the vocabularies must be one, got 7 and 9 symbols"),
        ({"features": 3}, "the source is ids or features, one of the two; got 7, 3"),
        ({"hidden": 5}, "hidden must be even for two directions, got 5"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"layers": 0}, "expected at least 1 layer, got 0"),
        ({"copy": True, "unknown": 0}, "copy: needs attention .*; got 7 and 9 symbols"),
        ({"attention": "hard"}, "hard attention: end= must name the symbol"),
        ({"coverage": -1.0}, "weights of at least 0, .* got 0.0, -1.0, 0.0, 0.9"),
        ({"attention": None, "coverage": 1.0}, "coverage: are about an attention, and there is none"),
    ):
        with pytest.raises(ConfigError, match=message):
            make("luong", **options)
    model, (source, inputs, lengths) = make("luong"), pair()
    with pytest.raises(ShapeError, match="expected 0 to 6, one of 7 symbols"):
        model(Padded(source.data + 6, source.lengths), inputs, lengths)
    with pytest.raises(ShapeError, match=r"ids must be integers \(T, N\), got torch.float64"):
        model(Padded(torch.zeros(2, 3, dtype=torch.float64), SOURCE_LENGTHS.clamp(max=2)), inputs, lengths)
    with pytest.raises(ShapeError, match=r"source must be features \(S, N, F\), got \(5, 3\)"):
        make("luong", source=0, features=2)(source, inputs, lengths)
