"""The conformance suite: what scan promises of any cell, asked of every cell with every set of options.

Each test runs a computation in two ways that must agree, in values and in gradients, or by gradcheck.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from conformance import CASES, close, equal, leaves, make, measure, one_by_one, paths, random_state, tensors
from elman.cells import CELLS, Cell, Combinator, State, map_state
from elman.errors import ConfigError
from elman.padded import length_mask
from elman.scan import scan
from elman.tokens import Tokens

every_cell = pytest.mark.parametrize("name", list(CASES))
few = settings(max_examples=6)

Compute = Callable[[Tensor, State], tuple[Tensor, State]]
Shape = tuple[int, list[int]]

# T and the lengths of N elements; every draw may hold empty and full elements.
shapes = st.integers(1, 6).flatmap(
    lambda time: st.tuples(st.just(time), st.lists(st.integers(0, time), min_size=1, max_size=4))
)
RAGGED: Shape = (5, [5, 0, 2, 4])


def random_inputs(cell: Cell, time: int, batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(11 * time + batch)
    return torch.randn(time, batch, cell.input_size, generator=generator, dtype=torch.float64)


def with_options(cell: Cell, path: str, **options: Any) -> Compute:
    """A computation for `measure`: scan on one path with these arguments."""
    return lambda inputs, state: scan(cell, inputs, state, kernels=path, **options)


def test_every_cell_of_the_table_is_here() -> None:
    for name, kind in CELLS.items():
        assert any(case.split(" ")[0] == name and type(make(case)) is kind for case in CASES)


@every_cell
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    cell = make(name)
    time, sizes = 3, [3, 0, 2]
    lengths = torch.tensor(sizes)
    inputs = random_inputs(cell, time, len(sizes)).requires_grad_()
    state = random_state(cell, len(sizes))
    learned = [part for part in tensors(state) if part.requires_grad]

    def compute(*_: Tensor) -> tuple[Tensor, ...]:
        outputs, final = scan(cell, inputs, state, lengths=lengths, kernels="reference")
        return outputs, *(part for part in tensors(final) if part.is_floating_point())

    assert torch.autograd.gradcheck(compute, (inputs, *learned, *cell.parameters()))


@every_cell
def test_all_paths_give_the_reference_numbers(name: str) -> None:
    cell = make(name)
    time, sizes = RAGGED
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))
    for lengths in (None, torch.tensor(sizes), torch.tensor([time] * len(sizes))):
        for reverse in (False, True):
            wanted = measure(
                cell, inputs, state, with_options(cell, "reference", lengths=lengths, reverse=reverse)
            )
            got = measure(cell, inputs, state, with_options(cell, "auto", lengths=lengths, reverse=reverse))
            close(got, wanted)


@every_cell
def test_prepare_looks_at_each_position_by_itself(name: str) -> None:
    """Whatever its place and what stands around it; chunks and Tokens rely on it."""
    cell = make(name)
    inputs = random_inputs(cell, 4, 3)
    prepared = cell.prepare(inputs)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    alone = cell.prepare(inputs.flatten(0, 1)[order][:, None])
    for whole, part in zip(tensors(prepared), tensors(alone), strict=True):
        equal(part[:, 0], whole.flatten(0, 1)[order])


@every_cell
@pytest.mark.parametrize("symbols", [4, 60])
def test_tokens_are_the_rows_that_they_name(name: str, symbols: int) -> None:
    """With fewer symbols than positions, and with more; the table takes the place of the inputs."""
    cell = make(name)
    time, sizes = RAGGED
    lengths, state = torch.tensor(sizes), random_state(cell, len(sizes))
    generator = torch.Generator().manual_seed(symbols)
    ids = torch.randint(symbols, (time, len(sizes)), generator=generator)
    table = torch.randn(symbols, cell.input_size, generator=generator, dtype=torch.float64)
    for path in paths(cell):

        def by_rows(rows: Tensor, state: State, path: str = path) -> tuple[Tensor, State]:
            return scan(cell, rows[ids], state, lengths=lengths, kernels=path)

        def by_ids(rows: Tensor, state: State, path: str = path) -> tuple[Tensor, State]:
            return scan(cell, Tokens(ids, rows), state, lengths=lengths, kernels=path)

        close(measure(cell, table, state, by_ids), measure(cell, table, state, by_rows))


@every_cell
@few
@given(shape=shapes, cuts=st.lists(st.integers(1, 5), max_size=3))
def test_chunks_with_the_state_carried_are_the_whole(name: str, shape: Shape, cuts: list[int]) -> None:
    cell = make(name)
    time, sizes = shape
    lengths = torch.tensor(sizes)
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))
    bounds = [0, *sorted({cut for cut in cuts if cut < time}), time]
    for path in paths(cell):

        def in_chunks(x: Tensor, state: State, path: str = path) -> tuple[Tensor, State]:
            pieces = []
            for start, stop in pairwise(bounds):
                left = (lengths - start).clamp(0, stop - start)
                outputs, state = scan(cell, x[start:stop], state, lengths=left, kernels=path)
                pieces.append(outputs)
            return torch.cat(pieces), state

        wanted = measure(cell, inputs, state, with_options(cell, path, lengths=lengths))
        close(measure(cell, inputs, state, in_chunks), wanted)


@every_cell
def test_streaming_by_step_is_the_whole(name: str) -> None:
    cell = make(name)
    inputs, state = random_inputs(cell, 5, 2), random_state(cell, 2)

    def by_step(x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = []
        for t in range(len(x)):
            prepared = map_state(lambda part: part[0], cell.prepare(x[t : t + 1]))
            output, state = cell.step(prepared, state)
            outputs.append(output)
        return torch.stack(outputs), state

    streamed = measure(cell, inputs, state, by_step)
    for path in paths(cell):
        close(streamed, measure(cell, inputs, state, with_options(cell, path)))


@every_cell
@few
@given(shape=shapes, reverse=st.booleans())
def test_padding_changes_nothing(name: str, shape: Shape, reverse: bool) -> None:
    """Elements alone at their lengths, and padding of any content, give the same numbers and gradients."""
    cell = make(name)
    time, sizes = shape
    lengths = torch.tensor(sizes)
    padding = ~length_mask(lengths, time)[..., None]
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))
    for path in paths(cell):
        compute = with_options(cell, path, lengths=lengths, reverse=reverse)
        for training in (True, False):
            cell.train(training)
            clean = measure(cell, inputs.masked_fill(padding, 0), state, compute)
            for poison in (float("nan"), float("inf"), -1e300):
                close(measure(cell, inputs.masked_fill(padding, poison), state, compute), clean, 0)
            assert not clean.gradients["inputs"].masked_select(padding).any()
            assert not clean.outputs.masked_select(padding).any()

        def alone(x: Tensor, state: State, path: str = path) -> tuple[Tensor, State]:
            # In evaluation mode: a dropout mask belongs to an element's place in the batch.
            return one_by_one(
                cell, x, state, sizes, lambda x, s, _: scan(cell, x, s, reverse=reverse, kernels=path)
            )

        close(measure(cell, inputs, state, alone), clean)


@every_cell
def test_more_padding_changes_nothing(name: str) -> None:
    cell = make(name)
    time, sizes = RAGGED
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))
    longer = torch.cat([inputs, torch.full((7, *inputs.shape[1:]), float("nan"), dtype=torch.float64)])
    for path in paths(cell):
        compute = with_options(cell, path, lengths=torch.tensor(sizes))

        def cut(x: Tensor, state: State, compute: Compute = compute) -> tuple[Tensor, State]:
            outputs, final = compute(x, state)
            assert not outputs[time:].any()
            return outputs[:time], final

        got = measure(cell, longer, state, cut)
        reached = got.gradients["inputs"]
        assert not reached[time:].any()
        close(
            got._replace(gradients=got.gradients | {"inputs": reached[:time]}),
            measure(cell, inputs, state, compute),
        )


@every_cell
@pytest.mark.parametrize(
    ("time", "sizes"), [(3, [0, 2]), (3, [0, 0]), (3, [0]), (0, [0, 0]), (0, [0]), (3, []), (0, []), (1, [1])]
)
def test_elements_without_steps_keep_their_state(name: str, time: int, sizes: list[int]) -> None:
    cell = make(name)
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))
    for path in paths(cell):
        for lengths in (torch.tensor(sizes, dtype=torch.int64), None):
            if lengths is None and sizes != [time] * len(sizes):
                continue
            got = measure(cell, inputs, state, with_options(cell, path, lengths=lengths))
            assert got.outputs.shape == (time, len(sizes), cell.output_size)
            assert got.outputs.dtype == torch.float64
            for place, (before, after) in enumerate(zip(tensors(state), got.final, strict=True)):
                empty = torch.tensor([size == 0 for size in sizes], dtype=torch.bool)
                assert torch.equal(after[empty], before[empty])
                assert not got.outputs[:, empty].any()
                if before.is_floating_point() and not any(sizes):
                    # Nothing stands between the given state and the final one.
                    _, outside = scan(cell, inputs, state, lengths=lengths, kernels=path)
                    floating = [part.flatten() for part in tensors(outside) if part.is_floating_point()]
                    total = torch.cat(floating).sum()
                    (slope,) = torch.autograd.grad(total, tensors(state)[place])
                    assert torch.equal(slope, torch.ones_like(before))


@every_cell
@few
@given(shape=shapes, data=st.data(), reverse=st.booleans())
def test_resets_make_separate_sequences(name: str, shape: Shape, data: st.DataObject, reverse: bool) -> None:
    cell = make(name).eval()
    time, sizes = shape
    flags = st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes))
    resets = torch.tensor(data.draw(st.lists(flags, min_size=time, max_size=time)))
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))
    for path in paths(cell):

        def separately(x: Tensor, state: State, n: int, path: str = path) -> tuple[Tensor, State]:
            order = list(range(len(x)))[:: -1 if reverse else 1]
            pieces: list[list[int]] = [[]]
            for t in order:
                if resets[t, n]:
                    pieces.append([])
                pieces[-1].append(t)
            outputs = x.new_zeros(len(x), 1, cell.output_size)
            for count, piece in enumerate(pieces):
                if count:
                    state = cell.reset(state, torch.tensor([True]))
                values, state = scan(cell, x[piece], state, kernels=path)
                outputs = outputs.index_put((torch.tensor(piece, dtype=torch.int64),), values)
            return outputs, state

        wanted = measure(cell, inputs, state, lambda x, s: one_by_one(cell, x, s, sizes, separately))
        compute = with_options(cell, path, lengths=torch.tensor(sizes), resets=resets, reverse=reverse)
        close(measure(cell, inputs, state, compute), wanted)


@every_cell
def test_reset_gives_the_initial_state_to_the_chosen_alone(name: str) -> None:
    cell = make(name).eval()
    inputs, state = random_inputs(cell, 3, 2), random_state(cell, 2)
    again = cell.reset(state, torch.tensor([True, False]))
    outputs, _ = scan(cell, inputs, again)
    fresh, _ = scan(cell, inputs)
    carried, _ = scan(cell, inputs, state)
    equal(outputs[:, :1], fresh[:, :1])
    equal(outputs[:, 1:], carried[:, 1:])
    assert not torch.allclose(fresh, carried)


@every_cell
def test_reverse_is_flipping_by_hand(name: str) -> None:
    cell = make(name)
    time, sizes = RAGGED
    lengths = torch.tensor(sizes)
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))

    def flip(x: Tensor) -> Tensor:
        columns = [torch.cat([x[:size, n].flip(0), x[size:, n]]) for n, size in enumerate(sizes)]
        return torch.stack(columns, 1)

    for path in paths(cell):

        def by_hand(x: Tensor, state: State, path: str = path) -> tuple[Tensor, State]:
            outputs, final = scan(cell, flip(x), state, lengths=lengths, kernels=path)
            return flip(outputs), final

        compute = with_options(cell, path, lengths=lengths, reverse=True)
        close(measure(cell, inputs, state, compute), measure(cell, inputs, state, by_hand))


@every_cell
def test_weights_saved_and_loaded_give_the_same_numbers(name: str) -> None:
    cell, other = make(name, seed=0), make(name, seed=1)
    inputs = random_inputs(cell, 4, 2)
    before, _ = scan(other, inputs)
    other.load_state_dict(load(save(cell.state_dict())), strict=True)
    (wanted, _), (got, _) = scan(cell, inputs), scan(other, inputs)
    assert torch.equal(got, wanted)
    assert not torch.allclose(before, wanted)


@every_cell
def test_what_is_recorded_changes_nothing(name: str) -> None:
    cell = make(name)
    time, sizes = RAGGED
    lengths = torch.tensor(sizes)
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))
    with pytest.raises(ConfigError, match=r"record: .* shows .*, not 'nonsense'"):
        scan(cell, inputs, record=["nonsense"])
    if not cell.records:
        return
    recorded: dict[str, Tensor] = {}

    def recording(x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs, final, shown = scan(cell, x, state, lengths=lengths, reverse=True, record=cell.records)
        recorded.update(shown)
        return outputs, final

    wanted = measure(cell, inputs, state, with_options(cell, "reference", lengths=lengths, reverse=True))
    close(measure(cell, inputs, state, recording), wanted)
    assert list(recorded) == list(cell.records)
    padding = ~length_mask(lengths, time)
    for values in recorded.values():
        assert values.shape[:2] == (time, len(sizes))
        assert not values[padding].any()
        assert values[~padding].any()
    *_, none = scan(cell, inputs[:0], state, record=cell.records)
    assert {name: values.shape[2:] for name, values in none.items()} == {
        name: values.shape[2:] for name, values in recorded.items()
    }
    assert all(values.shape[:2] == (0, len(sizes)) for values in none.values())


@every_cell
def test_what_is_recorded_is_what_a_step_leaves(name: str) -> None:
    cell = make(name)
    if not cell.records:
        with pytest.raises(ConfigError, match="shows nothing"):
            scan(cell, random_inputs(cell, 1, 1), record=["h"])
        return
    inputs, state = random_inputs(cell, 3, 2), random_state(cell, 2)
    *_, recorded = scan(cell, inputs, state, record=cell.records)
    for t in range(3):
        prepared = map_state(lambda part: part[0], cell.prepare(inputs[t : t + 1]))
        shown: dict[str, Tensor] = {}
        _, state = cell.step(prepared, state, shown)
        assert set(shown) == set(cell.records)
        for key, values in shown.items():
            equal(recorded[key][t], values, 1e-12, key)


@every_cell
def test_arguments_are_left_as_they_came(name: str) -> None:
    cell = make(name)
    time, sizes = RAGGED
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))
    inputs[3, 2] = float("nan")
    resets = torch.zeros(time, len(sizes), dtype=torch.bool)
    resets[1, 2] = resets[4, 1] = True
    lengths = torch.tensor(sizes)
    given = [inputs, lengths, resets, *tensors(state)]
    copies = [part.detach().clone() for part in given]
    for path in paths(cell):
        scan(cell, inputs, state, lengths=lengths, resets=resets, reverse=True, kernels=path)
    for part, copy in zip(given, copies, strict=True):
        assert torch.equal(part.detach().nan_to_num(7), copy.nan_to_num(7))


@every_cell
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_the_type_follows_the_parameters(name: str) -> None:
    wide = make(name).eval()
    inputs = random_inputs(wide, 4, 2)
    wanted, _ = scan(wide, inputs)
    narrow = wide.float()
    outputs, final = scan(narrow, inputs.float())
    assert outputs.dtype == torch.float32
    assert {part.dtype for part in tensors(final)} <= {torch.float32, torch.int64}
    assert torch.allclose(outputs.double(), wanted, atol=1e-5)


@every_cell
def test_a_combinator_is_its_step(name: str) -> None:
    """`whole`, which a scan of a combinator uses, against the definition, with lengths and dropout."""
    cell = make(name)
    if not isinstance(cell, Combinator):
        assert not hasattr(cell, "whole")
        return
    time, sizes = RAGGED
    inputs, state = random_inputs(cell, time, len(sizes)), random_state(cell, len(sizes))

    def held(x: Tensor, state: State) -> tuple[Tensor, State]:
        outputs = []
        for t in range(time):
            live = torch.tensor([t < size for size in sizes])
            output, new = cell.step(torch.where(live[:, None], x[t], 0), state)
            outputs.append(torch.where(live[:, None], output, 0))
            state = map_state(
                lambda a, b, live=live: torch.where(live.view(-1, *[1] * (a.dim() - 1)), a, b), new, state
            )
        return torch.stack(outputs), state

    wanted = measure(cell, inputs, leaves(state), held)
    close(measure(cell, inputs, state, with_options(cell, "auto", lengths=torch.tensor(sizes))), wanted)
