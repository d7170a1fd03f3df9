"""A plan in words: its products, stages and programs, a line an instruction."""

from elman.programs.plan import NONE, Attend, Instruction, Operand, Plan, Product, Stage

INFIX = {"add": "{} + {}", "sub": "{} - {}", "mul": "{} * {}", "div": "{} / {}", "neg": "-{}", "mov": "{}",
    "oneminus": "1 - {}", "fma": "{} * {} + {}", "fms": "{} * {} - {}", "fnma": "{2} - {0} * {1}",
    "sigmoid_add": "sigmoid({} + {})", "tanh_add": "tanh({} + {})", "gt": "{} > {}", "ge": "{} >= {}",
    "select": "{} ? {} : {}"}  # fmt: skip
"""How an operation is written; others as a function of their arguments."""

ACCUMULATES = {"sum": "sum over rows of {}", "total": "sum over units of {}", "most": "largest unit of {}"}


def listing(plan: Plan) -> list[str]:
    """The plan of a cell, forward and, where it has one, backward.

    slots and states are kept for each step and row; a temp lives for a step, a reg for a stage.
    """
    kept = f"{len(plan.slots)} vectors {plan.slots} and the state {list(plan.states)}"
    lines = [f"keeps {kept} for each step and row"]
    for place, product in enumerate(plan.hoisted):
        slots = ", ".join(f"slot{slot}" for slot in product.slots)
        lines.append(f"before the scan: {slots} = {_product(product, f'input{place}')}")
    for name, stages in (("forward", plan.forward), ("backward", plan.backward)):
        for place, stage in enumerate(stages):
            lines += ["", *_stage(plan, f"{name}, stage {place + 1} of {len(stages)}", stage)]
    return lines


def _product(product: Product, source: str) -> str:
    return f"{source} W^T, {product.size} units to {product.gates} x {product.width}"


def _stage(plan: Plan, name: str, stage: Stage) -> list[str]:
    heading = f"{name}, {stage.width} units"
    if stage.attend >= 0:
        return [f"{heading}: {_attend(plan, plan.attends[stage.attend], name.startswith('forward'))}"]
    if stage.product >= 0:
        product = plan.products[stage.product]
        if name.startswith("forward"):
            heading += f": acc = {_product(product, _operand(plan, product.source))}"
        else:
            after = " of the step after" if stage.late else ""
            heading += f": acc = the derivatives of {product.gates} x {product.width} columns{after}, by W"
    return [heading, *(f"    {_instruction(plan, step)}" for step in stage.code)]


def _attend(plan: Plan, attend: Attend, forward: bool) -> str:
    query, context, d_context, d_query = (
        _operand(plan, o) for o in (attend.query, attend.context, attend.d_context, attend.d_query)
    )
    memory = f"memory of {attend.size} and {attend.width} units"
    if not forward:
        return f"{d_query} = the derivative of what {query} sees of its {memory}, by {d_context}"
    scores = f"{query} . key" if attend.vector < 0 else f"param{attend.vector} . tanh({query} + key)"
    return f"{context} = what {scores} sees of its {memory}"


def _instruction(plan: Plan, step: Instruction) -> str:
    arguments = [_operand(plan, operand) for operand in (step.a, step.b, step.c)]
    target = _operand(plan, step.target)
    if step.op in ACCUMULATES:
        return f"{target} = {ACCUMULATES[step.op].format(*arguments)}"
    if step.op in INFIX:
        return f"{target} = {INFIX[step.op].format(*arguments)}"
    given = [
        text for text, operand in zip(arguments, (step.a, step.b, step.c), strict=True) if operand != NONE
    ]
    return f"{target} = {step.op}({', '.join(given)})"


def _operand(plan: Plan, operand: Operand) -> str:
    kind, which = operand
    return f"{plan.consts[which]:g}" if kind == "const" else f"{kind}{which}"
