"""The figure of the first page: ROC, calibration and decision curve of a few models, one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ctbone.document import (
    INK,
    MM_PER_INCH,
    RULE,
    DrawnFigure,
    LineStyle,
    draw_diagonal,
    draw_reason,
    finish,
    line_styles,
    model_handles,
    panels,
    style,
    unit_axes,
)
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.decision_curves import CurvesBySet
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import DecisionCurve, calibration_curve, roc_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_MODELS = 6
"""Curves on one axis at most."""
_LEGEND_COLUMNS = 3


def primary_figure(
    analysis: Analysis, judged: JudgedSet, names: Sequence[str], curves: CurvesBySet
) -> DrawnFigure:
    """Draw ROC, calibration and decision curves of some models on one set of cases.

    Parameters
    ----------
    analysis
        All models: a model has the same line in every figure.
    judged
        The set of cases.
    names
        At most six models of the set.
    curves
        Decision curves, as ``curves_by_set`` returns them.
    """
    lines = line_styles(analysis.models)
    chosen = [scored for scored in judged.case_set.scored if scored.name in names]
    rows = -(-(len(chosen) + 2) // _LEGEND_COLUMNS)
    with style():
        figure, axes = panels(
            3, columns=3, size=(44, 44), gap=(16, 0), margin=(13, 3, 14 + 4.2 * rows, 7)
        )
        for scored in chosen:
            _draw_roc(axes[0], judged, scored, lines[scored.name])
        draw_diagonal(axes[0])
        unit_axes(axes[0], "1 − specificity", "Sensitivity")
        whys: dict[str, list[str]] = {}
        for scored in chosen:
            why = _draw_calibration(axes[1], scored, lines[scored.name])
            if why:
                whys.setdefault(why, []).append(judged.title(scored.name))
        draw_diagonal(axes[1])
        unit_axes(axes[1], "Predicted probability", "Observed share")
        handles = _draw_decision(
            axes[2], curves[judged.case_set.key], lines, [one.name for one in chosen]
        )
        for panel, title in zip(axes, ("ROC", "Calibration", "Decision"), strict=True):
            panel.set_title(title)
        if sum(map(len, whys.values())) == len(chosen):
            draw_reason(axes[1], "No curve: the caption says why")
        figure.legend(
            handles=[*model_handles(lines, [one.name for one in chosen], judged.titles), *handles],
            loc="lower left",
            bbox_to_anchor=(13 / (figure.get_figwidth() * MM_PER_INCH), 0.01),
            ncol=_LEGEND_COLUMNS,
        )
        sizes = sorted({(len(one), int(one.truth.sum())) for one in chosen})
        counts = " or ".join(f"{n} cases, {events} {analysis.positive}" for n, events in sizes)
        note = (
            f"{counts}. Dots: sensitivity and specificity at the threshold, with "
            f"{analysis.settings.confidence:.0%} intervals. Calibration: flexible curves; on the "
            "diagonal, probabilities are right."
        )
        if whys:
            note += f" {_no_curves(whys, len(chosen))}"
        return finish(
            figure,
            key="primary",
            title=f"ROC, calibration and decision curves, {judged.case_set.inline_title}",
            alt="Three panels with the curves of "
            f"{', '.join(judged.title(one.name) for one in chosen)}.",
            note=note,
        )


def _no_curves(whys: Mapping[str, Sequence[str]], models: int) -> str:
    """Say which models have no calibration curve, and why."""
    listed = [
        why if len(names) == models else f"{', '.join(names)}: {why}" for why, names in whys.items()
    ]
    return f"No calibration curve: {'; '.join(listed)}."


def _draw_roc(axes: Axes, judged: JudgedSet, scored: ScoredCases, line: LineStyle) -> None:
    """Draw a curve and its operating point, with the interval of both rates."""
    curve = roc_points(scored.truth, scored.p)
    stroke: dict[str, Any] = {"color": line.colour, "linestyle": line.dash}
    axes.plot(curve.fpr, curve.tpr, **stroke, linewidth=1.1, clip_on=False)
    estimates = next(one for one in judged.judgements if one.name == scored.name).estimates
    sensitivity, specificity = estimates["sensitivity"], estimates["specificity"]
    if sensitivity.value is None or specificity.value is None:
        return
    x, y = 1 - specificity.value, sensitivity.value
    axes.plot([x], [y], "o", color=line.colour, markersize=3.2, clip_on=False, zorder=3)
    if sensitivity.low is not None and sensitivity.high is not None:
        axes.plot([x, x], [sensitivity.low, sensitivity.high], color=line.colour, linewidth=0.6)
    if specificity.low is not None and specificity.high is not None:
        ends = [1 - specificity.high, 1 - specificity.low]
        axes.plot(ends, [y, y], color=line.colour, linewidth=0.6)


def _draw_calibration(axes: Axes, scored: ScoredCases, line: LineStyle) -> str:
    """Draw the flexible curve, or the tenths if it is undefined; return why it is."""
    curve = calibration_curve(scored.truth, scored.p, groups=scored.patients)
    if curve.why:
        means = [tenth.mean_probability for tenth in curve.bins]
        shares = [tenth.observed for tenth in curve.bins]
        axes.plot(means, shares, "o", color=line.colour, markersize=2.6)
        return curve.why
    stroke: dict[str, Any] = {"color": line.colour, "linestyle": line.dash}
    axes.plot(curve.grid, curve.observed, **stroke, linewidth=1.1)
    return ""


_REFERENCES = {"treat_all": ("Treat all", (0, (1.2, 1.2))), "treat_none": ("Treat none", "-")}


def _draw_decision(
    axes: Axes,
    curves: Mapping[str, DecisionCurve],
    lines: Mapping[str, LineStyle],
    names: Sequence[str],
) -> list[object]:
    """Draw net benefits; return the legend entries of treat-all and treat-none."""
    from matplotlib.lines import Line2D

    handles: list[object] = []
    for key, (title, dash) in _REFERENCES.items():
        curve = curves[key]
        axes.plot(curve.thresholds, curve.net_benefit, color=INK, linewidth=0.7, linestyle=dash)
        handles.append(Line2D([], [], color=INK, linewidth=0.7, linestyle=dash, label=title))
    for name in names:
        curve = curves[name]
        stroke: dict[str, Any] = {"color": lines[name].colour, "linestyle": lines[name].dash}
        axes.plot(curve.thresholds, curve.net_benefit, **stroke, linewidth=1.1)
    drawn = np.concatenate([curves[name].net_benefit for name in (*names, *_REFERENCES)])
    top = 1.08 * max(0.05, float(drawn[np.isfinite(drawn)].max()))  # treat-none is 0
    axes.set(xlim=(0, 1), ylim=(-0.18 * top, top))
    axes.set(xlabel="Threshold probability", ylabel="Net benefit")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axes.grid(color=RULE, linewidth=0.4)
    return handles
