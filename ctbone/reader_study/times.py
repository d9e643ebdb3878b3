"""Reading time without and with AI."""

from __future__ import annotations

import math

import numpy as np

from ctbone.document import Cell, Table, TableColumn, TableRow
from ctbone.reader_study.effect import AIDED, UNAIDED
from ctbone.reader_study.readings import Readings
from ctbone.stats import Estimate
from ctbone.stats.distributions import student_quantile, student_two_sided
from ctbone.stats.obuchowski_rockette import obuchowski_rockette
from ctbone.stats.reader_performance import reader_means


def time_table(readings: Readings, level: float) -> Table:
    """Show the median seconds of each reader, and the ratio of the times with and without AI.

    The ratio is that of geometric means over the cases read in both sessions: a paired analysis of
    the logarithms, with random readers and cases for the average reader.
    """
    assert readings.seconds is not None
    columns = [
        TableColumn("reader", "Reader", "text"),
        TableColumn("n", "Cases"),
        *(
            TableColumn(f"{session}_median", f"Median s, {session}", digits=0)
            for session in readings.sessions
        ),
        TableColumn("ratio", "With AI / without AI", "estimate"),
        TableColumn("p", "p", "p"),
    ]
    seconds = readings.seconds
    both = np.asarray(~np.isnan(seconds).any(axis=0))
    rows = []
    for number, reader in enumerate(readings.readers):
        own = both[number]
        medians = _medians(seconds[:, number][:, own])
        ratio, p = _one_ratio(readings, number, level)
        cells: list[Cell] = [reader, int(own.sum()), *medians, ratio, p]
        rows.append(TableRow(tuple(cells)))
    ratio, p = mean_ratio(readings, level)
    medians = _medians(seconds[:, both])
    rows.append(TableRow(("All readers", int(both.sum()), *medians, ratio, p), weight="strong"))
    return Table(
        key="reader_study_time",
        title="Reading time",
        columns=tuple(columns),
        rows=tuple(rows),
        note="Ratio of geometric means on the cases that a reader read in both sessions; below 1, "
        "AI saves time. One reader: Student's t of the paired logarithms. All readers: "
        "Obuchowski–Rockette analysis of the mean logarithm with random readers and cases.",
    )


def mean_ratio(readings: Readings, level: float) -> tuple[Estimate, float | None]:
    """Ratio of the average reader's times with and without AI, with random readers and cases."""
    assert readings.seconds is not None
    logs = np.log(readings.seconds)
    logs = np.where(np.isnan(logs).any(axis=0), np.nan, logs)
    method = "geometric means, Obuchowski–Rockette"
    if np.isnan(logs).all(axis=(0, 2)).any():
        return Estimate.undefined(method, "a reader has no time in both sessions"), None
    performance = reader_means(logs, groups=readings.patients, bounds=(-math.inf, math.inf))
    change = obuchowski_rockette(performance, level=level).difference(AIDED, UNAIDED)
    ratio = Estimate(
        value=_exp(change.difference),
        low=_exp(change.low),
        high=_exp(change.high),
        method=method,
        why=change.why,
    )
    return ratio, change.p_value


def _one_ratio(readings: Readings, reader: int, level: float) -> tuple[Estimate, float | None]:
    """Ratio of one reader's times; Student's t over cases, or over patients."""
    assert readings.seconds is not None
    change = np.log(readings.seconds[AIDED, reader]) - np.log(readings.seconds[UNAIDED, reader])
    own = ~np.isnan(change)
    method = "geometric means, paired t"
    patients = None if readings.patients is None else readings.patients[own]
    count = int(own.sum()) if patients is None else len(set(patients))
    if count < 2:
        return Estimate.undefined(method, "fewer than two patients with times"), None
    performance = reader_means(
        change[own][None, None], groups=patients, bounds=(-math.inf, math.inf)
    )
    mean, error = float(performance.values[0, 0]), math.sqrt(performance.covariance[0, 0])
    if error == 0:
        return Estimate.without_interval(math.exp(mean), method, "all changes are equal"), None
    half = student_quantile(0.5 + level / 2, count - 1) * error
    ratio = Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half), method)
    return ratio, student_two_sided(mean / error, count - 1)


def _medians(seconds: np.ndarray) -> list[Cell]:
    if seconds.shape[1] == 0:
        return [None] * len(seconds)
    return [float(np.median(row)) for row in seconds]


def _exp(value: float | None) -> float | None:
    return None if value is None else math.exp(value)
