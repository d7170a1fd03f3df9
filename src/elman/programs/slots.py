"""Storage that slots share: what is saved for one step and row is overwritten as soon as nothing reads it."""

from elman.programs.emitter import operands
from elman.programs.plan import Instruction, Operand, Piece, Plan, Stage


def share_slots(plan: Plan, pinned: set[int]) -> None:
    """Gives slots that are never needed together the same storage.

    Time is counted in instructions over the forward and the backward step of one row. A slot whose last
    reader is the very instruction that writes another one may be overtaken by it: instructions work element
    by element. The vectors that a product reads stay until its stage ends, the pinned ones for ever. A number
    of each row is read and added to by every block of units: it is in use from the beginning of a stage to
    its end.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}

    def seen(slot: int, time: int) -> None:
        first[slot] = min(first.get(slot, time), time)
        last[slot] = max(last.get(slot, time), time)

    for slot in (
        *(slot for product in plan.hoisted for slot in product.slots),
        *(p.slot for p in plan.pieces),
    ):
        seen(slot, -1)
    time = 0
    for stages in (plan.forward, plan.backward):
        for stage in stages:
            # What looks at a memory reads and writes in no order that could be told.
            begin, end = time + 1, time + len(stage.code) + 1 + (stage.attend >= 0)
            for slot in looked_at(plan, stage, backward=stages is plan.backward):
                seen(slot, begin)
                seen(slot, end)
            for step in stage.code:
                time += 1
                for kind, which in (*operands(step), step.target):
                    if kind == "slot":
                        seen(which, time)
                        if plan.slots[which] == 1:
                            seen(which, begin)
                            seen(which, end)
            time = end
            if (
                stages is plan.forward
                and stage.product >= 0
                and plan.products[stage.product].source[0] == "slot"
            ):
                seen(plan.products[stage.product].source[1], time)
        time += 1
        for slot in given_out(plan) if stages is plan.forward else ():
            seen(slot, time)
    last.update((slot, time + 1) for slot in pinned)

    widths: list[int] = []
    until: list[int] = []
    place: dict[int, int] = {}
    for slot in sorted(first, key=lambda slot: (first[slot], slot)):
        width = plan.slots[slot]
        fits = [
            i for i, end in enumerate(until) if widths[i] == width and end <= first[slot] and first[slot] >= 0
        ]
        if not fits:
            widths.append(width)
            until.append(0)
            fits = [len(widths) - 1]
        # The one that was freed last: for a gate's derivative the gate itself, which is still in the cache.
        place[slot] = max(fits, key=lambda i: until[i])
        until[place[slot]] = last[slot]
    _rename(plan, place)
    plan.slots = widths


def looked_at(plan: Plan, stage: Stage, *, backward: bool) -> list[int]:
    """The slots that a look at memory, or its derivative, reads and writes."""
    if stage.attend < 0:
        return []
    attend = plan.attends[stage.attend]
    operands = (attend.d_context, attend.d_query) if backward else (attend.context,)
    return [which for kind, which in (attend.query, *operands) if kind == "slot"]


def given_out(plan: Plan) -> list[int]:
    """The slots that the output is read from."""
    return [which for (kind, which), _ in plan.outputs if kind == "slot"]


def _rename(plan: Plan, place: dict[int, int]) -> None:
    def new(operand: Operand) -> Operand:
        return ("slot", place[operand[1]]) if operand[0] == "slot" else operand

    for product in (*plan.products, *plan.hoisted):
        product.source = new(product.source)
        product.slots = [place[slot] for slot in product.slots]
        product.gradients = [place[slot] for slot in product.gradients]
    for attend in plan.attends:
        attend.query, attend.context = new(attend.query), new(attend.context)
        attend.d_context, attend.d_query = new(attend.d_context), new(attend.d_query)
    plan.pieces = [
        Piece(p.which, p.start, p.width, place[p.slot], place[p.gradient] if p.gradient >= 0 else -1)
        for p in plan.pieces
    ]
    for stage in (*plan.forward, *plan.backward):
        stage.code = [
            Instruction(step.op, new(step.target), *(new(operand) for operand in operands(step)))
            for step in stage.code
        ]
    plan.outputs = [(new(operand), width) for operand, width in plan.outputs]
