"""The report of a study: every table and figure on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ctbone.cohort import read_cohort
from ctbone.custody import record_primary, require_current
from ctbone.document import Section, write_page
from ctbone.progress import progress
from ctbone.reporting.analysis import analyse
from ctbone.reporting.fusion_records import fusion_records
from ctbone.reporting.model_titles import model_titles
from ctbone.reporting.primary import judge_primary
from ctbone.reporting.readers_section import judge_readers, reader_scores
from ctbone.reporting.run_records import RunRecords, run_records
from ctbone.reporting.scored_cases import CaseSet
from ctbone.reporting.sources import case_sets, sources
from ctbone.reporting.study_page import Made, study_page
from ctbone.study import Study, provenance


def report(study: Study, *, chapters: Sequence[Callable[[Study], Section | None]] = ()) -> Path:
    """Write ``report/index.html`` and every table and figure of a study as files.

    Parameters
    ----------
    study
        The study. Every table of probabilities in it takes part: models, tables of other programs,
        the reader, fusions. Readers are judged from ``scores.csv`` if it is there.
    chapters
        Functions that make further sections, of other stages; None is no section.

    Returns
    -------
    Path
        ``report/index.html``; beside it ``metrics.json``, ``tables/*.{csv,tex}`` and
        ``figures/*.{svg,png}``.

    Raises
    ------
    ReportError
        There are no probabilities yet, or they do not fit the cohort. Nothing is written then.
    CustodyError
        A table was made from other crops, weights, folds or scores than those of now.
    CohortError, PredictionError, ScoreError, StudyError
        A table is missing or faulty.
    """
    cohort = read_cohort(study)
    tables = sources(study)
    named = record_primary(study)
    for kind in ("predictions", "fusion"):
        names = [table.path.stem for table in tables if table.path.parent.name == kind]
        require_current(study, kind, names, settings=False)
    runs = run_records(study, cohort, tables)
    sets = [_without_claims(one, runs) for one in case_sets(study, cohort, tables)]
    records = fusion_records(study, tables)
    scores = reader_scores(study, cohort)
    steps = sum(len(case_set.scored) for case_set in sets)
    with progress("Report", total=steps + 2) as bar:
        analysis = analyse(
            sets,
            study.settings.evaluation,
            bands=True,
            bar=bar,
            titles=model_titles(study, scores),
        )
        readers = judge_readers(study, cohort=cohort, analysis=analysis, scores=scores)
        inputs = {study.cohort_csv.name: study.cohort_csv}
        inputs |= {
            f"{source.path.parent.name}/{source.path.name}": source.path for source in tables
        }
        if study.primary_json.is_file():
            inputs[study.primary_json.name] = study.primary_json
        if scores is not None:
            inputs[study.scores_csv.name] = study.scores_csv
        made = Made(
            study=study,
            cohort=cohort,
            tables=tables,
            analysis=analysis,
            readers=readers,
            primary=judge_primary(analysis, named),
            named=named,
            runs=runs,
            records=records,
            provenance=provenance(study, "report", inputs),
            chapters=tuple(made for chapter in chapters if (made := chapter(study)) is not None),
        )
        page = study_page(made)
        bar.advance(note="figures")
        written = write_page(study.report, page)
        bar.advance(note="page")
    return written


def _without_claims(case_set: CaseSet, runs: RunRecords) -> CaseSet:
    """Mark a set with tables whose folds no record proves; its title then claims no folds."""
    if runs.proves(scored.name for scored in case_set.scored):
        return case_set
    title = "Internal test" if case_set.key == "internal" else case_set.title
    return replace(case_set, title=title, recorded=False)
