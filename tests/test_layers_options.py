"""What elman.layers have beyond torch.nn: zero lengths, more forms, shared directions, any cells; errors."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import contract_cells
import oracles
from conformance import tensors
from elman import layers
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell, Stack
from elman.errors import ConfigError, ElmanError, KernelError, ShapeError
from elman.layers import Bidirectional
from elman.scan import scan
from elman.tokens import Tokens
from layer_pairs import (
    BATCH,
    HIDDEN,
    INPUT,
    KINDS,
    LENGTHS,
    SIZES,
    TIME,
    Layer,
    every_kind,
    inputs,
    parts,
    start,
)

RAGGED = [5, 0, 7, 1, 3]

OPTIONS: dict[str, tuple[Any, dict[str, Any], oracles.Step]] = {
    "RNN sigmoid": (layers.RNN, {"nonlinearity": "sigmoid"}, oracles.elman("sigmoid")),
    "RNN identity": (layers.RNN, {"nonlinearity": "identity"}, oracles.elman("identity")),
    "LSTM peepholes": (layers.LSTM, {"peepholes": True}, oracles.lstm()),
    "LSTM peepholes projected": (layers.LSTM, {"peepholes": True, "proj_size": 2}, oracles.lstm()),
    "LSTM": (layers.LSTM, {}, oracles.lstm()),
    "GRU write": (layers.GRU, {"update": "write"}, oracles.gru("after", "write")),
    "GRU before": (layers.GRU, {"reset": "before"}, oracles.gru("before", "keep")),
    "GRU before write": (layers.GRU, {"reset": "before", "update": "write"}, oracles.gru("before", "write")),
}


def oracle(layer: Layer, step: oracles.Step, x: oracles.Array, state: Any, lengths: list[int]) -> Any:
    """A deep, bidirectional layer by loops: outputs, and the final states in torch's form."""
    values = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    started = [part.detach().numpy() for part in parts(state)]
    finals: list[list[oracles.Array]] = []
    for depth in range(layer.num_layers):
        sides = []
        for direction in (0, 1):
            suffix = f"_l{depth}" + ("_reverse" if direction and not layer.shared else "")
            own = {name.removesuffix(suffix): v for name, v in values.items() if name.endswith(suffix)}
            row = len(finals)
            begin = [tuple(part[row, n] for part in started) for n in range(len(lengths))]
            outputs, ends, _ = oracles.over_time(
                step, own, x, begin, lengths=lengths, reverse=bool(direction)
            )
            sides.append(outputs)
            finals.append([np.stack([end[k] for end in ends]) for k in range(len(started))])
        x = np.concatenate(sides, -1)
    return x, [np.stack([row[k] for row in finals]) for k in range(len(started))]


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", list(OPTIONS))
def test_the_forms_that_torch_lacks_are_those_of_the_loops(name: str, shared: bool) -> None:
    """Two layers, both directions, given states, an element without steps."""
    kind, options, step = OPTIONS[name]
    torch.manual_seed(0)
    layer = kind(INPUT, HIDDEN, 2, bidirectional=True, dtype=torch.float64, shared=shared, **options)
    state = start(layer)
    got, final = layer(inputs(), state, lengths=torch.tensor(RAGGED))
    wanted, ends = oracle(layer, step, inputs().numpy(), state, RAGGED)
    np.testing.assert_allclose(got.detach().numpy(), wanted, atol=1e-12)
    for mine, its in zip(parts(final), ends, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), its, atol=1e-12)


class TestSharedDirections:
    def both(self, kind: str) -> tuple[Layer, Layer]:
        """A layer whose directions share, and one whose directions have equal weights apart."""
        _, ours, own = KINDS[kind]
        torch.manual_seed(0)
        shared = ours(INPUT, HIDDEN, 2, bidirectional=True, shared=True, dtype=torch.float64, **own)
        apart = ours(INPUT, HIDDEN, 2, bidirectional=True, dtype=torch.float64, **own)
        values = shared.state_dict()
        apart.load_state_dict(values | {f"{name}_reverse": value for name, value in values.items()})
        return shared, apart

    @every_kind
    @pytest.mark.parametrize("lengths", [None, LENGTHS])
    def test_numbers_and_gradients(self, kind: str, lengths: Tensor | None) -> None:
        shared, apart = self.both(kind)
        assert not [name for name in shared.state_dict() if name.endswith("_reverse")]
        (got, final), (wanted, ends) = shared(inputs(), lengths=lengths), apart(inputs(), lengths=lengths)
        assert torch.allclose(got, wanted, atol=1e-12)
        for mine, its in zip(parts(final), parts(ends), strict=True):
            assert torch.allclose(mine, its, atol=1e-12)
        (got**2).sum().backward()
        (wanted**2).sum().backward()
        slopes = {name: p.grad for name, p in apart.named_parameters()}
        for name, parameter in shared.named_parameters():
            assert torch.allclose(parameter.grad, slopes[name] + slopes[f"{name}_reverse"], atol=1e-11)


def test_forget_bias_is_where_every_forget_gate_starts() -> None:
    torch.manual_seed(0)
    biased = layers.LSTM(INPUT, HIDDEN, 2, bidirectional=True, forget_bias=1.0)
    torch.manual_seed(0)
    plain = nn.LSTM(INPUT, HIDDEN, 2, bidirectional=True).state_dict()
    forget = slice(HIDDEN, 2 * HIDDEN)
    for name, value in biased.state_dict().items():
        if name.startswith("bias_ih"):
            assert (value[forget] == 1).all()
        elif name.startswith("bias_hh"):
            assert not value[forget].any()
        else:
            assert torch.equal(value, plain[name])
        if name.startswith("bias"):
            assert torch.equal(value[2 * HIDDEN :], plain[name][2 * HIDDEN :])


@every_kind
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("mode", ["auto", "reference"])
def test_elements_without_steps_keep_their_state(
    kind: str, both: bool, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", mode)
    _, ours, own = KINDS[kind]
    layer = ours(INPUT, HIDDEN, 2, bidirectional=both, dtype=torch.float64, **own)
    x = inputs()
    x[:, 1] = float("nan")
    given = start(layer)
    outputs, final = layer(x, given, lengths=torch.tensor(RAGGED))
    assert not outputs[:, 1].any()
    for before, after in zip(parts(given), parts(final), strict=True):
        assert torch.equal(after[:, 1], before[:, 1])
    outputs.sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())
    for time, batch in ((0, BATCH), (TIME, 0), (0, 0)):
        for lengths in (None, torch.zeros(batch, dtype=torch.int64)):
            state = start(layer, batch)
            outputs, final = layer(inputs(time, batch), state, lengths=lengths)
            assert outputs.shape == (time, batch, layer.output_size)
            if lengths is not None or not time:
                assert all(torch.equal(a, b) for a, b in zip(parts(state), parts(final), strict=True))


@every_kind
def test_padding_may_hold_anything(kind: str) -> None:
    _, ours, own = KINDS[kind]
    layer = ours(INPUT, HIDDEN, 2, bidirectional=True, dtype=torch.float64, **own)
    found = []
    for filler in (0.0, float("nan"), float("inf")):
        x = inputs()
        for n, size in enumerate(SIZES):
            x[size:, n] = filler
        outputs, final = layer(x.requires_grad_(), lengths=LENGTHS)
        slopes = torch.autograd.grad(
            outputs.sum() + sum(p.sum() for p in parts(final)), [x, *layer.parameters()]
        )
        found.append([outputs, *parts(final), *slopes])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


class TestBidirectional:
    """Two cells of any kind side by side."""

    CELLS: tuple[tuple[Cell, Cell | None], ...] = (
        (GRUCell(INPUT, 4), LSTMCell(INPUT, 3)),
        (contract_cells.Plain(INPUT, 4), contract_cells.Jordan(INPUT, 3)),
        (Stack([GRUCell(INPUT, 4), ElmanCell(4, 2)]), GRUCell(INPUT, 4)),
        (contract_cells.NormLSTM(INPUT, 3), None),
    )

    @pytest.mark.parametrize("cells", CELLS)
    @pytest.mark.parametrize("lengths", [None, RAGGED])
    def test_is_one_scan_from_each_end(
        self, cells: tuple[Cell, Cell | None], lengths: list[int] | None
    ) -> None:
        made = Bidirectional(*cells).double()
        ahead, behind = cells[0], cells[0] if cells[1] is None else cells[1]
        sizes = None if lengths is None else torch.tensor(lengths)
        outputs, states = made(inputs(), lengths=sizes)
        assert outputs.shape == (TIME, BATCH, ahead.output_size + behind.output_size)
        assert made.output_size == outputs.shape[2]
        for n in range(BATCH):
            x = inputs()[: TIME if lengths is None else lengths[n], n : n + 1]
            forward, _ = scan(ahead, x)
            backward, last = scan(behind, x.flip(0))
            wanted = torch.cat([forward, backward.flip(0)], -1)[:, 0]
            assert torch.allclose(outputs[: len(x), n], wanted, atol=1e-12)
            assert not outputs[len(x) :, n].any()
            for end, alone in zip(tensors(states[1]), tensors(last), strict=True):
                assert torch.allclose(end[n], alone[0], atol=1e-12)

    def test_states_are_given_and_carried_in_pairs(self) -> None:
        made = Bidirectional(GRUCell(INPUT, 4), LSTMCell(INPUT, 3)).double()
        x = inputs()
        _, states = made(x[:3])
        outputs, _ = made(x[3:], states)
        assert torch.equal(outputs[..., :4], scan(made.forward_cell, x[3:], states[0])[0])
        assert torch.equal(outputs[..., 4:], scan(made.backward_cell, x[3:], states[1], reverse=True)[0])
        assert torch.allclose(outputs[..., :4], scan(made.forward_cell, x)[0][3:], atol=1e-12)

    def test_one_cell_has_its_parameters_once(self) -> None:
        made = Bidirectional(GRUCell(INPUT, 4))
        assert len(list(made.parameters())) == 4
        apart = Bidirectional(GRUCell(INPUT, 4), GRUCell(INPUT, 4))
        assert len(list(apart.parameters())) == 8


class TestErrors:
    @pytest.mark.parametrize(
        ("kind", "options", "error", "told"),
        [
            (layers.GRU, {"num_layers": 0}, ConfigError, "num_layers: expected at least 1, got 0"),
            (layers.GRU, {"dropout": 1.5}, ConfigError, "dropout: .* from 0 to 1, got 1.5"),
            (layers.GRU, {"dropout": -0.1}, ConfigError, "got -0.1"),
            (layers.GRU, {"shared": True}, ConfigError, "only a bidirectional layer"),
            (layers.GRU, {"reset": "never"}, ConfigError, "reset must be one of after, before, got 'never'"),
            (layers.GRU, {"update": "hold"}, ConfigError, "update must be one of keep, write"),
            (layers.RNN, {"nonlinearity": "tan"}, ConfigError, "nonlinearity: expected one of tanh"),
            (layers.LSTM, {"proj_size": 4}, ShapeError, r"projection must be 0 \(none\) to 3, got 4"),
            (layers.LSTM, {"forget_bias": 1.0, "bias": False}, ConfigError, "forget_bias needs bias"),
            (layers.LSTM, {"hidden_size": 0}, ShapeError, "hidden_size must be at least 1"),
            (layers.LSTM, {"input_size": 0}, ShapeError, "input_size must be at least 1"),
        ],
    )
    def test_options(self, kind: Any, options: dict[str, Any], error: type[ElmanError], told: str) -> None:
        with pytest.raises(error, match=told):
            kind(**({"input_size": INPUT, "hidden_size": HIDDEN} | options))

    @pytest.mark.parametrize("lengths", [None, LENGTHS])
    @pytest.mark.parametrize(
        ("x", "told"),
        [
            (torch.zeros(TIME, BATCH, INPUT + 1), "LSTM: the last axis of input must be 3, got 4"),
            (
                torch.zeros(TIME, BATCH, INPUT).double(),
                r"LSTM: input is torch\.float64 on cpu, the parameters",
            ),
            (torch.zeros(TIME, BATCH, INPUT, dtype=torch.int64), r"LSTM: input is torch\.int64"),
            (torch.zeros(2, TIME, BATCH, INPUT), r"2 or 3 axes, got \(2, 7, 5, 3\)"),
            (torch.zeros(INPUT), r"2 or 3 axes, got \(3,\)"),
        ],
    )
    def test_inputs(self, x: Tensor, lengths: Tensor | None, told: str) -> None:
        with pytest.raises(ShapeError, match=told):
            layers.LSTM(INPUT, HIDDEN)(x, lengths=lengths)

    def test_lengths(self) -> None:
        layer = layers.GRU(INPUT, HIDDEN)
        x = inputs().float()
        with pytest.raises(ShapeError, match="lengths go with a batch"):
            layer(x[:, 0], lengths=torch.tensor([3]))
        with pytest.raises(ShapeError, match="a PackedSequence brings its own lengths"):
            layer(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), lengths=LENGTHS)
        with pytest.raises(ShapeError, match="element 2 is 8, expected 0 to 7"):
            layer(x, lengths=torch.tensor([1, 2, 8, 1, 1]))
        with pytest.raises(ShapeError, match="element 0 is 6, expected 0 to 5"):
            layers.GRU(INPUT, HIDDEN, batch_first=True)(x, lengths=torch.tensor([6] * TIME))

    @pytest.mark.parametrize(
        "state",
        [
            torch.zeros(2, BATCH, HIDDEN),
            (torch.zeros(2, BATCH, HIDDEN),),
            (torch.zeros(2, BATCH, HIDDEN), torch.zeros(1, BATCH, HIDDEN)),
            (torch.zeros(2, BATCH, HIDDEN + 1), torch.zeros(2, BATCH, HIDDEN)),
            (torch.zeros(2, 1, HIDDEN), torch.zeros(2, 1, HIDDEN)),
            (torch.zeros(2, HIDDEN), torch.zeros(2, HIDDEN)),
        ],
    )
    @pytest.mark.parametrize("lengths", [None, LENGTHS])
    def test_states(self, state: Any, lengths: Tensor | None) -> None:
        told = r"LSTM: initial state must have the shapes \[\(2, 5, 4\), \(2, 5, 4\)\], got \["
        with pytest.raises(ShapeError, match=told):
            layers.LSTM(INPUT, HIDDEN, 2)(inputs().float(), state, lengths=lengths)

    def test_kernels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ELMAN_KERNELS", "native")
        with pytest.raises(KernelError, match=r"GRUCell: .*native.*; use auto, torch or reference"):
            layers.GRU(INPUT, HIDDEN).double()(inputs())
        monkeypatch.setenv("ELMAN_KERNELS", "torch")
        with pytest.raises(KernelError, match="no peepholes"):
            layers.LSTM(INPUT, HIDDEN, peepholes=True)(inputs().float())


class TestTokens:
    """Symbols in place of rows, whatever computes the layer."""

    @pytest.mark.parametrize("path", ["auto", "reference"])
    @pytest.mark.parametrize("lengths", [None, LENGTHS])
    @pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bidirectional": True}])
    def test_they_are_the_rows_that_they_name(
        self, path: str, lengths: Tensor | None, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ELMAN_KERNELS", path)
        layer = layers.LSTM(INPUT, HIDDEN, 2, **options).double()
        shape = (BATCH, TIME) if layer.batch_first else (TIME, BATCH)
        ids = torch.randint(6, shape, generator=torch.Generator().manual_seed(1))
        table = torch.randn(6, INPUT, dtype=torch.float64, requires_grad=True)
        got, (h, _) = layer(Tokens(ids, table), lengths=lengths)
        wanted, (last, _) = layer(table[ids], lengths=lengths)
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(h, last, rtol=1e-12, atol=1e-12)
        wanted_of = [table, *layer.parameters()]
        gradients = [torch.autograd.grad(y.square().sum(), wanted_of) for y in (got, wanted)]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)

    @pytest.mark.parametrize("path", ["auto", "reference"])
    def test_an_id_without_a_row_is_named(self, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ELMAN_KERNELS", path)
        with pytest.raises(ShapeError, match=r"ids\[1, 0\] is 3, expected 0 to 2, one of 3 symbols"):
            layers.GRU(3, HIDDEN)(Tokens(torch.tensor([[0], [3]])))


def test_what_is_told_about_a_layer() -> None:
    told = repr(layers.LSTM(3, 4, 2, bidirectional=True))
    assert told.startswith("LSTM(3, 4, num_layers=2")
    assert "bidirectional=True" in told
    layers.GRU(3, 4).flatten_parameters()
