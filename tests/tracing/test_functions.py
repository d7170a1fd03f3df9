"""What users write in `step`: each function, traced, differentiated and run in float64, against autograd;
natively in float32; and what cannot be read, with the reason in words.

`step(cell, x, s)` has x (N, 4), s (N, 4), cell.weight (4, 4), cell.wide (8, 8), cell.gain (4,).
"""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elman import kernels, native_path
from elman.cells import Cell
from elman.scan import choose, scan
from elman.tracing import Untraceable, trace
from interpreter import compare_with_autograd

Step = Callable[[Any, Any, Any], Any]


class Given(Cell):
    """A cell with one tensor as state that steps as it is told."""

    def __init__(self, step: Step) -> None:
        super().__init__(4, 4)
        self.weight = torch.nn.Parameter(torch.randn(4, 4))
        self.wide = torch.nn.Parameter(torch.randn(8, 8))
        self.gain = torch.nn.Parameter(torch.randn(4))
        self.given = step

    def initial_state(self, batch_size: int) -> Tensor:
        return self.zeros(batch_size, 4)

    def step(self, x: Tensor, state: Tensor, record: Any = None) -> tuple[Tensor, Tensor]:
        return self.given(self, x, state)


def in_place(c: Any, x: Any, s: Any) -> tuple[Any, Any]:
    h = x + s
    h += c.gain
    h.mul_(2).sigmoid_()
    a, b = F.linear(h, c.wide[:, :4]), x * s
    a.tanh_()
    b -= 0.5
    torch.relu_(b)
    return a[:, :4] + F.relu(b + s, inplace=True), h


def folded(c: Any, x: Any, s: Any) -> tuple[Any, Any]:
    a, b = F.linear(torch.cat([x, s], 1), c.wide, c.wide[0]).view(-1, 2, 4).tanh().unbind(1)
    again = (x @ c.weight).unflatten(-1, (2, 2)).sigmoid().flatten(1)
    return a * again, b + F.linear(x, c.wide[:, :4]).reshape(len(x), 2, 4)[:, 1]


def masks(c: Any, x: Any, s: Any) -> tuple[Any, Any]:
    keep = (x > 0.1) & (s <= x)
    return torch.where(keep, x * s, c.gain * s), (s * ~keep).masked_fill(x < 0, 0.25) + keep.to(x.dtype) * x


STEPS: dict[str, Step] = {
    "lerp": lambda c, x, s: (torch.lerp(s, x, torch.sigmoid(c.weight[0])), x.lerp(s, 0.25) * x),
    "addcmul": lambda c, x, s: (torch.addcmul(x, s, c.weight[1], value=2.0).tanh(), -s.addcdiv(x, c.gain)),
    "addmm": lambda c, x, s: (
        torch.addmm(c.weight[0], s, c.weight) / (1 + x.exp()),
        torch.addmm(x, s, c.weight.t(), beta=0.5, alpha=2),
    ),
    "matmul": lambda c, x, s: ((s @ c.weight.T).square() - x, (s.mm(c.weight) * x).sigmoid()),
    "alpha": lambda c, x, s: (torch.sub(x, s, alpha=0.5), torch.log(1 + torch.exp(s))),
    "numbers": lambda c, x, s: (3 - (x / 4 - s) * 2, torch.rsub(x, s)),
    "signs": lambda c, x, s: (torch.stack([c.weight]).sum() * x + s.neg(), (-x) * (-s)),
    "tensors": lambda c, x, s: (
        torch.cat([t.tanh() for t in (c.weight[0, :2], c.weight[1, :2])]) + x + s,
        x * 2,
    ),
    "cat": lambda c, x, s: (F.linear(torch.cat([x, s], -1), c.wide).split([3, 5], -1)[1][:, 1:] + x, s * x),
    "cat of parts": lambda c, x, s: (
        torch.cat([x[:, 2:] + s[:, :2], s[:, 2:] * x.narrow(-1, 0, 2)], 1) @ c.weight,
        s + torch.cat((x[..., 3:], x[:, :3]), -1) @ c.weight,
    ),
    "parts of the state": lambda c, x, s: (
        (s[:, :2] * s[:, 2:]) @ c.wide[:2, :4] + x,
        torch.cat([s[:, 2:] + x[:, :2], s[:, :2] * x[:, 2:]], -1),
    ),
    "in place": in_place,
    "folded": folded,
    "masks": masks,
    "clamp": lambda c, x, s: (x.clamp(-0.5, 0.5) + s.clamp(min=0), torch.clamp(s * x, max=0.3).clamp_min(-1)),
    "maximum": lambda c, x, s: (torch.maximum(x, s), torch.minimum(x, 0.5 * s) + torch.maximum(x, x * 1)),
    "powers": lambda c, x, s: (x**3 + (1 + x**2) ** 0.5, torch.rsqrt(1 + s.pow(2)) + (s**2 + 2) ** -1 * x),
    "softplus": lambda c, x, s: (F.softplus(x * 30) + F.logsigmoid(s), F.softplus(s, beta=2) + F.mish(x)),
    "smooth": lambda c, x, s: (F.gelu(x) + F.silu(s), F.gelu(s, approximate="tanh") + torch.erf(x)),
    "kinks": lambda c, x, s: (F.leaky_relu(x, 0.2) + F.elu(s * 100), F.relu6(9 * s) + F.hardtanh(x, -1, 0.5)),
    "hard": lambda c, x, s: (F.hardsigmoid(4 * x) + F.hardswish(4 * s), F.softsign(s) + F.tanhshrink(x)),
    "sums": lambda c, x, s: (
        x - x.mean(-1, keepdim=True) + s.sum(1).unsqueeze(-1),
        s / s.norm(dim=-1)[:, None] + x,
    ),
    "variance": lambda c, x, s: (x * s.var(-1, keepdim=True), x + s.std(-1, unbiased=False, keepdim=True)),
    "layer norm": lambda c, x, s: (F.layer_norm(x + s, (4,), c.gain), F.layer_norm(x, (4,)) + s.tanh()),
    "softmax": lambda c, x, s: (F.softmax(50 * x + s, -1), torch.log_softmax(s + x, dim=-1)),
    "units": lambda c, x, s: (x[:, :1] * s + (s @ c.weight[:, :1]), x + (s @ c.weight)[:, 3:].expand(-1, 4)),
    "rows": lambda c, x, s: (
        x / x.sum(-1, keepdim=True) * c.gain,
        (s.sum(-1, keepdim=True) * c.gain[0] + x).tanh(),
    ),
    "same": lambda c, x, s: (
        F.dropout(x, training=False).clone() + s.contiguous().to(x.dtype),
        x.type_as(s) * s,
    ),
}


# torch's own derivative of these has a sixth in float32.
@pytest.mark.parametrize("name", [name for name in STEPS if name != "hard"])
def test_it_computes_what_autograd_does(name: str) -> None:
    torch.manual_seed(0)
    compare_with_autograd(Given(STEPS[name]).double(), time=4, batch=3)


@pytest.mark.skipif(not kernels.native_available(), reason="there is no native module here")
@pytest.mark.parametrize("name", STEPS)
def test_it_runs_natively(name: str) -> None:
    torch.manual_seed(0)
    cell = Given(STEPS[name])
    assert choose(cell).path == "native", choose(cell).reason
    exact = Given(STEPS[name]).double()
    exact.load_state_dict({key: value.double() for key, value in cell.state_dict().items()})
    inputs, state = torch.randn(3, 3, 4).requires_grad_(), torch.randn(3, 4)
    wide = inputs.detach().double().requires_grad_()
    outputs, final = scan(cell, inputs, state, kernels="native")
    wanted, wanted_final = scan(exact, wide, state.double(), kernels="reference")
    (outputs.sum() + final.square().sum()).backward()
    (wanted.sum() + wanted_final.square().sum()).backward()
    pairs = [(outputs, wanted), (final, wanted_final), (inputs.grad, wide.grad)]
    pairs += [
        (own.grad, other.grad) for own, other in zip(cell.parameters(), exact.parameters(), strict=True)
    ]
    for got, want in pairs:
        if got is not None and want is not None:
            torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=2e-4)


def view_changed(c: Any, x: Any, s: Any) -> tuple[Any, Any]:
    h = x + s
    h[:, :2].tanh_()
    return h, s


REFUSED: list[tuple[Step, str]] = [
    (lambda c, x, s: (x.cumsum(-1) + s,) * 2, "uses a tensor's cumsum"),
    (lambda c, x, s: (F.dropout(x + s),) * 2, "uses torch's dropout.*elman.counter"),
    (lambda c, x, s: (x if (s > 0).all() else s,) * 2, "uses a tensor's all"),
    (lambda c, x, s: (x if s else s,) * 2, "decides by the value"),
    (lambda c, x, s: (x.add_(s),) * 2, "changes its input in place"),
    (lambda c, x, s: (s.mul_(x),) * 2, "changes its state in place"),
    (view_changed, "shares its storage was changed in place"),
    (lambda c, x, s: (x @ s,) * 2, "multiplies two tensors"),
    (lambda c, x, s: (x + torch.ones(len(c.weight), 4), s), "not one row"),
    (lambda c, x, s: (x**2.5 + s,) * 2, r"the power 2\.5"),
    (lambda c, x, s: (c.weight, s), "does not depend on the input"),
    (lambda c, x, s: (x[:, :3], s), r"returns vectors of \[3, 4\]"),
    (lambda c, x, s: (torch.cat([x[:, :2], s[:, 2:]], -1), s + x), "gives out a vector that it does not"),
    (lambda c, x, s: (x.mean(0) + s,) * 2, "works along axis 0"),
    (lambda c, x, s: (x.sum() + s,) * 2, "reduces other axes"),
    (lambda c, x, s: (x[:, 0] + s,) * 2, "indexes a tensor otherwise"),
    (lambda c, x, s: (x * float(s), s), "takes a number out"),
    (lambda c, x, s: (s, x), "gives out a vector that it does not compute"),
]


@pytest.mark.parametrize(("step", "reason"), REFUSED)
def test_what_cannot_be_read_is_said_with_the_operation_and_the_line(step: Step, reason: str) -> None:
    cell = Given(step)
    with pytest.raises(Untraceable) as error:
        native_path.read(cell, torch.zeros(2, 3, 4), cell.initial_state(3))
    words, _, line = str(error.value).partition(" (test_functions.py, line ")
    assert re.search(reason, words), words
    if line:
        assert int(line.split(":")[0]) >= step.__code__.co_firstlineno


def test_a_mask_beside_the_products_of_prepare() -> None:
    """What `prepare` makes without the inputs is a tensor of its own; it is drawn once."""

    mask, drawn = torch.randint(0, 2, (5, 3, 4)).double(), []

    class Masked(Given):
        def prepare(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
            drawn.append(1)
            return F.linear(inputs, self.weight), mask

        def step(self, x: Any, state: Tensor, record: Any = None) -> tuple[Tensor, Tensor]:
            new, keep = x
            h = keep * state + (1 - keep) * torch.tanh(new + F.linear(state, self.weight))
            return h, h

    cell = Masked(lambda c, x, s: (x, s)).double()
    traced = trace(cell, torch.zeros(5, 3, 4, dtype=torch.float64), cell.initial_state(3))
    assert drawn == [1]
    assert any(node.op == "column" for node in traced.graph.nodes if node.args and node.args[0].op == "input")
    compare_with_autograd(cell, time=5, batch=3)
