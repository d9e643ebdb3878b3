"""Calibration of the readers: whether their confidence is the share of positive cases."""

from __future__ import annotations

import numpy as np

from ctbone.document import (
    FAINT,
    DrawnFigure,
    Table,
    TableColumn,
    TableRow,
    draw_diagonal,
    finish,
    panels,
    style,
    unit_axes,
)
from ctbone.reader_study.agreement import SCALE
from ctbone.reader_study.readings import Readings
from ctbone.reader_study.session_style import session_colours, session_title
from ctbone.stats import brier, calibration_intercept, calibration_slope, proportion


def calibration_table(readings: Readings, level: float) -> Table:
    """Show Brier score, calibration intercept and slope of each reader and session."""
    columns = [
        TableColumn("reader", "Reader", "text"),
        TableColumn("session", "Session", "text"),
        TableColumn("brier", "Brier score", "estimate"),
        TableColumn("intercept", "Intercept", "estimate", digits=2),
        TableColumn("slope", "Slope", "estimate", digits=2),
    ]
    rows = []
    for number, reader in enumerate(readings.readers):
        for place, session in enumerate(readings.sessions):
            read = ~np.isnan(readings.p[place, number])
            if not read.any():
                continue
            truth, p = readings.truth[read], readings.p[place, number, read]
            groups = None if readings.patients is None else readings.patients[read]
            measures = (brier, calibration_intercept, calibration_slope)
            cells = [measure(truth, p, level=level, groups=groups) for measure in measures]
            rows.append(TableRow((reader, session, *cells), opens=place == 0))
    return Table(
        key="reader_study_calibration",
        title="Calibration of the readers",
        columns=tuple(columns),
        rows=tuple(rows),
        note="The scores are read as probabilities of 10 to 90 %. Intercept 0 and slope 1 are "
        "ideal; a slope below 1 means overconfidence.",
    )


def calibration_figure(readings: Readings, level: float) -> DrawnFigure:
    """Draw the share of positive cases at each score, by level and session."""
    levels = readings.level_names
    colours = session_colours(readings.sessions)
    with style():
        figure, axes = panels(
            len(levels), columns=3, size=(46, 46), gap=(14, 20), margin=(13, 4, 12, 12)
        )
        for name, axis in zip(levels, axes, strict=True):
            unit_axes(axis, "Reader's probability", f"Share {readings.classes[1]}")
            draw_diagonal(axis)
            axis.set_title(name or "All readers")
            for place, session in enumerate(readings.sessions):
                p = readings.p[place][readings.of_level(name)]
                shift = (place - (len(readings.sessions) - 1) / 2) * 0.014
                for score in SCALE:
                    chosen = np.isclose(p, score / 10)
                    if not chosen.any():
                        continue
                    positives = (chosen & readings.truth).sum()
                    share = proportion(int(positives), int(chosen.sum()), level=level)
                    x = score / 10 + shift
                    assert share.value is not None
                    if share.low is not None and share.high is not None:
                        axis.plot([x, x], [share.low, share.high], color=FAINT, linewidth=0.7)
                    axis.plot(x, share.value, "o", color=colours[session], markersize=4)
        handles = [
            axes[0].plot([], [], "o", color=colour, markersize=4, label=session_title(session))[0]
            for session, colour in colours.items()
        ]
        figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.07, 0.995), ncols=2)
        return finish(
            figure,
            "reader_study_calibration",
            "Calibration of the readers",
            alt="Share of positive cases at each confidence score, by level and session.",
            note="All readings of a level at each score, with Wilson's interval where there are "
            "five or more; the interval does not take into account that a case is read by several "
            "readers.",
        )
