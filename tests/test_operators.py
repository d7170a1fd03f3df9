"""The scan as an operator: torch.compile and torch.export see one graph, with the numbers of eager."""

import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import contract_cells
import elman
from elman import kernels, operators
from elman.cells import Cell, ElmanCell, GRUCell, LSTMCell
from elman.errors import KernelError, ShapeError
from elman.scan import scan

pytestmark = pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")


class Whole(nn.Module):
    """A scan and a product after it."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.out = nn.Linear(cell.output_size, 2)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        outputs, state = scan(self.cell, x, lengths=lengths)
        return self.out(outputs), state


class Layer(nn.Module):
    """A layer with lengths."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Any]:
        return self.layer(x, lengths=lengths)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "lstm cell": lambda: Whole(LSTMCell(3, 5, peepholes=True)),
    "cho": lambda: Whole(GRUCell(3, 5, reset="before")),
    "user's": lambda: Whole(contract_cells.NormLSTM(3, 5)),
    "lstm": lambda: Layer(elman.LSTM(3, 5, num_layers=2, bidirectional=True)),
    "gru": lambda: Layer(elman.GRU(3, 5, batch_first=True)),
    "rnn": lambda: Layer(elman.RNN(3, 5, bidirectional=True, shared=True)),
}


def numbers(module: Any, own: nn.Module, x: Tensor, lengths: Tensor | None) -> list[Tensor]:
    x = x.clone().requires_grad_()
    outputs, state = module(x, lengths)
    parts = [outputs, *(state if isinstance(state, tuple) else (state,))]
    weighted = [part * torch.linspace(-1, 1, part.numel()).reshape(part.shape) for part in parts]
    loss = torch.stack([part.sum() for part in weighted]).sum()
    return [*(part.detach() for part in parts), *torch.autograd.grad(loss, [x, *own.parameters()])]


@pytest.fixture(autouse=True)
def _fresh() -> Any:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", MODULES)
def test_compiled_in_one_graph(name: str, backend: str) -> None:
    torch.manual_seed(0)
    module, x = MODULES[name](), torch.randn(4, 4, 3)
    compiled = torch.compile(module, backend=backend, fullgraph=True)
    for lengths in (None, torch.tensor([4, 0, 3, 1])):
        wanted = numbers(module, module, x, lengths)
        for _ in range(2):
            got = numbers(compiled, module, x, lengths)
            for one, other in zip(got, wanted, strict=True):
                torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert not operators._runs, "what forward kept for backward is freed with the graph"
    with torch.no_grad():
        torch.testing.assert_close(compiled(x)[0], module(x)[0])
    with pytest.raises(ShapeError, match="lengths: element 1 is 9"):
        compiled(x, torch.tensor([1, 9, 0, 0]))


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("name", ["cho", "lstm"])
def test_exported_with_any_length(name: str, strict: bool) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().eval()
    time = torch.export.Dim("time", min=2, max=1000)
    program = torch.export.export(
        module, (torch.randn(6, 4, 3), torch.tensor([6, 2, 0, 5])),
        dynamic_shapes=({0: time}, None), strict=strict,
    )  # fmt: skip
    assert any("elman.scan" in str(node.target) for node in program.graph.nodes)
    programs = [program]
    if name == "lstm":  # torch saves no program that gives out a NamedTuple, as a cell's state is
        file = io.BytesIO()
        torch.export.save(program, file)
        file.seek(0)
        programs.append(torch.export.load(file))  # in the same process, which has the cell
    for steps in (6, 3, 17):
        x, lengths = torch.randn(steps, 4, 3), torch.tensor([steps, 0, 2, 1])
        wanted, _ = module(x, lengths)
        for one in programs:
            torch.testing.assert_close(one.module()(x, lengths)[0], wanted)


@pytest.mark.parametrize("train", [False, True])
def test_the_operator_keeps_torchs_rules(train: bool) -> None:
    torch.manual_seed(0)
    cell = ElmanCell(3, 4)
    place = operators.key(cell, False, None)
    x, state = torch.randn(5, 2, 3), torch.randn(2, 4)
    parameters = [p.detach().clone() for p in cell.parameters()]
    for tensor in (x, state, *parameters):
        tensor.requires_grad_(train)
    for lengths in (None, torch.tensor([5, 2])):
        torch.library.opcheck(
            torch.ops.elman.scan.default, (x, parameters, [state], lengths, place, 4, True, False, train)
        )


def test_a_program_without_its_cell_says_so() -> None:
    with pytest.raises(KernelError, match="no cell under the program's key"):
        operators.scan(torch.randn(2, 1, 3), [], [torch.zeros(1, 4)], None, 1, 4, False, False, False)


def test_what_the_engine_cannot_read_is_left_to_torch() -> None:
    assert operators.key(contract_cells.Plain(3, 5), True, None) == 0
    assert operators.key(GRUCell(3, 5), True, "torch") == 0
