"""The section on fusion: weights, stacking and recalibration, fold by fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ctbone.document import (
    FAINT,
    INK,
    RULE,
    Block,
    DrawnFigure,
    FigureBlock,
    Section,
    Table,
    TableBlock,
    TableColumn,
    TableRow,
    finish,
    line_styles,
    panels,
    shorten,
    style,
    wrap_name,
)
from ctbone.reporting.analysis import Analysis
from ctbone.reporting.fusion_records import (
    STACKING_NUMBERS,
    FusionRecord,
    RecalibrationRecord,
    Records,
    StackingRecord,
)


def fusion_section(analysis: Analysis, records: Records) -> Section:
    """Show how every fused table was made."""
    blocks: list[Block] = []
    if records.fusions:
        curves = fusion_curves(records.fusions, analysis.titles)
        blocks.append(
            FigureBlock(fusion_weights(records.fusions, analysis.models, analysis.titles))
        )
        blocks += [FigureBlock(curves)] if curves is not None else []
        blocks.append(TableBlock(weight_table(records.fusions, analysis.titles)))
    if records.stacks:
        blocks.append(TableBlock(stack_table(records.stacks)))
    if records.recalibrations:
        blocks.append(TableBlock(recalibration_table(records.recalibrations)))
    return Section("fusion", "Fusion", tuple(blocks))


def fusion_weights(
    records: Sequence[FusionRecord],
    models: Sequence[str],
    titles: Mapping[str, str] | None = None,
) -> DrawnFigure:
    """Draw the weight of each part in each fold, and the mean."""
    lines, named = line_styles(models), titles or {}
    rows = [(record, part) for record in records for part in record.parts]
    with style():
        figure, (axes,) = panels(
            1, columns=1, size=(90, 5.6 * len(rows) + 3 * len(records)), margin=(70, 20, 11, 4)
        )
        y, ticks, labels = 0.0, [], []
        for record in records:
            axes.text(
                -0.68,
                y,
                wrap_name(named.get(record.name, record.name), 21),
                weight="bold",
                va="center",
                transform=axes.get_yaxis_transform(),
            )
            for part in record.parts:
                values = [weights[part] for weights in record.folds.values()]
                colour = lines[part].colour if part in lines else INK
                axes.plot(
                    [min(values), max(values)], [y, y], color=colour, linewidth=1.0, alpha=0.5
                )
                axes.plot(
                    values,
                    [y] * len(values),
                    "o",
                    color=colour,
                    markersize=3,
                    alpha=0.45,
                    markeredgewidth=0,
                )
                axes.plot([record.mean[part]], [y], "D", color=colour, markersize=4.6)
                axes.annotate(
                    f"{record.mean[part]:.2f}",
                    (1.03, y),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    fontsize=7,
                )
                ticks.append(y)
                labels.append(shorten(named.get(part, part), 18))
                y += 1
            y += 0.6
        axes.set(xlim=(-0.02, 1.02), ylim=(y - 1, -0.7), xlabel="Weight")
        axes.set_yticks(ticks, labels)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=RULE, linewidth=0.4)
        return finish(
            figure,
            key="fusion_weights",
            title="Weights of the fusions",
            alt="; ".join(
                f"{r.name}: " + ", ".join(f"{p} {r.mean[p]:.2f}" for p in r.parts) for r in records
            ),
            note="Dots: folds. Diamonds and numbers: their mean, which external cases get.",
        )


def fusion_curves(
    records: Sequence[FusionRecord], titles: Mapping[str, str] | None = None
) -> DrawnFigure | None:
    """Draw validation AUC against the weight for each fusion of two parts, if there is any."""
    named = titles or {}
    shown = [record for record in records if record.curve is not None]
    if not shown:
        return None
    with style():
        figure, all_axes = panels(
            len(shown), columns=2, size=(66, 46), gap=(20, 19), margin=(15, 6, 11, 7)
        )
        for axes, record in zip(all_axes, shown, strict=True):
            assert record.curve is not None
            weight = np.array(record.curve.weight)
            for areas in record.curve.auc.values():
                axes.plot(weight, areas, color=FAINT, linewidth=0.7)
            axes.plot(
                weight, np.mean(list(record.curve.auc.values()), axis=0), color=INK, linewidth=1.5
            )
            for fold, areas in record.curve.auc.items():
                chosen = record.folds.get(fold, record.mean)[record.curve.part]
                axes.plot(
                    [chosen],
                    [np.interp(chosen, weight, areas)],
                    "o",
                    color="#D55E00",
                    markersize=3.2,
                    clip_on=False,
                    zorder=3,
                )
            axes.set(
                xlim=(0, 1),
                xlabel=f"Weight of {shorten(named.get(record.curve.part, record.curve.part), 22)}",
                ylabel="Validation AUC",
            )
            axes.grid(color=RULE, linewidth=0.4)
            axes.set_title(shorten(named.get(record.name, record.name), 32))
        return finish(
            figure,
            key="fusion_curves",
            title="Validation AUC against the weight",
            alt="One panel a fusion of two parts: AUC of the validation cases of each fold "
            "against the weight of the first part.",
            note="Grey: folds. Black: their mean. Dots: the chosen weights. These cases chose the "
            "weights, so the AUCs are optimistic; a flat curve means that the weight hardly "
            "matters.",
        )


def weight_table(records: Sequence[FusionRecord], titles: Mapping[str, str] | None = None) -> Table:
    """Show the weight of each part: mean, standard deviation, each fold."""
    folds = sorted({fold for record in records for fold in record.folds}, key=int)
    columns = [
        TableColumn("fusion", "Fusion", "text", titles=titles or {}),
        TableColumn("part", "Part", "text", titles=titles or {}),
        TableColumn("mean", "Mean", digits=2),
    ]
    columns += [TableColumn("sd", "SD", digits=2)]
    columns += [TableColumn(f"fold_{fold}", f"Fold {fold}", digits=2) for fold in folds]
    rows = [
        TableRow(
            (
                record.name,
                part,
                record.mean[part],
                record.spread[part] if record.spread else None,
                *(record.folds[fold][part] if fold in record.folds else None for fold in folds),
            ),
            opens=number == 0,
        )
        for record in records
        for number, part in enumerate(record.parts)
    ]
    note = "; ".join(dict.fromkeys(record.how for record in records)) + "."
    return Table(
        key="fusion_weights",
        title="Weights of the fusions",
        columns=tuple(columns),
        rows=tuple(rows),
        note=note[0].upper() + note[1:],
    )


def stack_table(records: Sequence[StackingRecord]) -> Table:
    """Show the coefficient or importance of each feature: mean, standard deviation, each fold."""
    learned = [(record.name, record.folds) for record in records]
    words = [f"{record.name}: {record.how}; {STACKING_NUMBERS[record.kind]}" for record in records]
    return _learned_table(
        key="stacks",
        title="Stacks",
        first=("stack", "Stack"),
        second=("feature", "Feature"),
        learned=learned,
        words=words,
    )


def recalibration_table(records: Sequence[RecalibrationRecord]) -> Table:
    """Show the parameters of each recalibration: mean, standard deviation, each fold."""
    learned = [(record.name, record.folds) for record in records]
    words = [f"{record.name}: {record.how}" for record in records]
    words.append("Temperature 1, or intercept 0 and slope 1, leaves the probabilities unchanged")
    return _learned_table(
        key="recalibrations",
        title="Recalibrations",
        first=("table", "Table"),
        second=("number", "Number"),
        learned=learned,
        words=words,
    )


def _learned_table(
    key: str,
    title: str,
    first: tuple[str, str],
    second: tuple[str, str],
    learned: Sequence[tuple[str, dict[str, dict[str, float]]]],
    words: Sequence[str],
) -> Table:
    folds = sorted({fold for _, of_record in learned for fold in of_record}, key=int)
    columns = [
        TableColumn(*first, "text"),
        TableColumn(*second, "text"),
        TableColumn("mean", "Mean", digits=2),
    ]
    columns += [
        TableColumn("sd", "SD", digits=2),
        *(TableColumn(f"fold_{fold}", f"Fold {fold}", digits=2) for fold in folds),
    ]
    rows = []
    for name, of_record in learned:
        features = dict.fromkeys(feature for of_fold in of_record.values() for feature in of_fold)
        for number, feature in enumerate(features):
            values = [of_record[fold].get(feature) if fold in of_record else None for fold in folds]
            known = [value for value in values if value is not None]
            spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
            rows.append(
                TableRow((name, feature, float(np.mean(known)), spread, *values), opens=number == 0)
            )
    return Table(
        key=key, title=title, columns=tuple(columns), rows=tuple(rows), note=". ".join(words) + "."
    )
