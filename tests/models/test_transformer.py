"""The Transformer: its layers are torch's, stepping is teacher forcing, nothing looks where it may not."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from elman.cells import map_state
from elman.errors import ConfigError, ShapeError
from elman.models.decoding import best_sequences
from elman.models.transformer import Decoding, Transformer
from elman.models.transformer_layers import DecoderLayer, EncoderLayer, sinusoids
from elman.padded import Padded

SOURCE, TARGET, SIZE, HEADS, INNER = 7, 9, 8, 2, 12
LENGTHS = torch.tensor([4, 1, 3])
SOURCE_LENGTHS = torch.tensor([5, 2, 1])
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tied": True, "layers": 1, "decoder_layers": 3},
    "shared": {"source": TARGET, "shared": True},
    "features": {"source": 0, "features": 3},
}
every_kind = pytest.mark.parametrize("kind", list(KINDS))


def make(kind: str = "plain", **options: Any) -> Transformer:
    torch.manual_seed(2)
    sizes: dict[str, Any] = {"source": SOURCE, "target": TARGET, "size": SIZE, "heads": HEADS, "layers": 2}
    model = Transformer(**(sizes | KINDS[kind] | options)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms as training leaves them: not 0 and 1
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def ids(symbols: int, time: int, batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(symbols, (time, batch), generator=torch.Generator().manual_seed(seed))


def pair(kind: str = "plain") -> tuple[Padded, Tensor, Tensor]:
    data = ids(SOURCE, 5)
    if kind == "features":
        data = torch.randn(5, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Padded(data, SOURCE_LENGTHS), ids(TARGET, 4, seed=1), LENGTHS


def close(a: Tensor, b: Tensor, bound: float = 1e-12) -> None:
    assert a.shape == b.shape
    assert float((a - b).detach().abs().max()) < bound


def copied(own: nn.Module, torchs: nn.Module, cross: bool) -> list[tuple[Tensor, Tensor]]:
    """Gives own's weights to torch's layer: the pairs of parameters that must get equal gradients."""
    o: Any = own
    t: Any = torchs
    pairs = [
        (o.attention.joined.weight, t.self_attn.in_proj_weight),
        (o.attention.joined.bias, t.self_attn.in_proj_bias),
    ]
    layers = [(o.attention.output, t.self_attn.out_proj), (o.inner, t.linear1), (o.outer, t.linear2)]
    norms = [o.self_norm, *([o.cross_norm] if cross else []), o.inner_norm]
    layers += list(zip(norms, [t.norm1, t.norm2] + ([t.norm3] if cross else []), strict=True))
    if cross:
        layers.append((o.cross.output, t.multihead_attn.out_proj))
        with torch.no_grad():
            weight = torch.cat([o.cross.query.weight, o.cross.memory.weight])
            t.multihead_attn.in_proj_weight.copy_(weight)
            t.multihead_attn.in_proj_bias.copy_(torch.cat([o.cross.query.bias, o.cross.memory.bias]))
    pairs += [(getattr(a, name), getattr(b, name)) for a, b in layers for name in ("weight", "bias")]
    with torch.no_grad():
        for mine, theirs in pairs:
            mine.add_(0.2 * torch.randn_like(mine))
            theirs.copy_(mine)
    return pairs


def test_an_encoder_layer_is_torchs() -> None:
    torch.manual_seed(0)
    own = EncoderLayer(SIZE, HEADS, INNER).double()
    theirs = nn.TransformerEncoderLayer(
        SIZE, HEADS, INNER, dropout=0, batch_first=True, norm_first=True, dtype=torch.float64
    )
    pairs = copied(own, theirs, cross=False)
    x, weights = (torch.randn(3, 5, SIZE, dtype=torch.float64) for _ in range(2))
    padding = torch.arange(5) >= SOURCE_LENGTHS[:, None]
    bias = torch.zeros(3, 1, 1, 5, dtype=torch.float64).masked_fill(padding[:, None, None], -torch.inf)
    got, expected = own(x, bias, lambda y, place: y), theirs(x, src_key_padding_mask=padding)
    close(got, expected)
    ((got * weights)[~padding]).sum().backward()
    ((expected * weights)[~padding]).sum().backward()
    for mine, other in pairs:
        assert mine.grad is not None
        assert other.grad is not None
        close(mine.grad, other.grad)


def test_a_decoder_layer_is_torchs() -> None:
    torch.manual_seed(0)
    own = DecoderLayer(SIZE, HEADS, INNER).double()
    theirs = nn.TransformerDecoderLayer(
        SIZE, HEADS, INNER, dropout=0, batch_first=True, norm_first=True, dtype=torch.float64
    )
    pairs = copied(own, theirs, cross=True)
    x, memory = torch.randn(3, 4, SIZE).double(), torch.randn(3, 5, SIZE).double().requires_grad_()
    padding = torch.arange(5) >= SOURCE_LENGTHS[:, None]
    bias = torch.zeros(3, 1, 1, 5, dtype=torch.float64).masked_fill(padding[:, None, None], -torch.inf)
    later = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    got = own(x, memory, bias, lambda y, place: y)
    expected = theirs(x, memory, tgt_mask=later, memory_key_padding_mask=padding)
    close(got, expected)
    weights = torch.randn_like(got)
    (mine,) = torch.autograd.grad((got * weights).sum(), memory, retain_graph=True)
    (other,) = torch.autograd.grad((expected * weights).sum(), memory, retain_graph=True)
    close(mine, other)
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    joined = torch.cat([own.cross.query.weight.grad, own.cross.memory.weight.grad])  # type: ignore[list-item]
    close(joined, theirs.multihead_attn.in_proj_weight.grad)  # type: ignore[arg-type]
    for mine, other in pairs:
        assert mine.grad is not None
        assert other.grad is not None
        close(mine.grad, other.grad)


def test_positions_are_those_of_the_paper() -> None:
    table = sinusoids(50, 6)
    for t in range(50):
        for i in range(3):
            angle = t / 10000 ** (2 * i / 6)
            assert float(table[t, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-14)
            assert float(table[t, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-14)


def stepped(model: Transformer, source: Padded, inputs: Tensor, rows: Tensor) -> Tensor:
    """logits (T, n, V) symbol by symbol, of the elements `rows` in this order."""
    step, state = model.start(model.encode(source))
    state = map_state(lambda part: part[rows], state)
    found = []
    for t in range(len(inputs)):
        logits, state = step(inputs[t, rows], state)
        found.append(logits)
    return torch.stack(found)


@every_kind
@pytest.mark.parametrize("rows", [[0, 1, 2], [0, 0, 1, 1, 2, 2], [2, 2], [1, 0, 1, 1], [0, 0, 2]])
def test_stepping_is_teacher_forcing(kind: str, rows: list[int]) -> None:
    model, (source, inputs, lengths) = make(kind), pair(kind)
    taught = model(source, inputs, lengths)
    assert taught.penalty is None
    assert float(taught.logits.detach().std()) > 0.05
    whole = torch.full((*inputs.shape, TARGET), torch.nan, dtype=torch.float64)
    whole[torch.arange(len(inputs))[:, None] < lengths] = taught.logits.detach()
    index = torch.tensor(rows)
    got, expected = stepped(model, source, inputs, index), whole[:, index]
    valid = ~expected.isnan()
    close(got[valid], expected[valid])


@every_kind
def test_a_batch_is_its_elements(kind: str) -> None:
    model, (source, inputs, lengths) = make(kind), pair(kind)
    whole = torch.zeros(*inputs.shape, TARGET, dtype=torch.float64)
    whole[torch.arange(len(inputs))[:, None] < lengths] = model(source, inputs, lengths).logits
    for n, (own, length) in enumerate(zip(SOURCE_LENGTHS.tolist(), lengths.tolist(), strict=True)):
        alone = Padded(source.data[:own, n : n + 1], source.lengths[n : n + 1])
        close(model(alone, inputs[:length, n : n + 1], lengths[n : n + 1]).logits, whole[:length, n])


@pytest.mark.parametrize("training", [False, True])
@every_kind
def test_padding_reaches_nothing(kind: str, training: bool) -> None:
    model, (source, inputs, lengths) = make(kind, dropout=0.4).train(training), pair(kind)
    expected = model(source, inputs, lengths).logits
    past = ~source.mask
    junk = (
        torch.where(past[:, :, None], torch.nan, source.data)
        if kind == "features"
        else source.data + 99 * past
    )
    junk = torch.cat([junk, junk[:2]])
    later = torch.arange(len(inputs))[:, None] >= lengths
    inputs = torch.cat([inputs - 77 * later, inputs[:1]])
    close(model(Padded(junk, source.lengths), inputs, lengths).logits, expected)


def test_a_later_symbol_changes_no_earlier_logits() -> None:
    model = make()
    source, inputs, _ = pair()
    lengths = torch.tensor([4, 4, 4])
    expected = model(source, inputs, lengths).logits.view(4, 3, TARGET)
    for time in range(4):
        changed = inputs.clone()
        changed[time] = (changed[time] + 1) % TARGET
        got = model(source, changed, lengths).logits.view(4, 3, TARGET)
        close(got[:time], expected[:time]) if time else None
        assert bool(((got[time:] - expected[time:]).abs().amax(2) > 1e-6).all())


def test_gradients_by_differences() -> None:
    model, (source, inputs, lengths) = make(layers=1, dropout=0.3).train(), pair()
    weights = torch.randn(int(lengths.sum()), TARGET, dtype=torch.float64)

    def loss() -> Tensor:
        return (model(source, inputs, lengths).logits.log_softmax(1) * weights).sum()

    model.zero_grad()
    loss().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        direction = torch.randn_like(parameter)
        with torch.no_grad():
            parameter.add_(1e-6 * direction)
            above = loss()
            parameter.sub_(2e-6 * direction)
            slope = float(above - loss()) / 2e-6
            parameter.add_(1e-6 * direction)
        assert slope == pytest.approx(float((parameter.grad * direction).sum()), rel=1e-4, abs=1e-6), name


def test_masks_are_drawn_anew_and_repeated_by_seed() -> None:
    model, (source, inputs, lengths) = make(dropout=0.3).train(), pair()
    first = model(source, inputs, lengths).logits
    model.reseed(1)
    other = model(source, inputs, lengths).logits
    assert float((other - first).detach().abs().max()) > 1e-3
    model.reseed(0)
    close(model(source, inputs, lengths).logits, first)


def test_the_weights_that_are_told_sum_to_one_over_the_source() -> None:
    model, (source, inputs, _) = make(), pair()
    step, state = model.start(model.encode(source))
    assert isinstance(state, Decoding)
    _, state = step(inputs[0], state)
    weights = model.attention(state)
    assert torch.allclose(weights.sum(1), torch.ones(3).double())
    assert bool((weights.t()[~source.mask] == 0).all())
    assert float(weights[0].detach().std()) > 1e-3


def test_beam_search_of_a_batch_is_that_of_each_source() -> None:
    model, (source, _, _) = make(), pair()
    options: dict[str, Any] = {"begin": 0, "stop": [1], "beam": 3, "best": 2, "alpha": 1.0, "coverage": 0.2}
    together = best_sequences(model, source, **options)
    for n, found in enumerate(together):
        size = int(SOURCE_LENGTHS[n])
        (alone,) = best_sequences(
            model, Padded(source.data[:size, n : n + 1], SOURCE_LENGTHS[n : n + 1]), **options
        )
        assert [h.ids for h in alone] == [h.ids for h in found]
        for h, other in zip(found, alone, strict=True):
            assert h.score == pytest.approx(other.score, abs=1e-12)
            assert h.attention is not None
            assert other.attention is not None
            close(h.attention, other.attention)


def test_longer_than_the_table_of_positions() -> None:
    model = make(layers=1)
    assert len(model.table) == 256
    inputs = ids(TARGET, 300, 1)
    source = Padded(ids(SOURCE, 270, 1), torch.tensor([270]))
    got = model(source, inputs, torch.tensor([300])).logits
    close(got[:3], model(source, inputs[:3], torch.tensor([3])).logits)
    close(model.table, sinusoids(len(model.table), SIZE), 1e-6)


def test_bfloat16_is_near_float32_in_training_alone() -> None:
    source, inputs, lengths = pair()
    exact, rounded = make(dropout=0.2).float(), make(dropout=0.2, compute=torch.bfloat16).float()
    assert torch.equal(exact(source, inputs, lengths).logits, rounded(source, inputs, lengths).logits)
    a, b = (model.train()(source, inputs, lengths).logits for model in (exact, rounded))
    assert (a.dtype, b.dtype) == (torch.float32, torch.bfloat16)
    assert 1e-5 < float((a - b).detach().abs().max()) < 0.3
    for model, logits in ((exact, a), (rounded, b)):
        logits.square().sum().backward()
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())
    one, two = (
        torch.cat([p.grad.flatten() for p in m.parameters() if p.grad is not None]) for m in (exact, rounded)
    )
    assert float((one - two).norm() / one.norm()) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 3}, "ids or features, one of the two; got 7, 3"),
        ({"shared": True}, "the vocabularies must be one, got 7 and 9"),
        ({"dropout": 1.0}, "at least 0 and below 1, got 1.0"),
        ({"heads": 3}, "a size that the heads divide"),
        ({"layers": 0}, "layers of at least 1"),
        ({"size": 3, "heads": 1}, "expected an even size, got 3"),
    ],
)
def test_sizes_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**options)


def test_sources_that_do_not_fit() -> None:
    with pytest.raises(ShapeError, match=r"must be ids \(S, N\), got torch.float32"):
        make().encode(Padded(torch.zeros(2, 1, 3), torch.tensor([2])))
    with pytest.raises(ShapeError, match=r"must be features \(S, N, F\), got torch.int64"):
        make("features").encode(Padded(torch.zeros(2, 1, dtype=torch.int64), torch.tensor([2])))
    with pytest.raises(ShapeError, match="element 1 of the source is empty"):
        make().encode(Padded(torch.zeros(2, 2, dtype=torch.int64), torch.tensor([2, 0])))
