"""How the study's pictures look: one style, colours that all eyes tell apart, labels from outside.

- A figure is drawn on a canvas of its own (Agg), never through pyplot's global state, and under
  a style of its own: a user's matplotlibrc changes nothing, and nothing of ours stays behind.
- The same values give the same bytes: no time, no version in the file.
- Colours are Okabe and Ito's (2008), told apart by colour-blind eyes. The index-th hospital has
  its colour, marker and dashes everywhere, so that lines, bars and prints in grey agree.
- Names from outside are cut, stripped of control characters and never read as formulas (`$...$`).
  A letter that the font lacks is drawn as a box.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#444444")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", ":")
INK, FAINT, _GRID = "#222222", "#6B6B6B", "#E4E4E4"
_DPI = 150
_LONGEST_NAME = 26
_MOST_MARKS = 15
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.markersize": 5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def figure_and_png(*, width: float, height: float) -> Iterator[tuple[Figure, Callable[[], bytes]]]:
    """A figure in our style (inches) and a function that turns it into PNG bytes."""
    with matplotlib.style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        spacing = ConstrainedLayoutEngine(wspace=0.06, w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=(width, height), dpi=_DPI, layout=spacing)
        canvas = FigureCanvasAgg(figure)

        def png() -> bytes:
            buffer = io.BytesIO()
            canvas.print_png(buffer, metadata={"Software": None})
            return buffer.getvalue()

        yield figure, png


def draw_curve(
    axes: Axes,
    rounds: Sequence[int],
    values: Sequence[float],
    *,
    index: int,
    label: str | None = None,
    width: float = 1.8,
) -> None:
    """One line over rounds in the colour and marker of `index`; width in points."""
    axes.plot(
        rounds,
        values,
        color=colour(index),
        linestyle=dashes(index),
        marker=marker(index),
        markevery=max(1, len(rounds) // _MOST_MARKS),
        markersize=7,
        markeredgecolor="white",
        markeredgewidth=0.8,
        linewidth=width,
        label=label,
    )
    axes.margins(y=0.1)
    axes.set_xlabel("Round")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def draw_key(axes: Axes, row: int) -> None:
    """The marker of a hospital at the foot of its bar: it ties bars to lines."""
    axes.plot(
        0,
        row,
        marker=marker(row),
        color=colour(row),
        markersize=9,
        markeredgecolor="white",
        clip_on=False,
        zorder=5,
    )


def colour(index: int) -> str:
    """The colour of the index-th line; it repeats, and dashes and markers then differ."""
    return _COLOURS[index % len(_COLOURS)]


def dashes(index: int) -> str:
    """The dashes of the index-th line; they change each time the colours repeat."""
    return _DASHES[index // len(_COLOURS) % len(_DASHES)]


def marker(index: int) -> str:
    """The marker of the index-th line, shifted by one each time the colours repeat."""
    return _MARKERS[(index + index // len(_COLOURS)) % len(_MARKERS)]


def name_bars(axes: Axes, hospitals: Sequence[str]) -> None:
    """Turn the vertical axis of a bar chart into the list of hospitals, from top to bottom."""
    axes.set_yticks(range(len(hospitals)), [name_label(hospital) for hospital in hospitals])
    axes.set_ylim(len(hospitals) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0, pad=8)


def start_at_zero(axes: Axes) -> None:
    """Start the vertical axis at zero, with room above so that no marker is cut."""
    axes.set_ylim(0, 1.04 * axes.get_ylim()[1])


def grouped(value: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u2009")


def name_label(name: str) -> str:
    """A name from outside as a label: printable, on one line, cut to length."""
    shown = "".join(c if c.isprintable() else " " for c in name).strip() or "(no name)"
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"
