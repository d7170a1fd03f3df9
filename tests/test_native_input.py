"""Whatever comes through the public interface: the right numbers, or an error that names the argument."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import elman
from elman import kernels, native_path
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.errors import ElmanError, ShapeError
from elman.scan import scan
from elman.streaming import Streamer
from elman.tokens import Tokens
from elman.tracing import leaves

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")

CELLS: dict[str, Any] = {
    "lstm": LSTMCell,
    "gru": GRUCell,
    "cho": lambda c, h: GRUCell(c, h, reset="before"),
    "elman": ElmanCell,
}


def arranged(how: str, shape: tuple[int, int, int]) -> Tensor:
    """A tensor of this shape whose storage lies otherwise than in a row."""
    time, batch, size = shape
    match how:
        case "plain":
            return torch.randn(shape)
        case "batch first":
            return torch.randn(batch, time, size).transpose(0, 1)
        case "columns":
            return torch.randn(size, batch, time).permute(2, 1, 0)
        case "every other":
            return torch.randn(2 * time, batch, 2 * size)[::2, :, 1::2]
        case "flipped":
            return torch.randn(shape).flip(0)
        case "one step":
            return torch.randn(1, batch, size).expand(shape)
        case "one number":
            return torch.randn(()).expand(shape)
        case "windows":  # overlapping: a step begins inside of the one before
            return torch.randn(time + batch * size).as_strided(shape, (1, size, 1))
        case _:  # one after an odd number of elements: not aligned
            return torch.randn(time * batch * size + 1)[1:].view(shape)


LAYOUTS = (
    "plain",
    "batch first",
    "columns",
    "every other",
    "flipped",
    "one step",
    "one number",
    "windows",
    "odd",
)


@settings(max_examples=60)
@given(
    name=st.sampled_from(list(CELLS)), how=st.sampled_from(LAYOUTS), time=st.integers(0, 6),
    sizes=st.lists(st.integers(0, 6), max_size=5), columns=st.integers(1, 9), hidden=st.integers(1, 20),
    reverse=st.booleans(), threads=st.integers(1, 3), narrow=st.booleans(), aliased=st.booleans(),
)  # fmt: skip
def test_any_storage_gives_the_numbers_of_the_reference(
    name: str, how: str, time: int, sizes: list[int], columns: int, hidden: int, reverse: bool,
    threads: int, narrow: bool, aliased: bool,
) -> None:  # fmt: skip
    torch.manual_seed(len(sizes) + 7 * time)
    cell = CELLS[name](columns, hidden)
    lengths = torch.tensor([min(size, time) for size in sizes], dtype=torch.int32 if narrow else torch.int64)
    lengths = lengths.repeat_interleave(2)[::2]
    x = arranged(how, (time, len(sizes), columns))
    whole = torch.randn(len(sizes), 2 * hidden)
    initial = cell.initial_state(len(sizes))
    # Both parts of a state may be one tensor, or parts of one.
    parts = [whole[:, :hidden]] * 2 if aliased else list(whole.chunk(2, 1))
    state = type(initial)(*parts[: len(leaves(initial))])
    wanted = run(cell, x, state, lengths, reverse, "reference")
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native_path, "SMALL", 0)
        try:
            torch.set_num_threads(threads)
            got = run(cell, x, state, lengths, reverse, "native")
        finally:
            torch.set_num_threads(before)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-5)


def run(cell: Cell, x: Tensor, state: Any, lengths: Tensor, reverse: bool, way: str) -> list[Tensor]:
    leaf = x.detach().requires_grad_()
    outputs, final = scan(cell, leaf, state, lengths=lengths, reverse=reverse, kernels=way)
    loss = torch.stack([outputs.square().sum(), *(part.sum() for part in leaves(final))]).sum()
    gradients = torch.autograd.grad(
        loss, [leaf, *cell.parameters()], allow_unused=True, materialize_grads=True
    )
    return [part.detach() for part in (outputs, *leaves(final), *gradients)]


def test_weights_that_share_storage() -> None:
    torch.manual_seed(0)
    one, two = GRUCell(4, 4), GRUCell(4, 4)
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        two.weight_ih.copy_(two.weight_hh)
    one.weight_ih = one.weight_hh  # the same parameter twice
    x = torch.randn(5, 3, 4)
    scan(one, x, kernels="native")[0].square().sum().backward()
    scan(two, x, kernels="reference")[0].square().sum().backward()
    assert one.weight_hh.grad is not None
    assert two.weight_hh.grad is not None
    assert two.weight_ih.grad is not None
    torch.testing.assert_close(one.weight_hh.grad, two.weight_hh.grad + two.weight_ih.grad)


def test_inputs_that_are_the_state() -> None:
    torch.manual_seed(0)
    cell, x = ElmanCell(4, 4), torch.randn(5, 3, 4)
    kind = type(cell.initial_state(1))
    got, final = scan(cell, x, kind(x[0]), kernels="native")
    wanted, other = scan(cell, x.clone(), kind(x[0].clone()), kernels="reference")
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(leaves(final), leaves(other))


X = torch.zeros(4, 3, 2)
BAD_INPUTS = {
    "float64": X.double(), "bfloat16": X.bfloat16(), "integers": X.long(), "complex": X.to(torch.complex64),
    "meta": X.to("meta"),
    "columns": torch.zeros(4, 3, 5), "an axis less": torch.zeros(3, 2), "none": torch.zeros(()),
    "sparse": X.to_sparse(),
}  # fmt: skip
BAD_LENGTHS = {
    "too long": torch.tensor([4, 5, 0]), "negative": torch.tensor([4, -1, 0]),
    "huge": torch.tensor([2**62, 0, 0]), "NaN": torch.tensor([1.0, float("nan"), 2]),
    "floats": torch.ones(3), "bools": torch.ones(3, dtype=torch.bool),
    "short": torch.tensor([1, 2]), "two axes": torch.ones(3, 1, dtype=torch.int64),
    "a number": torch.tensor(3),
}  # fmt: skip


@pytest.mark.parametrize("way", ["auto", "native"])
@pytest.mark.parametrize("name", BAD_INPUTS)
def test_inputs_that_do_not_fit(name: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELMAN_KERNELS", way)
    with pytest.raises(ElmanError, match="input"):
        scan(GRUCell(2, 3), BAD_INPUTS[name])
    if name != "an axis less":  # a layer takes (T, C)
        for layer in (elman.LSTM(2, 3), elman.GRU(2, 3), elman.RNN(2, 3)):
            with pytest.raises(ElmanError, match="input"):
                layer(BAD_INPUTS[name])


@pytest.mark.parametrize("name", BAD_LENGTHS)
def test_lengths_that_do_not_fit(name: str) -> None:
    with pytest.raises(ShapeError, match="lengths"):
        scan(LSTMCell(2, 3), X, lengths=BAD_LENGTHS[name])
    for layer in (elman.LSTM(2, 3), elman.GRU(2, 3), elman.RNN(2, 3)):
        with pytest.raises(ShapeError, match="lengths"):
            layer(X, lengths=BAD_LENGTHS[name])


@pytest.mark.parametrize(
    "state",
    [torch.zeros(3, 4), torch.zeros(2, 3), torch.zeros(1, 3, 3), torch.zeros(3, 3, device="meta"),
     torch.zeros(3, 3, dtype=torch.int64), torch.zeros(3, 3).double()],
)  # fmt: skip
@pytest.mark.parametrize("way", ["auto", "native"])
def test_states_that_do_not_fit(state: Tensor, way: str) -> None:
    cell = ElmanCell(2, 3)
    kind = type(cell.initial_state(1))
    with pytest.raises(ElmanError, match="state"):
        scan(cell, X, state if kind is Tensor else kind(state), kernels=way)
    layer = elman.RNN(2, 3)
    with pytest.raises(ElmanError, match="state"):
        layer(X, state[None])


@pytest.mark.parametrize(
    ("ids", "table"),
    [
        (torch.tensor([[0, 5]]), None), (torch.tensor([[0, -1]]), None), (torch.tensor([[2**62, 0]]), None),
        (torch.tensor([[0, 3]]), torch.zeros(3, 2)), (torch.tensor([0, 1]), None),
        (torch.tensor([[0.5, 1]]), None), (torch.tensor([[0, 1]]), torch.zeros(0, 2)),
        (torch.tensor([[0, 1]]), torch.zeros(3, 2, device="meta")),
    ],
)  # fmt: skip
def test_symbols_that_do_not_fit(ids: Tensor, table: Tensor | None) -> None:
    with pytest.raises(ShapeError, match="Tokens"):
        scan(GRUCell(2, 3), Tokens(ids, table), kernels="native")


def test_more_rows_than_can_be_counted() -> None:
    """Expanded from one number: no memory is taken before the sizes are looked at."""
    huge = torch.zeros(1, 1, 1).expand(1 << 20, 1 << 12, 1)
    with pytest.raises(ElmanError, match=r"rows \(T \* N\) in 32 bits"):
        scan(GRUCell(1, 1), huge, kernels="native")


@pytest.mark.parametrize("how", LAYOUTS)
def test_streams_of_any_storage(how: str) -> None:
    torch.manual_seed(0)
    cell = GRUCell(3, 5)
    streamer, x = Streamer(cell), arranged(how, (4, 2, 3))
    state = cell.initial_state(2)
    state = type(state)(*(torch.randn(1, 5).expand(2, 5) for _ in leaves(state)))
    with torch.no_grad():
        wanted, final = scan(cell, x, state, kernels="reference")
    got, last = streamer(x, state)
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(leaves(last), leaves(final), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in BAD_INPUTS if name != "sparse"])
def test_streams_that_do_not_fit(name: str) -> None:
    streamer = Streamer(GRUCell(2, 3))
    with pytest.raises(ShapeError, match="inputs"):
        streamer(BAD_INPUTS[name])
    state = streamer.initial_state(3)
    for part in (torch.zeros(2, 3), torch.zeros(3, 3).double(), torch.zeros(3, 3, device="meta")):
        with pytest.raises(ShapeError, match="state"):
            streamer(X, type(state)(part))
    for shape in ((0, 3, 2), (4, 0, 2)):
        assert streamer(torch.zeros(shape))[0].shape == (*shape[:2], 3)
