"""Streams of symbols: reading against the model in float64, drawing against elman.search.sampling.

Shapes: T time, N streams, V vocabulary.
"""

import os
import signal
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import elman
from elman import kernels, storage
from elman.cells import CELLS, State, map_state
from elman.errors import ConfigError, DivergedError, ShapeError
from elman.models.language_model import LanguageModel
from elman.search.sampling import Sampling, sample
from elman.streaming import PRECISIONS, Drawn, Streamer
from elman.tracing import leaves
from small_runs import train_small

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason=kernels.native_status())

SETS = kernels.native_module().stream_kernels() if kernels.native_available() else []


@pytest.fixture(autouse=True)
def kernels_by_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(kernels.VARIABLE, raising=False)
    monkeypatch.delenv(kernels.INSTRUCTIONS, raising=False)


def model(
    vocabulary: int = 11, hidden: int = 18, embedding: int = 7, cell: str = "lstm", **options: Any
) -> LanguageModel:
    torch.manual_seed(2)
    sizes = [embedding or vocabulary, hidden]
    made = LanguageModel(
        vocabulary, [CELLS[cell](size, hidden) for size in sizes], embedding=embedding, **options
    )
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3.0)  # opinions of its own
    return made.eval()


def begin(made: LanguageModel, streams: int = 1) -> tuple[Tensor, State]:
    with torch.no_grad():
        return made.prior(streams), made.initial_state(streams)


def same(one: State, other: State) -> bool:
    return all(torch.equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


# -- reading
# ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"embedding": 0},
        {"embedding": 18, "tied": True, "residual": True},
        {"embedding": 0, "vocabulary": 18, "residual": True},
        {"vocabulary": 2, "hidden": 1, "embedding": 1},
        {"vocabulary": 300, "cell": "gru"},
    ],
    ids=str,
)
def test_reading_is_the_model(
    options: dict[str, Any], table: bool, instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not table:
        monkeypatch.setattr("elman.streaming.packing.MOST_TABLE_BYTES", 0)
    made = model(**options)
    streamer = made.stream(instructions=instructions)
    torch.manual_seed(1)
    tokens = torch.randint(0, made.vocabulary, (20, 3))
    got, state = streamer(tokens)
    with torch.no_grad():
        expected, last = made.double()(tokens)
    assert float((got - expected).abs().max()) < 2e-5
    assert all(
        torch.allclose(a.double(), b.double(), atol=5e-6)
        for a, b in zip(leaves(state), leaves(last), strict=True)
    )


def test_few_bits_cost_little() -> None:
    """A row of the table, biases and states are never rounded."""
    made = model()
    tokens = torch.randint(0, made.vocabulary, (30, 2))
    exact = made.stream()(tokens)[0].log_softmax(-1)
    for weights, most in (("bfloat16", 0.2), ("int8", 0.2)):
        got = made.stream(weights)(tokens)[0].log_softmax(-1)
        assert 1e-5 < float((got - exact).abs().max()) < most
    with torch.no_grad():
        for cell in made.stack.cells:
            for parameter in (cell.weight_hh, *([cell.weight_ih] if cell is not made.stack.cells[0] else [])):
                parameter.zero_()
        made.head.weight.zero_()
        made.head.weight.fill_diagonal_(1.0)
    for weights in ("bfloat16", "int8"):  # what is left can be said in few bits, but for the state by int8
        got, expected = made.stream(weights)(tokens)[0], made.stream()(tokens)[0]
        assert float((got - expected).abs().max()) < 1e-4


# -- drawing
# ----------------------------------------------------------------------------------------------------------

SAMPLINGS = [
    Sampling(),
    Sampling(0.0),
    Sampling(0.3),
    Sampling(5.0),
    Sampling(1e-30),
    Sampling(5e-324),
    Sampling(1e300),
    Sampling(top_k=1),
    Sampling(top_k=4),
    Sampling(1.7, top_k=1000),
    Sampling(top_p=1e-9),
    Sampling(top_p=0.6),
    Sampling(top_p=1.0),
    Sampling(0.8, top_k=5, top_p=0.9),
    Sampling(2.0, top_k=7, top_p=0.3),
]


def by_definition(
    streamer: Streamer, logits: Tensor, state: State, length: int, sampling: Sampling, seed: int, start: int
) -> Drawn:
    """elman.search.sampling over the same steps."""
    drawn = list(
        islice(sample(streamer.step, logits, state, sampling=sampling, seed=seed, start=start), length)
    )
    ids = torch.stack([ids for ids, _, _ in drawn])
    before = torch.stack([logits, *[after for _, after, _ in drawn[:-1]]])
    log_probs = before.double().log_softmax(-1).gather(-1, ids[..., None])[..., 0]
    return Drawn(ids, log_probs, drawn[-1][1], drawn[-1][2])


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize("vocabulary", [2, 11, 67])
def test_drawing_is_that_of_the_definition(vocabulary: int, instructions: str) -> None:
    streamer = model(vocabulary).stream(instructions=instructions)
    logits, state = begin(model(vocabulary), 3)
    for place, sampling in enumerate(SAMPLINGS):
        seed, start = (1 << 40) + 7 * place, 5 + place
        got = streamer.generate(logits, state, 120, sampling, seed=seed, start=start)
        expected = by_definition(streamer, logits, state, 120, sampling, seed, start)
        assert torch.equal(got.ids, expected.ids), sampling
        assert float((got.log_probs - expected.log_probs).abs().max()) < 2e-6
        assert torch.equal(got.logits, expected.logits)
        assert same(got.state, expected.state)


def test_equal_symbols_are_kept_in_order() -> None:
    made = model(6)
    with torch.no_grad():
        made.head.weight.zero_()
        made.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, -torch.inf]).nan_to_num(neginf=-1e4))
    streamer = made.stream()
    logits, state = begin(made)
    for sampling in (
        Sampling(top_k=1),
        Sampling(top_k=3),
        Sampling(top_k=4, top_p=0.5),
        Sampling(top_p=0.4),
        Sampling(0),
    ):
        got = streamer.generate(logits, state, 300, sampling)
        expected = by_definition(streamer, logits, state, 300, sampling, 0, 0)
        assert torch.equal(got.ids, expected.ids), sampling
        assert 5 not in got.ids


def test_a_boundary_is_met_on_its_own_side() -> None:
    """Two equal symbols: every uniform number below one half draws the first, the others the second."""
    made = model(2)
    with torch.no_grad():
        made.head.weight.zero_()
        made.head.bias.zero_()
    logits, state = begin(made, 50)
    got = made.stream().generate(logits, state, 40, seed=9)
    places = torch.arange(40)[:, None], torch.arange(50)
    assert torch.equal(got.ids, (elman.counter.uniform(9, *places) >= 0.5).long())


@pytest.mark.parametrize("weights", PRECISIONS)
def test_a_text_drawn_in_parts_is_the_text_drawn_at_once(
    weights: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = model(residual=True)
    whole = made.stream(weights).generate(*begin(made, 2), 90, Sampling(0.9), seed=3)
    monkeypatch.setattr("elman.streaming.streamer.PATIENCE", 0.0)
    assert torch.equal(
        made.stream(weights).generate(*begin(made, 2), 90, Sampling(0.9), seed=3).ids, whole.ids
    )
    first = made.stream(weights).generate(*begin(made, 2), 40, Sampling(0.9), seed=3)
    # What was written to a disk goes on as if nothing had been.
    tensors = {f"{place}": part for place, part in enumerate((first.logits, *leaves(first.state)))}
    storage.write_tensors(tmp_path / "state.safetensors", tensors)
    read = storage.read_tensors(tmp_path / "state.safetensors")
    parts = iter(range(1, len(read)))
    state = map_state(lambda _: read[f"{next(parts)}"], made.initial_state(2))
    second = made.stream(weights).generate(read["0"], state, 50, Sampling(0.9), seed=3, start=40)
    assert torch.equal(torch.cat([first.ids, second.ids]), whole.ids)
    assert torch.equal(second.logits, whole.logits)
    assert same(second.state, whole.state)
    assert whole.state.step.tolist() == [90, 90]


def test_a_stream_ends_at_its_first_stop() -> None:
    made = model(5)
    streamer = made.stream()
    logits, state = begin(made, 6)
    free = streamer.generate(logits, state, 60, seed=1)
    got = streamer.generate(logits, state, 60, seed=1, stop=[3, 4])
    longest = 0
    for n in range(6):
        ids = free.ids[:, n].tolist()
        end = next((t for t, index in enumerate(ids) if index in (3, 4)), 59) + 1
        longest = max(longest, end)
        assert got.ids[:end, n].tolist() == ids[:end]
        assert got.ids[end:, n].tolist() == [-1] * (len(got.ids) - end)
        tokens = torch.tensor(ids[:end])[:, None]
        read, after = streamer(tokens, map_state(lambda x, n=n: x[n : n + 1], state))
        assert torch.equal(got.logits[n], read[-1, 0])
        assert same(map_state(lambda x, n=n: x[n : n + 1], got.state), after)
    assert len(got.ids) == longest < 60


def test_nothing_to_draw() -> None:
    made = model()
    logits, state = begin(made)
    got = made.stream().generate(logits, state, 0)
    assert (got.ids.shape, got.log_probs.shape) == ((0, 1), (0, 1))
    assert torch.equal(got.logits, logits)


def test_logits_that_are_not_finite_end_it() -> None:
    made = model()
    with torch.no_grad():
        made.head.weight.fill_(3e38)
    logits, state = begin(made)
    for weights in ("float32", "int8"):
        with pytest.raises(DivergedError, match=r"the logits before symbol \d+ are not finite"):
            made.stream(weights).generate(logits, state, 10**9, start=7)
    with pytest.raises(DivergedError, match="before symbol 0"):
        model().stream().generate(logits * torch.nan, state, 10)


def test_a_long_text_can_be_interrupted() -> None:
    made = model()
    logits, state = begin(made)
    # A process that was started in the background may have been told to ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))

    def draw() -> None:
        timer.start()
        made.stream().generate(logits, state, 10**15)

    try:
        with pytest.raises(KeyboardInterrupt):
            draw()
        timer.join()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("act", "kind", "message"),
    [
        (lambda s, x, c: s(torch.tensor([[11]])), ShapeError, "tokens lie within 11 .. 11, expected 0 .. 10"),
        (lambda s, x, c: s(torch.tensor([[-1]])), ShapeError, "within -1"),
        (lambda s, x, c: s(torch.tensor([[1.0]])), ShapeError, r"tokens \(T, N\) int64"),
        (lambda s, x, c: s(torch.tensor([1])), ShapeError, r"got torch.int64 \(1,\)"),
        (lambda s, x, c: s.generate(x[:, 1:], c, 3), ShapeError, r"expected logits \(N, 11\)"),
        (lambda s, x, c: s.generate(x.double(), c, 3), ShapeError, "torch.float64"),
        (
            lambda s, x, c: s.generate(torch.cat([x, x]), c, 3),
            ShapeError,
            r"a state of Stack has .* \(2,\) where",
        ),
        (lambda s, x, c: s.generate(x, c, 3, stop=[11]), ConfigError, "stop: symbol 11 is not one of the 11"),
        (lambda s, x, c: s.generate(x, c, 3, stop=[-1]), ConfigError, "stop: symbol -1"),
    ],
)
def test_arguments(act: Any, kind: type[Exception], message: str) -> None:
    made = model()
    with pytest.raises(kind, match=message):
        act(made.stream(), *begin(made))


# -- what it costs
# ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cell", "options"), [("gru", {}), ("lstm", {"peepholes": True}), ("gru", {"reset": "before"})], ids=str
)
def test_a_trained_model_loses_little(cell: str, options: dict[str, Any], tmp_path: Path) -> None:
    settings = {
        "model.cell": cell, "model.options": options, "model.hidden": 24, "model.layers": 2,
        "model.dropout": 0.0, "train.updates": 60, "train.learning_rate": 0.02, "train.warmup": 5,
        "train.batch": 8, "train.window": 16,
    }  # fmt: skip
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{n} times {m} is {n * m}.\n" for n in range(1, 13) for m in range(1, 13)))
    train_small(text, tmp_path / "run", settings)
    plain = elman.evaluate(tmp_path / "run")
    assert plain["nats"] < 1.2
    for weights in ("bfloat16", "int8"):
        few = elman.evaluate(tmp_path / "run", weights=weights)
        assert few != plain
        for figure in ("nats", "stateful_nats"):
            assert abs(few[figure] - plain[figure]) < 0.01
