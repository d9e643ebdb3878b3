"""Performance of each reader, level and session: the measures, their tables, Table 3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ctbone.document import Cell, Table, TableColumn, TableRow
from ctbone.reader_study.readings import Readings
from ctbone.stats import Estimate, auc_interval
from ctbone.stats.clustered_rates import clustered_rates
from ctbone.stats.obuchowski_rockette import ReaderAnalysis, obuchowski_rockette
from ctbone.stats.rates import RateName
from ctbone.stats.reader_performance import ReaderPerformance, reader_areas, reader_means

MEASURES = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "accuracy": "Accuracy",
}
"""Measures that are compared across readers, and their titles."""
TABLE_3 = ("auc", "sensitivity", "specificity", "ppv", "accuracy")
"""Columns of the main paper's Table 3; it calls the PPV precision."""
_RATES: tuple[RateName, ...] = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1")


@dataclass(frozen=True)
class Performances:
    """Every measure of every reader and session, with the jackknife's covariances.

    Attributes
    ----------
    readings
        The readings.
    measures
        By the names of ``MEASURES``.
    level
        Confidence level of every interval.
    """

    readings: Readings
    measures: Mapping[str, ReaderPerformance]
    level: float

    def of_level(self, measure: str, level: str) -> ReaderAnalysis:
        """Analyse the readers of one level; they are fixed, because a level has few."""
        chosen = self.measures[measure].of_readers(self.readings.of_level(level))
        return obuchowski_rockette(chosen, random="cases", level=self.level)


def performances(readings: Readings, level: float) -> Performances:
    """Compute every measure of every reader and session."""
    truth, called = readings.truth, readings.called
    areas = reader_areas(truth, readings.p, groups=readings.patients)
    # Each measure is a mean over the cases that it is about; NaN leaves a case out.
    values = {
        "sensitivity": np.where(truth, called, np.nan),
        "specificity": np.where(truth, np.nan, 1 - called),
        "ppv": np.where(called == 1, truth, np.nan),
        "npv": np.where(called == 0, ~truth, np.nan),
        "accuracy": readings.correct,
    }
    measures = {"auc": areas}
    for name, table in values.items():
        found = reader_means(table, groups=readings.patients)
        measures[name] = replace(found, blocks=areas.blocks)
    return Performances(readings, measures, level)


def reader_estimates(readings: Readings, reader: int, session: int, level: float) -> dict:
    """AUC and rates of one reader and session, each with the interval of one reader.

    Returns
    -------
    dict
        Estimate by name of the measure; empty if the reader did not read.
    """
    read = ~np.isnan(readings.p[session, reader])
    if not read.any():
        return {}
    patients = None if readings.patients is None else readings.patients[read]
    p, truth = readings.p[session, reader, read], readings.truth[read]
    called = readings.called[session, reader, read] == 1
    rates = clustered_rates(truth, called, patients, level=level)
    found: dict[str, Estimate] = {"auc": auc_interval(truth, p, level=level, groups=patients)}
    return found | {name: rates[name] for name in _RATES}


def reader_table(found: Performances) -> Table:
    """Show every measure of each reader in each session."""
    readings = found.readings
    columns = [
        TableColumn("reader", "Reader", "text"),
        TableColumn("level", "Level", "text"),
        TableColumn("session", "Session", "text"),
        TableColumn("n", "Cases"),
        *(_column(name) for name in ("auc", *_RATES)),
    ]
    rows = []
    for number, reader in enumerate(readings.readers):
        for place, session in enumerate(readings.sessions):
            estimates = reader_estimates(readings, number, place, found.level)
            if estimates:
                n = int((~np.isnan(readings.p[place, number])).sum())
                cells: tuple[Cell, ...] = (reader, readings.levels[number], session, n)
                rows.append(TableRow((*cells, *estimates.values()), opens=place == 0))
    return Table(
        key="reader_study_readers",
        title="Performance of each reader",
        columns=tuple(columns),
        rows=tuple(rows),
        note=f"A reader calls a case {readings.classes[1]} above the midpoint of the scale. An "
        "interval holds for that one reader.",
    )


def level_table(found: Performances) -> Table:
    """Show the main paper's Table 3: the levels without and with AI."""
    readings = found.readings
    columns = [TableColumn("signature", "Level", "text"), TableColumn("readers", "Readers")]
    columns += [_column(name) for name in TABLE_3]
    rows = []
    for place, session in enumerate(readings.sessions):
        for number, level in enumerate(readings.level_names):
            means = [found.of_level(name, level).means[place] for name in TABLE_3]
            count = len(readings.of_level(level))
            name = f"{level or 'no level'}, {'without' if session == 'unaided' else 'with'} AI"
            rows.append(TableRow((name, count, *means), opens=number == 0))
    return Table(
        key="reader_study_levels",
        title="Levels without and with AI",
        columns=tuple(columns),
        rows=tuple(rows),
        note="Mean over the readers of a level, as in Table 3 of the main paper, where the PPV is "
        "called precision. The intervals hold for these readers and for other cases.",
    )


def _column(name: str) -> TableColumn:
    return TableColumn(name, {**MEASURES, "f1": "F1"}[name], "estimate")
