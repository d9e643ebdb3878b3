"""A whole synthetic study on disk: DICOM series, masks, cohort table, readers' scores, and the truth behind them."""

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
from ctbone.phantom.reading import Score, draw_readers, draw_scores
from ctbone.phantom.scanner import draw_acquisition
from ctbone.phantom.skeleton import SACRAL_JUNCTIONS, from_sacral, sacral_body_depth

INTERNAL = "internal"


@dataclass(frozen=True)
class PhantomCohort:
    """What cohort to make.

    Parameters
    ----------
    internal
        Cases of the first centre, which take part in cross-validation.
    external
        Cases of every further centre, by its name.
    classes
        Class names, each with a profile in :data:`ctbone.phantom.appearance.PROFILES`; readers score the last one.
    shares
        Share of each class.
    difficulty
        How much the classes' looks overlap: 0 not at all, 1 entirely.
    seed
        Everything follows from it.
    shuffle_labels
        Permute the labels of cohort.csv within each centre; a model must then fall to an AUC of 0.5.
    scale
        Voxels along every axis relative to the default.
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
                "every class of the phantom cohort needs a positive share",
                found=self.shares,
                expected=self.classes,
            )
        if INTERNAL in self.external:
            raise PhantomError("an external centre cannot be called internal", found=INTERNAL)


def write_cohort(
    folder: Path,
    settings: PhantomCohort,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int = 1,
) -> None:
    """Write a synthetic cohort.

    ``dicom/<case>/`` and ``masks/<case>`` hold the images, ``cohort.csv`` the cases, ``scores.csv`` six readers' scores
    and ``truth.json`` every number that was drawn. The tables are written last: where they are, all is there.

    Parameters
    ----------
    folder
        Made if it does not exist; an earlier phantom cohort in it is overwritten.
    settings
        What to make.
    progress
        Called with cases done and all cases after each case.
    workers
        Processes; what is written does not depend on it.

    Raises
    ------
    PhantomError
        If the folder holds a cohort that is not a phantom's.
    """
    if (folder / "cohort.csv").exists() and not (folder / "truth.json").exists():
        raise PhantomError(
            "the folder holds a cohort that is not synthetic",
            file=folder / "cohort.csv",
            remedy="choose an empty folder",
        )
    cases = draw_cohort(settings)
    # While images are being written the table must not claim that they are there.
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
    """Write all cases; give each one's case_id when it is done."""
    if workers <= 1:
        for case in cases:
            write_case(folder, case)
            yield case.case_id
        return
    # A forked child would inherit locks that threads of the parent hold; a spawned one starts clean.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(write_case, folder, case): case.case_id for case in cases}
        for future in as_completed(futures):
            future.result()
            yield futures[future]


def draw_cohort(settings: PhantomCohort) -> list[PhantomCase]:
    """Draw all cases of a cohort; rendering them draws only noise, from each case's own seed.

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
            # About one patient in twenty comes back with a second lesion.
            earlier = [
                case
                for case in drawn
                if case.lesion.class_name == label and case.patient_id == case.case_id
            ]
            returning = earlier[-1] if index % 20 == 0 and earlier else None
            rng = np.random.default_rng(case_seed)
            drawn.append(
                _draw_case(rng, settings, f"C{number}_{index:03d}", cohort, label, returning)
            )
        cases += (
            _shuffled(drawn, np.random.default_rng(table_seed.spawn(1)[0]))
            if settings.shuffle_labels
            else drawn
        )
    return cases


def _labels(settings: PhantomCohort, count: int, rng: np.random.Generator) -> list[str]:
    """Labels of a centre, as near to the shares as whole cases allow, in random order."""
    shares = np.array(settings.shares) / sum(settings.shares)
    borders = np.rint(np.cumsum(shares) * count).astype(int)
    labels = np.repeat(np.arange(len(shares)), np.diff(borders, prepend=0))
    return [settings.classes[index] for index in rng.permutation(labels)]


def _shuffled(cases: list[PhantomCase], rng: np.random.Generator) -> list[PhantomCase]:
    """Permute the labels of cases, so that old and new ones are as unrelated as can be.

    A single permutation of few cases can by chance keep much of the truth; of many the most unrelated one is taken.
    """
    truth = np.array([case.lesion.class_name for case in cases])
    names = np.unique(truth)
    share = np.array([(truth == name).mean() for name in names])

    def relation(labels: NDArray) -> float:
        table = np.array([[np.mean((truth == a) & (labels == b)) for b in names] for a in names])
        return float(np.abs(table - np.outer(share, share)).sum())

    labels = min((rng.permutation(truth) for _ in range(100)), key=relation)
    return [_replace_label(case, str(label)) for case, label in zip(cases, labels, strict=True)]


def _replace_label(case: PhantomCase, label: str) -> PhantomCase:
    return replace(case, label=label)


@dataclass(frozen=True)
class _Clinical:
    """Age (mean and standard deviation, years) and share of women of a class."""

    age: float
    spread: float
    women: float


# Table 1 of the main paper, internal cohort and the two external ones together.
_CLINICAL: Mapping[tuple[str, bool], _Clinical] = {
    ("benign", True): _Clinical(38.28, 13.51, 0.5504),
    ("malignant", True): _Clinical(43.31, 18.82, 0.4338),
    ("benign", False): _Clinical(43.95, 14.95, 0.6842),
    ("malignant", False): _Clinical(49.81, 17.06, 0.4167),
}
_ANY_CLASS = _Clinical(42.05, 17.76, 0.463)


def _draw_case(
    rng: np.random.Generator,
    settings: PhantomCohort,
    case_id: str,
    cohort: str,
    label: str,
    returning: PhantomCase | None,
) -> PhantomCase:
    clinical = _CLINICAL.get((label, cohort == INTERNAL), _ANY_CLASS)
    age = int(np.clip(round(rng.normal(clinical.age, clinical.spread)), 6, 85))
    sex: Sex = "female" if rng.random() < clinical.women else "male"
    patient = draw_patient(rng, age=age, sex=sex) if returning is None else returning.patient
    along = float(rng.uniform(0.1, 0.62)) * patient.sacral_length_mm
    across = float(np.clip(rng.normal(0, 17), -34, 34))
    depth = float(sacral_body_depth(patient, np.array([along], dtype=np.float32))[0])
    ahead = depth * float(rng.uniform(0.25, 0.6)) - 0.35 * abs(across)
    centre = from_sacral(patient, across=across, along=along, ahead=ahead)
    front = np.subtract(from_sacral(patient, across=across, along=along, ahead=ahead + 1), centre)
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
    level = 1 + sum(share > border for border in SACRAL_JUNCTIONS)
    side = "midline" if abs(across) < 12 else "right" if across > 0 else "left"
    return f"S{level} {side}"


def _scores(settings: PhantomCohort, cases: Sequence[PhantomCase]) -> list[Score]:
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(10**6,)))
    readers = draw_readers(rng)
    external = [case for case in cases if case.cohort != INTERNAL]
    internal = [case for case in cases if case.cohort == INTERNAL]
    scores: list[Score] = []
    for reader in readers:
        ids, shown = (
            [case.case_id for case in external],
            [_speaks_for_last(case.lesion.evidence) for case in external],
        )
        scores += draw_scores(rng, reader, ids, shown, ("unaided", "aided"))
    senior = next(reader for reader in readers if reader.level == "senior")
    ids, shown = (
        [case.case_id for case in internal],
        [_speaks_for_last(case.lesion.evidence) for case in internal],
    )
    return scores + draw_scores(rng, senior, ids, shown, ("unaided",))


def _speaks_for_last(evidence: Sequence[float]) -> float:
    *others, last = evidence
    return last - math.log(sum(math.exp(value) for value in others) / len(others))


def _write_table(file: Path, cases: Sequence[PhantomCase]) -> None:
    rows: list[Sequence[object]] = [
        ("case_id", "patient_id", "label", "cohort", "image", "mask", "age", "sex", "site"),
    ]
    for case in cases:
        age, sex = case.patient.age, case.patient.sex
        rows.append(
            (
                case.case_id,
                case.patient_id,
                case.label,
                case.cohort,
                case.image_path,
                case.mask_path,
                age,
                sex,
                case.site,
            )
        )
    _write_csv(file, rows)


def _write_scores(file: Path, scores: Sequence[Score]) -> None:
    rows: list[Sequence[object]] = [
        ("reader_id", "level", "session", "case_id", "score", "read_at", "seconds")
    ]
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
