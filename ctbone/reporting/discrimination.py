"""The sections on discrimination, confusion and comparisons of AUCs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ctbone.document import (
    DOUBLE_COLUMN,
    FAINT,
    INK,
    MOST_CURVES,
    RULE,
    Block,
    Cell,
    DrawnFigure,
    FigureBlock,
    Section,
    Table,
    TableBlock,
    TableColumn,
    TableRow,
    Text,
    case_counts,
    finish,
    interval,
    line_styles,
    number,
    panels,
    plain_table,
    shorten,
    style,
    titled_panels,
    wrap_name,
)
from ctbone.reporting.analysis import Analysis, JudgedSet, judge
from ctbone.reporting.metrics import (
    MANY_CLASS_METRICS,
    SUMMARY_METRICS,
    metric_columns,
    metric_title,
)
from ctbone.reporting.roc_figures import class_roc, counts_of_set, roc, roc_bands, set_counts
from ctbone.stats import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def discrimination_section(analysis: Analysis, *, bands: bool) -> Section:
    """Show AUCs, ROC curves and every metric, for each centre and class where there are several."""
    blocks: list[Block] = [FigureBlock(forest(analysis))]
    if analysis.two_class:
        blocks.append(FigureBlock(roc(analysis)))
        if bands or len(analysis.models) > MOST_CURVES:
            blocks += [
                FigureBlock(roc_bands(analysis, judged, bands=bands))
                for judged in analysis.reported
            ]
    else:
        blocks += [FigureBlock(class_roc(analysis, judged)) for judged in analysis.reported]
        blocks += [TableBlock(class_table(analysis, judged)) for judged in analysis.reported]
    blocks += [TableBlock(metric_table(judged)) for judged in analysis.reported]
    by_centre = (centre_table(analysis, judged) for judged in analysis.reported)
    blocks += [TableBlock(table) for table in by_centre if table is not None]
    return Section("discrimination", "Discrimination", tuple(blocks))


def forest(analysis: Analysis) -> DrawnFigure:
    """Draw the AUC of every model with its interval, one row a model, and those of the folds."""
    models, sets = analysis.models, analysis.reported
    colours, markers = line_styles(models), ("o", "D", "s")
    labels = [wrap_name(analysis.titles.get(name, name), 24) for name in models]
    height = (8.5 if len(sets) > 1 or any("\n" in label for label in labels) else 5.5) * len(
        models
    ) + 2
    with style():
        figure, (axes,) = panels(
            1, columns=1, size=(84, height), margin=(42, 54, 12 + 5 * len(sets), 3)
        )
        for row, name in enumerate(models):
            for place, judged in enumerate(sets):
                found = next((j for j in judged.judgements if j.name == name), None)
                if found is None:
                    continue
                y = row + (place - (len(sets) - 1) / 2) * 0.36
                _forest_row(
                    axes,
                    y=y,
                    estimate=found.estimates["auc"],
                    colour=colours[name].colour,
                    marker=markers[place],
                    filled=place == 0,
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
        _forest_axes(axes, sets, labels)
        _forest_legend(axes, sets=sets, markers=markers, height=height)
        return finish(
            figure,
            key="auc",
            title="AUC of every model",
            alt="; ".join(
                f"{judged.title(j.name)}, {judged.case_set.title.lower()}: "
                f"{number(j.estimates['auc'].value)}"
                for judged in sets
                for j in judged.judgements
            ),
            note=f"With {analysis.settings.confidence:.0%} intervals. Grey ticks: single folds. "
            "Dashed: chance.",
        )


def _forest_axes(axes: Axes, sets: Sequence[JudgedSet], labels: Sequence[str]) -> None:
    lows = [judgement.estimates["auc"].low for judged in sets for judgement in judged.judgements]
    left = min(0.5, *(np.floor(low * 10) / 10 for low in (*lows, 0.5) if low is not None))
    axes.axvline(0.5, color=FAINT, linewidth=0.6, linestyle=(0, (2, 2)), zorder=0)
    axes.set(xlim=(left - 0.01, 1.005), ylim=(len(labels) - 0.45, -0.55), xlabel="AUC")
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", length=0, labelsize=7.5, labelcolor=INK)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=RULE, linewidth=0.4)


def _forest_row(
    axes: Axes, y: float, estimate: Estimate, *, colour: str, marker: str, filled: bool
) -> None:
    value, low, high = estimate.value, estimate.low, estimate.high
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
        clip_on=False,
    )
    text = f"{number(value)}  ({interval(estimate) or 'no interval'})"
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
    two = sets[0].case_set.two_class
    names = [
        f"{judged.case_set.title}: "
        + (counts_of_set(judged) if two else case_counts(len(judged.case_set.scored[0])))
        for judged in sets
    ]
    axes.legend(handles, names, loc="upper left", bbox_to_anchor=(0, -10 / height))


def metric_table(judged: JudgedSet) -> Table:
    """Show every metric of every model: one row a metric, one column a model."""
    names = tuple(judged.judgements[0].estimates)
    columns = [
        TableColumn("metric", "Metric", "text"),
        *(TableColumn(j.name, judged.title(j.name), "estimate") for j in judged.judgements),
    ]
    rows: list[list[Cell]] = [
        [metric_title(name), *(j.estimates[name] for j in judged.judgements)] for name in names
    ]
    return plain_table(
        key=f"metrics_{judged.case_set.key}",
        title=f"Every metric, {judged.case_set.inline_title}",
        columns=columns,
        rows=rows,
    )


def centre_table(analysis: Analysis, judged: JudgedSet) -> Table | None:
    """Show every model at each centre; None if there are fewer than two centres."""
    centres = tuple(
        dict.fromkeys(name for scored in judged.case_set.scored for name in scored.cohorts)
    )
    if len(centres) < 2:
        return None
    two = judged.case_set.scored[0].two_class
    names = SUMMARY_METRICS if two else MANY_CLASS_METRICS
    columns = [
        TableColumn("centre", "Centre", "text"),
        TableColumn("model", "Model", "text", titles=judged.titles),
        TableColumn("n", "Cases"),
    ]
    columns += ([TableColumn("positives", "Positive")] if two else []) + metric_columns(names)
    rows = []
    for centre in centres:
        for place, scored in enumerate(judged.case_set.scored):
            own = scored.of_cohort(centre)
            if not len(own):
                continue
            found = judge(own, analysis.settings, bands=False)
            counts: list[Cell] = [found.n, found.positives] if two else [found.n]
            rows.append(
                TableRow(
                    (centre, found.name, *counts, *(found.estimates[n] for n in names)),
                    opens=place == 0,
                )
            )
    note = "Each centre separately, with the thresholds of the whole set."
    return Table(
        key=f"centres_{judged.case_set.key}",
        title=f"Centre by centre, {judged.case_set.inline_title}",
        columns=tuple(columns),
        rows=tuple(rows),
        note=note,
    )


def class_table(analysis: Analysis, judged: JudgedSet) -> Table:
    """Show each class against the rest: AUC, Brier score and calibration of every model."""
    names = ("auc", "brier", "calibration_intercept", "calibration_slope", "ici")
    columns = [
        TableColumn("model", "Model", "text", titles=judged.titles),
        TableColumn("class", "Class", "text"),
        TableColumn("n", "Cases of the class"),
    ]
    # The dangerous error is not defined for a class against the rest.
    settings = analysis.settings.model_copy(update={"dangerous_error": None})
    rows = []
    for scored in judged.case_set.scored:
        for place, name in enumerate(scored.classes):
            found = judge(scored.against_rest(name), settings, bands=False)
            values = [found.estimates[metric] for metric in names]
            rows.append(TableRow((scored.name, name, found.positives, *values), opens=place == 0))
    columns += metric_columns(names)
    return Table(
        key=f"classes_{judged.case_set.key}",
        title=f"One against the rest, {judged.case_set.inline_title}",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def confusion_section(analysis: Analysis) -> Section:
    """Show the confusion matrix of every model, with the rule by which a case is called."""
    thresholds = _thresholds(analysis)
    blocks: list[Block] = [Text((thresholds,))] if thresholds else []
    blocks += [FigureBlock(confusion_maps(judged)) for judged in analysis.reported]
    return Section("confusion", "Confusion", tuple(blocks))


def _thresholds(analysis: Analysis) -> str:
    if not analysis.two_class:
        return "A case is called by its highest probability."
    rule = analysis.settings.threshold
    if rule == "youden":
        return (
            f"A case is called {analysis.positive} from the threshold with the highest Youden "
            "index on the validation cases of its fold; an external case from the mean of the "
            "thresholds of the folds."
        )
    return f"A case is called {analysis.positive} if its probability is at least {rule:g}."


def confusion_maps(judged: JudgedSet) -> DrawnFigure:
    """Draw the confusion matrix of each model, shaded by the share of the true class."""
    scored = judged.case_set.scored[0]
    order = ordered_classes(scored.classes, scored.positive)
    with style():
        size = 38.0 if len(order) == 2 else 52.0
        columns = 3 if len(order) == 2 else 2
        heads = [
            (judged.title(one.name), set_counts(one) if one.two_class else case_counts(len(one)))
            for one in judged.case_set.scored
        ]
        figure, all_axes = titled_panels(
            heads,
            columns=columns,
            size=(size, size),
            gap=(DOUBLE_COLUMN - 20 - 3 - columns * size) / (columns - 1),
            margin=(20, 3, 12),
        )
        for axes, judgement in zip(all_axes, judged.judgements, strict=True):
            _heat_map(axes, judgement.matrix, [shorten(name, 14) for name in order])
        return finish(
            figure,
            key=f"confusion_{judged.case_set.key}",
            title=f"Confusion, {judged.case_set.title.lower()}",
            alt="; ".join(
                f"{judged.title(j.name)}: {j.matrix.tolist()}" for j in judged.judgements
            ),
            note="Cases and their share of the true class, which is also the shade.",
        )


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


def confusion_table(judged: JudgedSet) -> Table:
    """Show the confusion matrix of every model, one row a model and true class."""
    scored = judged.case_set.scored[0]
    order = ordered_classes(scored.classes, scored.positive)
    columns = [
        TableColumn("model", "Model", "text", titles=judged.titles),
        TableColumn("true_class", "True class", "text"),
    ]
    columns += [TableColumn(f"called_{name}", f"Called {name}") for name in order]
    rows = [
        TableRow((j.name, name, *map(int, j.matrix[number])), opens=number == 0)
        for j in judged.judgements
        for number, name in enumerate(order)
    ]
    return Table(
        key=f"confusion_{judged.case_set.key}",
        title=f"Confusion, {judged.case_set.inline_title}",
        columns=tuple(columns),
        rows=tuple(rows),
    )


def ordered_classes(classes: Sequence[str], positive: str) -> list[str]:
    """Return the classes in the order of the confusion matrix: with two, the positive one last.

    Examples
    --------
    >>> ordered_classes(("malignant", "benign"), "malignant")
    ['benign', 'malignant']
    """
    return (
        [name for name in classes if name != positive] + [positive]
        if len(classes) == 2
        else list(classes)
    )


def comparison_section(analysis: Analysis) -> Section | None:
    """Show the comparisons of the models; None if there are none."""
    compared = [judged for judged in analysis.reported if judged.comparisons]
    if not compared:
        return None
    text = (
        "Exploratory: every pair of models on the cases that both have, without the primary "
        "comparisons. The adjusted p-values control the family-wise error rate (multiplicity) "
        "within a table."
    )
    tables = (TableBlock(comparison_table(judged)) for judged in compared)
    return Section("comparisons", "Exploratory comparisons", (Text((text,)), *tables))


def comparison_table(judged: JudgedSet) -> Table:
    """Show every pair of models: difference of the AUCs, p-value, and p-value adjusted by Holm."""
    columns = [
        TableColumn("a", "Model A", "text", titles=judged.titles),
        TableColumn("b", "Model B", "text", titles=judged.titles),
        TableColumn("n", "Cases"),
        TableColumn("difference", "AUC, A − B", "estimate"),
        TableColumn("statistic", "t", digits=2),
        TableColumn("p_value", "p", "p"),
        TableColumn("p_value_holm", "p, Holm", "p"),
    ]
    rows = [
        (
            c.a,
            c.b,
            c.n,
            Estimate(
                value=c.result.difference,
                low=c.result.low,
                high=c.result.high,
                method=c.result.method,
                why=c.result.why,
            ),
            c.result.statistic,
            c.result.p_value,
            c.adjusted,
        )
        for c in judged.comparisons
    ]
    return plain_table(
        key=f"comparisons_{judged.case_set.key}",
        title=f"Exploratory comparisons, {judged.case_set.inline_title}",
        columns=columns,
        rows=rows,
    )
