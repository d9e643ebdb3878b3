"""Figures of the readers: ROC curves, performance by level (Figure 4), change of AUC."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ctbone.document import (
    FAINT,
    INK,
    MM_PER_INCH,
    RULE,
    DrawnFigure,
    case_counts,
    draw_diagonal,
    finish,
    number,
    panels,
    shorten,
    style,
    titled_panels,
    unit_axes,
)
from ctbone.reader_study.effect import AIDED, UNAIDED, reader_change
from ctbone.reader_study.performance import MEASURES, Performances
from ctbone.reader_study.readings import Readings
from ctbone.reader_study.session_style import (
    BETTER_WORSE,
    MODEL_COLOUR,
    reader_name,
    session_colours,
    session_title,
)
from ctbone.stats import Comparison, auc, roc_points
from ctbone.stats.obuchowski_rockette import obuchowski_rockette

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FIGURE_4 = ("auc", "sensitivity", "specificity", "accuracy")


def roc_figure(found: Performances) -> DrawnFigure:
    """Draw the ROC curves of each reader, and that of the model behind them."""
    readings = found.readings
    colours = session_colours(readings.sessions)
    with style():
        figure, axes = titled_panels(
            [(_name(readings, k), _counts(readings, k)) for k in range(len(readings.readers))],
            size=(46, 46),
            gap=14,
            margin=(13, 4, 12),
        )
        for reader, axis in enumerate(axes):
            unit_axes(axis, "1 − specificity", "Sensitivity")
            draw_diagonal(axis)
            _draw_model(axis, found)
            for place, session in enumerate(readings.sessions):
                _draw_reader(axis, found, (place, reader), colours[session], session)
            axis.legend(loc="lower right")
        return finish(
            figure,
            "reader_study_roc",
            "ROC curves of the readers",
            alt="ROC curve of each reader in each session, with the call of the reader as a dot.",
            note="The dot is the reader's call, above the midpoint of the scale."
            + (f" Grey: the model {readings.model}, its dot at 0.5." if readings.model else ""),
        )


def level_figure(found: Performances) -> DrawnFigure:
    """Draw the main paper's Figure 4: performance by level, and the change of each reader."""
    from matplotlib.figure import Figure

    readings = found.readings
    count, width = len(readings.readers), 180.0
    height = max(64.0, 22.0 + 7.0 * count)
    with style():
        figure = Figure(figsize=(width / MM_PER_INCH, height / MM_PER_INCH))
        bottom, tall = 12 / height, 1 - 22 / height
        for place, name in enumerate(_FIGURE_4):
            left = 12 + place * 26
            axis = figure.add_axes((left / width, bottom, 21 / width, tall))
            _draw_levels(axis, found, name)
            axis.set_ylim(bottom=_lowest(found))
            axis.tick_params(labelleft=place == 0)
        right = figure.add_axes((134 / width, bottom, 30 / width, tall))
        bar = figure.add_axes((167 / width, bottom, 2.2 / width, tall))
        _draw_changes(right, bar, found)
        handles = [
            right.plot([], [], "o", color=colour, label=session_title(session))[0]
            for session, colour in session_colours(readings.sessions).items()
        ]
        figure.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(12 / width, 0.995), ncols=2
        )
        return finish(
            figure,
            "reader_study_levels",
            "Performance by level, and the change of each reader with AI",
            alt="Left: AUC, sensitivity, specificity and accuracy of each level without and with "
            "AI. Right: heat map of the change of each reader.",
            note="As Figure 4 of the main paper. Left: mean of a level's readers with the interval "
            "for these readers. Right: with AI minus without AI; blue is better.",
        )


def forest_figure(found: Performances) -> DrawnFigure:
    """Draw the change of AUC of each reader and of the average reader."""
    readings = found.readings
    changes = [reader_change(found, k).get("auc") for k in range(len(readings.readers))]
    mean = obuchowski_rockette(found.measures["auc"], level=found.level).difference(AIDED, UNAIDED)
    rows: list[tuple[str, Comparison | None]] = [
        *((_name(readings, k), change) for k, change in enumerate(changes)),
        ("Average reader", mean),
    ]
    with style():
        figure, (axis,) = panels(1, columns=1, size=(84, 6.5 * len(rows)), margin=(34, 48, 11, 4))
        for place, (name, change) in enumerate(rows):
            if change is None or change.difference is None:
                continue
            strong = name == "Average reader"
            colour, marker = ("#D55E00", "D") if strong else (INK, "o")
            if change.low is not None and change.high is not None:
                axis.plot([change.low, change.high], [place, place], color=colour, linewidth=1.1)
            axis.plot(change.difference, place, marker, color=colour, markersize=4.5)
            text = number(change.difference)
            if change.low is not None:
                text += f" ({number(change.low)} to {number(change.high)})"
            axis.text(
                1.03, place, text, transform=axis.get_yaxis_transform(), va="center", fontsize=7
            )
        axis.axvline(0, color=FAINT, linewidth=0.7)
        axis.grid(axis="x", color=RULE, linewidth=0.4)
        axis.set_ylim(len(rows) - 0.4, -0.6)
        axis.set_yticks(range(len(rows)), [shorten(name, 20) for name, _ in rows])
        axis.set_xlabel("Change of AUC with AI")
        return finish(
            figure,
            "reader_study_forest",
            "Change of AUC with AI",
            alt="Change of AUC of each reader and of the average reader, with intervals.",
            note="Readers: DeLong's paired interval. Average reader: random readers and cases "
            "(Obuchowski–Rockette).",
        )


def _name(readings: Readings, reader: int) -> str:
    return reader_name(readings.readers[reader], readings.levels[reader])


def _counts(readings: Readings, reader: int) -> str:
    """Count the cases that a reader read in any session."""
    truth = readings.truth[~np.isnan(readings.p[:, reader]).all(axis=0)]
    return case_counts(len(truth), int(truth.sum()), readings.classes[1])


def _draw_reader(
    axis: Axes, found: Performances, cell: tuple[int, int], colour: str, session: str
) -> None:
    readings = found.readings
    p = readings.p[cell]
    read = ~np.isnan(p)
    truth = readings.truth[read]
    if truth.all() or not truth.any():
        return
    points = roc_points(truth, p[read])
    area = found.measures["auc"].values[cell]
    label = f"{session_title(session)} {number(float(area), 2)}"
    axis.plot(points.fpr, points.tpr, color=colour, label=label)
    called = readings.called[cell][read]
    axis.plot(called[~truth].mean(), called[truth].mean(), "o", color=colour, markersize=4.5)


def _draw_model(axis: Axes, found: Performances) -> None:
    readings = found.readings
    known = np.isfinite(readings.model_p)
    truth = readings.truth[known]
    if not known.any() or truth.all() or not truth.any():
        return
    points = roc_points(truth, readings.model_p[known])
    area = auc(truth, readings.model_p[known])
    label = f"model {number(area, 2)}"
    axis.plot(points.fpr, points.tpr, color=MODEL_COLOUR, linewidth=0.9, label=label)
    called = readings.model_called[known]
    axis.plot(called[~truth].mean(), called[truth].mean(), "o", color=MODEL_COLOUR, markersize=3.5)


def _lowest(found: Performances) -> float:
    """Lower end of the axes of Figure 4: a tenth below all means and limits, at most 0.5."""
    ends = [0.5]
    for measure in _FIGURE_4:
        for name in found.readings.level_names:
            for mean in found.of_level(measure, name).means:
                ends += [end for end in (mean.value, mean.low) if end is not None]
    return math.floor(10 * min(ends)) / 10


def _draw_levels(axis: Axes, found: Performances, measure: str) -> None:
    readings = found.readings
    names = readings.level_names
    colours = session_colours(readings.sessions)
    for group, name in enumerate(names):
        means = found.of_level(measure, name).means
        xs = [group + (k - (len(means) - 1) / 2) * 0.34 for k in range(len(means))]
        values = [mean.value for mean in means]
        if None not in values:
            axis.plot(xs, values, color=FAINT, linewidth=0.7, zorder=1)  # type: ignore[arg-type]
        for x, mean, session in zip(xs, means, readings.sessions, strict=True):
            if mean.value is None:
                continue
            if mean.low is not None and mean.high is not None:
                axis.plot([x, x], [mean.low, mean.high], color=colours[session], linewidth=0.9)
            axis.plot(x, mean.value, "o", color=colours[session], markersize=4.5)
    axis.set(ylim=(0, 1.02), xlim=(-0.6, len(names) - 0.4))
    axis.grid(axis="y", color=RULE, linewidth=0.4)
    axis.set_xticks(range(len(names)), [shorten(name or "all", 9) for name in names])
    axis.set_title(MEASURES[measure])


def _draw_changes(axis: Axes, bar: Axes, found: Performances) -> None:
    readings = found.readings
    values = np.stack([found.measures[name].values for name in _FIGURE_4], axis=-1)
    table = values[AIDED] - values[UNAIDED]
    most = float(np.max(np.abs(table), initial=0.1, where=np.isfinite(table)))
    mesh = axis.pcolormesh(table, cmap=BETTER_WORSE, vmin=-most, vmax=most)
    for (row, column), value in np.ndenumerate(table):
        colour = "white" if abs(value) > 0.62 * most else INK
        text = number(float(value), 2)
        axis.text(
            column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=6.5, color=colour
        )
    axis.invert_yaxis()
    names = [shorten(_name(readings, k), 12) for k in range(len(table))]
    axis.set_yticks(np.arange(len(table)) + 0.5, names)
    axis.set_xticks(np.arange(len(_FIGURE_4)) + 0.5, ["AUC", "Sens.", "Spec.", "Acc."])
    axis.tick_params(length=0)
    axis.set_title("Change")
    axis.figure.colorbar(mesh, cax=bar)
    bar.tick_params(labelsize=6)
