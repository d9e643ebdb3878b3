"""The commands as functions, and the order of the stages; ``import ctbone`` offers them."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ctbone.cases import (
    TRANSFORMS,
    CaseJob,
    check_one,
    compare_converters,
    converted_identity,
    finished_jobs,
    modules_to_preload,
    prepare_and_draw,
    prepare_case,
)
from ctbone.cohort import COLUMNS, Cohort, examine_cohort, read_cohort
from ctbone.config import DicomSettings, EvaluationSettings, ExplainSettings, ScoreSettings
from ctbone.config_file import builtin_config, checked, load_settings
from ctbone.differences import brief, differences
from ctbone.errors import (
    CtboneError,
    ExplainError,
    ReaderStudyError,
    ReleaseError,
    ScoreError,
    StudyError,
)
from ctbone.findings import read_findings
from ctbone.input_kind import Dim
from ctbone.progress import progress
from ctbone.results import (
    Answers,
    Audit,
    CohortCheck,
    Conversion,
    Evaluation,
    Explanation,
    Export,
    ExportedScores,
    Fusion,
    Prediction,
    Preprocessing,
    Pulling,
    ReaderLink,
    ReaderStudy,
    ReadingProgress,
    Report,
    Status,
    Training,
)
from ctbone.study import Study, atomic_path, record_of, write_table, write_text
from ctbone.study_check import (
    check_fusion,
    check_models,
    check_primary,
    check_readers,
    check_space,
    region_notes,
    require_ct,
)
from ctbone.workers import default_workers, map_cases, require_main_guard

if TYPE_CHECKING:
    import pandas as pd

    from ctbone.custody import Chain
    from ctbone.machine_check import Diagnosis
    from ctbone.pacs import Pushed
    from ctbone.same_scans import NearScans

DEMO_MARK = ".ctbone-demo"
"""File that marks the folder of a demo and holds its options."""
_SHOWN = 4
"""Number of differing settings that a note lists at most."""
_MOST_PAIRS = 20
"""Pairs of nearly identical scans that are listed and drawn at most."""

AnyPath = str | os.PathLike[str]


def init(folder: AnyPath, config: str = "sacral_ct") -> Study:
    """Make a study folder with a commented ``study.yaml`` and a ``cohort.csv`` without rows.

    Parameters
    ----------
    folder
        The study folder to make.
    config
        A config by name (``sacral_ct``, ``demo``) or a YAML file.

    Returns
    -------
    Study

    Raises
    ------
    StudyError
        The folder has one of these files already.
    ConfigError
        The config does not exist or is not valid.

    Examples
    --------
    >>> import tempfile, ctbone as ct
    >>> study = ct.init(tempfile.mkdtemp(), config="demo")
    >>> list(study.cohort_csv.read_text().split(","))[:3]
    ['case_id', 'patient_id', 'label']
    """
    source = builtin_config(config)
    load_settings(source)
    study = Study(Path(folder))
    for path in (study.settings_file, study.cohort_csv):
        if path.exists():
            raise StudyError(
                "the file exists already and is not overwritten",
                file=path,
                remedy="choose another DIR",
            )
    write_text(study.settings_file, source.read_text(encoding="utf-8"))
    write_text(study.cohort_csv, ",".join([*COLUMNS, "age", "sex"]) + "\n")
    return study


def check(
    study: Study | AnyPath = ".", *, workers: int = 1, second_opinion: bool = False
) -> CohortCheck:
    """List every problem of a study before anything long runs.

    These are problems of the cohort table, the images' headers, the masks, ``scores.csv``, the
    networks, losses, weights, columns and parts that the settings name, and the disk space.

    Parameters
    ----------
    study
        The study or its folder.
    workers
        Processes.
    second_opinion
        Whether to convert each DICOM series by dicom2nifti, SimpleITK and dcm2niix, too, as far as
        they are installed, and to compare the volumes; writes ``second_opinion.csv``.

    Returns
    -------
    CohortCheck

    Raises
    ------
    StudyError, ConfigError
        The folder is not a study, or its settings are not valid.

    Examples
    --------
    >>> import tempfile, ctbone as ct
    >>> found = ct.check(ct.init(tempfile.mkdtemp()))
    >>> found.ok, found.problems[0].problem
    (False, 'the cohort has no cases')
    """
    opened = _opened(study)
    if second_opinion:
        require_ct(opened, "check --second-opinion")
    found = _check(opened, workers=workers, preload=())
    if not second_opinion:
        return found
    return dataclasses.replace(found, opinions=_second_opinion(opened, workers=workers))


def _named_primary(study: Study, cohort: Cohort) -> list[CtboneError]:
    """Record the primary comparisons if they are valid; list their problems."""
    from ctbone.custody import record_primary

    problems = check_primary(study, cohort)
    try:
        if study.settings.evaluation.primary and not problems:
            record_primary(study)
    except CtboneError as error:
        problems.append(error)
    return problems


def _second_opinion(study: Study, *, workers: int) -> pd.DataFrame:
    """Compare ctbone's volumes with those of other converters and write the table."""
    import pandas as pd

    from ctbone.second_opinion import COLUMNS

    jobs = [CaseJob(study, case) for case in examine_cohort(study).with_files]
    rows: list[dict[str, object]] = []
    with progress("Second opinion", total=len(jobs)) as bar:
        for outcome in map_cases(compare_converters, jobs, workers=workers):
            case_id = outcome.item.case.case_id
            rows += [dataclasses.asdict(opinion) for opinion in outcome.result or ()]
            if outcome.error:  # the check lists why
                missing = {"case_id": case_id, "converter": "ctbone", "result": "no volume"}
                rows.append({**missing, "explanation": outcome.error.problem})
            bar.advance(note=case_id)
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values(
        ["case_id", "converter"], ignore_index=True
    )
    write_table(study.second_opinion_csv, table)
    return table


def _check(study: Study, *, workers: int, preload: Sequence[str]) -> CohortCheck:
    """Check a study; its processes import the modules of ``preload`` for later stages."""
    from ctbone.same_scans import file_keys, near_scans, shared_scans
    from ctbone.scan_identity import ScanIdentity

    found = examine_cohort(study)
    problems, notes, voxels = found.problems, {}, 0
    identities: dict[str, ScanIdentity] = {}
    cases = found.with_files
    jobs = [CaseJob(study, case) for case in cases]
    with progress("Check", total=len(jobs)) as bar:
        for outcome in map_cases(check_one, jobs, workers=workers, preload=preload):
            case_id = outcome.item.case.case_id
            mask = outcome.result.mask if outcome.result else None
            fault = outcome.error or (mask.fault if mask else None)
            problems += [fault] if fault else []
            if mask and mask.note:
                notes[case_id] = f"case {case_id}: {mask.note}"
            if outcome.result:
                identities[case_id] = outcome.result.identity
            if mask and not study.nifti(case_id).exists():
                voxels += mask.voxels
            bar.advance(note=case_id)
    for case_id, keys in file_keys([case for case in cases if case.image.is_file()]).items():
        known = identities.get(case_id, ScanIdentity())
        identities[case_id] = dataclasses.replace(known, files=keys)
    shared = shared_scans(found.cases, identities)
    score_problems, score_notes = check_readers(study, found.named)
    problems += [*shared, *score_problems, *check_models(study, found.cases)]
    problems += check_fusion(study, found.cases) + _named_primary(study, found.cases)
    problems += check_space(study, cases, voxels)
    of_cases = [notes[case.case_id] for case in cases if case.case_id in notes]
    near = _near_notes(study, near_scans(found.cases, identities, shared), draw=False)
    return CohortCheck(
        study=study,
        problems=problems,
        notes=[
            *of_cases,
            *near,
            *found.notes,
            *score_notes,
            *region_notes(study, found.cases),
        ],
        internal=len(found.cases.internal),
        external=len(found.cases.external),
    )


def pacs_pull(
    table: AnyPath,
    study: Study | AnyPath = ".",
    *,
    archive: str,
    aet: str = "CTBONE",
    move_port: int | None = None,
    per_second: float | None = None,
    deid: Literal["basic", "none"] | None = None,
) -> Pulling:
    """Pull CT series from a PACS into ``exports/<case_id>`` of a study.

    Parameters
    ----------
    table
        CSV with ``case_id`` and one of ``accession``, ``patient_id`` and ``study_uid``; it lies
        outside the study.
    study
        The study or its folder.
    archive
        ``https://host/dicom-web``, or ``dicom://AET@host:port`` (with TLS ``dicoms://``).
    aet
        The application entity title of this machine.
    move_port
        Port on which this machine listens for C-MOVE; None uses C-GET.
    per_second
        Images a second at most.
    deid
        ``basic`` removes in memory what PS3.15's basic profile removes; ``none`` keeps the files as
        they are sent; None: as the study's ``pacs.deid`` says.

    Returns
    -------
    Pulling

    Raises
    ------
    PacsError
        The table or the address is not valid. Errors of single examinations are in the result.
    """
    from ctbone.pacs import PacsError, RateLimit, open_archive, pull_case, read_wanted

    opened = _opened(study)
    wanted = read_wanted(Path(table), opened.root)
    link = open_archive(archive, aet=aet, move_port=move_port)
    limit = RateLimit(per_second)
    method = deid or opened.settings.pacs.deid
    pulled, problems = [], []
    try:
        with progress("Pull", total=len(wanted)) as bar:
            for one in wanted:
                try:
                    pulled.append(pull_case(opened, one, link, deid=method, limit=limit))
                except PacsError as error:
                    problems.append(error)
                bar.advance(note=one.case_id)
    finally:
        link.close()
    return Pulling(opened, pulled, problems)


def pacs_push(files: Sequence[AnyPath], *, archive: str, aet: str = "CTBONE") -> Pushed:
    """Send DICOM files to a PACS, by STOW-RS or C-STORE.

    Files that the archive has already are not an error, so a push can be repeated.

    Parameters
    ----------
    files
        DICOM files, or folders of them; other files in a folder are left out.
    archive
        ``https://host/dicom-web``, or ``dicom://AET@host:port`` (with TLS ``dicoms://``).
    aet
        The application entity title of this machine.

    Returns
    -------
    Pushed
        How many were stored, known before, and refused, with the reasons.

    Raises
    ------
    PacsError
        The address is not valid, there is no DICOM file, or the archive does not answer.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.pacs_push(["dicom/new"], archive="dicom://PACS@10.0.0.5:104")  # doctest: +SKIP
    """
    from ctbone.pacs import dicom_files, open_archive, push_files

    found = dicom_files([Path(one) for one in files])
    link = open_archive(archive, aet=aet)
    try:
        return push_files(found, link)
    finally:
        link.close()


def doctor(study: Study | AnyPath = ".", *, network: bool = False) -> Diagnosis:
    """Look at this machine: versions, devices, codecs, free space, and time for a study.

    It also checks the arithmetic of the study's networks, as ``train`` does before its first step,
    and remembers the result.

    Parameters
    ----------
    study
        A study or its folder; the machine alone where the folder is not a study.
    network
        Whether to ask for the hub of pretrained weights; nothing else uses the network.

    Returns
    -------
    Diagnosis
        ``str`` is one screen, ``json()`` is for bug reports.
    """
    from ctbone.machine_check import diagnose

    there = isinstance(study, Study) or (Path(study) / "study.yaml").exists()
    return diagnose(_opened(study) if there else None, network=network)


def convert(
    folder: AnyPath,
    out: AnyPath | None = None,
    *,
    list: bool = False,  # the name of the command's option
    series: int | None = None,
    irregular: Literal["refuse", "resample"] | None = None,
    kernel: Literal["any", "bone", "soft"] | None = None,
    study: Study | AnyPath | None = None,
) -> Conversion:
    """Convert one DICOM series to NIfTI in HU, or list the series of a folder.

    Parameters
    ----------
    folder
        A folder with DICOM files, or one of these files.
    out
        The NIfTI file to write, ``.nii`` or ``.nii.gz``.
    list
        List the series and the reason why each is taken or not; write nothing.
    series
        Take the series with this number of the list, even if it is reformatted from another one.
    irregular
        Refuse or resample tilted and unevenly spaced series; None: as the study says, else refuse.
    kernel
        Preferred reconstruction; None: as the study says, else any.
    study
        A study whose DICOM settings apply; None: the defaults.

    Returns
    -------
    Conversion

    Raises
    ------
    DicomError
        No series of the folder can be converted.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.convert("dicom/P012", "P012.nii.gz")  # doctest: +SKIP
    Wrote P012.nii.gz
    """
    from ctbone import dicom

    settings = DicomSettings() if study is None else _opened(study).settings.dicom
    chosen = {"irregular": irregular, "kernel": kernel}
    given = {name: value for name, value in chosen.items() if value is not None}
    settings = DicomSettings.model_validate({**settings.model_dump(), **given})
    if list:
        return Conversion(None, dicom.list_series(Path(folder), settings, series))
    if out is None:
        raise CtboneError("no output file is named", expected="ctbone convert DIR OUT.nii.gz")
    return Conversion(dicom.convert_series(Path(folder), Path(out), settings, series))


def preprocess(
    study: Study | AnyPath = ".",
    *,
    case: str | None = None,
    workers: int = 1,
    cluster: str | None = None,
    qc: bool = False,
) -> Preprocessing:
    """Convert every case to NIfTI and make its 3D crop and 2D images.

    Cases that are up to date are skipped. A case that fails does not stop the others.

    Parameters
    ----------
    study
        The study or its folder.
    case
        ``case_id`` of the only case to process; None processes all.
    workers
        Processes on this machine.
    cluster
        Address of a Dask scheduler that distributes the cases instead.
    qc
        Also draw a contact sheet of each case and an overview page.

    Returns
    -------
    Preprocessing
        The errors of failed cases are in ``problems``, and in ``preprocess.csv``. ``problems``
        also names the scans that two patients, or an internal and an external case, have in
        common, and ``notes`` those that are nearly the same, images whose values may not be HU,
        and masks that were drawn on another scan.

    Raises
    ------
    CohortError, StudyError, ConfigError
        The cohort or the settings are not valid.
    WorkerError
        The scheduler does not answer.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.preprocess("my_study", workers=4).table  # doctest: +SKIP
    """
    study = _opened(study)
    if qc:
        require_ct(study, "preprocess --qc")
    from ctbone.preprocessing import doubts, write_quality
    from ctbone.same_scans import near_scans, read_identities, shared_scans
    from ctbone.scan_identity import study_salt

    cohort = read_cohort(study)
    study_salt(study)  # drawn once, before several workers need it
    cases = [cohort.case(case)] if case else [*cohort]
    jobs = [CaseJob(study, one) for one in cases]
    done = [] if cluster is not None else finished_jobs(jobs, threads=workers)
    finished = {outcome.item for outcome in done}
    of_ct = not study.settings.of_radiographs
    preload = [TRANSFORMS] if of_ct and len(finished) < len(jobs) else []
    outcomes = [] if qc else done  # every case needs its contact sheet
    rest = jobs if qc else [job for job in jobs if job not in finished]
    work = prepare_and_draw if qc else prepare_case
    with progress("Preprocess", total=len(rest)) as bar:
        for outcome in map_cases(work, rest, workers=workers, cluster=cluster, preload=preload):
            outcomes.append(outcome)
            bar.advance(note=f"{outcome.item.case.case_id}{' failed' if outcome.error else ''}")
    outcomes.sort(key=lambda outcome: cases.index(outcome.item.case))
    results: dict[str, Any] = {}
    for outcome in outcomes:
        result = outcome.error or outcome.result
        assert result is not None
        results[outcome.item.case.case_id] = result
    _write_summary(study, results)
    if qc:
        write_quality(study, [one.case_id for one in cohort])
    ready = [outcome.item.case for outcome in outcomes if outcome.error is None]
    identities = read_identities(study, ready)
    for one in cohort:
        if one not in cases and (identity := converted_identity(CaseJob(study, one))):
            identities[one.case_id] = identity
    shared = shared_scans(cohort, identities)
    near = near_scans(cohort, identities, shared)
    notes = doubts(study, [one.case_id for one in ready]) if of_ct else []
    notes += _near_notes(study, near, draw=of_ct)
    return Preprocessing(study, outcomes, shared, notes)


def _write_summary(study: Study, results: dict[str, Any]) -> None:
    """Write ``preprocess.csv``, in the columns of CT or of radiographs."""
    if study.settings.of_radiographs:
        from ctbone.radiographs import write_summary as write_radiographs

        write_radiographs(study, results)
        return
    from ctbone.preprocessing import write_summary

    write_summary(study, results)


def _near_notes(study: Study, near: Sequence[NearScans], *, draw: bool) -> list[str]:
    """Return a line for each pair of scans that are nearly the same, with its picture."""
    from ctbone.preprocessing import draw_near_scans

    notes = []
    for pair in near[:_MOST_PAIRS]:
        picture = study.qc_pair(pair.first.case_id, pair.second.case_id)
        if draw:
            draw_near_scans(study, pair)
        notes.append(f"{pair}; see {picture}" if picture.is_file() else str(pair))
    if len(near) > _MOST_PAIRS:
        notes.append(f"{len(near) - _MOST_PAIRS} more cases have nearly the scan of another case")
    return notes


def train(
    study: Study | AnyPath = ".",
    *,
    dim: Dim | None = None,
    fold: int | None = None,
    dry_run: bool = False,
    at_once: int = 1,
    cluster: str | None = None,
    log: Literal["none", "tensorboard", "mlflow"] = "none",
) -> Training:
    """Train the models by cross-validation, continuing where an earlier run stopped.

    Parameters
    ----------
    study
        The study or its folder; its cases are preprocessed.
    dim
        Train only the models of this dimension.
    fold
        Train only this fold, from 0.
    dry_run
        Run one batch of each model and write nothing.
    at_once
        Folds that train side by side on this machine, each in its own process.
    cluster
        Address of a Dask scheduler that distributes the folds instead.
    log
        Where each epoch is logged in addition to ``metrics.csv``.

    Returns
    -------
    Training

    Raises
    ------
    TrainingError, ModelError, CohortError, FoldError, StudyError
        A model cannot be trained; see ``ctbone.training.train``.
    ConfigError, CustodyError
        A primary comparison names an unknown model or cohort, or their record was changed.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.train("my_study", dim="3d").table  # doctest: +SKIP
    """
    study = _opened(study)
    from ctbone import training

    if study.settings.evaluation.primary:
        for problem in _named_primary(study, read_cohort(study)):
            raise problem  # before the training, which takes hours
    summaries = []
    for name in models_of(study, dim):
        if dry_run or (at_once == 1 and cluster is None):
            summary = training.train(study, name, fold=fold, dry_run=dry_run, log=log)
        else:
            summary = training.train_folds(
                study,
                name,
                fold=fold,
                at_once=at_once,
                threads=default_workers(),
                cluster=cluster,
                log=log,
            )
        summaries.append(summary)
    return Training(summaries)


def predict(
    study: Study | AnyPath = ".",
    *,
    dim: Dim | None = None,
    image: AnyPath | None = None,
    mask: AnyPath | None = None,
    cohort: str | None = None,
    model: AnyPath | None = None,
    case: str | None = None,
    column: Mapping[str, str] | None = None,
    score: str | None = None,
    out: AnyPath | None = None,
    dicom: AnyPath | None = None,
    push: str | None = None,
    aet: str = "CTBONE",
) -> Prediction | Answers:
    """Predict the external cases with the models of all folds, or answer for new patients.

    Without an image, a cohort and a model file, the tables of the external cases are written; a
    model with a fold that is not trained is left out.

    With one, each case gets the mean of the folds of every model, fused and recalibrated as the
    study was, a class, a conformal set, and sentences for what lies outside the training range.
    The images are converted in a temporary folder that is removed.

    Parameters
    ----------
    study
        The study or its folder; all folds of at least one model are trained.
    dim
        Of the tables: only those of the models of this dimension.
    image, mask
        A DICOM folder, a DICOM file or NIfTI, and the mask of its lesion; or two folders of many,
        in which image and mask of a patient have the same name.
    cohort
        An external centre of the study, in place of an image.
    model
        A model file of ``export``; no study is needed then.
    case
        Name of the case in the output.
    column
        Clinical columns of the patient, such as age and sex.
    score
        A radiologist's score on the study's scale, as text, such as ``7``; fusions with a
        reader take it with the mapping and the weights of the study.
    out
        Folder of the JSON files and ``answers.csv``; None writes nothing.
    dicom
        Folder of DICOM objects, outside the study: structured report, segmentation and heat map of
        each case, with the patient's name.
    push
        Address of an archive to which these objects are sent, as for ``pacs_push``.
    aet
        The application entity title of this machine.

    Returns
    -------
    Prediction or Answers
        Of the tables, with the reasons of models that were left out; or of the new patients.

    Raises
    ------
    InferenceError, ModelError
        There are no external cases, no model is trained in all folds, or folds are outdated.
    ReleaseError, CustodyError
        The study or the model file cannot answer.
    CtboneError
        The image or mask of the only case cannot be used.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.predict("my_study").table  # doctest: +SKIP
    >>> ct.predict("my_study", image="dicom/P99", mask="P99.nii.gz")  # doctest: +SKIP
    """
    if (image, mask, cohort, model) != (None, None, None, None):
        from ctbone.new_patient import predict_patients

        of_study = None if model is not None and cohort is None else _opened(study)
        if of_study is not None:
            require_ct(of_study, "predict for new patients")
        return predict_patients(
            image,
            mask,
            study=of_study,
            model=model,
            cohort=cohort,
            case=case,
            columns=column or {},
            score=score,
            out=out,
            dicom=dicom,
            push=push,
            aet=aet,
        )
    study = _opened(study)
    names, count = models_of(study, dim), study.settings.folds.count
    from ctbone import inference

    missing = {name: inference.missing_folds(study, name) for name in names}
    complete = [name for name in names if not missing[name]]
    left_out = {
        name: f"{name} is not trained"
        if len(folds) == count
        else f"{name} is not trained in {len(folds)} of {count} folds: {', '.join(map(str, folds))}"
        for name, folds in missing.items()
        if folds and complete
    }
    paths = {name: _predict(study, name) for name in complete or names}
    return Prediction(study, paths, left_out)


def _predict(study: Study, model: str) -> Path:
    from ctbone import custody, inference

    with custody.timed(study, f"predict {model}"):
        return inference.predict_external(study, model)


def export(
    out: AnyPath, *, study: Study | AnyPath = ".", onnx: bool = False, force: bool = False
) -> Export:
    """Write a trained study as one model file, without any patient's data.

    Parameters
    ----------
    out
        The file to write; its name ends in ``.ctbone``.
    study
        The study or its folder; all folds of at least one model are trained.
    onnx
        Also write every network as ONNX, into the folder ``<out without .ctbone>.onnx``.
    force
        Overwrite ``out``.

    Returns
    -------
    Export

    Raises
    ------
    ReleaseError, CustodyError
        The study is not trained, its files do not belong together, or ``out`` exists.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.export("sacral.ctbone", study="my_study")  # doctest: +SKIP
    """
    study = _opened(study)
    require_ct(study, "export")
    from ctbone import release

    path = Path(out)
    if not path.name.endswith(release.SUFFIX):
        raise ReleaseError(
            "the name of a model file ends in .ctbone",
            found=path.name,
            remedy=f"{path.name}.ctbone",
        )
    if path.exists() and not force:
        raise ReleaseError(
            "the file exists already and is not overwritten",
            file=path,
            remedy="choose another name, or give --force",
        )
    source = release.release_file(study)
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
    found = release.read_release(path)
    networks: list[Path] = []
    if onnx:
        networks = release.write_onnx(found, path.with_suffix(".onnx"), study)
    return Export(path, found.digest, found.card, networks)


def explain(
    study: Study | AnyPath = ".",
    *,
    dim: Dim | None = None,
    case: str | Sequence[str] = (),
    method: str | Sequence[str] = (),
    layer: str | None = None,
    target: str | None = None,
) -> Explanation:
    """Draw maps of what the models use, as NIfTI on the scanner's grid and as pictures.

    An internal case is explained by the network that has not seen it, an external case by all
    folds.

    Parameters
    ----------
    study
        The study or its folder; at least one fold is trained.
    dim
        Explain only the models of this dimension.
    case
        ``case_id`` of one or several cases; empty for all.
    method
        The maps, as in ``explain.methods``; empty takes the settings.
    layer
        Layer of class activation maps, of a single model; None takes the settings.
    target
        The class that the maps are evidence for; None takes the settings.

    Returns
    -------
    Explanation

    Raises
    ------
    ExplainError, ConfigError
        An option does not fit the study, or no fold is trained.
    CustodyError, ModelError
        Weights or crops are missing, damaged or out of date.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.explain("my_study", dim="3d", case="P012").table  # doctest: +SKIP
    """
    study = _opened(study)
    from ctbone.explaining import explain_study

    names = models_of(study, dim)
    if layer is not None and len(names) > 1:
        raise ExplainError(
            "a layer belongs to one model",
            found=f"--layer {layer} for {', '.join(names)}",
            remedy="choose the model with --dim, or set explain.layers in study.yaml",
        )
    chosen = study.settings.explain.model_dump()
    methods = [method] if isinstance(method, str) else [*dict.fromkeys(method)]
    chosen |= {"methods": methods} if methods else {}
    chosen |= {} if target is None else {"target": target}
    chosen |= {} if layer is None else {"layers": {names[0]: layer}}
    settings = checked(ExplainSettings, chosen)
    if settings.target is not None and settings.target not in study.settings.classes:
        raise ExplainError(
            "the study has no such class",
            found=settings.target,
            expected=", ".join(study.settings.classes),
        )
    cases = [case] if isinstance(case, str) else [*case]
    return Explanation([explain_study(study, name, settings, cases=cases) for name in names])


def fuse(
    study: Study | AnyPath = ".", *, with_reader: AnyPath | None = None, reader: str | None = None
) -> Fusion:
    """Fuse the models with each other and with a radiologist.

    A combination with a model that is not trained is left out, with the reason.

    Parameters
    ----------
    study
        The study or its folder; at least one of its models is trained.
    with_reader
        The radiologists' scores: a path from the current folder or, if there is no such file, from
        the study folder. None leaves out the combinations with a reader.
    reader
        ``reader_id``; None is that of the settings, else the only reader who scored every case,
        else the only senior among several of these, else the mean of all readers.

    Returns
    -------
    Fusion

    Raises
    ------
    FusionError, PredictionError, ScoreError
        The parts of a fusion do not match, or a table has errors.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.fuse("my_study", with_reader="scores.csv").table  # doctest: +SKIP
    """
    study = _opened(study)
    from ctbone import custody, fusion

    scores = None if with_reader is None else _scores(study, with_reader)
    with custody.timed(study, "fuse"):
        return Fusion(fusion.fuse(study, scores=scores, reader=reader))


def _scores(study: Study, path: AnyPath) -> Path:
    """Return a table of scores: the path as given or, if there is no such file, in the study.

    Raises
    ------
    ScoreError
        There is no such file in either place.
    """
    given, inside = Path(path), study.root / path
    for file in (given, inside):
        if file.is_file():
            return file
    raise ScoreError(
        "the table of the scores is missing",
        file=given,
        expected=f"a file here or in the study: {inside}",
        remedy="correct the path",
    )


def evaluate(
    table: AnyPath,
    *,
    label: str | None = None,
    prob: str | Sequence[str] = (),
    positive: str | None = None,
    patient: str | None = None,
    threshold: float | str = 0.5,
    prevalence: float | None = None,
    bands: bool = False,
    out: AnyPath = "evaluation",
) -> Evaluation:
    r"""Analyse a table of probabilities: discrimination, calibration, decision curves, comparisons.

    Parameters
    ----------
    table
        A CSV file with a label and one or more probabilities, one row a case.
    label
        The column of the true class; None looks for ``label`` and similar names.
    prob
        The columns of probabilities; empty looks for ``p_<class>`` and similar names.
    positive
        The label that the probabilities refer to; None infers it from the names of the labels and
        columns, or asks. Not with more than two classes.
    patient
        The column of the patient, whose cases are not independent; None is ``patient_id``, and
        ``none`` means that every case is another patient.
    threshold
        Probability from which a case counts as positive, or ``youden`` (needs validation rows).
    prevalence
        Prevalence of the decision curves, for case-control data.
    bands
        Draw bootstrap bands around the curves, which takes longer.
    out
        Folder of the results.

    Returns
    -------
    Evaluation

    Raises
    ------
    ReportError, PredictionError, StudyError, ConfigError
        The table or an option is not valid; nothing is written.

    Examples
    --------
    >>> import tempfile, ctbone as ct
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> rows = [f"C{k},{k % 2},{(k % 2 * 5 + k % 7) / 12}" for k in range(40)]
    >>> _ = (folder / "ai.csv").write_text("\n".join(["case_id,label,p_1", *rows]))
    >>> result = ct.evaluate(folder / "ai.csv", out=folder / "evaluation")
    >>> result.path.name
    'index.html'
    >>> auc = result.table.query("metric == 'auc'")
    >>> 0.8 < auc["value"].item() < 1
    True
    """
    from ctbone.reporting import evaluate as evaluate_table

    settings = checked(EvaluationSettings, {"threshold": threshold, "prevalence": prevalence})
    page = evaluate_table(
        Path(table),
        label=label,
        prob=[prob] if isinstance(prob, str) else [*prob],
        positive=positive,
        patient=patient,
        bands=bands,
        out=Path(out),
        settings=settings,
    )
    return Evaluation(page)


def report(study: Study | AnyPath = ".", *, manuscript: bool = False) -> Report:
    """Write every table and figure of a study, and one HTML page.

    Parameters
    ----------
    study
        The study or its folder; it has predictions.
    manuscript
        Also write Methods and Results as Word, Markdown and LaTeX into ``report/manuscript/``.

    Returns
    -------
    Report

    Raises
    ------
    ReportError
        There are no results, or they contradict each other.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.report("my_study").metrics["models"]["3d"]["auc"]  # doctest: +SKIP
    """
    study = _opened(study)
    from ctbone import custody
    from ctbone.reader_study import reader_chapter
    from ctbone.reporting import report as report_study

    with custody.timed(study, "report"):
        page = report_study(study, chapters=(reader_chapter,))
    if not manuscript:
        return Report(page)
    from ctbone.manuscript import write_manuscript

    return Report(page, write_manuscript(page.parent))


def readers(
    scores: AnyPath = "scores.csv",
    *,
    truth: AnyPath | None = None,
    out: AnyPath | None = None,
    model: str | None = None,
    positive: str | None = None,
    margin: float | None = None,
    scale: Literal["nine_point", "percent", "five_point"] = "nine_point",
    study: Study | AnyPath = ".",
) -> ReaderStudy:
    """Analyse a reader study: readers with and without AI, by reader, level and on average.

    Parameters
    ----------
    scores
        The table of scores, here or in the study folder.
    truth
        A table with ``case_id`` and ``label``, such as a cohort.csv; no study is needed then.
    out
        Folder of the results; None is ``readers`` in the study, or ``reader_study`` with ``truth``.
    model
        The model that supported the readers: a table of the study, or a CSV file with ``case_id``
        and ``p_<positive class>``; None is the study's ``3d``, if it exists.
    positive
        The positive class of ``truth``; None recognises names such as malignant and 1.
    margin
        Loss of AUC that is acceptable; also tests non-inferiority.
    scale
        The scale of the scores with ``truth``; a study names its own in ``study.yaml``.
    study
        The study or its folder.

    Returns
    -------
    ReaderStudy

    Raises
    ------
    ScoreError, ReaderStudyError
        A reading is faulty, or the readings do not make a study.
    CohortError, StudyError, PredictionError, CustodyError
        Another table is missing or faulty.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.readers("scores.csv", truth="cohort.csv", out="reader_study")  # doctest: +SKIP
    """
    from ctbone import reader_study

    settings = EvaluationSettings()
    if margin is not None and not 0 < margin < 1:
        raise ReaderStudyError("the margin is not between 0 and 1", found=margin)
    if truth is not None:
        known = reader_study.table_truth(
            Path(truth),
            positive=positive,
            model=None if model is None else Path(model),
            scale=ScoreSettings(scale=scale),
        )
        path, folder = Path(scores), Path(out or "reader_study")
    else:
        study = _opened(study)
        settings = study.settings.evaluation
        path, folder = _scores(study, scores), Path(out or study.root / "readers")
        known = reader_study.study_truth(study, model)
    readings = reader_study.read_readings(path, known)
    page = reader_study.write_reader_study(readings, path, folder, settings=settings, margin=margin)
    return ReaderStudy(page)


def status(study: Study | AnyPath = ".") -> Status:
    """Verify every file of a study, and list what ``run`` would make.

    Parameters
    ----------
    study
        The study or its folder.

    Returns
    -------
    Status

    Raises
    ------
    CohortError, StudyError, ConfigError
        The cohort or the settings are not valid.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.status("my_study").table  # doctest: +SKIP
    """
    study = _opened(study)
    from ctbone import custody

    chain = custody.inspect(study)
    return Status(study, chain, custody.plan(study, chain))


def audit(study: Study | AnyPath = ".", *, controls: bool = False, permute: int = 0) -> Audit:
    """Look for leaks and shortcuts in the study as it stands.

    Parameters
    ----------
    study
        The study or its folder; ``audit`` uses what exists of it.
    controls
        Also train two small networks: one sees the lesion's surroundings only, one the values of
        the acquisition only.
    permute
        Number of trainings of a small network with permuted labels; 0 for none.

    Returns
    -------
    Audit

    Raises
    ------
    CohortError, StudyError, ConfigError
        The cohort or the settings are not valid.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.audit("my_study").table  # doctest: +SKIP
    """
    study = _opened(study)
    if controls or permute:
        require_ct(study, "audit --controls or --permute")
    from ctbone.auditing import audit as audit_study

    page = audit_study(study, controls=controls, permute=permute)
    return Audit(page, read_findings(study))


def read(
    study: Study | AnyPath = ".",
    *,
    add_reader: str | None = None,
    level: str | None = None,
    progress: bool = False,
    export: bool = False,
    out: AnyPath | None = None,
    skip_washout: str | None = None,
    end_session: str | None = None,
    by: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    certificate: AnyPath | None = None,
    key: AnyPath | None = None,
) -> ReaderLink | ReadingProgress | ExportedScores | None:
    """Serve the page on which radiologists read the cases, or manage the reader study.

    Parameters
    ----------
    study
        The study or its folder; its cases are preprocessed and, for aided readings, predicted.
    add_reader, level
        Add a reader, or make a new link for a known one.
    progress
        Return how many cases each reader has read.
    export, out
        Write the scores of the finished sessions, by default to ``scores.csv`` in the study.
    skip_washout, by
        Let a reader start session two at once; the name is logged.
    end_session, by
        Close the running session of a reader who left the study; its scores are exported.
    host, port
        Where the page is served; without one of the actions above, until it is interrupted.
    certificate, key
        PEM files for TLS.

    Returns
    -------
    ReaderLink, ReadingProgress, ExportedScores or None
        Result of the action; None after serving.

    Raises
    ------
    ReadingError
        The reader study cannot be opened, or does not allow the action.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.read("my_study", add_reader="r1", level="senior")  # doctest: +SKIP
    >>> ct.read("my_study")  # doctest: +SKIP
    """
    study = _opened(study)
    require_ct(study, "read")
    from ctbone import reading
    from ctbone.reading.database import Database

    if add_reader is not None:
        token = reading.add_reader(Database(study.reading_db), add_reader, level)
        base = reading.address(host, port, secure=certificate is not None)
        return ReaderLink(add_reader, f"{base}#{token}")
    if skip_washout is not None:
        reading.skip_washout(Database(study.reading_db), skip_washout, by or "")
        return ReadingProgress(reading.reading_progress(Database(study.reading_db)))
    if end_session is not None:
        reading.end_reading(Database(study.reading_db), end_session, by or "")
        return ReadingProgress(reading.reading_progress(Database(study.reading_db)))
    if progress:
        return ReadingProgress(reading.reading_progress(Database(study.reading_db)))
    if export:
        path, database = study.scores_csv if out is None else Path(out), Database(study.reading_db)
        scores = reading.export_scores(study, database, path)
        rows = reading.reading_progress(database)
        running = rows[(rows["state"] == "running") & (rows["round"] > 0)]
        return ExportedScores(path, scores, running)
    reading.serve(
        study,
        host=host,
        port=port,
        certificate=None if certificate is None else Path(certificate),
        key=None if key is None else Path(key),
    )
    return None


def run(
    study: Study | AnyPath = ".",
    *,
    with_reader: AnyPath | None = None,
    reader: str | None = None,
    workers: int = 1,
) -> Report:
    """Make what ``status`` calls stale or missing, from the check to the report.

    Trained folds that are out of date are moved to ``runs/replaced/``, and folds of another cohort
    to ``runs/replaced/folds``; nothing is deleted.

    Parameters
    ----------
    study
        The study or its folder.
    with_reader
        The radiologists' scores, a path as in ``fuse``; None takes ``scores.csv`` of the study if
        it exists.
    reader
        ``reader_id``; None is that of the settings, else the only reader who scored every case,
        else the only senior among several of these, else the mean of all readers.
    workers
        Processes of check and preprocessing.

    Returns
    -------
    Report

    Raises
    ------
    CtboneError
        The first problem of the cohort or of a case: training needs all cases.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.run("my_study")  # doctest: +SKIP
    Report: my_study/report/index.html
    """
    study = _opened(study)
    if with_reader is not None:
        scores: Path | None = _scores(study, with_reader)  # before the training, which takes hours
    else:
        scores = study.scores_csv if study.scores_csv.exists() else None
    if reader is not None and scores is None:
        raise ScoreError(
            "a reader is named, but the study has no scores",
            found=reader,
            expected=str(study.scores_csv),
            remedy="write scores.csv, or name the table: --with-reader SCORES.csv",
        )
    preload = modules_to_preload(study)
    for problem in _check(study, workers=workers, preload=preload).problems:
        raise problem
    prepared = preprocess(study, workers=workers)
    for problem in prepared.problems:
        raise problem
    for note in prepared.notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    from ctbone import custody

    _set_aside(study, custody.inspect(study))
    train(study)
    due = [link for link in custody.inspect(study).of("predictions") if custody.is_due(link)]
    for name in models_of(study):
        if any((link.name, link.part) == (name, "external") for link in due):
            _predict(study, name)
    fusions = custody.inspect(study).of("fusion")
    chosen = with_reader is not None or reader is not None
    if chosen or any(link.state != "current" for link in fusions):
        fuse(study, with_reader=scores, reader=reader)
    if all(link.state == "current" for link in custody.inspect(study).of("report")):
        return Report(study.report / "index.html")
    return report(study)


def _trained(study: Study, model: str) -> list[Path]:
    """Return the folders of a model's folds, finished or not."""
    return sorted(study.run_folder(model, 0).parent.glob("fold*"))


def _set_aside(study: Study, chain: Chain) -> None:
    """Move folds and trained folds that are out of date to ``runs/replaced``."""
    aside = study.root / "runs" / "replaced"
    number = sum(1 for _ in aside.glob("*")) + 1
    stale = [link for link in chain.of("weights") if link.state == "stale"]
    moves = {link.path.parent: link.name for link in stale}
    if any(link.state == "stale" for link in chain.of("folds")):
        moves |= {path: path.name for path in (study.folds_csv, record_of(study.folds_csv))}
        every = [path for name in models_of(study) for path in _trained(study, name)]
        moves |= {path: f"{path.parent.name}/{path.name}" for path in every}
    for path, name in moves.items():
        if path.exists():
            target = aside / str(number) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    if moves:
        print(
            f"note: out of date, moved to {aside / str(number)}: {', '.join(moves.values())}",
            file=sys.stderr,
            flush=True,
        )


def demo(
    folder: AnyPath | None = None,
    *,
    study: Literal["ct", "radiographs"] = "ct",
    shuffle_labels: bool = False,
    difficulty: float | None = None,
    seed: int = 0,
    workers: int = 1,
) -> Report:
    """Make a cohort of synthetic patients and run every stage on it.

    An interrupted demo continues where it stopped, with its ``study.yaml``. A note on standard
    error lists the settings that differ from the demo config of this version.

    Parameters
    ----------
    folder
        A new or empty folder, or an earlier demo with the same options. None takes
        ``ctbone-demo``, or ``ctbone-demo-shuffled`` with shuffled labels; of radiographs
        ``ctbone-demo-radiographs``.
    study
        ``ct``: two classes, networks in 3D and 2D; ``radiographs``: three classes, with clinical
        columns.
    shuffle_labels
        Permute the labels, so that there is nothing to learn: the AUC must be about 0.5.
    difficulty
        0: the classes never overlap; 1: they cannot be told apart. None takes the default of
        ``PhantomCohort``.
    seed
        Seed of the patients.
    workers
        Processes that draw, check and preprocess the patients.

    Returns
    -------
    Report

    Raises
    ------
    StudyError
        The folder is not empty, or holds a demo with other options.

    Examples
    --------
    >>> import ctbone as ct
    >>> ct.demo("demo", workers=4)  # doctest: +SKIP
    Report: demo/report/index.html
    """
    from ctbone.phantom.cohort import PhantomCohort, write_cohort
    from ctbone.phantom.radiograph_cohort import RadiographCohort, write_radiographs

    if folder is None:
        name = "ctbone-demo" if study == "ct" else "ctbone-demo-radiographs"
        folder = f"{name}-shuffled" if shuffle_labels else name
    demo = Study(Path(folder))
    chosen = {} if difficulty is None else {"difficulty": difficulty}
    kind: Any = PhantomCohort if study == "ct" else RadiographCohort
    write: Any = write_cohort if study == "ct" else write_radiographs
    config = "demo" if study == "ct" else "demo_radiographs"
    cohort = kind(seed=seed, shuffle_labels=shuffle_labels, **chosen)
    mark = demo.root / DEMO_MARK
    if demo.root.exists() and any(demo.root.iterdir()) and not mark.exists():
        raise StudyError(
            "the folder is not empty and not a demo",
            file=demo.root,
            remedy="name an empty folder",
        )
    if mark.exists() and mark.read_text(encoding="utf-8") != repr(cohort):
        raise StudyError(
            "this demo was made with other options",
            file=demo.root,
            remedy="name an empty folder",
        )
    if not (demo.root / "truth.json").exists():
        if workers > 1:
            require_main_guard()
        write_text(mark, repr(cohort))
        shutil.copyfile(builtin_config(config), demo.settings_file)
        total = cohort.internal + sum(cohort.external.values())
        with progress("Synthetic patients", total=total) as bar:
            write(demo.root, cohort, workers=workers, progress=lambda done, _: bar.advance())
    demo = Study.open(demo.root)
    _note_other_settings(demo, config)
    return run(demo, workers=workers)


def _note_other_settings(demo: Study, name: str) -> None:
    """Print the settings of a demo that differ from the demo config, if any."""
    config = load_settings(builtin_config(name))
    here, there = (settings.model_dump(mode="json") for settings in (demo.settings, config))
    apart = [*differences(here, there)]
    if not apart:
        return
    shown = apart[:_SHOWN]
    lines = [f"  {key}: {brief(a)}, in the demo config {brief(b)}" for key, a, b in shown]
    if len(apart) > _SHOWN:
        lines.append(f"  and {len(apart) - _SHOWN} more")
    head = f"note: {demo.settings_file} is kept, it differs from the demo config of this version:"
    tail = "  to run the demo config, name another folder: ctbone demo DIR"
    print("\n".join([head, *lines, tail]), file=sys.stderr, flush=True)


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


def _opened(study: Study | AnyPath) -> Study:
    """Return the study after reading its settings, so that errors in them show first."""
    return Study.open(study.root if isinstance(study, Study) else study)
