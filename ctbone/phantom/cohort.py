"""Synthetic cohort on disk: DICOM series, masks, cohort table, reader scores and ground truth."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from io import StringIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctbone.errors import PhantomError
from ctbone.phantom.case import PhantomCase, write_case
from ctbone.phantom.lesion import draw_lesion
from ctbone.phantom.patient import Sex, draw_patient
from ctbone.phantom.reader_scores import PhantomReader, Score, Session, draw_readers, draw_scores
from ctbone.phantom.scanner import draw_acquisition
from ctbone.phantom.skeleton import SACRAL_JUNCTIONS, from_sacral, sacral_body_depth
from ctbone.workers import end_with_parent

INTERNAL = "internal"

# Every twentieth case is a second lesion of an earlier patient; chosen for the phantom.
_RETURN_EVERY = 20
# Permutations of the labels from which the one least related to the true classes is taken.
_PERMUTATIONS = 100
# Separates the random numbers of the scores from those of the centres (spawn keys from 0).
_SCORES_SPAWN_KEY = 10**6


@dataclass(frozen=True)
class PhantomCohort:
    """Settings of a synthetic cohort.

    Parameters
    ----------
    internal
        Number of cases of the first centre, which take part in cross-validation.
    external
        Number of cases of every external centre, by name.
    classes
        Class names, each with a profile in :data:`ctbone.phantom.class_appearance.PROFILES`;
        readers score the last one.
    shares
        Share of each class.
    difficulty
        Overlap of the classes' appearance: 0 none, 1 complete.
    seed
        Random seed; equal settings give equal files.
    shuffle_labels
        Permute the labels of cohort.csv within each centre; the expected AUC of any model is then
        0.5.
    scale
        Number of voxels along every axis relative to the default.

    Raises
    ------
    PhantomError
        A class has no positive share, or an external centre is called ``internal``.
    """

    internal: int = 80
    external: Mapping[str, int] = field(default_factory=lambda: {"centre2": 10, "centre3": 10})
    classes: tuple[str, ...] = ("benign", "malignant")
    shares: tuple[float, ...] = (0.4, 0.6)
    difficulty: float = 0.4
    seed: int = 0
    shuffle_labels: bool = False
    scale: float = 1.0

    def __post_init__(self) -> None:
        if len(self.classes) != len(self.shares) or min(self.shares) <= 0:
            raise PhantomError(
                "each class of the phantom cohort must have one positive share",
                found=self.shares,
                expected=self.classes,
            )
        if INTERNAL in self.external:
            raise PhantomError("an external centre must not be named internal", found=INTERNAL)


def write_cohort(
    folder: Path,
    settings: PhantomCohort,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int = 1,
) -> None:
    """Write a synthetic cohort.

    ``dicom/<case>/`` and ``masks/<case>`` hold the images, ``cohort.csv`` the cases, ``scores.csv``
    the scores of six readers and ``truth.json`` every number that was drawn. The tables are written
    last, so that their presence means that all images are complete.

    Parameters
    ----------
    folder
        Output folder; created if needed. An earlier phantom cohort in it is overwritten.
    settings
        Settings of the cohort.
    progress
        Called after each case with the number of finished cases and the number of all cases.
    workers
        Number of processes; the files do not depend on it.

    Raises
    ------
    PhantomError
        The folder holds a cohort that is not synthetic.
    """
    if (folder / "cohort.csv").exists() and not (folder / "truth.json").exists():
        raise PhantomError(
            "the folder holds a cohort that is not synthetic",
            file=folder / "cohort.csv",
            remedy="choose an empty folder",
        )
    cases = draw_cohort(settings)
    # Without cohort.csv an interrupted run is not taken for a complete cohort.
    (folder / "cohort.csv").unlink(missing_ok=True)
    (folder / "dicom").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(exist_ok=True)
    for done, _ in enumerate(_write_cases(folder, cases, workers), start=1):
        if progress is not None:
            progress(done, len(cases))
    truth = {"settings": asdict(settings), "cases": [asdict(case) for case in cases]}
    _write_text(folder / "truth.json", json.dumps(truth, indent=1) + "\n")
    _write_scores(folder / "scores.csv", _scores(settings, cases))
    _write_table(folder / "cohort.csv", cases)


def _write_cases(folder: Path, cases: Sequence[PhantomCase], workers: int) -> Iterator[str]:
    """Write all cases; yield each case_id when its files are complete."""
    if workers <= 1:
        for case in cases:
            write_case(folder, case)
            yield case.case_id
        return
    # A forked child would inherit locks held by threads of the parent; a spawned child does not.
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=end_with_parent) as pool:
        futures = {pool.submit(write_case, folder, case): case.case_id for case in cases}
        for future in as_completed(futures):
            future.result()
            yield futures[future]


def draw_cohort(settings: PhantomCohort) -> list[PhantomCase]:
    """Draw the parameters of all cases; rendering a case adds noise from the case's own seed.

    Examples
    --------
    >>> cases = draw_cohort(PhantomCohort(internal=5, external={"centre2": 2}))
    >>> [case.case_id for case in cases]
    ['C1_001', 'C1_002', 'C1_003', 'C1_004', 'C1_005', 'C2_001', 'C2_002']
    """
    cases: list[PhantomCase] = []
    centres = {INTERNAL: settings.internal, **settings.external}
    seeds = np.random.SeedSequence(settings.seed).spawn(len(centres))
    for number, ((cohort, count), seed) in enumerate(
        zip(centres.items(), seeds, strict=True), start=1
    ):
        table_seed, *case_seeds = seed.spawn(count + 1)
        labels = _labels(settings, count, np.random.default_rng(table_seed))
        drawn: list[PhantomCase] = []
        for index, (label, case_seed) in enumerate(zip(labels, case_seeds, strict=True), start=1):
            earlier = [
                case
                for case in drawn
                if case.lesion.class_name == label and case.patient_id == case.case_id
            ]
            returning = earlier[-1] if index % _RETURN_EVERY == 0 and earlier else None
            rng = np.random.default_rng(case_seed)
            drawn.append(
                _draw_case(
                    rng,
                    settings,
                    case_id=f"C{number}_{index:03d}",
                    cohort=cohort,
                    label=label,
                    returning=returning,
                )
            )
        cases += (
            _shuffled(drawn, np.random.default_rng(table_seed.spawn(1)[0]))
            if settings.shuffle_labels
            else drawn
        )
    return cases


def _labels(settings: PhantomCohort, count: int, rng: np.random.Generator) -> list[str]:
    """Labels of a centre in random order, in the given shares rounded to whole cases."""
    shares = np.array(settings.shares) / sum(settings.shares)
    borders = np.rint(np.cumsum(shares) * count).astype(int)
    labels = np.repeat(np.arange(len(shares)), np.diff(borders, prepend=0))
    return [settings.classes[index] for index in rng.permutation(labels)]


def _shuffled(cases: list[PhantomCase], rng: np.random.Generator) -> list[PhantomCase]:
    """Permute the labels so that they are nearly independent of the true classes.

    A single permutation of few cases can keep much of the association by chance, so the least
    associated of several permutations is taken.
    """
    truth = np.array([case.lesion.class_name for case in cases])
    names = np.unique(truth)
    share = np.array([(truth == name).mean() for name in names])

    def association(labels: NDArray) -> float:
        """Sum of absolute differences between the joint shares and those under independence."""
        table = np.array([[np.mean((truth == a) & (labels == b)) for b in names] for a in names])
        return float(np.abs(table - np.outer(share, share)).sum())

    labels = min((rng.permutation(truth) for _ in range(_PERMUTATIONS)), key=association)
    return [replace(case, label=str(label)) for case, label in zip(cases, labels, strict=True)]


@dataclass(frozen=True)
class _Clinical:
    """Mean and standard deviation of the age (years) and the share of women in a class."""

    age: float
    age_sd: float
    women: float


# By class and whether the centre is internal: Table 1 of the main paper; the two external cohorts
# are pooled.
_CLINICAL: Mapping[tuple[str, bool], _Clinical] = {
    ("benign", True): _Clinical(38.28, 13.51, 0.5504),
    ("malignant", True): _Clinical(43.31, 18.82, 0.4338),
    ("benign", False): _Clinical(43.95, 14.95, 0.6842),
    ("malignant", False): _Clinical(49.81, 17.06, 0.4167),
}
# All patients of that table, for a class that it does not hold.
_ANY_CLASS = _Clinical(42.05, 17.76, 0.463)


def _draw_case(
    rng: np.random.Generator,
    settings: PhantomCohort,
    *,
    case_id: str,
    cohort: str,
    label: str,
    returning: PhantomCase | None,
) -> PhantomCase:
    """Draw one case; ``returning`` is an earlier case of the same patient."""
    clinical = _CLINICAL.get((label, cohort == INTERNAL), _ANY_CLASS)
    age = int(np.clip(round(rng.normal(clinical.age, clinical.age_sd)), 6, 85))
    sex: Sex = "female" if rng.random() < clinical.women else "male"
    patient = draw_patient(rng, age=age, sex=sex) if returning is None else returning.patient
    # Centre of the lesion in the sacral frame (mm), chosen for the phantom: S1 to S4, inside the
    # bodies or the alae, whose anterior surface recedes laterally.
    along = float(rng.uniform(0.1, 0.62)) * patient.sacral_length_mm
    across = float(np.clip(rng.normal(0, 17), -34, 34))
    depth = float(sacral_body_depth(patient, np.array([along], dtype=np.float32))[0])
    anterior = depth * float(rng.uniform(0.25, 0.6)) - 0.35 * abs(across)
    centre = from_sacral(patient, across=across, along=along, anterior=anterior)
    front = np.subtract(
        from_sacral(patient, across=across, along=along, anterior=anterior + 1), centre
    )
    return PhantomCase(
        case_id=case_id,
        patient_id=case_id if returning is None else returning.patient_id,
        cohort=cohort,
        label=label,
        site=_site(along / patient.sacral_length_mm, across),
        patient=patient,
        lesion=draw_lesion(
            rng,
            label,
            settings.classes,
            centre=centre,
            outwards=(float(front[0]), float(front[1]), float(front[2])),
            difficulty=settings.difficulty,
        ),
        scan=draw_acquisition(
            rng, cohort, body_size=patient.size * patient.girth, scale=settings.scale
        ),
        mask_suffix=".nrrd" if rng.random() < 0.1 else ".nii.gz",
        localizer=bool(rng.random() < 0.3),
        seed=int(rng.integers(2**53)),
    )


def _site(share: float, across: float) -> str:
    """Name the sacral level and the side; within 12 mm of the midline it is ``midline``."""
    level = 1 + sum(share > border for border in SACRAL_JUNCTIONS)
    side = "midline" if abs(across) < 12 else "right" if across > 0 else "left"
    return f"S{level} {side}"


def _scores(settings: PhantomCohort, cases: Sequence[PhantomCase]) -> list[Score]:
    """Draw scores of all readers for the external cases, of one senior for the internal ones."""
    rng = np.random.default_rng(
        np.random.SeedSequence(settings.seed, spawn_key=(_SCORES_SPAWN_KEY,))
    )
    readers = draw_readers(rng)
    external = [case for case in cases if case.cohort != INTERNAL]
    internal = [case for case in cases if case.cohort == INTERNAL]
    scores: list[Score] = []
    for reader in readers:
        scores += _draw_reader_scores(rng, reader, cases=external, sessions=("unaided", "aided"))
    senior = next(reader for reader in readers if reader.level == "senior")
    return scores + _draw_reader_scores(rng, senior, cases=internal, sessions=("unaided",))


def _draw_reader_scores(
    rng: np.random.Generator,
    reader: PhantomReader,
    cases: Sequence[PhantomCase],
    sessions: Sequence[Session],
) -> list[Score]:
    """Draw one reader's scores of some cases."""
    return draw_scores(
        rng,
        reader,
        case_ids=[case.case_id for case in cases],
        evidence=[_evidence_for_last_class(case.lesion.evidence) for case in cases],
        sessions=sessions,
    )


def _evidence_for_last_class(evidence: Sequence[float]) -> float:
    """Evidence for the last class minus the log of the mean exponential of the others' evidence."""
    *others, last = evidence
    return last - math.log(sum(math.exp(value) for value in others) / len(others))


def _write_table(file: Path, cases: Sequence[PhantomCase]) -> None:
    rows: list[Sequence[object]] = [
        ("case_id", "patient_id", "label", "cohort", "image", "mask", "age", "sex", "site"),
    ]
    for case in cases:
        rows.append(
            (
                case.case_id,
                case.patient_id,
                case.label,
                case.cohort,
                case.image_path,
                case.mask_path,
                case.patient.age,
                case.patient.sex,
                case.site,
            )
        )
    _write_csv(file, rows)


def _write_scores(file: Path, scores: Sequence[Score]) -> None:
    rows: list[Sequence[object]] = [
        ("reader_id", "level", "session", "case_id", "score", "read_at", "seconds")
    ]
    # Every reading day starts at nine; 20 s pass between two cases. Chosen for the phantom.
    start = datetime(2024, 3, 4, 9, 0)
    clock: dict[tuple[str, str, int], datetime] = {}
    for score in scores:
        key = (score.reader_id, score.session, score.day)
        when = clock.get(key, start + timedelta(days=score.day)) + timedelta(
            seconds=score.seconds + 20
        )
        clock[key] = when
        rows.append(
            (
                score.reader_id,
                score.level,
                score.session,
                score.case_id,
                score.score,
                f"{when:%Y-%m-%dT%H:%M:%S}",
                score.seconds,
            )
        )
    _write_csv(file, rows)


def _write_csv(file: Path, rows: Iterable[Sequence[object]]) -> None:
    table = StringIO()
    csv.writer(table, lineterminator="\n").writerows(rows)
    _write_text(file, table.getvalue())


def _write_text(file: Path, text: str) -> None:
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    partial.replace(file)
