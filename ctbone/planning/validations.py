"""Sample size of the external validation of a prediction model (Riley 2021)."""

from __future__ import annotations

import numpy as np

from ctbone.document import (
    INK,
    RULE,
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
from ctbone.stats.validation_sample_size import (
    LinearPredictor,
    ValidationSize,
    validation_size,
)

_TITLES = {
    "O/E": "Observed / expected",
    "calibration slope": "Calibration slope",
    "c-statistic": "c-statistic (AUC)",
}


def plan_validation(
    prevalence: float,
    auc: float,
    *,
    oe_width: float,
    slope_width: float,
    auc_width: float,
) -> Plan:
    """Plan an external validation of a calibrated model.

    Parameters
    ----------
    prevalence, auc
        Expected in the new patients.
    oe_width, slope_width, auc_width
        Widths of the 95 % intervals.
    """
    predictor = LinearPredictor.from_auc(auc, prevalence)
    sizes = validation_size(
        prevalence,
        auc,
        predictor=predictor,
        oe_width=oe_width,
        slope_width=slope_width,
        auc_width=auc_width,
    )
    largest = max(sizes, key=lambda size: size.cases)
    table = plain_table(
        key="validation_size",
        title="Cases for each criterion",
        columns=[
            TableColumn("criterion", "Criterion", "text"),
            TableColumn("width", "Width of the interval", digits=2),
            TableColumn("standard_error", "Standard error"),
            TableColumn("cases", "Cases"),
            TableColumn("events", "Positive cases"),
        ],
        rows=[
            [_TITLES[one.criterion], one.width, one.standard_error, one.cases, one.events]
            for one in sizes
        ],
        note="The study needs the largest number. The standard error of observed / expected is "
        "that of its logarithm.",
    )
    return Plan(
        title="Sample size of an external validation",
        conclusion=f"{largest.cases} cases, {largest.events} of them positive, for the "
        f"{largest.criterion}, which needs the most.",
        assumptions=(
            ("Share of positive cases", f"{prevalence:g}"),
            ("AUC", f"{auc:g}"),
            ("Calibration", "perfect"),
            (
                "Linear predictor",
                f"normal, mean {predictor.mean:.2f}, standard deviation {predictor.sd:.2f}: the "
                "calibrated model with this AUC and this share of positive cases",
            ),
            ("Method", "Riley et al., Stat Med 2021;40:4230"),
        ),
        table=table,
        figure=_picture(sizes, prevalence=prevalence, auc=auc, predictor=predictor),
    )


def _picture(
    sizes: tuple[ValidationSize, ...],
    *,
    prevalence: float,
    auc: float,
    predictor: LinearPredictor,
) -> DrawnFigure:
    """Draw the cases over the width of the interval, relative to the wanted width."""
    factors = np.linspace(0.6, 1.8, 25)
    lines = line_styles([size.criterion for size in sizes])
    found = [
        validation_size(
            prevalence,
            auc,
            predictor=predictor,
            oe_width=sizes[0].width * factor,
            slope_width=sizes[1].width * factor,
            auc_width=sizes[2].width * factor,
        )
        for factor in factors
    ]
    with style():
        figure, (axis,) = panels(1, columns=1, size=(104, 56), margin=(16, 6, 12, 5))
        for place, size in enumerate(sizes):
            counts = [one[place].cases for one in found]
            label = f"{_TITLES[size.criterion]}, {size.width:g}"
            axis.plot(factors, counts, color=lines[size.criterion].colour, label=label)
            axis.plot(1, size.cases, "o", color=INK, markersize=3.5)
        count_axis(axis)
        axis.grid(color=RULE, linewidth=0.4)
        axis.set_xlabel("Width of the interval / wanted width")
        axis.legend(loc="upper right")
        return finish(
            figure,
            "validation_size",
            "Cases over the width of the interval",
            alt="Number of cases for wider and narrower intervals, for the three criteria.",
            note="The legend names the wanted widths; the dots are the proposed numbers.",
        )
