"""Style of the figures: journal widths, colours for colour-blind readers, SVG and PNG output."""

from __future__ import annotations

import functools
import io
import logging
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

DOUBLE_COLUMN = 180.0
"""Width of a figure over two journal columns, in mm."""
SINGLE_COLUMN = 88.0
"""Width of a figure in one journal column, in mm."""
MM_PER_INCH = 25.4
INK = "#222222"
FAINT = "#9a9a9a"
RULE = "#d9d9d9"
QUIET = "#555555"
MOST_CURVES = 6
"""Curves on one axis; more cannot be told apart, and further models get panels of their own."""

# Palette of Okabe and Ito (2008) without its yellow, which is hard to see on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", (0, (4, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)))
_LETTER_MM = 2.0  # mean width of a bold letter of a panel's name
_DPI = 300  # pixels per inch of the PNG
# Fonts for letters that DejaVu Sans lacks; the first one that is installed is used.
_FURTHER_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Serif CJK SC",
    "Noto Serif CJK JP",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "PingFang SC",
    "Hiragino Sans",
    "Arial Unicode MS",
    "Droid Sans Fallback",
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
class DrawnFigure:
    """A finished figure.

    Attributes
    ----------
    key
        Name of the files, without suffix.
    title, note
        Its caption.
    alt
        Description for readers who cannot see it.
    width
        Of the figure in print, in mm.
    svg, png
        The files' content.
    points
        Places that the page names under the pointer; it is complete without them.
    """

    key: str
    title: str
    note: str
    alt: str
    width: float
    svg: bytes
    png: bytes
    points: tuple[NamedPoint, ...] = ()


@dataclass(frozen=True)
class NamedPoint:
    """A place in a figure and the text of it, such as the case.

    Attributes
    ----------
    x, y
        Shares of the figure's width and height, from its upper left corner.
    text
        Shown under the pointer.
    """

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class LineStyle:
    """Line of a model, the same in every figure."""

    colour: str
    dash: object


def line_styles(models: Sequence[str]) -> dict[str, LineStyle]:
    """Assign each model a line style.

    Examples
    --------
    >>> line_styles(["3d", "2d"])["2d"].colour
    '#D55E00'
    """
    return {
        name: LineStyle(
            _COLOURS[number % len(_COLOURS)], _DASHES[number // len(_COLOURS) % len(_DASHES)]
        )
        for number, name in enumerate(models)
    }


@contextmanager
def style() -> Iterator[None]:
    """Use the figure style of ctbone inside this block, whatever the user's settings are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        matplotlib.rcParams["font.family"] = ["DejaVu Sans", *installed_fonts()]
        yield


@functools.cache
def installed_fonts() -> tuple[str, ...]:
    """Return the installed fonts for letters that DejaVu Sans lacks.

    matplotlib's list of fonts is a file that may be older than the fonts: if it has none of these,
    the folders of the system are searched.
    """
    from matplotlib import font_manager

    # These fonts have no bold face here; matplotlib takes the regular one and logs it each time.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

    def known() -> tuple[str, ...]:
        names = {font.name for font in font_manager.fontManager.ttflist}
        return tuple(name for name in _FURTHER_FONTS if name in names)

    if not known():
        wanted = {
            name.replace(" ", "").removesuffix("SC").removesuffix("JP").casefold()
            for name in _FURTHER_FONTS
        }
        for path in sorted(font_manager.findSystemFonts()):
            stem = Path(path).stem.removesuffix("-Regular").casefold()
            if stem in wanted:
                font_manager.fontManager.addfont(path)
    return known()


def panels(
    count: int,
    *,
    columns: int,
    size: tuple[float, float],
    gap: tuple[float, float] = (12.0, 17.0),
    margin: tuple[float, float, float, float] = (12.0, 3.0, 11.0, 7.0),
) -> tuple[Figure, list[Axes]]:
    """Make a figure with axes of equal size, measured in mm.

    Parameters
    ----------
    count, columns
        Number of axes, and of axes in a row.
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
    figure = Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH))
    axes = []
    for number in range(count):
        row, column = divmod(number, columns)
        x = left + column * (size[0] + gap[0])
        y = height - top - size[1] - row * (size[1] + gap[1])
        axes.append(figure.add_axes((x / width, y / height, size[0] / width, size[1] / height)))
    return figure, axes


def titled_panels(
    heads: Sequence[tuple[str, str]],
    *,
    columns: int = 3,
    size: tuple[float, float] = (44.0, 44.0),
    gap: float = 16.0,
    margin: tuple[float, float, float] = (13.0, 3.0, 11.0),
) -> tuple[Figure, list[Axes]]:
    """Make panels of equal size with a name in bold and a line of facts above each.

    Parameters
    ----------
    heads
        Name and facts of each panel. A name takes up to three lines; a longer one is shortened.
    columns
        Number of panels in a row.
    size
        Width and height of one panel, in mm.
    gap
        Between columns, in mm.
    margin
        Left, right and bottom of the figure, in mm.
    """
    titles = [wrap_name(name, int(size[0] / _LETTER_MM), lines=3) for name, _ in heads]
    lines = max(title.count("\n") + 1 for title in titles)
    top = 3.0 + 3.6 * lines + 3.2 * any(facts for _, facts in heads)
    figure, axes = panels(
        len(heads), columns=columns, size=size, gap=(gap, 13.0 + top), margin=(*margin, top)
    )
    for panel, title, (_, facts) in zip(axes, titles, heads, strict=True):
        place: dict[str, Any] = {
            "xycoords": "axes fraction",
            "textcoords": "offset points",
            "va": "bottom",
        }
        panel.annotate(facts, (0, 1), (0, 4), fontsize=6.5, color=QUIET, **place)
        panel.annotate(title, (0, 1), (0, 13 if facts else 4), fontsize=8.5, weight="bold", **place)
    return figure, axes


def named_points(
    axes: Axes, xs: ArrayLike, ys: ArrayLike, texts: Sequence[str]
) -> tuple[NamedPoint, ...]:
    """Return texts at data coordinates of a panel whose limits are set.

    Examples
    --------
    >>> figure, (axes,) = panels(1, columns=1, size=(80, 80), margin=(10, 10, 10, 10))
    >>> _ = axes.set(xlim=(0, 1), ylim=(0, 1))
    >>> named_points(axes, [0], [1], ["P1"])
    (NamedPoint(x=0.1, y=0.1, text='P1'),)
    """
    import numpy as np

    if not len(texts):
        return ()
    places = axes.figure.transFigure.inverted().transform(
        axes.transData.transform(np.column_stack([xs, ys]))
    )
    return tuple(
        NamedPoint(round(float(x), 4), round(float(1 - y), 4), text)
        for (x, y), text in zip(places, texts, strict=True)
    )


def finish(
    figure: Figure,
    key: str,
    title: str,
    alt: str,
    note: str = "",
    points: Sequence[NamedPoint] = (),
) -> DrawnFigure:
    """Render a figure as SVG and PNG; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    svg, png = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font"
        )  # matplotlib draws a box instead
        FigureCanvasSVG(figure).print_svg(svg, metadata={"Date": None, "Creator": None})
        figure.set_dpi(_DPI)
        FigureCanvasAgg(figure).print_png(
            png, metadata={"Software": None}, pil_kwargs={"compress_level": 1}
        )
    return DrawnFigure(
        key=key,
        title=title,
        note=note,
        alt=alt,
        width=figure.get_figwidth() * MM_PER_INCH,
        svg=svg.getvalue(),
        png=png.getvalue(),
        points=tuple(points),
    )


def unit_axes(axes: Axes, x: str, y: str) -> None:
    """Set both axes to 0–1 with a light grid."""
    ticks = [0, 0.25, 0.5, 0.75, 1]
    labels = ["0", ".25", ".5", ".75", "1"]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y)
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    axes.grid(color=RULE, linewidth=0.4)


def name_width(name: str) -> int:
    """Return the width of a name in Latin letters; a Chinese, Japanese or Korean one counts two.

    Examples
    --------
    >>> name_width("sacrum"), name_width("骶骨")
    (6, 4)
    """
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


def shorten(name: str, length: int = 24) -> str:
    """Shorten a long name in its middle, because names often differ at their ends.

    Examples
    --------
    >>> shorten("3d"), shorten("radiomics of fold 1", 11), shorten("骶骨肿瘤模型", 7)
    ('3d', 'radio…old 1', '骶…型')
    """
    if name_width(name) > length:
        tail = (length - 1) // 2
        name = f"{_beginning(name, length - 1 - tail)}…{_beginning(name[::-1], tail)[::-1]}"
    return name.replace("$", r"\$")


def _beginning(name: str, width: int) -> str:
    """Return as many first letters as fit in a width."""
    kept = ""
    for letter in name:
        if name_width(kept + letter) > width:
            break
        kept += letter
    return kept


def wrap_name(name: str, width: int, lines: int = 2) -> str:
    r"""Break a name into lines; shorten it in its middle if it needs more than ``lines``.

    Examples
    --------
    >>> wrap_name("3D network + 2D network", 14)
    '3D network +\n2D network'
    >>> wrap_name("3d", 14), wrap_name("a" * 60, 8)
    ('3d', 'aaaaaaaa\n…aaaaaaa')
    """
    for length in range(lines * width, width - 1, -1):
        broken = _broken(shorten(name, length), width)
        if len(broken) <= lines:
            return "\n".join(broken)
    return shorten(name, width)


def _broken(name: str, width: int) -> list[str]:
    """Break a name between its parts, after spaces and underscores, and inside long words."""
    broken = [""]
    for part in re.findall(r".+?(?: \+ |$)", name):
        words = [part] if name_width(part.rstrip()) <= width else re.findall(_WORD, part)
        for word in words:
            if name_width((broken[-1] + word).rstrip()) <= width:
                broken[-1] += word
                continue
            while name_width(word.rstrip()) > width:
                head = _beginning(word, width)
                broken.append(head)
                word = word[len(head) :]
            broken.append(word)
    return [line.rstrip() for line in broken if line.strip()]


_WORD = r"[^\s+_]+[\s+_]*|[\s+_]+"


def case_counts(cases: int, events: int | None = None, positive: str = "") -> str:
    """Name the number of cases and of events, as every panel does.

    Examples
    --------
    >>> case_counts(80, 48, "malignant"), case_counts(80), case_counts(80, 48, "1")
    ('n = 80, 48 malignant', 'n = 80', 'n = 80, 48 of class 1')
    """
    if events is None:
        return f"n = {cases}"
    named = f"of class {positive}" if positive.isdigit() else shorten(positive, 16)
    return f"n = {cases}, {events} {named}"


def legend_height(labels: Sequence[str]) -> float:
    """Return the height in mm of a legend of one column in the style of these figures.

    Examples
    --------
    >>> round(legend_height(["3d", "2d"]), 1)
    8.6
    """
    return sum(3.1 * (label.count("\n") + 1) + 1.2 for label in labels)


def draw_diagonal(axes: Axes) -> None:
    """Draw the dashed line from (0, 0) to (1, 1)."""
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)


def draw_reason(axes: Axes, reason: str, *, low: bool = False) -> None:
    """Write in a panel why something is not drawn: at the top left, or ``low`` at the right."""
    x, y, side, end = (0.97, 0.03, "right", "bottom") if low else (0.03, 0.97, "left", "top")
    axes.text(
        x,
        y,
        textwrap.fill(reason, 30),
        transform=axes.transAxes,
        ha=side,
        va=end,
        fontsize=6,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
    )


def model_handles(
    lines: Mapping[str, LineStyle],
    names: Sequence[str],
    titles: Mapping[str, str] | None = None,
) -> list[object]:
    """Return the legend entries of some models, by their titles where they have one."""
    from matplotlib.lines import Line2D

    shown = titles or {}
    return [
        Line2D(
            [],
            [],
            color=lines[name].colour,
            linestyle=lines[name].dash,
            label=wrap_name(shown.get(name, name), 26),
        )
        for name in names
    ]
