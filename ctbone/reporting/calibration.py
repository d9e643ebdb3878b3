"""The section on calibration: curves with histograms, and the Hosmer–Lemeshow test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ctbone.document import (
    FAINT,
    INK,
    Block,
    DrawnFigure,
    FigureBlock,
    Section,
    Table,
    TableBlock,
    TableColumn,
    draw_reason,
    finish,
    line_styles,
    plain_table,
    style,
    titled_panels,
    unit_axes,
)
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.roc_figures import set_counts
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import (
    calibration_curve,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def calibration_section(analysis: Analysis) -> Section:
    """Show the calibration curves of every model, and with two classes the tests."""
    two, level = analysis.two_class, analysis.settings.confidence
    drawn = (
        calibration(analysis, j) if two else class_calibration(j, level) for j in analysis.reported
    )
    tests = (hosmer_lemeshow_table(judged) for judged in analysis.reported)
    blocks: list[Block] = [
        *(FigureBlock(figure) for figure in drawn),
        *(TableBlock(table) for table in tests if table is not None),
    ]
    return Section("calibration", "Calibration", tuple(blocks))


def calibration(analysis: Analysis, judged: JudgedSet) -> DrawnFigure:
    """Draw the flexible calibration curve of each model with its band, and a histogram below."""
    lines = line_styles(analysis.models)
    level = analysis.settings.confidence
    method = ""
    with style():
        heads = [(judged.title(one.name), set_counts(one)) for one in judged.case_set.scored]
        figure, all_axes = titled_panels(heads, size=(44.0, 58.0))
        for axes, scored in zip(all_axes, judged.case_set.scored, strict=True):
            drawn = _calibration_panel(
                axes, scored=scored, colour=lines[scored.name].colour, level=level
            )
            method = drawn or method
        return finish(
            figure,
            key=f"calibration_{judged.case_set.key}",
            title=f"Calibration, {judged.case_set.title.lower()}",
            alt="One panel a model: observed share against predicted probability, with a "
            "histogram of both classes.",
            note=f"{_line(method)} Dots: tenths of probability with {_wilson(judged)}. "
            "Bars: cases of the positive class upwards, of the other downwards.",
        )


def class_calibration(judged: JudgedSet, level: float) -> DrawnFigure:
    """Draw the calibration of each class against the rest, one row a model, one panel a class."""
    classes = judged.case_set.scored[0].classes
    lines, method = line_styles(classes), ""
    with style():
        places = [(scored, name) for scored in judged.case_set.scored for name in classes]
        parts = [scored.against_rest(name) for scored, name in places]
        heads = [
            (f"{judged.title(scored.name)}: {name}", set_counts(one))
            for (scored, name), one in zip(places, parts, strict=True)
        ]
        figure, all_axes = titled_panels(heads, columns=min(3, len(classes)), size=(44.0, 58.0))
        for axes, (_, name), one in zip(all_axes, places, parts, strict=True):
            drawn = _calibration_panel(axes, scored=one, colour=lines[name].colour, level=level)
            method = drawn or method
        return finish(
            figure,
            key=f"calibration_{judged.case_set.key}",
            title=f"Calibration of each class against the rest, {judged.case_set.title.lower()}",
            alt="One panel a model and class: observed share against predicted probability, with a "
            "histogram below.",
            note=f"{_line(method)} Dots: tenths of probability with {_wilson(judged)}. "
            "Bars: cases of the class upwards, all others downwards.",
        )


def _line(method: str) -> str:
    """Describe the curves; the method is empty if no panel has one."""
    return f"Line and band: {method}." if method else "No curve: each panel says why."


def _wilson(judged: JudgedSet) -> str:
    clustered = any(scored.patients is not None for scored in judged.case_set.scored)
    return "Wilson intervals by patient" if clustered else "Wilson intervals"


def _calibration_panel(axes: Axes, scored: ScoredCases, colour: str, level: float) -> str:
    """Draw one panel and return the method of its curve, empty if it has none."""
    curve = calibration_curve(
        scored.truth, scored.p, level=level, histogram_bins=25, groups=scored.patients
    )
    box = axes.get_position()
    axes.set_position((box.x0, box.y0 + 0.27 * box.height, box.width, 0.73 * box.height))
    below = axes.figure.add_axes((box.x0, box.y0, box.width, 0.2 * box.height))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.6, linestyle=(0, (2, 2)))
    if curve.why:
        draw_reason(axes, f"No curve: {curve.why}", low=True)
    else:
        axes.fill_between(curve.grid, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(curve.grid, curve.observed, color=colour)
    means = [tenth.mean_probability for tenth in curve.bins]
    lows, highs = [tenth.low for tenth in curve.bins], [tenth.high for tenth in curve.bins]
    axes.vlines(means, lows, highs, color=INK, linewidth=0.5)
    axes.plot(means, [tenth.observed for tenth in curve.bins], "o", color=INK, markersize=2.4)
    unit_axes(axes, "", "Observed share")
    axes.tick_params(labelbottom=False)
    _histogram(
        below,
        edges=curve.histogram_edges,
        positive=curve.histogram_positive,
        negative=curve.histogram_negative,
        colour=colour,
    )
    return "" if curve.why else curve.method


def _histogram(
    axes: Axes, edges: np.ndarray, positive: np.ndarray, negative: np.ndarray, colour: str
) -> None:
    _bars(axes, edges=edges, heights=positive, colour=colour)
    _bars(axes, edges=edges, heights=-negative, colour=FAINT)
    axes.axhline(0, color=INK, linewidth=0.4)
    most = max(1, int(positive.max()), int(negative.max()))
    axes.set(xlim=(-0.02, 1.02), ylim=(-1.1 * most, 1.1 * most), xlabel="Predicted probability")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _bars(axes: Axes, edges: np.ndarray, heights: np.ndarray, colour: str) -> None:
    """Draw all bars as one collection, which is much faster than one artist a bar."""
    from matplotlib.collections import PolyCollection

    gap = 0.07 * np.diff(edges)
    left, right, foot = edges[:-1] + gap, edges[1:] - gap, np.zeros(len(heights))
    corners = [(left, foot), (left, heights), (right, heights), (right, foot)]
    bars = np.stack([np.column_stack(corner) for corner in corners], axis=1)
    axes.add_collection(PolyCollection(list(bars), facecolors=colour, linewidths=0), autolim=False)


def hosmer_lemeshow_table(judged: JudgedSet) -> Table | None:
    """Show the Hosmer–Lemeshow test of every model; None with more than two classes."""
    tests = {
        j.name: (j.n, j.hosmer_lemeshow) for j in judged.judgements if j.hosmer_lemeshow is not None
    }
    if not tests:
        return None
    columns = [
        TableColumn("model", "Model", "text", titles=judged.titles),
        TableColumn("n", "Cases"),
        TableColumn("statistic", "χ²", digits=2),
        TableColumn("df", "df", digits=0),
        TableColumn("p_value", "p", "p"),
        TableColumn("method", "Method", "text"),
    ]
    rows = [
        (
            name,
            n,
            test.statistic,
            test.df,
            test.p_value,
            f"{test.method}; {test.why}" if test.why else test.method,
        )
        for name, (n, test) in tests.items()
    ]
    note = (
        "A small p is evidence of miscalibration. The test has little power with few cases and "
        "rejects any model with many: read the curve. It is undefined if patients have several "
        "cases, and with fewer than 100 cases of a class."
    )
    return plain_table(
        key=f"hosmer_lemeshow_{judged.case_set.key}",
        title=f"Hosmer–Lemeshow, {judged.case_set.inline_title}",
        columns=columns,
        rows=rows,
        note=note,
    )
