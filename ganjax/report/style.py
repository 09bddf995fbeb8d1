"""What every figure shares: colours, sizes, a canvas without pyplot."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganjax.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

DPI = 130
TITLE, LABEL, SMALL = 11, 10, 8.5  # font sizes in points

# Okabe and Ito (2008), told apart with every common colour blindness; without yellow, which white swallows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
INK = "#222222"  # text and axes
FAINT = "#B8B8B8"  # real data, vector fields, grid lines


def colour(index: int) -> str:
    """The colour of the index-th line, in turn from PALETTE."""
    return PALETTE[index % len(PALETTE)]


def new_figure(width: float, height: float, *, layout: Any = "constrained") -> Figure:
    """An empty figure of width x height inches on an Agg canvas, known to nobody but the caller."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, *, x: str = "", y: str = "", title: str = "") -> None:
    """Label the axes and give them the common look: two thin spines, small ticks, faint grid."""
    axes.set_xlabel(x, fontsize=LABEL, color=INK)
    axes.set_ylabel(y, fontsize=LABEL, color=INK)
    axes.set_title(title, fontsize=TITLE, color=INK)
    axes.tick_params(which="both", labelsize=SMALL, color=INK, labelcolor=INK, width=0.8, length=3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=INK, linewidth=0.8)
    axes.grid(True, color=FAINT, alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)


def log_axis(axes: Axes, low: float, high: float, *, which: str = "y") -> None:
    """A logarithmic axis for positive values; plain numbers where low..high spans under two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axes.set(**{f"{which}scale": "log"})
    if high < 100 * low:
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_major_locator(MaxNLocator(nbins=6) if high < 10 * low else LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())


def step_axis(axes: Axes) -> None:
    """An x axis of whole steps with thousands separated."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))


def legend_above(axes: Axes, *, columns: int = 2, centred: bool = False) -> Legend:
    """A frameless legend over the axes, where it can cover no data; at their left edge unless centred."""
    return axes.legend(
        loc="lower center" if centred else "lower left",
        bbox_to_anchor=(0.5 if centred else 0.0, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        labelcolor=INK,
        handlelength=1.8,
        columnspacing=1.2,
        borderaxespad=0.2,
    )


def to_array(figure: Figure) -> NDArray[np.uint8]:
    """The drawn figure, uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def to_png(figure: Figure) -> bytes:
    """The figure as the content of a PNG file. Equal figures give equal bytes."""
    buffer, layout = io.BytesIO(), figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
        figure.set_layout_engine(None)  # with one, savefig draws everything once more, to lay it out
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    if layout is not None:
        figure.set_layout_engine(layout)
    return buffer.getvalue()


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write the figure as PNG; `path` is replaced in one move."""
    write_atomically(path, to_png(figure))
