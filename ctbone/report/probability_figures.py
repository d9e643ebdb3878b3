"""Figures of the probabilities themselves: calibration with the histogram below, and decision curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctbone.document.figure_style import (
    FAINT,
    INK,
    Drawn,
    finish,
    panels,
    shorten,
    strokes,
    style,
    unit_axes,
)
from ctbone.report.analysis import Analysis, JudgedSet
from ctbone.report.discrimination_figures import model_handles, small_multiples
from ctbone.report.result_tables import decision_curves
from ctbone.report.scored_cases import ScoredCases
from ctbone.stats import DecisionCurve, calibration_curve

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TREAT = {"treat_all": ("Treat all", INK, (0, (1.2, 1.2))), "treat_none": ("Treat none", INK, "-")}


def calibration(analysis: Analysis, judged: JudgedSet) -> Drawn:
    """Draw each model's flexible calibration curve with its band, tenths with intervals, and the histogram below."""
    lines = strokes(analysis.models)
    level = analysis.settings.confidence
    method = ""
    with style():
        figure, all_axes = small_multiples(len(judged.cases.answers), height=58.0)
        for axes, answers in zip(all_axes, judged.cases.answers, strict=True):
            method = _calibration_panel(axes, answers, lines[answers.name].colour, level)
            axes.set_title(shorten(answers.name, 20))
        return finish(
            figure,
            f"calibration_{judged.cases.key}",
            f"Calibration, {judged.cases.title.lower()}",
            "One panel a model: observed share against predicted probability, with the histogram of both classes.",
            f"Line and band: {method}. Dots: tenths of probability with {_wilson(judged)}. Bars: cases of the positive "
            "class upwards, of the other downwards.",
        )


def class_calibration(judged: JudgedSet, level: float) -> Drawn:
    """Draw the calibration of each class against the rest: one row a model, one panel a class."""
    classes = judged.cases.answers[0].classes
    lines, method = strokes(classes), ""
    with style():
        columns = min(3, len(classes))
        count = len(judged.cases.answers) * len(classes)
        figure, all_axes = panels(
            count, columns=columns, size=(44, 58), gap=(16, 19), margin=(13, 3, 11, 7)
        )
        places = [(answers, name) for answers in judged.cases.answers for name in classes]
        for axes, (answers, name) in zip(all_axes, places, strict=True):
            method = _calibration_panel(axes, answers.against_rest(name), lines[name].colour, level)
            axes.set_title(f"{shorten(answers.name, 12)}: {shorten(name, 13)}")
        return finish(
            figure,
            f"calibration_{judged.cases.key}",
            f"Calibration of each class against the rest, {judged.cases.title.lower()}",
            "One panel a model and class: observed share against predicted probability, with the histogram below.",
            f"Line and band: {method}. Dots: tenths of probability with {_wilson(judged)}. Bars: cases of the class "
            "upwards, all others downwards.",
        )


def _wilson(judged: JudgedSet) -> str:
    clustered = any(answers.patients is not None for answers in judged.cases.answers)
    return "Wilson intervals by patient" if clustered else "Wilson intervals"


def _calibration_panel(axes: Axes, answers: ScoredCases, colour: str, level: float) -> str:
    curve = calibration_curve(
        answers.truth, answers.p, level=level, histogram_bins=25, groups=answers.patients
    )
    box = axes.get_position()
    axes.set_position((box.x0, box.y0 + 0.27 * box.height, box.width, 0.73 * box.height))
    below = axes.figure.add_axes((box.x0, box.y0, box.width, 0.2 * box.height))
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.6, linestyle=(0, (2, 2)))
    if curve.grid.size:
        axes.fill_between(curve.grid, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(curve.grid, curve.observed, color=colour)
    means = [tenth.mean_probability for tenth in curve.bins]
    lows, highs = [tenth.low for tenth in curve.bins], [tenth.high for tenth in curve.bins]
    axes.vlines(means, lows, highs, color=INK, linewidth=0.5)
    axes.plot(means, [tenth.observed for tenth in curve.bins], "o", color=INK, markersize=2.4)
    unit_axes(axes, "", "Observed share")
    axes.tick_params(labelbottom=False)
    _histogram(
        below, curve.histogram_edges, curve.histogram_positive, curve.histogram_negative, colour
    )
    return curve.method


def _histogram(
    axes: Axes, edges: np.ndarray, positive: np.ndarray, negative: np.ndarray, colour: str
) -> None:
    _bars(axes, edges, positive, colour)
    _bars(axes, edges, -negative, FAINT)
    axes.axhline(0, color=INK, linewidth=0.4)
    most = max(1, int(positive.max()), int(negative.max()))
    axes.set(xlim=(-0.02, 1.02), ylim=(-1.1 * most, 1.1 * most), xlabel="Predicted probability")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _bars(axes: Axes, edges: np.ndarray, heights: np.ndarray, colour: str) -> None:
    """Draw all bars as one shape: dozens of rectangles take longer than all the rest of a panel."""
    from matplotlib.collections import PolyCollection

    gap = 0.07 * np.diff(edges)
    left, right, foot = edges[:-1] + gap, edges[1:] - gap, np.zeros(len(heights))
    corners = [(left, foot), (left, heights), (right, heights), (right, foot)]
    bars = np.stack([np.column_stack(corner) for corner in corners], axis=1)
    axes.add_collection(PolyCollection(list(bars), facecolors=colour, linewidths=0), autolim=False)


def decision(analysis: Analysis, curves: Mapping[str, Mapping[str, DecisionCurve]]) -> Drawn:
    """Draw the decision curves of all models with treat-all and treat-none, one panel a set of cases.

    Parameters
    ----------
    analysis
        The sets and models.
    curves
        By the set's key, what ``decision_curves`` returned.
    """
    lines = strokes(analysis.models)
    sets = analysis.reported
    entries = len(analysis.models) + 2
    with style():
        columns = min(4, entries) if len(sets) > 1 else 2
        rows = -(-entries // columns)
        figure, all_axes = panels(
            len(sets),
            columns=2,
            size=(70, 58),
            gap=(18, 0),
            margin=(14, 8 if len(sets) > 1 else 30, 16 + 4.2 * rows, 7),
        )
        for axes, judged in zip(all_axes, sets, strict=True):
            found = curves[judged.cases.key]
            for name, curve in found.items():
                if name in _TREAT:
                    _, colour, dash = _TREAT[name]
                    axes.plot(
                        curve.thresholds,
                        curve.net_benefit,
                        color=colour,
                        linewidth=0.8,
                        linestyle=dash,
                    )
                else:
                    stroke = lines[name]
                    axes.plot(
                        curve.thresholds,
                        curve.net_benefit,
                        color=stroke.colour,
                        linestyle=stroke.dash,
                    )
            _benefit_axes(axes, found)
            axes.set_title(judged.cases.title)
        figure.legend(
            handles=[*model_handles(lines, analysis.models), *_treat_handles()],
            loc="lower left",
            bbox_to_anchor=(14 / (figure.get_figwidth() * 25.4), 0.01),
            ncol=columns,
        )
        return finish(
            figure,
            "decision",
            "Decision curves",
            "Net benefit of every model against the threshold probability, with treat-all and treat-none.",
            "A case is treated from the threshold probability on; a model is of use where it lies above both treat-all "
            f"and treat-none.{_prevalence(analysis)}",
        )


def decision_bands(
    analysis: Analysis, judged: JudgedSet, curves: Mapping[str, DecisionCurve]
) -> Drawn:
    """Draw each model's decision curve in a panel of its own, with its bootstrap band."""
    lines = strokes(analysis.models)
    names = [answers.name for answers in judged.cases.answers]
    with style():
        figure, all_axes = small_multiples(len(names))
        for axes, name in zip(all_axes, names, strict=True):
            for key, (_, colour, dash) in _TREAT.items():
                axes.plot(
                    curves[key].thresholds,
                    curves[key].net_benefit,
                    color=colour,
                    linewidth=0.7,
                    linestyle=dash,
                )
            curve, colour = curves[name], lines[name].colour
            axes.fill_between(
                curve.thresholds, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0
            )
            axes.plot(curve.thresholds, curve.net_benefit, color=colour)
            _benefit_axes(axes, curves)
            axes.set_title(shorten(name, 20))
        return finish(
            figure,
            f"decision_bands_{judged.cases.key}",
            f"Decision curve of each model, {judged.cases.title.lower()}",
            "One panel a model: net benefit with its band, treat-all dotted, treat-none solid.",
            f"{_band_methods([curves[name] for name in names])}. Dotted: treat all; solid: treat none.",
        )


def curves_of(analysis: Analysis, *, bands: bool) -> dict[str, dict[str, DecisionCurve]]:
    """Compute the decision curves of every reported set."""
    return {
        judged.cases.key: decision_curves(analysis, judged, bands=bands)
        for judged in analysis.reported
    }


def _prevalence(analysis: Analysis) -> str:
    """Say that the prevalence is not that of the cases."""
    prevalence = analysis.settings.prevalence
    return (
        ""
        if prevalence is None
        else f" The prevalence is set to {100 * prevalence:g} %, not that of the cases."
    )


def _band_methods(curves: Sequence[DecisionCurve]) -> str:
    """How the bands came about, in the words of the curve that has most to say: others may have no gap."""
    method = max((curve.method for curve in curves), key=len)
    return method[0].upper() + method[1:]


def _benefit_axes(axes: Axes, curves: Mapping[str, DecisionCurve]) -> None:
    values = np.concatenate([curve.net_benefit for curve in curves.values()])
    top = 1.08 * max(0.05, float(values[np.isfinite(values)].max()))  # treat-none is always there
    axes.set(
        xlim=(0, 1), ylim=(-0.18 * top, top), xlabel="Threshold probability", ylabel="Net benefit"
    )
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.grid(color="#e4e4e4", linewidth=0.4)


def _treat_handles() -> list[object]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, linewidth=0.8, linestyle=dash, label=title)
        for title, colour, dash in _TREAT.values()
    ]
