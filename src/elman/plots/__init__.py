"""Figures: learning curves, surprising symbols, what goes on inside a recurrence, and where attention goes.

Each function gives a matplotlib Figure; `save` writes it as .svg (for light and dark pages) or .png.
"""

from elman.plots.alignment import alignment, join_pieces
from elman.plots.curves import learning_curve
from elman.plots.lattice import trellis
from elman.plots.lengths import length_curve
from elman.plots.overlays import overlays
from elman.plots.states import activations, traces
from elman.plots.style import save
from elman.plots.surprisal import surprisal

__all__ = [
    "activations",
    "alignment",
    "join_pieces",
    "learning_curve",
    "length_curve",
    "overlays",
    "save",
    "surprisal",
    "traces",
    "trellis",
]
