"""Readers against the model: one by one, and the average reader."""

from __future__ import annotations

import numpy as np

from ctbone.document import Cell, Table, TableColumn, TableRow
from ctbone.reader_study.effect import as_estimate
from ctbone.reader_study.performance import MEASURES, Performances
from ctbone.reader_study.readings import Readings
from ctbone.stats import Comparison, delong_test, mcnemar
from ctbone.stats.estimate import Estimate
from ctbone.stats.obuchowski_rockette import obuchowski_rockette
from ctbone.stats.reader_performance import ReaderPerformance, reader_areas, reader_means

_COMPARED = ("auc", "sensitivity", "specificity")


def model_table(found: Performances) -> Table:
    """Compare each reader and the average reader with the model, on the cases that both have."""
    readings = found.readings
    columns = [
        TableColumn("reader", "Reader", "text"),
        TableColumn("session", "Session", "text"),
        TableColumn("n", "Cases"),
    ]
    for name in _COMPARED:
        title = MEASURES[name]
        columns.append(TableColumn(name, "Reader − model", "estimate", group=title))
        columns.append(TableColumn(f"{name}_p", "p", "p", group=title))
    rows = []
    for place, session in enumerate(readings.sessions):
        for number, reader in enumerate(readings.readers):
            compared, count = _reader_against_model(found, number, place)
            if count:
                rows.append(_row(reader, session, count, compared, opens=number == 0))
        average = average_against_model(found, place)
        if average:
            count = int(np.isfinite(readings.model_p).sum())
            rows.append(_row("Average reader", session, count, average, strong=True))
    return Table(
        key="reader_study_model",
        title=f"Readers against the model {readings.model}",
        columns=tuple(columns),
        rows=tuple(rows),
        note="Each reader: DeLong's paired test and McNemar's mid-p test. Average reader: the "
        "differences of the readers from the model, with random readers and cases "
        "(Obuchowski–Rockette with one test, Hillis' degrees of freedom). The model calls a case "
        f"{readings.classes[1]} from a probability of 0.5 on.",
    )


def average_against_model(found: Performances, session: int) -> dict[str, Comparison]:
    """Compare the mean of the readers with the model, with random readers and cases.

    The differences of the readers from the model are analysed as one test, with the covariance of
    these differences. Empty if the model lacks cases or there is one reader.
    """
    readings = found.readings
    known = np.isfinite(readings.model_p)
    if not known.any() or len(readings.readers) < 2 or len(set(readings.truth[known])) < 2:
        return {}
    truth, patients = readings.truth[known], _patients(readings, known)
    p = np.vstack([readings.p[session][:, known], readings.model_p[known]])[None]
    called = np.vstack([readings.called[session][:, known], readings.model_called[known]])[None]
    performances = {
        "auc": reader_areas(truth, p, groups=patients),
        "sensitivity": reader_means(np.where(truth, called, np.nan), groups=patients),
        "specificity": reader_means(np.where(truth, np.nan, 1 - called), groups=patients),
    }
    return {name: _mean_difference(one, found.level) for name, one in performances.items()}


def _mean_difference(performance: ReaderPerformance, level: float) -> Comparison:
    differences = performance.against_last_reader()
    mean: Estimate = obuchowski_rockette(differences, level=level).means[0]
    if mean.value is None or mean.low is None or mean.high is None:
        return Comparison.without_interval(mean.value, mean.method, str(mean.why))
    p_value = _p_value(differences, level)
    return Comparison(
        difference=mean.value,
        low=mean.low,
        high=mean.high,
        statistic=None,
        p_value=p_value,
        method=mean.method,
    )


def _p_value(differences: ReaderPerformance, level: float) -> float | None:
    """Test the mean difference against zero: compare it with a second test that is always zero."""
    readers = differences.readers
    matrix = np.zeros((2 * readers, 2 * readers))
    matrix[:readers, :readers] = differences.covariance
    both = ReaderPerformance(
        values=np.vstack([differences.values, np.zeros((1, readers))]),
        covariance=matrix,
        blocks=differences.blocks,
        method=differences.method,
        bounds=differences.bounds,
    )
    return obuchowski_rockette(both, level=level).test.p_value


def _reader_against_model(
    found: Performances, reader: int, session: int
) -> tuple[dict[str, Comparison], int]:
    readings = found.readings
    both = np.isfinite(readings.model_p) & np.isfinite(readings.p[session, reader])
    if not both.any():
        return {}, 0
    truth = readings.truth[both]
    p, model_p = readings.p[session, reader, both], readings.model_p[both]
    area = delong_test(truth, p, model_p, level=found.level, groups=_patients(readings, both))
    right = readings.correct[session, reader, both] == 1
    model_right = readings.model_called[both] == truth
    compared = {"auc": area}
    for name, chosen in (("sensitivity", truth), ("specificity", ~truth)):
        if chosen.any():
            compared[name] = mcnemar(right[chosen], model_right[chosen], level=found.level)
    return compared, int(both.sum())


def _patients(readings: Readings, chosen: np.ndarray) -> np.ndarray | None:
    return None if readings.patients is None else readings.patients[chosen]


def _row(
    name: str,
    session: str,
    count: int,
    compared: dict[str, Comparison],
    *,
    opens: bool = False,
    strong: bool = False,
) -> TableRow:
    cells: list[Cell] = [name, session, count]
    for measure in _COMPARED:
        found = compared.get(measure)
        cells += [None, None] if found is None else [as_estimate(found), found.p_value]
    return TableRow(tuple(cells), weight="strong" if strong else "plain", opens=opens)
