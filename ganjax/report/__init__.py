"""Pictures of a run: sample grids, panels by step, nearest neighbours, learning curves, phase planes,
figures of several panels.

Everything here reads arrays or a run directory, never the trainer. The first figure loads matplotlib.
"""

from ganjax.report.history import read_metrics
from ganjax.report.images import grid, save_image
from ganjax.report.learning import curves
from ganjax.report.neighbours import Neighbours, nearest_neighbours
from ganjax.report.page import write_page
from ganjax.report.panels import panels
from ganjax.report.parts import Heat, Panel, Series
from ganjax.report.plane import phase_plane
from ganjax.report.points import scatter
from ganjax.report.progress import panel
from ganjax.report.rows import Row, rows

__all__ = [
    "Heat",
    "Neighbours",
    "Panel",
    "Row",
    "Series",
    "curves",
    "grid",
    "nearest_neighbours",
    "panel",
    "panels",
    "phase_plane",
    "read_metrics",
    "rows",
    "save_image",
    "scatter",
    "write_page",
]
