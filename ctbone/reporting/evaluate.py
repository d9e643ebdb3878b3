"""The whole analysis of any table of probabilities: no study folder, no images, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ctbone
from ctbone.config import EvaluationSettings
from ctbone.document import Page, Section, write_page
from ctbone.progress import progress
from ctbone.reporting.analysis import Analysis, analyse
from ctbone.reporting.any_table import read_any_table
from ctbone.reporting.decision_curves import curves_by_set
from ctbone.reporting.sections import (
    further_tables,
    headline,
    result_sections,
    statistics,
    summary_tables,
    uneven_notices,
)
from ctbone.study import file_hash


def evaluate(
    table: Path,
    *,
    label: str | None = None,
    prob: Sequence[str] = (),
    out: Path,
    positive: str | None = None,
    patient: str | None = None,
    settings: EvaluationSettings | None = None,
    bands: bool = False,
) -> Path:
    """Analyse a CSV with a label column and one or more probability columns.

    Parameters
    ----------
    table
        The CSV, one row a case.
    label
        The column of the true class; default: the one named label, y_true, truth, …
    prob
        The columns of probabilities, each a model; default: the columns named ``p_<something>``.
    out
        Folder for ``metrics.json``, ``tables/``, ``figures/`` and ``index.html``.
    positive
        The positive class of two; default: the class that the columns of probabilities are named
        after, or the label 1, yes, true, positive or malignant.
    patient
        The column of the patient; ``none`` if every case is another patient; default: patient_id.
        A patient may have several cases.
    settings
        Threshold, confidence level, resamples and seed; default: those of a new study.
    bands
        Whether to compute bootstrap bands of the curves and intervals of the calibration index,
        which takes seconds.

    Returns
    -------
    Path
        ``index.html``; beside it ``metrics.json``, ``tables/*.{csv,tex}`` and
        ``figures/*.{svg,png}``.

    Raises
    ------
    ReportError
        The table cannot be understood or is faulty. Nothing is written then.
    PredictionError
        The splits of the table contradict each other: see ``refuse_leaks``.
    StudyError
        The file is missing or not a table.
    """
    settings = settings or EvaluationSettings()
    sets = read_any_table(
        Path(table),
        label=label,
        prob=prob,
        positive=positive,
        patient=patient,
        threshold=settings.threshold,
    )
    with progress("Evaluate", total=sum(len(case_set.scored) for case_set in sets) + 1) as bar:
        analysis = analyse(sets, settings, bands=bands, bar=bar)
        written = write_page(Path(out), _page(Path(table), analysis, bands=bands))
        bar.advance(note="page")
    return written


def _page(table: Path, analysis: Analysis, *, bands: bool) -> Page:
    count = len(analysis.models)
    curves = curves_by_set(analysis, bands=bands)
    sections = (
        *result_sections(analysis, curves, bands=bands),
        Section("method", "Method", statistics(analysis)),
    )
    metrics = {
        "source": {"file": table.name, "sha256": file_hash(table)},
        "ctbone": ctbone.__version__,
        **analysis.metrics(),
    }
    return Page(
        title=table.name,
        subtitle=f"Evaluation of {count} model{'s' * (count != 1)}",
        summary=(*uneven_notices(analysis), headline(analysis), *summary_tables(analysis)),
        sections=sections,
        metrics=metrics,
        further_tables=further_tables(analysis, curves),
    )
