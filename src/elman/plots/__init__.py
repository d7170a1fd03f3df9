"""Figures: learning curves, surprising symbols, and what goes on inside a recurrence.

Each function gives a matplotlib Figure; `save` writes it as .svg (for light and dark pages) or .png.
"""

from elman.plots.curves import learning_curve
from elman.plots.lattice import trellis
from elman.plots.states import activations, traces
from elman.plots.style import save
from elman.plots.surprisal import surprisal

__all__ = ["activations", "learning_curve", "save", "surprisal", "traces", "trellis"]
