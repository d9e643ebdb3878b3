"""Sample size for an AUC against a value, or against another AUC."""

from __future__ import annotations

import numpy as np

from ctbone.document import (
    FAINT,
    RULE,
    Cell,
    DrawnFigure,
    TableColumn,
    finish,
    line_styles,
    panels,
    plain_table,
    style,
)
from ctbone.planning.axes import count_axis
from ctbone.planning.page import Plan
from ctbone.stats.auc_sample_size import (
    AreaVariance,
    SampleSize,
    cases_for_area,
    cases_for_two_areas,
)

_METHODS: tuple[AreaVariance, ...] = ("obuchowski", "hanley-mcneil")
_TITLES = {"obuchowski": "Obuchowski (binormal)", "hanley-mcneil": "Hanley–McNeil"}
_POWERS = (0.8, 0.9)


def plan_auc(
    auc: float,
    against: float,
    *,
    correlation: float | None,
    prevalence: float,
    power: float,
    alpha: float,
) -> Plan:
    """Plan a study of one model.

    Parameters
    ----------
    auc, against
        Expected AUC, and the value or the other AUC.
    correlation
        Of two AUCs on the same cases; None compares with a fixed value.
    prevalence, power, alpha
        Share of positive cases, wanted power, two-sided significance level.
    """
    powers = sorted({*_POWERS, power})
    rows: list[list[Cell]] = []
    for method in _METHODS:
        for wanted in powers:
            size = _size(auc, against, correlation, prevalence, wanted, alpha, method)
            rows.append([_TITLES[method], wanted, size.positives, size.negatives, size.cases])
    table = plain_table(
        key="auc_size",
        title="Cases",
        columns=[
            TableColumn("method", "Variance", "text"),
            TableColumn("power", "Power", digits=2),
            TableColumn("positives", "Positive cases"),
            TableColumn("negatives", "Negative cases"),
            TableColumn("cases", "Cases"),
        ],
        rows=rows,
        note="The binormal variance is that of a curve fitted to ratings; it is larger than that "
        "of Hanley and McNeil, which assumes exponential scores.",
    )
    size = _size(auc, against, correlation, prevalence, power, alpha, "obuchowski")
    other = f"{against:g}" if correlation is None else f"an AUC of {against:g} on the same cases"
    conclusion = (
        f"To show that an AUC of {auc:g} differs from {other} with a power of {power:.0%}: "
        f"{size.cases} cases, {size.positives} positive and {size.negatives} negative."
    )
    assumptions = [
        ("Expected AUC", f"{auc:g}"),
        ("Compared with", other),
        ("Share of positive cases", f"{prevalence:g}"),
        ("Two-sided significance level", f"{alpha:g}"),
    ]
    if correlation is not None:
        assumptions.append(("Correlation of the two AUCs", f"{correlation:g}"))
    return Plan(
        title="Sample size for an AUC",
        conclusion=conclusion,
        assumptions=tuple(assumptions),
        table=table,
        figure=_picture(
            auc,
            against,
            correlation=correlation,
            prevalence=prevalence,
            powers=powers,
            alpha=alpha,
        ),
    )


def _size(
    auc: float,
    against: float,
    correlation: float | None,
    prevalence: float,
    power: float,
    alpha: float,
    method: AreaVariance,
) -> SampleSize:
    if correlation is None:
        return cases_for_area(
            auc, against, prevalence=prevalence, power=power, alpha=alpha, method=method
        )
    return cases_for_two_areas(
        auc,
        against,
        correlation=correlation,
        prevalence=prevalence,
        power=power,
        alpha=alpha,
        method=method,
    )


def _picture(
    auc: float,
    against: float,
    *,
    correlation: float | None,
    prevalence: float,
    powers: list[float],
    alpha: float,
) -> DrawnFigure:
    """Draw the cases over the expected AUC, for each power."""
    gap = auc - against
    areas = np.linspace(against + gap / 3, against + 1.6 * gap, 40)
    areas = areas[(areas >= 0.5) & (areas <= 0.985)]
    lines = line_styles([f"{power:.0%}" for power in powers])
    with style():
        figure, (axis,) = panels(1, columns=1, size=(104, 56), margin=(16, 6, 12, 5))
        for power in powers:
            counts = [
                _size(float(a), against, correlation, prevalence, power, alpha, "obuchowski").cases
                for a in areas
            ]
            name = f"{power:.0%}"
            axis.plot(areas, counts, color=lines[name].colour, label=f"power {name}")
        axis.axvline(auc, color=FAINT, linewidth=0.8)
        count_axis(axis)
        axis.grid(color=RULE, linewidth=0.4)
        axis.set_xlabel("Expected AUC")
        axis.legend(loc="upper right" if gap > 0 else "upper left")
        return finish(
            figure,
            "auc_size",
            "Cases over the expected AUC",
            alt="Number of cases for each expected AUC and power.",
            note=f"Binormal variance; the grey line is the expected AUC of {auc:g}.",
        )
