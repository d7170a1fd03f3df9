"""A traced step as stages: products and small programs, with their derivatives. See elman.programs.plan."""

from elman.programs.encoding import count_operands, encode
from elman.programs.listing import listing
from elman.programs.plan import Attend, Instruction, Operand, Piece, Plan, Product, Stage
from elman.programs.planner import plan

__all__ = [
    "Attend",
    "Instruction",
    "Operand",
    "Piece",
    "Plan",
    "Product",
    "Stage",
    "count_operands",
    "encode",
    "listing",
    "plan",
]
