"""A plan as the numbers that the native engine reads it from (csrc/scan/scan.cpp, ScanPlan)."""

from elman.programs.plan import Attend, Operand, Plan, Product, Stage

# The orders are those of the enumerations in csrc/scan/plan.h.
KINDS = ("reg", "acc", "slot", "before", "after", "param", "const", "temp", "carry", "pass", "dout", "pgrad")
OPERATIONS = (
    "mov", "add", "sub", "mul", "div", "neg", "oneminus", "fma", "fms", "fnma", "sigmoid", "tanh",
    "sigmoid_add", "tanh_add", "relu", "exp", "log", "sqrt", "abs", "dsigmoid", "dtanh", "drelu", "dabs",
    "sum", "total", "most", "gt", "ge", "select", "erf",
)  # fmt: skip


def encode(made: Plan) -> list[int]:
    """The numbers of a plan, in the order in which csrc/scan/scan.cpp reads them."""
    numbers: list[int] = []
    for widths in (made.states, made.slots, made.temps, made.param_widths):
        numbers += [len(widths), *widths]
    numbers += [len(made.sequences), *(number for sequence in made.sequences for number in sequence)]
    numbers.append(len(made.pieces))
    for p in made.pieces:
        numbers += [p.which, p.start, p.width, p.slot, p.gradient]
    for products in (made.products, made.hoisted):
        numbers.append(len(products))
        for product in products:
            numbers += _product(product)
    numbers.append(len(made.attends))
    for attend in made.attends:
        numbers += _attend(attend)
    for stages in (made.forward, made.backward):
        numbers.append(len(stages))
        for stage in stages:
            numbers += _stage(stage)
    numbers.append(len(made.outputs))
    for (kind, which), width in made.outputs:
        numbers += [KINDS.index(kind), which, width]
    return [*numbers, made.registers]


def _product(product: Product) -> list[int]:
    kind, which = product.source
    kind_number = -1 if kind == "sequence" else KINDS.index(kind)
    lists = (number for places in (product.slots, product.gradients) for number in (len(places), *places))
    return [kind_number, which, product.size, product.width, product.gates, *lists]


def _attend(attend: Attend) -> list[int]:
    operands = (attend.query, attend.context, attend.d_context, attend.d_query)
    places = (number for kind, which in operands for number in (KINDS.index(kind), which))
    return [attend.size, attend.width, attend.vector, *places]


def _operands(stage: Stage) -> list[Operand]:
    return list(dict.fromkeys(o for step in stage.code for o in (step.target, step.a, step.b, step.c)))


def _stage(stage: Stage) -> list[int]:
    operands = _operands(stage)
    place = {operand: i for i, operand in enumerate(operands)}
    numbers = [stage.width, stage.product, int(stage.late), stage.attend, len(operands)]
    for kind, which in operands:
        numbers += [KINDS.index(kind), which]
    numbers.append(len(stage.code))
    for step in stage.code:
        numbers += [OPERATIONS.index(step.op), *(place[o] for o in (step.target, step.a, step.b, step.c))]
    return numbers


def count_operands(stage: Stage) -> int:
    """How many vectors a stage speaks of; the engine has room for MOST_OPERANDS."""
    return len(_operands(stage))
