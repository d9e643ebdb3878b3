"""Figures of discrimination: AUCs side by side, ROC curves, confusion heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctbone.document.figure_style import (
    DOUBLE_COLUMN,
    FAINT,
    INK,
    RULE,
    Drawn,
    Stroke,
    finish,
    panels,
    shorten,
    strokes,
    style,
    unit_axes,
)
from ctbone.document.table import interval, number
from ctbone.report.analysis import Analysis, JudgedSet
from ctbone.report.metrics import resamples_for
from ctbone.report.result_tables import ordered_classes
from ctbone.stats import auc_interval, roc_band, roc_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_POINTS = 2000


def forest(analysis: Analysis) -> Drawn:
    """Draw every model's AUC with its interval, internal and external, and the folds' own values as ticks."""
    models, sets = analysis.models, analysis.reported
    colours, markers = strokes(models), ("o", "D", "s")
    height = (5.5 if len(sets) == 1 else 9.0) * len(models) + 2
    with style():
        figure, (axes,) = panels(
            1, columns=1, size=(84, height), margin=(42, 54, 12 + 5 * (len(sets) > 1), 3)
        )
        for row, name in enumerate(models):
            for place, judged in enumerate(sets):
                found = next((j for j in judged.judgements if j.name == name), None)
                if found is None:
                    continue
                y = row + (place - (len(sets) - 1) / 2) * 0.36
                _forest_row(
                    axes,
                    y,
                    found.estimates["auc"],
                    colours[name].colour,
                    markers[place],
                    place == 0,
                )
                areas = [part.estimates["auc"].value for part in found.folds.values()]
                known = [area for area in areas if area is not None]
                axes.plot(
                    known,
                    [y] * len(known),
                    "|",
                    color=FAINT,
                    markersize=5,
                    markeredgewidth=0.8,
                    zorder=1,
                )
        known_lows = [
            j.estimates["auc"].low
            for judged in sets
            for j in judged.judgements
            if j.estimates["auc"].low is not None
        ]
        left = min(0.5, np.floor(min(known_lows, default=0.5) * 10) / 10)
        axes.axvline(0.5, color=FAINT, linewidth=0.6, linestyle=(0, (2, 2)), zorder=0)
        axes.set(xlim=(left - 0.01, 1.005), ylim=(len(models) - 0.45, -0.55), xlabel="AUC")
        axes.set_yticks(range(len(models)), [shorten(name, 22) for name in models])
        axes.tick_params(axis="y", length=0, labelsize=7.5, labelcolor=INK)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=RULE, linewidth=0.4)
        if len(sets) > 1:
            _forest_legend(axes, sets, markers, height)
        return finish(
            figure,
            "auc",
            "AUC of every model",
            "; ".join(
                f"{j.name}, {judged.cases.title.lower()}: {number(j.estimates['auc'].value)}"
                for judged in sets
                for j in judged.judgements
            ),
            f"With {analysis.settings.confidence:.0%} intervals. Grey ticks: the single folds. Dashed: chance.",
        )


def _forest_row(
    axes: Axes, y: float, estimate: object, colour: str, marker: str, filled: bool
) -> None:
    value, low, high = (getattr(estimate, part) for part in ("value", "low", "high"))
    if value is None:
        axes.annotate(
            "undefined",
            (1.03, y),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=7,
            color=FAINT,
        )
        return
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour, linewidth=1.2, zorder=2)
    face = colour if filled else "white"
    axes.plot(
        [value],
        [y],
        marker,
        color=colour,
        markerfacecolor=face,
        markersize=4.5,
        markeredgewidth=1.1,
        zorder=3,
    )
    text = f"{number(value)}  ({interval(estimate)})"  # type: ignore[arg-type]
    axes.annotate(text, (1.03, y), xycoords=("axes fraction", "data"), va="center", fontsize=7)


def _forest_legend(
    axes: Axes, sets: Sequence[JudgedSet], markers: Sequence[str], height: float
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [],
            [],
            color=INK,
            marker=marker,
            markersize=4.5,
            markerfacecolor=INK if place == 0 else "white",
        )
        for place, (_, marker) in enumerate(zip(sets, markers, strict=False))
    ]
    names = [f"{judged.cases.title} (n = {len(judged.cases.answers[0])})" for judged in sets]
    axes.legend(handles, names, loc="upper left", bbox_to_anchor=(0, -10 / height), ncol=len(sets))


def roc(analysis: Analysis) -> Drawn:
    """Draw the ROC curves of all models, one panel a set of cases."""
    lines = strokes(analysis.models)
    sets = analysis.reported
    most = max(len(judged.judgements) for judged in sets)
    with style():
        side = 70.0
        figure, all_axes = panels(
            len(sets),
            columns=2,
            size=(side, side),
            gap=(18, 0),
            margin=(14, 8 if len(sets) > 1 else 30, 15 + 4.2 * most, 7),
        )
        for axes, judged in zip(all_axes, sets, strict=True):
            _diagonal(axes)
            for answers, judgement in zip(judged.cases.answers, judged.judgements, strict=True):
                fpr, tpr = _roc_points(answers.truth, answers.p)
                area = judgement.estimates["auc"]
                label = f"{shorten(answers.name)}   {number(area.value)} ({interval(area)})"
                stroke = lines[answers.name]
                axes.plot(
                    fpr, tpr, color=stroke.colour, linestyle=stroke.dash, label=label, clip_on=False
                )
            unit_axes(axes, "1 − specificity", "Sensitivity")
            axes.set_title(judged.cases.title)
            axes.legend(loc="upper left", bbox_to_anchor=(0, -13 / side))
        return finish(
            figure,
            "roc",
            "ROC curves",
            "Sensitivity against 1 − specificity of every model; the areas are those of the figure of AUCs.",
            f"AUC with {analysis.settings.confidence:.0%} interval beside each name.",
        )


def class_roc(analysis: Analysis, judged: JudgedSet) -> Drawn:
    """Draw the ROC curve of each class against the rest with its band, one row a model, one panel a class."""
    classes, settings = judged.cases.answers[0].classes, analysis.settings
    lines, method = strokes(classes), ""
    with style():
        places = [(answers, name) for answers in judged.cases.answers for name in classes]
        columns = min(3, len(classes))
        figure, all_axes = panels(
            len(places), columns=columns, size=(44, 44), gap=(16, 19), margin=(13, 3, 11, 7)
        )
        for axes, (answers, name) in zip(all_axes, places, strict=True):
            one = answers.against_rest(name)
            area = auc_interval(one.truth, one.p, level=settings.confidence, groups=one.patients)
            _diagonal(axes)
            if area.value is not None:
                band = roc_band(
                    one.truth,
                    one.p,
                    replicates=resamples_for(len(one), settings),
                    level=settings.confidence,
                    seed=settings.seed,
                    groups=one.patients,
                )
                method = band.method
                axes.fill_between(
                    band.fpr, band.low, band.high, color=lines[name].colour, alpha=0.18, linewidth=0
                )
                axes.plot(*_roc_points(one.truth, one.p), color=lines[name].colour, clip_on=False)
            unit_axes(axes, "1 − specificity", "Sensitivity")
            ends = interval(area)
            text = f"AUC {number(area.value)}" + (f"\n{ends}" if ends else "")
            axes.text(
                0.98, 0.04, text, transform=axes.transAxes, ha="right", va="bottom", fontsize=6.5
            )
            axes.set_title(f"{shorten(answers.name, 12)}: {shorten(name, 13)}")
        return finish(
            figure,
            f"roc_{judged.cases.key}",
            f"ROC curve of each class against the rest, {judged.cases.title.lower()}",
            "One panel a model and class: sensitivity against 1 − specificity, with a band.",
            f"AUC with {settings.confidence:.0%} interval ({_delong(judged)})."
            + (f" Band: {method}." if method else ""),
        )


def _delong(judged: JudgedSet) -> str:
    clustered = any(answers.patients is not None for answers in judged.cases.answers)
    return "DeLong, by patient (Obuchowski)" if clustered else "DeLong"


def roc_bands(analysis: Analysis, judged: JudgedSet) -> Drawn:
    """Draw each model's ROC curve in a panel of its own, with its pointwise bootstrap band, the others in grey."""
    lines = strokes(analysis.models)
    settings = analysis.settings
    curves = {
        answers.name: _roc_points(answers.truth, answers.p) for answers in judged.cases.answers
    }
    method = ""
    with style():
        figure, all_axes = small_multiples(len(curves))
        for axes, answers in zip(all_axes, judged.cases.answers, strict=True):
            _diagonal(axes)
            for other, (fpr, tpr) in curves.items():
                if other != answers.name:
                    axes.plot(fpr, tpr, color="#c9c9c9", linewidth=0.6)
            band = roc_band(
                answers.truth,
                answers.p,
                replicates=resamples_for(len(answers), settings),
                level=settings.confidence,
                seed=settings.seed,
                groups=answers.patients,
            )
            method = band.method
            axes.fill_between(
                band.fpr,
                band.low,
                band.high,
                color=lines[answers.name].colour,
                alpha=0.18,
                linewidth=0,
            )
            axes.plot(*curves[answers.name], color=lines[answers.name].colour, clip_on=False)
            unit_axes(axes, "1 − specificity", "Sensitivity")
            axes.set_title(shorten(answers.name, 20))
        return finish(
            figure,
            f"roc_bands_{judged.cases.key}",
            f"ROC curve of each model, {judged.cases.title.lower()}",
            "One panel a model: its ROC curve with a band, the other models in grey.",
            f"Band: {method}." if method else "",
        )


def confusion_maps(judged: JudgedSet) -> Drawn:
    """Draw each model's counts, shaded by their share of the true class."""
    answers = judged.cases.answers[0]
    order = ordered_classes(answers.classes, answers.positive)
    with style():
        size = 38.0 if len(order) == 2 else 52.0
        columns = 3 if len(order) == 2 else 2
        gap = ((DOUBLE_COLUMN - 20 - 3 - columns * size) / (columns - 1), 19.0)
        figure, all_axes = panels(
            len(judged.judgements),
            columns=columns,
            size=(size, size),
            gap=gap,
            margin=(20, 3, 12, 7),
        )
        for axes, judgement in zip(all_axes, judged.judgements, strict=True):
            _heat_map(axes, judgement.matrix, [shorten(name, 14) for name in order])
            axes.set_title(shorten(judgement.name, 18))
        return finish(
            figure,
            f"confusion_{judged.cases.key}",
            f"Confusion, {judged.cases.title.lower()}",
            "; ".join(f"{j.name}: {j.matrix.tolist()}" for j in judged.judgements),
            "Cases, and their share of the true class; the shade follows the share.",
        )


def small_multiples(count: int, height: float = 44.0) -> tuple[Figure, list[Axes]]:
    """Lay out one panel a model, three in a row over two journal columns."""
    return panels(count, columns=3, size=(44.0, height), gap=(16.0, 19.0), margin=(13, 3, 11, 7))


def _heat_map(axes: Axes, matrix: np.ndarray, names: Sequence[str]) -> None:
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    edges = np.arange(len(names) + 1) - 0.5
    axes.pcolormesh(
        edges, edges, shares, cmap="Blues", vmin=0, vmax=1.15, edgecolors="face", linewidth=0.2
    )
    axes.invert_yaxis()
    for (row, column), count in np.ndenumerate(matrix):
        colour = "white" if shares[row, column] > 0.62 else INK
        axes.text(
            column,
            row - 0.04,
            str(count),
            ha="center",
            va="bottom",
            color=colour,
            fontsize=9,
            weight="bold",
        )
        axes.text(
            column,
            row + 0.06,
            f"{shares[row, column]:.0%}",
            ha="center",
            va="top",
            color=colour,
            fontsize=6.5,
        )
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names, rotation=90, va="center")
    axes.tick_params(length=0)
    axes.set(xlabel="Called", ylabel="Truth")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)


def _roc_points(truth: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    curve = roc_points(truth, p)
    if curve.fpr.size <= _MOST_POINTS:
        return curve.fpr, curve.tpr
    kept = np.linspace(0, curve.fpr.size - 1, _MOST_POINTS).astype(int)
    return curve.fpr[kept], curve.tpr[kept]


def model_handles(lines: Mapping[str, Stroke], names: Sequence[str]) -> list[object]:
    """Return the legend's lines of some models."""
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=lines[name].colour, linestyle=lines[name].dash, label=shorten(name))
        for name in names
    ]
