"""The whole analysis of any table of probabilities; no study folder, no images, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ctbone.config import EvaluationSettings
from ctbone.document.output import write_report
from ctbone.progress import progress
from ctbone.report.analysis import analyse
from ctbone.report.column_guess import read_foreign
from ctbone.report.sections import table_page


def evaluate(
    table: Path,
    *,
    label: str | None = None,
    prob: Sequence[str] = (),
    out: Path,
    positive: str | None = None,
    settings: EvaluationSettings | None = None,
    bands: bool = False,
) -> Path:
    """Analyse a CSV with a label column and one or more probability columns.

    Parameters
    ----------
    table
        The CSV, one row a case.
    label
        The column of the true class; default: the one called label, y_true, truth, …
    prob
        The columns of probabilities, each a model; default: the columns called ``p_<something>``.
    out
        Folder for ``metrics.json``, ``tables/``, ``figures/`` and ``index.html``.
    positive
        The class that is judged; default: told by ``p_<class>``, or 1, yes, true, positive, malignant.
    settings
        Threshold, confidence level, resamples and seed; default: those of a new study.
    bands
        Whether curves get bootstrap bands and the calibration index its interval, which takes seconds.

    Returns
    -------
    Path
        ``index.html``; beside it ``metrics.json``, ``tables/*.{csv,tex}``, ``figures/*.svg`` and ``*.png``.

    Raises
    ------
    ReportError
        The table cannot be understood or is faulty; nothing has been written then.
    StudyError
        The file is missing or no table.
    """
    settings = settings or EvaluationSettings()
    sets = read_foreign(Path(table), label, prob, positive, settings.threshold)
    with progress("Evaluate", total=sum(len(cases.answers) for cases in sets) + 1) as bar:
        analysis = analyse(sets, settings, bands=bands, bar=bar)
        written = write_report(Path(out), table_page(Path(table), analysis, bands=bands))
        bar.advance(note="page")
    return written
