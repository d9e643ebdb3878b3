"""The order of the stages: the one place, beside the command line, that knows which room comes after which."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ctbone.cohort import COLUMNS, Case, check_cohort, read_cohort
from ctbone.config_file import builtin_config, load_settings
from ctbone.errors import CtboneError, StudyError
from ctbone.progress import progress
from ctbone.study import Dim, Study, record_of, write_text
from ctbone.workers import Outcome, map_cases

if TYPE_CHECKING:
    from ctbone.config import PreprocessSettings
    from ctbone.preprocess import CropSummary, MaskCheck
    from ctbone.preprocess.crops import CaseCrops

DEMO_MARK = ".ctbone-demo"
"""Says that a folder is a demo's, and with which choices it was made."""
_SHOWN = 4
"""Settings that a note lists at most."""


TRANSFORMS = "ctbone.transforms"
"""The module that imports MONAI, which takes seconds: only where a crop is to be made."""


@dataclass(frozen=True)
class CaseJob:
    """One case of one study: the unit of work that travels to a worker."""

    study: Study
    case: Case


def default_workers() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def init_study(folder: Path, config: str) -> Study:
    """Make a study folder: a commented ``study.yaml`` and a ``cohort.csv`` with nothing but its header.

    Raises
    ------
    StudyError
        The folder is a study already.
    ConfigError
        There is no such config.
    """
    source = builtin_config(config)
    load_settings(source)
    study = Study(folder)
    for path in (study.settings_file, study.cohort_csv):
        if path.exists():
            raise StudyError(
                "this file is there already and is not overwritten",
                file=path,
                remedy="choose another DIR",
            )
    write_text(study.settings_file, source.read_text(encoding="utf-8"))
    write_text(study.cohort_csv, ",".join([*COLUMNS, "age", "sex"]) + "\n")
    return study


@dataclass(frozen=True)
class CohortCheck:
    """What ``check`` found.

    Attributes
    ----------
    problems
        What must be mended.
    notes
        What is worth a look, one line each: masks of several parts.
    """

    problems: list[CtboneError]
    notes: list[str]


def check(study: Study, *, preload: Sequence[str] = ()) -> CohortCheck:
    """List every problem of the cohort, of its images' headers and of its masks.

    ``preload`` names modules that the processes of later stages need (``ctbone.workers.map_cases``).
    """
    problems, notes = check_cohort(study), {}
    if problems:
        return CohortCheck(problems, [])
    cases = list(read_cohort(study))
    with progress("Check", total=len(cases)) as bar:
        for outcome in map_cases(
            _check_one,
            [CaseJob(study, case) for case in cases],
            workers=default_workers(),
            preload=preload,
        ):
            case_id = outcome.item.case.case_id
            fault = outcome.error or (outcome.result.fault if outcome.result else None)
            problems += [fault] if fault else []
            if outcome.result and outcome.result.note:
                notes[case_id] = f"case {case_id}: {outcome.result.note}"
            bar.advance(note=case_id)
    return CohortCheck(problems, [notes[case.case_id] for case in cases if case.case_id in notes])


def _check_one(job: CaseJob) -> MaskCheck:
    from ctbone.dicom import grid_of
    from ctbone.preprocess import check_case

    return check_case(job.study, job.case, grid_of(job.study, job.case))


def preprocess(
    study: Study,
    *,
    case_id: str | None = None,
    workers: int | None = None,
    cluster: str | None = None,
    quality: bool = False,
) -> list[Outcome[CaseJob, CropSummary]]:
    """Convert and crop every case, or one; a bad case stops no other. ``quality`` also writes the quality pages.

    Returns
    -------
    list of Outcome
        In the order of the cohort; what failed stands in ``error``, and in ``preprocess.csv``.
    """
    from ctbone.preprocess import write_quality, write_summary

    cohort = read_cohort(study)
    cases = [cohort.case(case_id)] if case_id else list(cohort)
    work = prepare_and_show if quality else prepare_case
    jobs = [CaseJob(study, case) for case in cases]
    processes = workers or default_workers()
    alone = cluster is not None or min(processes, len(jobs)) == 1
    outcomes = [] if alone else _up_to_date(jobs, processes)
    finished = {outcome.item for outcome in outcomes}
    preload = [TRANSFORMS] if len(finished) < len(jobs) else []
    if quality:  # every case is asked for its sheet
        outcomes, finished = [], set()
    rest = [job for job in jobs if job not in finished]
    with progress("Preprocess", total=len(rest)) as bar:
        for outcome in map_cases(work, rest, workers=processes, cluster=cluster, preload=preload):
            outcomes.append(outcome)
            bar.advance(note=f"{outcome.item.case.case_id}{' failed' if outcome.error else ''}")
    outcomes.sort(key=lambda outcome: cases.index(outcome.item.case))
    write_summary(
        study, {o.item.case.case_id: o.error or cast("CropSummary", o.result) for o in outcomes}
    )
    if quality:
        write_quality(study, [case.case_id for case in cohort])
    return outcomes


def _up_to_date(jobs: Sequence[CaseJob], threads: int) -> list[Outcome[CaseJob, CropSummary]]:
    """Return the outcomes of the cases that need nothing done.

    Threads are enough: they hash files, which releases the interpreter lock. No process is started,
    and MONAI is not imported, where all cases are up to date.
    """
    with ThreadPoolExecutor(threads) as pool:
        summaries = pool.map(_summary_of, jobs)
        return [
            Outcome(job, summary, None)
            for job, summary in zip(jobs, summaries, strict=True)
            if summary is not None
        ]


def _summary_of(job: CaseJob) -> CropSummary | None:
    from ctbone.dicom import is_converted
    from ctbone.preprocess import up_to_date

    try:
        return up_to_date(job.study, job.case) if is_converted(job.study, job.case) else None
    except Exception:
        return None  # the stage, which runs next, reports it for this case alone


def prepare_case(job: CaseJob) -> CropSummary:
    """Take one case from DICOM to its crops."""
    from ctbone.dicom import convert_case
    from ctbone.preprocess import preprocess_case

    convert_case(job.study, job.case)
    return preprocess_case(job.study, job.case, _crop)


def _crop(volume: Path, case: Case, settings: PreprocessSettings) -> CaseCrops:
    """Run the MONAI transforms, imported here: a case that is up to date does not need them."""
    from ctbone.transforms import crop_case

    return crop_case(volume, case, settings)


def prepare_and_show(job: CaseJob) -> CropSummary:
    """Take one case from DICOM to its crops, and draw its contact sheet."""
    from ctbone.preprocess import draw_sheet

    summary = prepare_case(job)
    draw_sheet(job.study, job.case.case_id)
    return summary


def models_of(study: Study, dim: Dim | None = None) -> list[str]:
    """Return the names of the study's models, or of those of one dimension.

    Raises
    ------
    StudyError
        The study has no model of that dimension.
    """
    names = [name for name, model in study.settings.models.items() if dim in (None, model.dim)]
    if not names:
        raise StudyError(
            f"the study has no {dim} model",
            file=study.settings_file,
            remedy="add one under 'models'",
        )
    return names


def run(study: Study, *, scores: Path | None, workers: int | None = None) -> Path:
    """Run every stage that is not up to date, from the check to the report.

    Returns
    -------
    Path
        ``report/index.html``.

    Raises
    ------
    CtboneError
        The first problem of the cohort, or of a case: training does not begin without all of them.
    """
    from ctbone import fusion, inference, report, training

    problems = check(study, preload=_needed_by_preprocess(study)).problems
    if problems:
        raise problems[0]
    failed = [outcome.error for outcome in preprocess(study, workers=workers) if outcome.error]
    if failed:
        raise failed[0]
    names = models_of(study)
    for name in names:
        training.train(study, name)
    if read_cohort(study).external:
        for name in names:
            inference.predict_external(study, name)
    fusion.fuse(study, scores=scores)
    return report.report(study)


def _needed_by_preprocess(study: Study) -> list[str]:
    """Return the modules to preload where a case has no crops: ``check`` starts ``run``'s processes."""
    try:
        records = [record_of(study.crop(case.case_id, "3d")) for case in read_cohort(study)]
    except CtboneError:
        return []  # the check lists what is wrong
    return [] if all(record.is_file() for record in records) else [TRANSFORMS]


def demo(
    folder: Path, *, shuffle_labels: bool = False, difficulty: float | None = None, seed: int = 0
) -> Path:
    """Make a cohort of synthetic patients in ``folder`` and run every stage on it.

    A demo that was interrupted goes on where it stopped, with its ``study.yaml``; a note on
    standard error says where this differs from the demo config of this version.

    Parameters
    ----------
    folder
        A new or empty folder, or an earlier demo with the same choices.
    shuffle_labels
        Permute the labels, so that there is nothing to learn: an honest pipeline then finds an AUC of about 0.5.
    difficulty
        0: the classes never overlap; 1: they cannot be told apart. None takes the default of ``PhantomCohort``.
    seed
        Draws other patients.

    Raises
    ------
    StudyError
        The folder holds something else, or a demo made with other choices.
    """
    from ctbone.phantom.cohort import PhantomCohort, write_cohort

    cohort = PhantomCohort(seed=seed, shuffle_labels=shuffle_labels)
    if difficulty is not None:
        cohort = dataclasses.replace(cohort, difficulty=difficulty)
    if folder.exists() and any(folder.iterdir()) and not (folder / DEMO_MARK).exists():
        raise StudyError(
            "this folder holds something else", file=folder, remedy="name an empty folder"
        )
    study = Study(folder)
    mark = repr(cohort)
    if (folder / DEMO_MARK).exists() and (folder / DEMO_MARK).read_text(encoding="utf-8") != mark:
        raise StudyError(
            "this demo was made with other choices", file=folder, remedy="name an empty folder"
        )
    if not (folder / "truth.json").exists():
        write_text(folder / DEMO_MARK, mark)
        shutil.copyfile(builtin_config("demo"), study.settings_file)
        total = cohort.internal + sum(cohort.external.values())
        with progress("Synthetic patients", total=total) as bar:
            write_cohort(
                folder, cohort, workers=default_workers(), progress=lambda done, _: bar.advance()
            )
    study = Study.open(folder)
    _note_other_settings(study)
    return run(study, scores=study.scores_csv)


def _note_other_settings(demo: Study) -> None:
    """Print which settings of a demo differ from the demo config; nothing where none does."""
    config = load_settings(builtin_config("demo"))
    here, there = (settings.model_dump(mode="json") for settings in (demo.settings, config))
    apart = list(_differences(here, there))
    if not apart:
        return
    shown = apart[:_SHOWN]
    lines = [f"  {key}: {_brief(a)}, in the demo config {_brief(b)}" for key, a, b in shown]
    if len(apart) > _SHOWN:
        lines.append(f"  and {len(apart) - _SHOWN} more")
    head = f"note: {demo.settings_file} is kept, it differs from the demo config of this version:"
    tail = "  to run the demo config, name another folder: ctbone demo DIR"
    print("\n".join([head, *lines, tail]), file=sys.stderr, flush=True)


def _differences(
    here: Mapping[str, Any],
    there: Mapping[str, Any],
    section: str = "",
) -> Iterator[tuple[str, Any, Any]]:
    """Yield dotted key and both values wherever two nested settings differ; None: not set."""
    for key in [*there, *(key for key in here if key not in there)]:
        a, b = here.get(key), there.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _differences(a, b, f"{section}{key}.")
        elif a != b:
            yield f"{section}{key}", a, b


def _brief(value: Any) -> str:
    """Return a value as YAML writes it, at most 60 characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
