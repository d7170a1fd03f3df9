"""The captioner: a batch is its elements, steps are the whole, gradients reach all, clips and frames."""

import pytest
import torch
from torch import Tensor, nn

from elman.cells import CELLS, map_state
from elman.errors import ConfigError, ShapeError
from elman.models.captioner import NOTHING, Captioner, View
from elman.models.image_encoder import ResNet
from elman.padded import Padded

V, E, H = 7, 5, 6


def make(kind: str = "images", **options: object) -> Captioner:
    torch.manual_seed(2)
    encoder = ResNet(1, (4, H), (1, 1)) if kind in ("images", "clips", "frames") else None
    frames = CELLS["lstm"](H, H) if kind in ("clips", "frames", "clip_features") else None
    made: dict[str, object] = {
        "encoder": encoder, "features": None if encoder else 3, "frames": frames,
        "each_frame": kind == "frames", "hidden": H, "embedding": E,
    }  # fmt: skip
    return Captioner(V, **(made | options)).double()  # pyrefly: ignore


def pictures(kind: str, count: int = 3) -> Tensor | Padded:
    generator = torch.Generator().manual_seed(5)

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    if kind == "images":
        return draw(count, 1, 12, 8)
    if kind in ("features", "clip_features"):
        return Padded.of([draw(row % 3 + 1, 3) for row in range(count)])
    return Padded.of([draw(row % 3 + 1, 1, 8, 8) for row in range(count)])


KINDS = ("images", "features", "clips", "clip_features", "frames")


def rows_of(kind: str, count: int) -> int:
    return sum(row % 3 + 1 for row in range(count)) if kind == "frames" else count


def one(source: Tensor | Padded, row: int) -> Tensor | Padded:
    if isinstance(source, Tensor):
        return source[row : row + 1]
    length = int(source.lengths[row])
    return Padded(source.data[:length, row : row + 1], source.lengths[row : row + 1])


def taught_rows(model: Captioner, view: View, inputs: Tensor, lengths: Tensor) -> list[Tensor]:
    """logits (L, V) of each sentence."""
    logits = model(view, inputs, lengths).logits
    whole = torch.zeros(*inputs.shape, V, dtype=logits.dtype)
    whole[Padded(inputs, lengths).mask] = logits
    return [whole[: int(length), row] for row, length in enumerate(lengths)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attention", ["additive", None])
def test_a_batch_gives_what_its_elements_give(kind: str, attention: str | None) -> None:
    model, source = make(kind, attention=attention), pictures(kind)
    count = rows_of(kind, 3)
    inputs = torch.randint(0, V, (5, count), generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([5, 2, 3, 4, 1, 5][:count])
    together = taught_rows(model, View(source), inputs, lengths)
    alone: list[Tensor] = []
    for row in range(3):
        part = range(len(alone), len(alone) + (row % 3 + 1 if kind == "frames" else 1))
        alone += taught_rows(model, View(one(source, row)), inputs[:, list(part)], lengths[list(part)])
    for first, second in zip(together, alone, strict=True):
        assert torch.allclose(first, second, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["luong", "bahdanau"])
def test_steps_are_the_whole_and_rows_may_be_reordered(kind: str, order: str) -> None:
    model, source = make(kind, order=order), pictures(kind)
    count = rows_of(kind, 3)
    inputs = torch.randint(0, V, (4, count), generator=torch.Generator().manual_seed(1))
    lengths = torch.full((count,), 4)
    wanted, weights = model.taught(View(source), inputs, lengths)[:2]
    wanted = wanted.view(4, count, V)
    step, state = model.start(model.encode(View(source)))
    index = torch.arange(count - 1, -1, -1).repeat_interleave(2)  # a search repeats and reorders rows
    logits, state = step(inputs[0], state)
    assert torch.allclose(logits, wanted[0], atol=1e-12)
    state = map_state(lambda part: part[index], state)
    for time in range(1, 4):
        logits, state = step(inputs[time, index], state)
        assert torch.allclose(logits, wanted[time, index], atol=1e-12)
        looked = model.attention(state)
        assert looked is not None
        assert torch.allclose(looked, weights[time, index], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_reads_what_the_reference_reads(kind: str) -> None:
    """`forward` asks for no records, so that the native engine runs it; `taught` runs on the reference."""
    model, source = make(kind).float(), pictures(kind)
    source = Padded(source.data.float(), source.lengths) if isinstance(source, Padded) else source.float()
    count = rows_of(kind, 3)
    inputs, lengths = torch.arange(4 * count).view(4, count) % V, torch.arange(count) % 4 + 1
    found = []
    for way in (model.taught, model):
        model.zero_grad()
        logits = way(View(source), inputs, lengths).logits
        logits.square().sum().backward()
        found.append((logits, [p.grad for p in model.parameters() if p.grad is not None]))
    (logits, gradients), (others, same) = found
    torch.testing.assert_close(others, logits, atol=1e-5, rtol=1e-4)
    for gradient, other in zip(gradients, same, strict=True):
        torch.testing.assert_close(other, gradient, atol=1e-4, rtol=1e-3)


def test_without_attention_only_the_mean_is_seen() -> None:
    """Regions in another order, or doubled, change nothing; with attention their number does."""
    model, source = make("features", attention=None), torch.rand(4, 1, 3, dtype=torch.float64)
    inputs, lengths = torch.tensor([[0], [3]]), torch.tensor([2])
    first = model(View(Padded(source, torch.tensor([4]))), inputs, lengths).logits
    doubled = torch.cat([source.flip(0), source])
    assert torch.allclose(first, model(View(Padded(doubled, torch.tensor([8]))), inputs, lengths).logits)
    assert model.attention(model.start(model.encode(View(Padded(source, torch.tensor([4])))))[1]) is None


def test_padding_and_other_captions_reach_nothing() -> None:
    model = make("features")
    data = torch.rand(4, 2, 3, dtype=torch.float64)
    changed = data.clone()
    changed[2:, 0] = torch.nan
    inputs, lengths = torch.zeros(3, 2, dtype=torch.int64), torch.tensor([3, 3])
    sizes = torch.tensor([2, 4])
    first = model(View(Padded(data, sizes)), inputs, lengths).logits
    assert torch.equal(first, model(View(Padded(changed, sizes)), inputs, lengths).logits)


def test_several_sentences_about_a_picture_and_about_none() -> None:
    model, source = make(), pictures("images")
    about = torch.tensor([2, 0, NOTHING, 2])
    inputs, lengths = torch.randint(0, V, (3, 4)), torch.tensor([3, 3, 3, 3])
    together = taught_rows(model, View(source, about), inputs, lengths)
    for row, place in enumerate(about.tolist()):
        view = View(source[:1], torch.tensor([-1])) if place < 0 else View(source[place : place + 1])  # pyrefly: ignore
        (alone,) = taught_rows(model, view, inputs[:, row : row + 1], lengths[:1])
        assert torch.allclose(together[row], alone, atol=1e-12)


def test_a_frame_knows_those_before_it_and_none_after() -> None:
    model, clip = make("frames"), torch.rand(3, 1, 1, 8, 8, dtype=torch.float64)
    inputs, lengths = torch.zeros(2, 3, dtype=torch.int64), torch.tensor([2, 2, 2])
    view = View(Padded(clip, torch.tensor([3])))
    first = taught_rows(model, view, inputs, lengths)
    changed = clip.clone()
    changed[1] += 1
    second = taught_rows(model, View(Padded(changed, torch.tensor([3]))), inputs, lengths)
    assert torch.allclose(first[0], second[0])
    assert not torch.allclose(first[1], second[1])
    assert not torch.allclose(first[2], second[2])


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_by_differences(kind: str) -> None:
    model, source = make(kind, doubly_stochastic=0.3), pictures(kind)
    count = rows_of(kind, 3)
    inputs = torch.randint(0, V, (3, count), generator=torch.Generator().manual_seed(1))
    lengths = torch.full((count,), 3)
    generator = torch.Generator().manual_seed(9)
    direction = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in model.parameters()]
    mixture = torch.randn(3 * count, V, generator=generator, dtype=torch.float64)

    def value() -> Tensor:
        logits, penalty = model(View(source), inputs, lengths)
        assert penalty is not None
        return (logits * mixture).sum() + penalty

    value().backward()
    slope = 0.0
    for name, parameter in model.named_parameters():
        unused = name == "blank"  # there is no sentence without a picture in this batch
        assert unused or parameter.grad is not None, name
    slope = sum(
        float((p.grad * d).sum())
        for p, d in zip(model.parameters(), direction, strict=True)
        if p.grad is not None
    )
    values, step = [], 1e-6
    for side in (1, -2):
        with torch.no_grad():
            for parameter, way in zip(model.parameters(), direction, strict=True):
                parameter += side * step * way
            values.append(float(value()))
    assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4)


def test_the_doubly_stochastic_penalty_by_hand() -> None:
    model, source = make(doubly_stochastic=2.0), pictures("images", 2)
    inputs, lengths = torch.zeros(3, 2, dtype=torch.int64), torch.tensor([3, 1])
    with torch.no_grad():
        weights = model.taught(View(source), inputs, lengths)[1]
    looked = torch.stack([weights[:3, 0].sum(0), weights[:1, 1].sum(0)])
    penalty = model(View(source), inputs, lengths).penalty
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(2 * float((1 - looked).square().sum()) / 4)
    assert model.eval()(View(source), inputs, lengths).penalty is None


@pytest.mark.parametrize("expected", [0.0, 0.5])
def test_what_the_draws_of_a_hard_attention_add_by_hand(expected: float) -> None:
    """Each choice answers for ln p of its word and what follows; a sentence that drew nothing for nothing."""
    options = {"expected": expected}
    model = make(attention="hard", attention_options=options, entropy=0.0, baseline=0.75, end=1)
    source, inputs = pictures("images", 6), torch.arange(18).view(3, 6) % V
    lengths = torch.tensor([3, 2, 1, 3, 3, 2])
    targets = [[*inputs[1:n, row].tolist(), 1] for row, n in enumerate(lengths.tolist())]
    before = float(model.attention_loss.baseline)  # pyrefly: ignore
    told = model.taught(View(source), inputs, lengths)
    assert told.choices is not None
    drawn = [bool(row[0] >= 0) for row in told.choices.T]
    assert all(drawn) if not expected else set(drawn) == {True, False}
    logs = torch.zeros(3, 6, V, dtype=torch.float64)
    logs[Padded(inputs, lengths).mask] = told.logits.detach().log_softmax(1)
    term, total = torch.zeros((), dtype=torch.float64), 0.0
    for row, wanted in enumerate(targets):
        rewards = [float(logs[t, row, symbol]) for t, symbol in enumerate(wanted)]
        total += sum(rewards)
        for t in range(len(wanted) if drawn[row] else 0):
            advantage = sum(reward - before for reward in rewards[t:])
            term = term - advantage * told.weights[t, row, told.choices[t, row]].log()
    parameters = list(model.decoder.attention.parameters())
    wanted = torch.autograd.grad(term / int(lengths.sum()), parameters)
    found = model(View(source), inputs, lengths).penalty
    assert found is not None
    for a, b in zip(torch.autograd.grad(found, parameters), wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-12)
    mean = total / int(lengths.sum())
    assert float(model.attention_loss.baseline) == pytest.approx(0.75 * before + 0.25 * mean)  # pyrefly: ignore


def test_dropout_is_of_training_and_of_its_seed() -> None:
    model = make(dropout_regions=0.5, dropout_embedding=0.5, dropout_output=0.5).float()
    source, inputs, lengths = pictures("images").float(), torch.ones(2, 3).long(), torch.tensor([2, 2, 2])  # pyrefly: ignore
    model.eval()
    assert torch.equal(
        model(View(source), inputs, lengths).logits, model(View(source), inputs, lengths).logits
    )
    model.train()
    seen = []
    for seed in (1, 1, 2):
        model.reseed(seed)
        seen.append(model(View(source), inputs, lengths).logits)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"features": 3}, "expected an encoder of images or the size of features"),
        ({"encoder": None}, "expected an encoder of images or the size of features"),
        ({"each_frame": True}, "each_frame describes the frames of clips"),
        ({"attention": "loving"}, "model.attention: expected one of"),
        ({"attention_options": {"x": 1}}, "model.attention_options: additive does not take"),
        ({"attention": None, "doubly_stochastic": 1.0}, "doubly_stochastic is about an attention"),
        ({"cell": "brain"}, "expected one of"),
        ({"attention": "hard"}, "hard attention: end= must name the symbol"),
        (
            {"attention": "hard", "attention_options": {"expected": 2}, "end": 1},
            "a probability from 0 to 1, got 2",
        ),
        ({"entropy": -1.0}, "weights of at least 0"),
        ({"baseline": 1.0}, "a part of at least 0 and below 1"),
    ],
)
def test_settings_that_do_not_go_together(options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        make(**options)  # pyrefly: ignore


@pytest.mark.parametrize(
    ("kind", "source", "told"),
    [
        ("images", Padded(torch.zeros(2, 1, 3), torch.tensor([2])), "expected images"),
        ("features", torch.zeros(2, 1, 3), "expected features"),
        ("features", Padded(torch.zeros(2, 1, 4), torch.tensor([2])), "expected 3 features, got 4"),
        ("clips", Padded(torch.zeros(2, 1, 1, 8, 8), torch.tensor([0])), "clips .* of at least one frame"),
    ],
)
def test_views_of_another_kind(kind: str, source: Tensor | Padded, told: str) -> None:
    with pytest.raises(ShapeError, match=told):
        make(kind).encode(View(source))


def test_a_place_that_is_not_there() -> None:
    with pytest.raises(ShapeError, match="a sentence about picture 3 of 3"):
        make().encode(View(pictures("images"), torch.tensor([0, 3])))


def test_the_model_is_made_of_parameters() -> None:
    assert not [name for name, _ in make("frames").named_buffers()]
    assert isinstance(make("frames"), nn.Module)
