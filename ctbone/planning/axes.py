"""Logarithmic axes with plain numbers of cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def count_axis(axes: Axes) -> None:
    """Make the y axis logarithmic, with ticks at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:.0f}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("Cases")
