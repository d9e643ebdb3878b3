"""How figures look, and how they become SVG and PNG: journal width, colours that colour-blind readers tell apart."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOUBLE_COLUMN = 180.0
"""Width of a figure over two journal columns, in mm."""
SINGLE_COLUMN = 88.0
"""Width of a figure in one journal column, in mm."""
INK = "#222222"
FAINT = "#9a9a9a"
RULE = "#d9d9d9"

# Okabe & Ito's palette, without the yellow, which white paper swallows.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_DPI = 300
# Letters that DejaVu lacks come from the first of these that is installed.
_FURTHER_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
)
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 5,
    "axes.labelsize": 7.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": "#555555",
    "ytick.color": "#555555",
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 7,
    "legend.handlelength": 1.8,
    "legend.borderaxespad": 0,
    "legend.labelspacing": 0.45,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "ctbone",
    "path.simplify": True,
}


@dataclass(frozen=True)
class Drawn:
    """A finished figure.

    Attributes
    ----------
    key
        Names the files.
    title, note
        Its caption.
    alt
        What a reader who cannot see it should know.
    width
        Of the figure in print, in mm.
    svg, png
        The files' content.
    """

    key: str
    title: str
    note: str
    alt: str
    width: float
    svg: bytes
    png: bytes


@dataclass(frozen=True)
class Stroke:
    """How a model's line is drawn, the same in every figure."""

    colour: str
    dash: object


def strokes(models: Sequence[str]) -> dict[str, Stroke]:
    """Give each model its line.

    Examples
    --------
    >>> strokes(["3d", "2d"])["2d"].colour
    '#D55E00'
    """
    return {
        name: Stroke(
            _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]
        )
        for number, name in enumerate(models)
    }


@contextmanager
def style() -> Iterator[None]:
    """Draw inside this block to get the house's look, whatever the user's matplotlib settings."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", *_installed_fonts()]
        yield


@functools.cache
def _installed_fonts() -> tuple[str, ...]:
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in _FURTHER_FONTS if name in known)


def panels(
    count: int,
    *,
    columns: int,
    size: tuple[float, float],
    gap: tuple[float, float] = (12.0, 17.0),
    margin: tuple[float, float, float, float] = (12.0, 3.0, 11.0, 7.0),
) -> tuple[Figure, list[Axes]]:
    """Lay out axes of equal size by the millimetre.

    Parameters
    ----------
    count, columns
        How many axes, and how many of them in a row.
    size
        Width and height of one, in mm.
    gap
        Between columns and between rows, in mm.
    margin
        Left, right, bottom and top of the figure, in mm.
    """
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    left, right, bottom, top = margin
    width = left + columns * size[0] + (columns - 1) * gap[0] + right
    height = bottom + rows * size[1] + (rows - 1) * gap[1] + top
    figure = Figure(figsize=(width / 25.4, height / 25.4))
    axes = []
    for number in range(count):
        row, column = divmod(number, columns)
        x = left + column * (size[0] + gap[0])
        y = height - top - size[1] - row * (size[1] + gap[1])
        axes.append(figure.add_axes((x / width, y / height, size[0] / width, size[1] / height)))
    return figure, axes


def finish(figure: Figure, key: str, title: str, alt: str, note: str = "") -> Drawn:
    """Render a figure as SVG and PNG; the same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    svg, png = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # a box stands for the letter
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
        figure.set_dpi(_DPI)
        FigureCanvasAgg(figure).print_png(
            png, metadata={"Software": None}, pil_kwargs={"compress_level": 1}
        )
    return Drawn(
        key, title, note, alt, figure.get_figwidth() * 25.4, svg.getvalue(), png.getvalue()
    )


def unit_axes(axes: Axes, x: str, y: str) -> None:
    """Make both axes run from 0 to 1 with quiet rules."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    labels = ["0", ".25", ".5", ".75", "1"]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.grid(color=RULE, linewidth=0.4)


def shorten(name: str, length: int = 24) -> str:
    """Cut a long name in its middle so that it fits its place; names often differ at their ends.

    Examples
    --------
    >>> shorten("3d"), shorten("radiomics of fold 1", 11)
    ('3d', 'radio…old 1')
    """
    if len(name) > length:
        tail = (length - 1) // 2
        name = f"{name[: length - 1 - tail]}…{name[-tail:]}"
    return name.replace("$", r"\$")
