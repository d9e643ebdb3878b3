"""The section on decision curves: net benefit of models, treat-all and treat-none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.document import (
    INK,
    MM_PER_INCH,
    MOST_CURVES,
    QUIET,
    Block,
    Cell,
    DrawnFigure,
    FigureBlock,
    LineStyle,
    Section,
    Table,
    TableColumn,
    finish,
    legend_height,
    line_styles,
    model_handles,
    plain_table,
    style,
    titled_panels,
    wrap_name,
)
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.metrics import resamples_for
from ctbone.reporting.roc_figures import counts_of_set, leading, left_out, set_counts
from ctbone.stats import (
    DecisionCurve,
    decision_curve,
    treat_all,
    treat_none,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CurvesBySet: TypeAlias = Mapping[str, Mapping[str, DecisionCurve]]
"""By the key of the set, then by model, ``treat_all`` and ``treat_none`` among them."""

_TREAT = {"treat_all": ("Treat all", INK, (0, (1.2, 1.2))), "treat_none": ("Treat none", INK, "-")}


def decision_section(analysis: Analysis, curves: CurvesBySet, *, bands: bool) -> Section:
    """Draw the decision curves of all models, and each with its band if there are bands."""
    blocks: list[Block] = [FigureBlock(decision(analysis, curves))]
    if bands or len(analysis.models) > MOST_CURVES:
        blocks += [
            FigureBlock(decision_bands(analysis, judged, curves[judged.case_set.key], bands=bands))
            for judged in analysis.reported
        ]
    return Section("decision", "Decision curves", tuple(blocks))


def curves_by_set(analysis: Analysis, *, bands: bool) -> CurvesBySet:
    """Compute the decision curves of every reported set; none with more than two classes.

    The bootstrap of the bands takes seconds: compute the curves once for all figures and tables.
    """
    if not analysis.two_class:
        return {}
    return {
        judged.case_set.key: curves_of_set(analysis, judged, bands=bands)
        for judged in analysis.reported
    }


def curves_of_set(
    analysis: Analysis, judged: JudgedSet, *, bands: bool = True
) -> dict[str, DecisionCurve]:
    """Compute the decision curves of every model, and of treat-all and treat-none on all cases."""
    settings = analysis.settings
    curves = {}
    for scored in judged.case_set.scored:
        curves[scored.name] = decision_curve(
            scored.truth,
            scored.p,
            prevalence=settings.prevalence,
            replicates=resamples_for(len(scored), settings) if bands else 0,
            level=settings.confidence,
            seed=settings.seed,
            groups=scored.patients,
        )
    truth = _truth_of_all(judged)
    return {
        **curves,
        "treat_all": treat_all(truth, prevalence=settings.prevalence),
        "treat_none": treat_none(truth, prevalence=settings.prevalence),
    }


def _truth_of_all(judged: JudgedSet) -> np.ndarray:
    """Return the labels of all cases that any model has, each case once."""
    truth, known = [], set[str]()
    for scored in judged.case_set.scored:
        names = scored.cases["case_id"]
        truth.append(scored.truth[~names.isin(known).to_numpy()])
        known |= set(names.to_numpy(object))
    return np.concatenate(truth)


def decision(analysis: Analysis, curves: CurvesBySet) -> DrawnFigure:
    """Draw the decision curves of the first six models, treat-all and treat-none, a panel a set.

    Parameters
    ----------
    analysis
        The sets and models.
    curves
        As ``curves_by_set`` returns them.
    """
    lines = line_styles(analysis.models)
    sets = analysis.reported
    shown = leading(analysis.models)
    columns = 3 if len(sets) > 1 else 2
    handles = [*model_handles(lines, shown, analysis.titles), *_treat_handles()]
    rows = -(-len(handles) // columns)
    names = [wrap_name(analysis.titles.get(name, name), 26) for name in shown]
    lengths = sorted((name.count("\n") for name in names), reverse=True)
    tall = legend_height(["\n" * length for length in (*lengths, 0, 0)[:rows]])
    heads = [(judged.case_set.title, counts_of_set(judged)) for judged in sets]
    with style():
        figure, all_axes = titled_panels(
            heads,
            columns=2,
            size=(66, 58),
            gap=26,
            margin=(14, 14 if len(sets) > 1 else 30, 16 + tall),
        )
        for axes, judged in zip(all_axes, sets, strict=True):
            found = {
                name: curve
                for name, curve in curves[judged.case_set.key].items()
                if name in _TREAT or name in shown
            }
            for name, curve in found.items():
                _draw_curve(axes, name, curve, lines)
            _benefit_axes(axes, found, analysis.settings.clinical_thresholds)
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(14 / (figure.get_figwidth() * MM_PER_INCH), 0.01),
            ncol=columns,
        )
        return finish(
            figure,
            key="decision",
            title="Decision curves",
            alt="Net benefit of every model against the threshold probability, with treat-all and "
            "treat-none.",
            note="A case is treated if its probability reaches the threshold probability. A model "
            "is useful where its curve lies above both treat-all and treat-none. Right axis: net "
            f"benefit divided by the prevalence.{_range(analysis)}{_prevalence(analysis)}"
            f"{left_out(analysis)}",
        )


def _draw_curve(
    axes: Axes, name: str, curve: DecisionCurve, lines: Mapping[str, LineStyle]
) -> None:
    if name in _TREAT:
        _, colour, dash = _TREAT[name]
        axes.plot(curve.thresholds, curve.net_benefit, color=colour, linewidth=0.8, linestyle=dash)
    else:
        stroke = lines[name]
        axes.plot(curve.thresholds, curve.net_benefit, color=stroke.colour, linestyle=stroke.dash)


def decision_bands(
    analysis: Analysis,
    judged: JudgedSet,
    curves: Mapping[str, DecisionCurve],
    *,
    bands: bool = True,
) -> DrawnFigure:
    """Draw the decision curve of each model with its bootstrap band, one panel a model."""
    lines = line_styles(analysis.models)
    heads = [(judged.title(one.name), set_counts(one)) for one in judged.case_set.scored]
    names = [scored.name for scored in judged.case_set.scored]
    with style():
        figure, all_axes = titled_panels(heads, size=(38.0, 44.0), gap=21, margin=(14, 10, 11))
        for axes, name in zip(all_axes, names, strict=True):
            for key in _TREAT:
                _draw_curve(axes, key, curves[key], lines)
            curve, colour = curves[name], lines[name].colour
            if bands:
                axes.fill_between(
                    curve.thresholds, curve.low, curve.high, color=colour, alpha=0.18, linewidth=0
                )
            axes.plot(curve.thresholds, curve.net_benefit, color=colour)
            _benefit_axes(axes, curves, analysis.settings.clinical_thresholds, own=curve)
        band = f"{_band_method([curves[name] for name in names])}. " if bands else ""
        return finish(
            figure,
            key=f"decision_bands_{judged.case_set.key}",
            title=f"Decision curve of each model, {judged.case_set.title.lower()}",
            alt="One panel a model: net benefit with its band; treat-all dotted, treat-none solid.",
            note=f"{band}Dotted: treat all; solid: treat none. Right axis: standardised net "
            f"benefit.{_range(analysis)}",
        )


def _range(analysis: Analysis) -> str:
    """State the clinical range of thresholds if the settings give it."""
    given = analysis.settings.clinical_thresholds
    return (
        ""
        if given is None
        else f" Thresholds of {given[0]:g} to {given[1]:g}, as the settings say."
    )


def _prevalence(analysis: Analysis) -> str:
    """State the prevalence if the settings give it; otherwise it is that of the cases."""
    prevalence = analysis.settings.prevalence
    return (
        ""
        if prevalence is None
        else f" The prevalence is set to {100 * prevalence:g} %, not that of the cases."
    )


def _band_method(curves: Sequence[DecisionCurve]) -> str:
    """Return the longest method text: it also states gaps, which other curves may not have."""
    method = max((curve.method for curve in curves), key=len)
    return method[0].upper() + method[1:]


def _benefit_axes(
    axes: Axes,
    curves: Mapping[str, DecisionCurve],
    given: tuple[float, float] | None,
    own: DecisionCurve | None = None,
) -> None:
    """Limit the axes to the clinical thresholds and add the axis of standardised net benefit.

    The prevalence is that of ``own``, whose band is inside, or of the cases of treat-all.
    """
    low, high = given or (0.0, 1.0)
    inside = [
        curve.net_benefit[(curve.thresholds >= low) & (curve.thresholds <= high)]
        for curve in curves.values()
    ]
    if own is not None:
        inside.append(own.high[(own.thresholds >= low) & (own.thresholds <= high)])
    values = np.concatenate(inside)
    top = 1.08 * max(0.05, float(values[np.isfinite(values)].max()))  # treat-none is always finite
    axes.set(
        xlim=(low, high),
        ylim=(-0.18 * top, top),
        xlabel="Threshold probability",
        ylabel="Net benefit",
    )
    if given is None:
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    else:
        axes.locator_params(axis="x", nbins=5)
    axes.grid(color="#e4e4e4", linewidth=0.4)
    prevalence = (own or curves["treat_all"]).prevalence
    if prevalence > 0:

        def standardised(y: ArrayLike) -> ArrayLike:
            return np.asarray(y) / prevalence

        def as_drawn(y: ArrayLike) -> ArrayLike:
            return np.asarray(y) * prevalence

        right = axes.secondary_yaxis("right", functions=(standardised, as_drawn))
        if own is None:
            right.set_ylabel("Standardised", color=QUIET)
        right.tick_params(colors=QUIET, labelsize=6.5)
        right.spines["right"].set_visible(False)


def _treat_handles() -> list[object]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=colour, linewidth=0.8, linestyle=dash, label=title)
        for title, colour, dash in _TREAT.values()
    ]


def decision_table(
    analysis: Analysis, judged: JudgedSet, curves: Mapping[str, DecisionCurve]
) -> Table:
    """List the net benefit of every model, treat-all and treat-none over the thresholds."""
    columns = [
        TableColumn("model", "Model", "text"),
        TableColumn("threshold", "Threshold", digits=2),
    ]
    columns += [TableColumn(name, name) for name in ("net_benefit", "low", "high")]
    columns += [
        TableColumn(name, name) for name in ("standardized_net_benefit", "interventions_avoided")
    ]
    rows: list[tuple[Cell, ...]] = []
    for name, curve in curves.items():
        content = (
            curve.thresholds,
            curve.net_benefit,
            curve.low,
            curve.high,
            curve.standardized_net_benefit,
            curve.interventions_avoided,
        )
        rows += [(name, *map(float, values)) for values in zip(*content, strict=True)]
    leading = judged is analysis.lead
    key = "decision_curve" if leading else f"decision_curve_{judged.case_set.key}"
    return plain_table(
        key=key,
        title=f"Decision curves, {judged.case_set.inline_title}",
        columns=columns,
        rows=rows,
    )
