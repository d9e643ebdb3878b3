"""ROC curves of models and classes, with operating points, bands and the cases at each point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctbone.config import EvaluationSettings
from ctbone.document import (
    INK,
    MOST_CURVES,
    DrawnFigure,
    NamedPoint,
    case_counts,
    draw_diagonal,
    draw_reason,
    finish,
    interval,
    legend_height,
    line_styles,
    named_points,
    number,
    style,
    titled_panels,
    unit_axes,
    wrap_name,
)
from ctbone.reporting.analysis import Analysis, JudgedSet, Judgement
from ctbone.reporting.metrics import resamples_for
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import Estimate, auc_interval, roc_band, roc_points
from ctbone.stats.roc import RocPoints

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_POINTS = 2000  # of a drawn ROC curve
_NAMED = 3  # cases named at one point of a curve
_MOST_NAMED = 3000  # named points of a figure
FEW_CROSSES = 3
"""Curves up to which operating points on one axis have crosses; more of them overlap."""


def leading(names: Sequence[str]) -> tuple[str, ...]:
    """Return the models that share an axis: the first six."""
    return tuple(names)[:MOST_CURVES]


def set_counts(scored: ScoredCases) -> str:
    """Name the cases and the positive ones of a model's set."""
    return case_counts(len(scored), int(scored.truth.sum()), scored.positive)


def roc(analysis: Analysis) -> DrawnFigure:
    """Draw the ROC curves of the first six models with operating points, one panel a set."""
    lines = line_styles(analysis.models)
    sets = analysis.reported
    shown = leading(analysis.models)
    heads = [(judged.case_set.title, counts_of_set(judged)) for judged in sets]
    points: list[NamedPoint] = []
    tall = max(legend_height(_roc_labels(judged, shown)) for judged in sets)
    with style():
        side = 70.0
        figure, all_axes = titled_panels(
            heads,
            columns=2,
            size=(side, side),
            gap=18,
            margin=(14, 8 if len(sets) > 1 else 30, 16 + tall),
        )
        for axes, judged in zip(all_axes, sets, strict=True):
            unit_axes(axes, "1 − specificity", "Sensitivity")
            draw_diagonal(axes)
            labels = _roc_labels(judged, shown)
            for (scored, judgement), label in zip(_pairs(judged, shown), labels, strict=True):
                curve = roc_points(scored.truth, scored.p)
                stroke = lines[scored.name]
                axes.plot(
                    *_thinned(curve),
                    color=stroke.colour,
                    linestyle=stroke.dash,
                    label=label,
                    clip_on=False,
                )
                draw_operating_point(
                    axes, judgement, stroke.colour, cross=len(shown) <= FEW_CROSSES
                )
                points += curve_points(axes, scored, curve, judged.title(scored.name))
            if why := _no_curve(judged):
                draw_reason(axes, f"No curve: {why}")
            axes.legend(loc="upper left", bbox_to_anchor=(0, -13 / side))
        return finish(
            figure,
            key="roc",
            title="ROC curves",
            alt="Sensitivity against 1 − specificity of every model; the AUCs are those of the "
            "figure above.",
            note=f"AUC with {analysis.settings.confidence:.0%} interval beside each name. Dots: "
            f"operating points.{left_out(analysis)}",
            points=few_points(points),
        )


def _roc_labels(judged: JudgedSet, shown: Sequence[str]) -> list[str]:
    labels = []
    for scored, judgement in _pairs(judged, shown):
        area = judgement.estimates["auc"]
        name = wrap_name(judged.title(scored.name), 25)
        labels.append(f"{name}   {number(area.value)} ({interval(area) or 'no interval'})")
    return labels


def left_out(analysis: Analysis, where: str = "the figure of each model shows the others") -> str:
    """Say where the models are that do not share the axis."""
    count = len(analysis.models)
    if count <= MOST_CURVES:
        return ""
    return f" The first {MOST_CURVES} of {count} models; {where}."


def counts_of_set(judged: JudgedSet) -> str:
    """Count the cases of a set; a range where the models have different cases."""
    counts = dict.fromkeys(set_counts(scored) for scored in judged.case_set.scored)
    if len(counts) == 1:
        return next(iter(counts))
    sizes = [len(scored) for scored in judged.case_set.scored]
    return f"n = {min(sizes)} to {max(sizes)}, by model"


def _no_curve(judged: JudgedSet) -> str | None:
    """Return why no model of a set has a curve; None if one has."""
    whys = [roc_points(scored.truth, scored.p).why for scored in judged.case_set.scored]
    return whys[0] if all(whys) else None


def _pairs(judged: JudgedSet, shown: Sequence[str]) -> list[tuple[ScoredCases, Judgement]]:
    pairs = zip(judged.case_set.scored, judged.judgements, strict=True)
    return [pair for pair in pairs if pair[0].name in shown]


def draw_operating_point(
    axes: Axes, judgement: Judgement, colour: str, *, cross: bool, filled: bool = True
) -> None:
    """Draw sensitivity and specificity of the calls, with their intervals as a cross."""
    tpr, tnr = judgement.estimates["sensitivity"], judgement.estimates["specificity"]
    if tpr.value is None or tnr.value is None:
        return
    x, y = 1 - tnr.value, tpr.value
    if cross and tpr.low is not None and tpr.high is not None:
        axes.plot([x, x], [tpr.low, tpr.high], color=colour, linewidth=0.8, alpha=0.75, zorder=3)
    if cross and tnr.low is not None and tnr.high is not None:
        ends = [1 - tnr.high, 1 - tnr.low]
        axes.plot(ends, [y, y], color=colour, linewidth=0.8, alpha=0.75, zorder=3)
    axes.plot(
        [x],
        [y],
        "o",
        color=colour,
        markersize=4.6,
        markerfacecolor=colour if filled else "white",
        markeredgecolor="white" if filled else colour,
        markeredgewidth=0.7 if filled else 1.2,
        clip_on=False,
        zorder=4,
    )


def curve_points(
    axes: Axes, scored: ScoredCases, curve: RocPoints, title: str
) -> tuple[NamedPoint, ...]:
    """Name the cases at each point of a curve: those with the probability of its threshold."""
    if curve.why:
        return ()
    cases = scored.cases["case_id"].to_numpy(str)
    labels = scored.cases["label"].to_numpy(str)
    order = np.argsort(-scored.p, kind="stable")
    starts = np.searchsorted(-scored.p[order], -curve.thresholds[1:], side="left")
    texts = []
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        rows = order[start:end]
        named = [f"{cases[row]} ({labels[row]})" for row in rows[:_NAMED]]
        named += [f"{len(rows) - _NAMED} more"] if len(rows) > _NAMED else []
        texts.append(f"{title}, {number(float(scored.p[rows[0]]), 2)}: {', '.join(named)}")
    return named_points(axes, curve.fpr[1:], curve.tpr[1:], texts)


def few_points(points: Sequence[NamedPoint]) -> tuple[NamedPoint, ...]:
    """Return the named points of a figure; none if they are so many that the page would be slow."""
    return tuple(points) if len(points) <= _MOST_NAMED else ()


def roc_bands(analysis: Analysis, judged: JudgedSet, *, bands: bool = True) -> DrawnFigure:
    """Draw the ROC curve of each model with its operating point and band, others in grey."""
    lines = line_styles(analysis.models)
    settings = analysis.settings
    curves = {one.name: roc_points(one.truth, one.p) for one in judged.case_set.scored}
    heads = [(judged.title(one.name), set_counts(one)) for one in judged.case_set.scored]
    method = ""
    points: list[NamedPoint] = []
    with style():
        figure, all_axes = titled_panels(heads)
        for axes, (scored, judgement) in zip(all_axes, _pairs(judged, list(curves)), strict=True):
            unit_axes(axes, "1 − specificity", "Sensitivity")
            draw_diagonal(axes)
            for other in leading([name for name in curves if name != scored.name]):
                axes.plot(*_thinned(curves[other]), color="#c9c9c9", linewidth=0.6)
            colour, curve = lines[scored.name].colour, curves[scored.name]
            if bands and not curve.why:
                method = _draw_band(axes, scored, settings, colour=colour) or method
            if curve.why:
                draw_reason(axes, f"No curve: {curve.why}")
            axes.plot(*_thinned(curve), color=colour, clip_on=False)
            draw_operating_point(axes, judgement, INK, cross=True)
            _write_area(axes, judgement.estimates["auc"])
            points += curve_points(axes, scored, curve, judged.title(scored.name))
        return finish(
            figure,
            key=f"roc_bands_{judged.case_set.key}",
            title=f"ROC curve of each model, {judged.case_set.title.lower()}",
            alt="One panel a model: its ROC curve with a band and its operating point, other "
            "models in grey.",
            note=(f"Band: {method}. " if method else "")
            + f"Dot and cross: operating point with {settings.confidence:.0%} intervals of "
            "sensitivity and specificity.",
            points=few_points(points),
        )


def _draw_band(
    axes: Axes, scored: ScoredCases, settings: EvaluationSettings, *, colour: str
) -> str:
    """Draw the bootstrap band of a ROC curve, or why there is none; return its method."""
    band = roc_band(
        scored.truth,
        scored.p,
        replicates=resamples_for(len(scored), settings),
        level=settings.confidence,
        seed=settings.seed,
        groups=scored.patients,
    )
    if band.why:
        draw_reason(axes, f"No band: {band.why}")
    else:
        axes.fill_between(band.fpr, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
    return band.method


def _write_area(axes: Axes, area: Estimate) -> None:
    ends = interval(area)
    text = f"AUC {number(area.value)}" + (f"\n{ends}" if ends else "")
    axes.text(0.98, 0.04, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=6.5)


def class_roc(analysis: Analysis, judged: JudgedSet) -> DrawnFigure:
    """Draw the ROC curve of each class against the rest with its band, one panel a class."""
    classes, settings = judged.case_set.scored[0].classes, analysis.settings
    lines, method = line_styles(classes), ""
    places = [(scored, name) for scored in judged.case_set.scored for name in classes]
    parts = [scored.against_rest(name) for scored, name in places]
    heads = [
        (f"{judged.title(scored.name)}: {name}", set_counts(one))
        for (scored, name), one in zip(places, parts, strict=True)
    ]
    points: list[NamedPoint] = []
    with style():
        figure, all_axes = titled_panels(heads, columns=min(3, len(classes)))
        for axes, (scored, name), one in zip(all_axes, places, parts, strict=True):
            unit_axes(axes, "1 − specificity", "Sensitivity")
            area = auc_interval(one.truth, one.p, level=settings.confidence, groups=one.patients)
            curve = roc_points(one.truth, one.p)
            draw_diagonal(axes)
            if curve.why:
                draw_reason(axes, f"No curve: {curve.why}")
            else:
                colour = lines[name].colour
                method = _draw_band(axes, one, settings, colour=colour) or method
                axes.plot(*_thinned(curve), color=colour, clip_on=False)
                points += curve_points(axes, one, curve, f"{judged.title(scored.name)}, {name}")
            _write_area(axes, area)
        return finish(
            figure,
            key=f"roc_{judged.case_set.key}",
            title=f"ROC curve of each class against the rest, {judged.case_set.title.lower()}",
            alt="One panel a model and class: sensitivity against 1 − specificity with a band.",
            note=f"AUC with {settings.confidence:.0%} interval ({_delong(judged)})."
            + (f" Band: {method}." if method else ""),
            points=few_points(points),
        )


def _delong(judged: JudgedSet) -> str:
    clustered = any(scored.patients is not None for scored in judged.case_set.scored)
    return "DeLong, by patient (Obuchowski)" if clustered else "DeLong"


def _thinned(curve: RocPoints) -> tuple[np.ndarray, np.ndarray]:
    """Return the points of a curve that are drawn."""
    if curve.fpr.size <= _MOST_POINTS:
        return curve.fpr, curve.tpr
    kept = np.linspace(0, curve.fpr.size - 1, _MOST_POINTS).astype(int)
    return curve.fpr[kept], curve.tpr[kept]
