"""Drawing symbols from a language model, one stream: elman's streams against torch and ONNX Runtime.

    python benchmarks/generation.py [--threads 1] [--shape 1,128,65 ...] [--rounds 7] [--weights float32 ...]

Layers, H, V: LSTMs of H units on one-hot input, a projection to V symbols, softmax, and a draw at
temperature 1; what is drawn is the next input. All rivals have the same weights and run in turn, round after
round, each for a fixed number of symbols. Figures: whole symbols a second, the median, and elman's ratios to
it within a round.

    nn.LSTM      torch.nn.LSTM and torch.nn.Linear, step by step
    best torch   a row of W_ih in place of the one-hot product, one product a layer over [x, h], by
                 torch.addmv in inference mode
    ONNX         one step as a graph in ONNX Runtime, of LSTM nodes or of products, whichever is faster
    int8 LSTM    the first with torch's dynamic quantisation to int8
    int8 best    the second with it

ONNX Runtime and onnx are needed, beside what elman needs.
"""

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from timing import Times, conditions, interleaved, table
from torch import Tensor, nn

from elman.cells import LSTMCell
from elman.models.language_model import LanguageModel
from elman.streaming import PRECISIONS

Generate = Callable[[int], object]
"""Draws so many symbols."""

SHAPES = ((1, 128, 65), (2, 256, 96), (1, 512, 256), (3, 512, 256))
SECONDS = 0.12
"""Of one rival in one round."""


def draw(logits: Tensor) -> Tensor:
    """One symbol by p_k / e_k, e_k exponential: the fastest draw that torch has."""
    p = logits.softmax(-1)
    return (p / torch.empty_like(p).exponential_()).argmax(-1)


class Nn:
    """torch.nn.LSTM, step by step."""

    def __init__(self, model: LanguageModel, *, int8: bool = False) -> None:
        layers, symbols = len(model.stack.cells), model.vocabulary
        lstm = nn.LSTM(symbols, model.stack.output_size, layers)
        for layer, cell in enumerate(model.stack.cells):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                getattr(lstm, f"{name}_l{layer}").data.copy_(getattr(cell, name))
        self.rows = torch.eye(symbols)[:, None, None]
        self.net: Any = nn.ModuleList([lstm, model.head]).eval()
        if int8:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.net = torch.ao.quantization.quantize_dynamic(
                    self.net, {nn.LSTM, nn.Linear}, dtype=torch.qint8
                )

    def __call__(self, count: int) -> int:
        lstm, head = self.net
        symbol, state = 0, None
        with torch.inference_mode():
            for _ in range(count):
                output, state = lstm(self.rows[symbol], state)
                symbol = int(draw(head(output[0, 0][None])[0]))
        return symbol


class Best:
    """The same by hand: a look-up, one product a layer, nothing allocated that can be kept."""

    def __init__(self, model: LanguageModel) -> None:
        cells = list(model.stack.cells)
        self.hidden = model.stack.output_size
        self.rows = (cells[0].weight_ih.T + cells[0].bias_ih + cells[0].bias_hh).detach().contiguous()
        self.weights = [cells[0].weight_hh.detach()]
        self.weights += [torch.cat([cell.weight_ih, cell.weight_hh], 1).detach() for cell in cells[1:]]
        self.biases = [(cell.bias_ih + cell.bias_hh).detach() for cell in cells]
        self.head = model.head.weight.detach(), model.head.bias.detach()
        self.products: list[Callable[[Tensor, Tensor], Tensor]] = [
            lambda bias, x, weight=weight: torch.addmv(bias, weight, x) for weight in self.weights
        ]

    def __call__(self, count: int) -> int:
        hidden, symbol, h = self.hidden, 0, torch.empty(0)
        layers = len(self.products)
        xs = [torch.zeros(hidden if layer == 0 else 2 * hidden) for layer in range(layers)]
        memory = [torch.zeros(hidden) for _ in range(layers)]
        with torch.inference_mode():
            for _ in range(count):
                bias = self.rows[symbol]
                for layer in range(layers):
                    x, c = xs[layer], memory[layer]
                    gates = self.products[layer](bias, x).view(4, hidden)
                    i, f = gates[:2].sigmoid_()
                    c.mul_(f).addcmul_(i, gates[2].tanh_())
                    h = gates[3].sigmoid_() * c.tanh()
                    x[-hidden:] = h
                    if layer + 1 < layers:
                        xs[layer + 1][:hidden] = h
                        bias = self.biases[layer + 1]
                symbol = int(draw(self.project(h)))
        return symbol

    def project(self, h: Tensor) -> Tensor:
        return torch.addmv(self.head[1], self.head[0], h)


class BestInt8(Best):
    """Its products by torch's dynamically quantised linear layers."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__(model)
        packed = [quantised(weight) for weight in (*self.weights, self.head[0])]
        self.products = [lambda bias, x, one=one: one(x[None])[0] + bias for one in packed[:-1]]
        self.last = packed[-1]

    def project(self, h: Tensor) -> Tensor:
        return self.last(h[None])[0] + self.head[1]


def quantised(weight: Tensor) -> Callable[[Tensor], Tensor]:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight.data.copy_(weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(linear), dtype=torch.qint8)[0]


class Onnx:
    """One step as a graph: token, states -> probabilities, states."""

    def __init__(self, model: LanguageModel, threads: int, *, nodes: bool) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            onnx_step(model, nodes=nodes), options, providers=["CPUExecutionProvider"]
        )
        shape = (1, 1, model.stack.output_size) if nodes else (1, model.stack.output_size)
        self.zero = [np.zeros(shape, np.float32) for _ in range(2 * len(model.stack.cells))]
        self.names = [f"s{place}" for place in range(len(self.zero))]
        self.random = np.random.default_rng(0)

    def __call__(self, count: int) -> int:
        run, names = self.session.run, self.names
        token, states = np.zeros(1, np.int64), self.zero
        for _ in range(count):
            p, *states = run(None, {"token": token, **dict(zip(names, states, strict=True))})
            cumulative = np.asarray(p)[0].cumsum()
            token[0] = min(
                cumulative.searchsorted(self.random.random() * cumulative[-1]), len(cumulative) - 1
            )
        return int(token[0])


def onnx_step(model: LanguageModel, *, nodes: bool) -> bytes:
    """nodes: by ONNX's LSTM, else by products and pointwise nodes."""
    hidden, cells = model.stack.output_size, list(model.stack.cells)
    constants: list[Any] = []
    graph: list[Any] = []
    names = (f"t{place}" for place in itertools.count())

    def const(value: Tensor) -> str:
        name = f"k{len(constants)}"
        constants.append(numpy_helper.from_array(value.detach().contiguous().numpy(), name))
        return name

    def node(kind: str, inputs: Sequence[str], outputs: int | Sequence[str] = 1, **attributes: Any) -> Any:
        out = [next(names) for _ in range(outputs)] if isinstance(outputs, int) else list(outputs)
        graph.append(helper.make_node(kind, list(inputs), out, **attributes))
        return out if len(out) > 1 else out[0]

    iofc = torch.cat([torch.arange(hidden) + gate * hidden for gate in (0, 3, 1, 2)])
    x = "token"
    if nodes:
        row = node("Gather", [const(torch.eye(model.vocabulary)), x])
        x = node("Unsqueeze", [row, const(torch.tensor([0]))])
    for layer, cell in enumerate(cells):
        h, c = f"s{2 * layer}", f"s{2 * layer + 1}"
        after = [f"n{2 * layer}", f"n{2 * layer + 1}"]
        if nodes:
            bias = torch.cat([cell.bias_ih[iofc], cell.bias_hh[iofc]])[None]
            weights = [const(cell.weight_ih[iofc][None]), const(cell.weight_hh[iofc][None]), const(bias)]
            graph.append(helper.make_node("LSTM", [x, *weights, "", h, c], ["", *after], hidden_size=hidden))
            x = after[0]
            continue
        bias = cell.bias_ih + cell.bias_hh
        if layer == 0:
            row = node("Gather", [const(cell.weight_ih.T + bias), x])
            gates = node("Add", [row, node("MatMul", [h, const(cell.weight_hh.T)])])
        else:
            both = node("Concat", [x, h], axis=1)
            gates = node("Gemm", [both, const(torch.cat([cell.weight_ih, cell.weight_hh], 1).T), const(bias)])
        i, f, g, o = node("Split", [gates], 4, axis=1, num_outputs=4)
        i, f, o = (node("Sigmoid", [gate]) for gate in (i, f, o))
        kept, new = node("Mul", [f, c]), node("Mul", [i, node("Tanh", [g])])
        node("Add", [kept, new], [after[1]])
        node("Mul", [o, node("Tanh", [after[1]])], [after[0]])
        x = after[0]
    top = node("Squeeze", [x, const(torch.tensor([0]))]) if nodes else x
    logits = node("Gemm", [top, const(model.head.weight.T), const(model.head.bias)])
    node("Softmax", [logits], ["p"], axis=-1)
    return finished(model, graph, constants, [1, 1, hidden] if nodes else [1, hidden])


def finished(model: LanguageModel, graph: list[Any], constants: list[Any], shape: list[int]) -> bytes:
    """The graph with its inputs and outputs: token, states -> probabilities, states of that shape."""
    states = 2 * len(model.stack.cells)
    info = helper.make_tensor_value_info
    inputs = [info("token", TensorProto.INT64, [1])]
    inputs += [info(f"s{k}", TensorProto.FLOAT, shape) for k in range(states)]
    outputs = [info("p", TensorProto.FLOAT, [1, model.vocabulary])]
    outputs += [info(f"n{k}", TensorProto.FLOAT, shape) for k in range(states)]
    made = helper.make_model(
        helper.make_graph(graph, "step", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    made.ir_version = 9
    onnx.checker.check_model(made)
    return made.SerializeToString()


def elman(model: LanguageModel, weights: Any) -> Generate:
    streamer = model.stream(weights)
    with torch.no_grad():
        logits, state = model.prior(1), model.initial_state(1)
    return lambda count: streamer.generate(logits, state, count)


def rivals(model: LanguageModel, threads: int, precisions: Sequence[Any]) -> Iterator[tuple[str, Generate]]:
    yield "nn.LSTM", Nn(model)
    yield "best torch", Best(model)
    kinds = [Onnx(model, threads, nodes=nodes) for nodes in (True, False)]
    yield "ONNX", min(kinds, key=lambda kind: seconds(kind, 200))
    if "int8" in precisions:
        yield "int8 LSTM", Nn(model, int8=True)
        yield "int8 best", BestInt8(model)
    for weights in precisions:
        yield f"elman {weights}", elman(model, weights)


def seconds(generate: Generate, count: int) -> float:
    generate(count)
    start = time.perf_counter()
    generate(count)
    return (time.perf_counter() - start) / count


def measure(
    shape: tuple[int, int, int], threads: int, rounds: int, precisions: Sequence[Any]
) -> list[list[object]]:
    layers, hidden, symbols = shape
    torch.manual_seed(0)
    sizes = [symbols, *[hidden] * (layers - 1)]
    model = LanguageModel(symbols, [LSTMCell(size, hidden) for size in sizes], embedding=0).eval()
    calls, counts = {}, {}
    for name, generate in rivals(model, threads, precisions):
        counts[name] = count = max(2, int(SECONDS / seconds(generate, 3 if "LSTM" in name else 30)))
        calls[name] = lambda generate=generate, count=count: generate(count)
    times = interleaved(calls, rounds)
    each = {name: Times([s / counts[name] for s in found.seconds]) for name, found in times.items()}
    rows: list[list[object]] = []
    for name, found in each.items():
        own = [k for k in each if k.startswith("elman")] if not name.startswith("elman") else []
        ratios = [str(found.over(each[k])) for k in own]
        shown = ratios or ["-"] * len(precisions)
        rows.append([f"{layers}, {hidden}, {symbols}", name, f"{1 / found.median:,.0f}", *shown])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", action="append", help="layers,H,V; may be given several times")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--weights", action="append", choices=PRECISIONS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    precisions = options.weights or list(PRECISIONS)
    shapes = [tuple(map(int, text.split(","))) for text in options.shape or ()] or SHAPES
    rows: list[list[object]] = []
    for shape in shapes:
        rows += measure(shape, options.threads, options.rounds, precisions)  # pyrefly: ignore[bad-argument-type]
    print(conditions() + "\n")
    print()
    header = [
        "layers, H, V",
        "rival",
        "symbols/s",
        *(f"elman {weights} is faster by" for weights in precisions),
    ]
    print(table(header, rows))


if __name__ == "__main__":
    main()
