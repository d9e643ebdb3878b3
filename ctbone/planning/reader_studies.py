"""Sample size of a reader study: readers and cases for a difference of mean AUCs."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from ctbone.document import (
    DrawnFigure,
    TableColumn,
    finish,
    panels,
    plain_table,
    style,
)
from ctbone.planning.page import Plan
from ctbone.stats.obuchowski_rockette import RandomFactors
from ctbone.stats.reader_power import (
    ReaderVariability,
    cases_for_reader_study,
    reader_study_power,
)

RandomChoice: TypeAlias = Literal["both", "cases", "readers"]
"""What is random, in the words of the command line."""
RANDOM: dict[RandomChoice, RandomFactors] = {
    "both": "readers and cases",
    "cases": "cases",
    "readers": "readers",
}
READERS = range(3, 16)
"""Numbers of readers in the table and the picture."""
_GRID = 60
"""Numbers of cases in the picture."""
_LINE = "#D55E00"
"""Vermilion of Okabe and Ito's palette."""


def plan_readers(
    difference: float,
    variability: ReaderVariability,
    *,
    power: float,
    alpha: float,
    random: RandomChoice,
    origin: str,
) -> Plan:
    """Plan a factorial reader study with two tests, such as without and with AI.

    Parameters
    ----------
    difference
        Difference of the mean AUCs to detect.
    variability
        Variance components.
    power, alpha
        Wanted power, and two-sided significance level.
    random
        ``both``, or only ``cases`` or ``readers`` random.
    origin
        Where the components come from, for the page.
    """
    factors = RANDOM[random]
    needed = {
        readers: cases_for_reader_study(
            difference, variability, readers=readers, power=power, random=factors, alpha=alpha
        )
        for readers in READERS
    }
    rows = []
    for readers, cases in needed.items():
        reached = cases and reader_study_power(
            difference, variability, readers=readers, cases=cases, random=factors, alpha=alpha
        )
        rows.append([readers, cases, cases and readers * cases * 2, reached])
    table = plain_table(
        key="reader_study_size",
        title="Cases for each number of readers",
        columns=[
            TableColumn("readers", "Readers", "text"),
            TableColumn("cases", "Cases"),
            TableColumn("readings", "Readings in both sessions"),
            TableColumn("power", "Power"),
        ],
        rows=rows,
        note="A dash: more than 100 000 cases. Every reader reads every case in both sessions.",
    )
    assumptions = (
        ("Difference of the mean AUCs", f"{difference:.3g}"),
        ("Power", f"{power:g}"),
        ("Two-sided significance level", f"{alpha:g}"),
        ("Random", factors),
        ("Variance components", origin),
        ("Sessions × readers", f"{variability.test_by_reader:.6f}"),
        ("Error", f"{variability.error:.6f} with {variability.cases} cases"),
        (
            "Cov1, Cov2, Cov3",
            f"{variability.cov1:.6f}, {variability.cov2:.6f}, {variability.cov3:.6f}",
        ),
        ("Method", "Hillis, Obuchowski and Berbaum 2011"),
    )
    return Plan(
        title="Sample size of a reader study",
        conclusion=_conclusion(difference, needed, power),
        assumptions=assumptions,
        table=table,
        figure=_picture(difference, variability, needed, power=power, alpha=alpha, random=factors),
    )


def _conclusion(difference: float, needed: dict[int, int | None], power: float) -> str:
    known = {readers: cases for readers, cases in needed.items() if cases}
    goal = f"a difference of {abs(difference):.3g} with a power of {power:.0%}"
    if not known:
        return f"No study with up to {max(READERS)} readers detects {goal}."
    parts = [f"{k} readers and {known[k]} cases" for k in (4, 6, 8, 12) if k in known]
    if not parts:
        fewest = min(known)
        parts = [f"{fewest} readers and {known[fewest]} cases"]
    return f"To detect {goal}: {', or '.join(parts)}."


def _picture(
    difference: float,
    variability: ReaderVariability,
    needed: dict[int, int | None],
    *,
    power: float,
    alpha: float,
    random: RandomFactors,
) -> DrawnFigure:
    """Draw the power over readers and cases, and the line of the wanted power."""
    # The cases that six readers need are well inside the picture.
    six = next((cases for readers, cases in needed.items() if readers >= 6 and cases), 1000)
    most = 1.3 * six
    cases = np.unique(np.linspace(10, max(60.0, min(most, 5000.0)), _GRID).round()).astype(int)
    powers = np.array(
        [
            [
                reader_study_power(
                    difference,
                    variability,
                    readers=readers,
                    cases=int(count),
                    random=random,
                    alpha=alpha,
                )
                for count in cases
            ]
            for readers in READERS
        ]
    )
    with style():
        figure, (axis,) = panels(1, columns=1, size=(104, 62), margin=(14, 24, 12, 4))
        mesh = axis.pcolormesh(
            cases, list(READERS), powers, cmap="Blues", vmin=0, vmax=1.2, rasterized=True
        )
        if powers.min() < power < powers.max():
            lines = axis.contour(
                cases, list(READERS), powers, levels=[power], colors=[_LINE], linewidths=1.6
            )
            axis.clabel(lines, fmt={power: f"{power:.0%}"}, fontsize=8, colors="white")
        axis.set(xlabel="Cases", ylabel="Readers")
        axis.set_yticks(list(READERS))
        box = axis.get_position()
        bar = figure.add_axes((box.x1 + 0.03, box.y0, 0.018, box.height))
        figure.colorbar(mesh, cax=bar, label="Power").ax.set_ylim(0, 1)
        return finish(
            figure,
            "reader_study_power",
            "Power over readers and cases",
            alt="Power of the reader study for each number of readers and cases.",
            note=f"The line is a power of {power:.0%}.",
        )
