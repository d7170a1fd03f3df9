"""Stages: a traced step, and its derivative, as products and small programs of vector instructions.

A step is cut where a dense product needs a result of the step itself, and where a row is reduced to one
number (a sum over its units, its largest): what lies between two cuts is a stage, at most one product, then a
pointwise program that runs on a tile of rows and units. The instructions `total` and `most` gather a number
of each row while their stage runs; it can be read from the next stage on, a short one on numbers of rows or
one on vectors. The derivative is taken in reverse on the graph, which gives another graph with products by
the transposed weights, and is cut by the same rules:

    forward   acc = W a           a: a state before the step, or a vector of an earlier stage
    backward  back = W^T d_acc    at the end of step t for a vector of the step; for a state, where step t - 1
                                  begins, so that the product and the program that needs it are one stage

What a row sees of its memory (elman.attend) is a stage without a program: it reads the whole query and
writes the whole context; backward it reads the derivative of the context and writes that of the query. The
weights, and the derivatives of keys, values and the vector of additive scores, are the engine's to keep and
to sum.

A program reads and writes operands (kind, which):

    reg     a register: lives inside one run of a program    acc     columns of the stage's product
    slot    saved for each step and row, reused when free    temp    from a stage to a later one of the step
    before  a tensor of the state before the step            after   the same, after the step
    param   a vector of parameters, the same for all rows    const   a number
    carry   derivative of a state that reaches it without a product, from the step after (read)
    pass    the same for the step before (written)           dout    derivative of the step's output
    pgrad   derivative of a param, summed over rows and steps

What backward needs of forward is saved where it is dear (a product, an exponential) and computed again where
it is cheap or where its argument is a state, so that an LSTM keeps six vectors a step: four gates, h and c.
"""

from dataclasses import dataclass, field

Operand = tuple[str, int]
NONE: Operand = ("const", 0)

CHEAP = ("add", "sub", "mul", "neg", "oneminus", "relu", "abs", "gt", "ge", "select", "mov")
"""Operations that are computed again sooner than kept."""


@dataclass(frozen=True)
class Instruction:
    """target = op(a, b, c); the operands that an operation does not have are NONE."""

    op: str
    target: Operand
    a: Operand
    b: Operand = NONE
    c: Operand = NONE


@dataclass
class Product:
    """`gates` x `width` columns W a, W (gates * width, size) row after row the rows named by `columns`.

    source: ("sequence", q), ("before", j), ("after", j) or ("slot", s) for a. columns: (weight, bias or -1,
    first row).
    slots: where the columns are written (hoisted products); gradients: the slots of d_acc, set for training.
    """

    source: Operand
    size: int
    width: int
    columns: list[tuple[int, int, int]]
    slots: list[int] = field(default_factory=list)
    gradients: list[int] = field(default_factory=list)

    @property
    def gates(self) -> int:
        return len(self.columns)


@dataclass
class Attend:
    """A look at memory: query (size units) -> context (width units).

    vector: the param of additive scores, or -1. memory: the places of keys, bias and values in the trace's
    tensors. d_context, d_query: set for training.
    """

    memory: tuple[int, int, int]
    size: int
    width: int
    vector: int
    query: Operand
    context: Operand
    d_context: Operand = NONE
    d_query: Operand = NONE


@dataclass
class Stage:
    """A product (its place in Plan.products, or -1), then `code` on `width` units.

    late: the product is backward's for a state and reads the d_acc of the step after. attend: in the place of
    all that a look at memory (its place in Plan.attends).
    """

    width: int
    product: int = -1
    late: bool = False
    code: list[Instruction] = field(default_factory=list)
    attend: int = -1


@dataclass(frozen=True)
class Piece:
    """Units start .. start + width of an input that programs read: copied into `slot` before the scan.

    gradient: the slot with its derivative, -1 where there is none.
    """

    which: int
    start: int
    width: int
    slot: int
    gradient: int


@dataclass
class Plan:
    """Everything that runs a traced cell over a sequence; see the module.

    sequences: (input, first unit, width) that hoisted products read. pieces: inputs that programs read.
    hoisted: products of sequences, done for all time at once. slots, temps: the width of each. params:
    places in the trace's tensors. outputs: operands after the last forward stage and their widths, side by
    side.
    """

    states: tuple[int, ...]
    sequences: list[tuple[int, int, int]]
    pieces: list[Piece]
    hoisted: list[Product]
    products: list[Product]
    attends: list[Attend]
    forward: list[Stage]
    backward: list[Stage]
    slots: list[int]
    temps: list[int]
    params: list[int]
    param_widths: list[int]
    consts: list[float]
    outputs: list[tuple[Operand, int]]
    registers: int

    @property
    def output_width(self) -> int:
        return sum(width for _, width in self.outputs)
