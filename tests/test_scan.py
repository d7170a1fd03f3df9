"""elman.scan: the way that is chosen, truncated BPTT, resets, records, and arguments that do not fit.

What holds for every cell (chunks, padding, streaming, reverse and so on) is in cells/test_conformance.py.
"""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

import contract_cells
from elman.cells import Cell, ElmanCell, ElmanState, GRUCell, GRUState, LSTMCell, LSTMState, Stack, detach
from elman.errors import ConfigError, KernelError, ShapeError
from elman.scan import choose, scan

INPUTS = torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(autouse=True)
def _no_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELMAN_KERNELS", raising=False)


def gru(**options: Any) -> GRUCell:
    torch.manual_seed(0)
    return GRUCell(3, 5, **options).double()


class TestChoice:
    @pytest.mark.parametrize(
        ("cell", "path", "reason"),
        [
            (ElmanCell(3, 2), "torch", "torch has a kernel"),
            (ElmanCell(3, 2, nonlinearity="relu"), "torch", "torch has a kernel"),
            (ElmanCell(3, 2, nonlinearity="sigmoid"), "reference", "no sigmoid network"),
            (GRUCell(3, 2), "torch", "torch has a kernel"),
            (GRUCell(3, 2, reset="before"), "reference", "resets after"),
            (GRUCell(3, 2, update="write"), "reference", "keeps with z"),
            (LSTMCell(3, 2, projection=1, recurrent_bias=False), "torch", "torch has a kernel"),
            (LSTMCell(3, 2, peepholes=True), "reference", "no peepholes"),
            (contract_cells.Jordan(3, 2), "reference", "no kernel for Jordan"),
            (Stack([GRUCell(3, 2)]), "layers", "each of its cells"),
        ],
    )
    def test_auto_takes_torch_where_the_engine_does_not_serve(
        self, cell: Cell, path: str, reason: str
    ) -> None:
        choice = choose(cell.double())
        assert choice.path == path
        assert reason in choice.reason

    def test_a_class_of_ones_own_is_not_taken_for_its_parent(self) -> None:
        class Halved(GRUCell):
            def step(self, x: Tensor, state: GRUState, record: Any = None) -> tuple[Tensor, GRUState]:
                output, state = super().step(x, state, record)
                return output / 2, state

        cell = Halved(3, 5).double()
        assert choose(cell).path == "reference"
        plain = gru()
        cell.load_state_dict(plain.state_dict())
        assert torch.allclose(scan(cell, INPUTS)[0], scan(plain, INPUTS)[0] / 2)

    @pytest.mark.parametrize("mode", ["reference", "torch", "auto"])
    def test_the_environment_is_asked_at_each_call(self, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
        monkeypatch.setenv("ELMAN_KERNELS", mode)
        assert choose(gru()).path == ("reference" if mode == "reference" else "torch")
        assert choose(gru(), "reference").path == "reference"  # an argument goes before the environment
        assert choose(gru(), "torch").path == "torch"

    def test_the_argument_reaches_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        steps: list[int] = []

        class Counted(GRUCell):
            pass

        def count(self: GRUCell, x: Tensor, state: GRUState, record: Any = None) -> tuple[Tensor, GRUState]:
            steps.append(1)
            return original(self, x, state, record)

        original = GRUCell.step
        monkeypatch.setattr(GRUCell, "step", count)
        cell = gru()
        scan(cell, INPUTS)
        scan(cell, INPUTS, kernels="torch")
        scan(Stack([cell]), INPUTS)
        assert not steps, "torch's kernel does not step in Python"
        scan(cell, INPUTS, kernels="reference")
        scan(Stack([cell]), INPUTS, kernels="reference")
        assert len(steps) == 2 * len(INPUTS)
        monkeypatch.setenv("ELMAN_KERNELS", "reference")
        scan(cell, INPUTS)
        assert len(steps) == 3 * len(INPUTS)

    def test_what_is_not_to_be_had_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(
            KernelError, match="LSTMCell: torch's LSTM has no peepholes; use auto, native or reference"
        ):
            scan(LSTMCell(3, 2, peepholes=True).double(), INPUTS, kernels="torch")
        with pytest.raises(KernelError, match=r"GRUCell: .*native.*; use auto, torch or reference"):
            scan(gru(), INPUTS, kernels="native")
        with pytest.raises(KernelError, match="GRUCell: torch's GRU resets after"):
            scan(Stack([gru(), GRUCell(5, 5, reset="before").double()]), INPUTS, kernels="torch")
        with pytest.raises(ConfigError, match="auto, native, torch, reference, got 'fast'"):
            scan(gru(), INPUTS, kernels="fast")
        monkeypatch.setenv("ELMAN_KERNELS", "quick")
        with pytest.raises(ConfigError, match="ELMAN_KERNELS='quick'"):
            scan(gru(), INPUTS)


class TestTruncation:
    """Truncated BPTT: chunks with the state carried and detached."""

    @pytest.mark.parametrize("kernels", ["reference", "torch"])
    def test_detaching_cuts_the_gradient_and_nothing_else(self, kernels: str) -> None:
        cell = gru()
        inputs = INPUTS.clone().requires_grad_()
        first, state = scan(cell, inputs[:2], kernels=kernels)
        second, _ = scan(cell, inputs[2:], detach(state), kernels=kernels)
        whole, _ = scan(cell, inputs, kernels=kernels)
        assert torch.equal(torch.cat([first, second]), whole)
        (cut,) = torch.autograd.grad(second.sum(), inputs)
        assert not cut[:2].any()
        assert cut[2:].all()
        (full,) = torch.autograd.grad(whole[2:].sum(), inputs)
        assert full[:2].any()
        assert torch.allclose(full[2:], cut[2:])

    @pytest.mark.parametrize("kernels", ["reference", "torch"])
    def test_a_reset_cuts_the_gradient_of_its_element(self, kernels: str) -> None:
        inputs = INPUTS.clone().requires_grad_()
        resets = torch.zeros(4, 2, dtype=torch.bool)
        resets[2, 0] = True
        outputs, _ = scan(gru(), inputs, resets=resets, kernels=kernels)
        (slope,) = torch.autograd.grad(outputs[2:].sum(), inputs)
        assert not slope[:2, 0].any()
        assert slope[:2, 1].all()
        assert slope[2:].all()


class TestResets:
    def test_a_reset_at_the_first_step_discards_the_given_state(self) -> None:
        cell, state = gru(), GRUState(torch.ones(2, 5, dtype=torch.float64))
        resets = torch.zeros(4, 2, dtype=torch.bool)
        resets[0, 1] = True
        outputs, _ = scan(cell, INPUTS, state, resets=resets)
        assert torch.allclose(outputs[:, 1], scan(cell, INPUTS)[0][:, 1])
        assert torch.allclose(outputs[:, 0], scan(cell, INPUTS, state)[0][:, 0])

    def test_backwards_the_reset_step_is_still_the_first_of_its_sequence(self) -> None:
        cell = gru()
        resets = torch.zeros(4, 2, dtype=torch.bool)
        resets[1] = True
        outputs, state = scan(cell, INPUTS, resets=resets, reverse=True)
        late, _ = scan(cell, INPUTS[2:], reverse=True)
        early, last = scan(cell, INPUTS[:2], reverse=True)
        assert torch.allclose(outputs, torch.cat([early, late]))
        assert torch.allclose(state.h, last.h)

    @pytest.mark.parametrize("reverse", [False, True])
    def test_resets_in_the_padding_do_nothing(self, reverse: bool) -> None:
        cell, state = gru(), GRUState(torch.ones(2, 5, dtype=torch.float64))
        lengths = torch.tensor([2, 0])
        resets = torch.zeros(4, 2, dtype=torch.bool)
        resets[2:, 0] = resets[:, 1] = True
        for kernels in ("reference", "torch"):
            options: dict[str, Any] = {"lengths": lengths, "reverse": reverse, "kernels": kernels}
            outputs, final = scan(cell, INPUTS, state, resets=resets, **options)
            wanted, held = scan(cell, INPUTS, state, **options)
            assert torch.allclose(outputs, wanted)
            assert torch.allclose(final.h, held.h)
            assert torch.equal(final.h[1], state.h[1])

    def test_no_resets_and_no_time(self) -> None:
        cell = gru()
        none = torch.zeros(4, 2, dtype=torch.bool)
        assert torch.equal(scan(cell, INPUTS, resets=none)[0], scan(cell, INPUTS)[0])
        outputs, _ = scan(cell, INPUTS[:0], resets=none[:0])
        assert outputs.shape == (0, 2, 5)
        outputs, _ = scan(cell, INPUTS[:, :0], resets=none[:, :0])
        assert outputs.shape == (4, 0, 5)


class TestRecords:
    def test_names_are_given_as_asked_and_in_their_own_time(self) -> None:
        cell = gru()
        outputs, state, recorded = scan(
            cell, INPUTS, lengths=torch.tensor([3, 1]), reverse=True, record=["z", "n"]
        )
        assert list(recorded) == ["z", "n"]
        h = torch.zeros(5, dtype=torch.float64)
        for t in (2, 1, 0):
            z, n = recorded["z"][t, 0], recorded["n"][t, 0]
            h = z * h + (1 - z) * n
            assert torch.allclose(outputs[t, 0], h)
        assert torch.allclose(state.h[0], h)
        assert not recorded["z"][3].any()
        assert not recorded["z"][1:, 1].any()

    def test_records_over_resets(self) -> None:
        cell = gru()
        resets = torch.tensor([[False, True], [False, False], [True, False], [False, True]])
        _, _, recorded = scan(cell, INPUTS, resets=resets, record=["r"])
        assert recorded["r"].shape == (4, 2, 5)
        *_, fresh = scan(cell, INPUTS[2:], record=["r"])
        assert torch.allclose(recorded["r"][2:, 0], fresh["r"][:, 0])

    def test_gradients_pass_through_what_is_recorded(self) -> None:
        cell = gru()
        _, _, recorded = scan(cell, INPUTS, record=["z"])
        recorded["z"][1].sum().backward()
        assert cell.weight_hh.grad is not None
        assert cell.weight_hh.grad.any()

    def test_an_unknown_name_is_told(self) -> None:
        with pytest.raises(ConfigError, match="GRUCell shows r, z, n, not 'i'"):
            scan(gru(), INPUTS, record=["z", "i"])
        with pytest.raises(ConfigError, match="Plain shows nothing, not 'h'"):
            scan(contract_cells.Plain(3, 2).double(), INPUTS, record=["h"])
        with pytest.raises(ConfigError, match=r"Stack shows 0\.r, 0\.z, 0\.n, not 'r'"):
            scan(Stack([gru()]), INPUTS[:0], record=["r"])


class Look(NamedTuple):
    """Not ElmanState, though it looks the same."""

    h: Tensor


class TestArgumentsThatDoNotFit:
    @pytest.mark.parametrize(
        ("inputs", "told"),
        [
            (torch.zeros(4, 2, 4).double(), r"must be \(T, N, 3\) for this GRUCell, got \(4, 2, 4\)"),
            (torch.zeros(4, 3).double(), r"got \(4, 3\)"),
            (torch.zeros(4, 2, 3), r"inputs are torch\.float32 on cpu, .* torch\.float64 on cpu"),
            (torch.zeros(4, 2, 3, device="meta").double(), "on meta, the cell's parameters .* on cpu"),
        ],
    )
    def test_inputs(self, inputs: Tensor, told: str) -> None:
        with pytest.raises(ShapeError, match=told):
            scan(gru(), inputs)

    @pytest.mark.parametrize(
        ("lengths", "told"),
        [
            (torch.tensor([4, 5]), "element 1 is 5, expected 0 to 4"),
            (torch.tensor([4]), r"expected shape \(2,\)"),
            (torch.tensor([4.0, 1.0]), "expected integers"),
        ],
    )
    def test_lengths(self, lengths: Tensor, told: str) -> None:
        with pytest.raises(ShapeError, match=told):
            scan(gru(), INPUTS, lengths=lengths)

    @pytest.mark.parametrize(
        ("resets", "told"),
        [
            (torch.zeros(4, 2), r"must be bool \(4, 2\), got torch\.float32 \(4, 2\)"),
            (torch.zeros(2, 4, dtype=torch.bool), r"got torch\.bool \(2, 4\)"),
        ],
    )
    def test_resets(self, resets: Tensor, told: str) -> None:
        with pytest.raises(ShapeError, match=told):
            scan(gru(), INPUTS, resets=resets)

    @pytest.mark.parametrize(
        ("state", "told"),
        [
            (ElmanState(torch.zeros(2, 3).double()), r"a state of ElmanCell must be \(2, 5\), got \(2, 3\)"),
            (ElmanState(torch.zeros(1, 5).double()), r"must be \(2, 5\), got \(1, 5\)"),
            (torch.zeros(2, 5).double(), "with ElmanState where it has Tensor"),
            (torch.zeros(1, 2, 5).double(), "with ElmanState where it has Tensor"),
            ((torch.zeros(2, 5).double(),), "with ElmanState where it has tuple"),
            (Look(torch.zeros(2, 5).double()), "with ElmanState where it has Look"),
            (GRUState(torch.zeros(2, 5).double()), "with ElmanState where it has GRUState"),
            (ElmanState([1.0] * 5), "with Tensor where it has list"),  # pyrefly: ignore[bad-argument-type]
            (7, "with ElmanState where it has int"),
        ],
    )
    @pytest.mark.parametrize("kernels", ["reference", "torch"])
    def test_state(self, state: Any, told: str, kernels: str) -> None:
        with pytest.raises(ShapeError, match=told):
            scan(ElmanCell(3, 5).double(), INPUTS, state, kernels=kernels)

    def test_state_of_other_depth(self) -> None:
        stack = Stack([gru(), GRUCell(5, 5).double()])
        state = stack.initial_state(2)
        with pytest.raises(ShapeError, match="with tuple where it has tuple"):
            scan(stack, INPUTS, state._replace(layers=state.layers[:1]))
        with pytest.raises(ShapeError, match=r"must be \(2,\), got \(3,\)"):
            scan(stack, INPUTS, state._replace(step=torch.zeros(3, dtype=torch.int64)))


class TestComputing:
    """`compute`: torch's kernels in a narrower type than that of the parameters."""

    @pytest.mark.parametrize(
        "make",
        [lambda: LSTMCell(3, 16), lambda: GRUCell(3, 16), lambda: ElmanCell(3, 16, nonlinearity="relu")],
    )
    @pytest.mark.parametrize("lengths", [None, torch.tensor([4, 1])])
    def test_bfloat16_is_near_and_types_stay(self, make: Any, lengths: Tensor | None) -> None:
        torch.manual_seed(0)
        cell, inputs = make(), INPUTS.float().requires_grad_()
        wanted, _ = scan(cell, inputs, lengths=lengths)
        got, state = scan(cell, inputs, lengths=lengths, compute=torch.bfloat16)
        assert {part.dtype for part in (got, *state)} == {torch.float32}
        error = float((got - wanted).detach().abs().max())
        assert 0 < error < 0.02  # bfloat16 keeps 8 bits: 0.004 of numbers near 1, a few times over
        got.sum().backward()
        assert inputs.grad is not None
        assert inputs.grad.dtype == torch.float32
        assert all(p.grad is not None and p.grad.isfinite().all() for p in cell.parameters())

    def test_only_kernels_have_it(self) -> None:
        with pytest.raises(KernelError, match=r"only kernels compute in torch\.bfloat16"):
            scan(gru(reset="before"), INPUTS, compute=torch.bfloat16)
        with pytest.raises(KernelError, match=r"use torch\.float64"):
            scan(gru(), INPUTS, compute=torch.bfloat16, kernels="reference")
        same, _ = scan(gru(reset="before"), INPUTS, compute=torch.float64)
        assert torch.equal(same, scan(gru(reset="before"), INPUTS)[0])
        assert scan(gru(), INPUTS[:0], compute=torch.bfloat16)[0].shape == (0, 2, 5)


def test_autocast_serves_lengths_too() -> None:
    """Under autocast the outputs of the layer before are narrower than the parameters: no error, and near."""
    torch.manual_seed(0)
    cells: list[Cell] = [LSTMCell(3, 8), GRUCell(3, 8), ElmanCell(3, 8), LSTMCell(3, 8, peepholes=True)]
    for cell in cells:
        inputs = INPUTS.float()
        wanted, _ = scan(cell, inputs, lengths=torch.tensor([4, 2]))
        with torch.autocast("cpu", torch.bfloat16):
            got, _ = scan(cell, inputs.bfloat16(), lengths=torch.tensor([4, 2]))
        assert float((got.float() - wanted).detach().abs().max()) < 0.02


def test_a_state_may_come_from_anywhere() -> None:
    """A state in a leaf that learns, in a view that is not contiguous, or expanded from one row."""
    cell = LSTMCell(3, 4).double()
    rows = torch.randn(2, 4, dtype=torch.float64)
    learned = torch.nn.Parameter(rows[0])
    made = LSTMState(learned.expand(2, 4), rows.T.contiguous().T)
    plain = LSTMState(rows[:1].repeat(2, 1), rows.clone())
    for kernels in ("reference", "torch"):
        outputs, _ = scan(cell, INPUTS, made, lengths=torch.tensor([4, 2]), kernels=kernels)
        assert torch.allclose(outputs, scan(cell, INPUTS, plain, lengths=torch.tensor([4, 2]))[0])
        (slope,) = torch.autograd.grad(outputs.sum(), learned)
        assert slope.all()
