"""Figures of the fusions: the weights fold by fold, and validation AUC against the weight."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctbone.document.figure_style import (
    FAINT,
    INK,
    RULE,
    Drawn,
    finish,
    panels,
    shorten,
    strokes,
    style,
)
from ctbone.report.fusion_records import FusionRecord


def fusion_weights(records: Sequence[FusionRecord], models: Sequence[str]) -> Drawn:
    """Draw the weight of each part in each fold, and the mean."""
    lines = strokes(models)
    rows = [(record, part) for record in records for part in record.parts]
    with style():
        figure, (axes,) = panels(
            1, columns=1, size=(100, 5.2 * len(rows) + 3 * len(records)), margin=(60, 20, 11, 4)
        )
        y, ticks, labels = 0.0, [], []
        for record in records:
            axes.text(
                -0.60,
                y,
                shorten(record.name, 18),
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
                labels.append(shorten(part, 14))
                y += 1
            y += 0.6
        axes.set(xlim=(-0.02, 1.02), ylim=(y - 1, -0.7), xlabel="Weight")
        axes.set_yticks(ticks, labels)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", color=RULE, linewidth=0.4)
        return finish(
            figure,
            "fusion_weights",
            "Weights of the fusions",
            "; ".join(
                f"{r.name}: " + ", ".join(f"{p} {r.mean[p]:.2f}" for p in r.parts) for r in records
            ),
            "Dots: the folds; diamonds and numbers: their mean, which external cases get.",
        )


def fusion_curves(records: Sequence[FusionRecord]) -> Drawn | None:
    """Draw validation AUC against the weight for the fusions of two parts; None where there is none."""
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
                xlabel=f"Weight of {shorten(record.curve.part, 20)}",
                ylabel="Validation AUC",
            )
            axes.grid(color=RULE, linewidth=0.4)
            axes.set_title(shorten(record.name, 26))
        return finish(
            figure,
            "fusion_curves",
            "Validation AUC against the weight",
            "One panel a fusion of two parts: AUC of each fold's validation cases over the weight of the first part.",
            "Grey: the folds; black: their mean; dots: the weights chosen. These cases chose the weights, so the "
            "heights are optimistic; a flat curve means that the weight hardly matters.",
        )
