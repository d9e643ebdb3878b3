"""Synthetic cohort of radiographs: images, boxes, annotations, clinical values and readers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctbone.errors import PhantomError
from ctbone.phantom.anatomy import render_anatomy
from ctbone.phantom.case import PhantomCase
from ctbone.phantom.cohort import INTERNAL, PhantomCohort, draw_cohort
from ctbone.phantom.film import write_film
from ctbone.phantom.lesion import paint_lesion
from ctbone.phantom.projection import Projection, draw_exposure, enlarged, expose, line_integrals
from ctbone.phantom.reader_scores import draw_readers, draw_scores
from ctbone.workers import end_with_parent

# Field of the projected volume, mm: sacrum and iliac wings; chosen for the phantom.
_FIELD_MM = (190.0, 170.0, 150.0)
# Detector pixels per voxel edge.
_FINER = 2
# Every third patient has a lateral view too; chosen for the phantom.
_LATERAL_EVERY = 3
# Separates the random numbers of clinical values and scores from those of the cases.
_CLINICAL_KEY, _SCORES_KEY = 2 * 10**6, 3 * 10**6


@dataclass(frozen=True)
class RadiographCohort:
    """Settings of a synthetic cohort of radiographs.

    Parameters
    ----------
    internal, external
        Number of patients of the first centre, and of every other centre by name.
    classes
        Name of each class and its lesion profile in
        :data:`ctbone.phantom.class_appearance.PROFILES`; None: a patient without a lesion.
    contrast
        Factor of the lesion's HU differences: 1 is that of CT, in which overlapping bone hides
        little.
    difficulty
        Overlap of the lesions' appearance: 0 none, 1 complete.
    signal
        Distance between the classes in every clinical value, in standard deviations; 0: the values
        are noise.
    missing
        Share of missing laboratory values.
    spacing_mm
        Edge of a voxel of the projected volume, mm.
    seed
        Random seed; equal settings give equal files.
    shuffle_labels
        Permute the labels; the expected AUC of any model is then 0.5.

    Raises
    ------
    PhantomError
        No class has a lesion, or there are fewer than two classes.
    """

    internal: int = 60
    external: Mapping[str, int] = field(default_factory=lambda: {"centre2": 10})
    classes: Mapping[str, str | None] = field(
        default_factory=lambda: {"normal": None, "benign": "benign", "malignant": "malignant"}
    )
    contrast: float = 2.5
    difficulty: float = 0.3
    signal: float = 0.8
    missing: float = 0.15
    spacing_mm: float = 1.8
    seed: int = 0
    shuffle_labels: bool = False

    def __post_init__(self) -> None:
        if len(self.classes) < 2 or not any(self.classes.values()):
            raise PhantomError(
                "a cohort of radiographs needs two classes, one with a lesion",
                found=", ".join(self.classes),
            )


def write_radiographs(
    folder: Path,
    settings: RadiographCohort,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int = 1,
) -> None:
    """Write a synthetic cohort of radiographs.

    ``images/`` holds DICOM, PNG and JPEG files, ``annotations/`` LabelMe files; ``cohort.csv`` has
    a row a radiograph, with the region as a box or an annotation, and clinical values;
    ``scores.csv`` has the scores of six readers where there are two classes; ``truth.json`` has
    what was drawn. The tables are written last.

    Parameters
    ----------
    folder
        Output folder; created if needed.
    settings
        Settings of the cohort.
    progress
        Called after each patient with the number of finished patients and that of all.
    workers
        Number of processes; the files do not depend on it.
    """
    if (folder / "cohort.csv").exists() and not (folder / "truth.json").exists():
        raise PhantomError(
            "the folder holds a cohort that is not synthetic",
            file=folder / "cohort.csv",
            remedy="choose an empty folder",
        )
    for name in ("images", "annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    patients = draw_patients(settings)
    rows: list[dict[str, Any]] = []
    for done, made in enumerate(_written(folder, patients, settings, workers), start=1):
        rows += made
        if progress is not None:
            progress(done, len(patients))
    clinical = draw_clinical(settings, patients)
    for row in rows:
        row |= clinical[row["patient_id"]]
    truth = {"settings": asdict(settings), "patients": [asdict(one.case) for one in patients]}
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n", encoding="utf-8")
    if len(settings.classes) == 2:
        _write_csv(folder / "scores.csv", _scores(settings, patients, rows))
    _write_csv(folder / "cohort.csv", rows)


@dataclass(frozen=True)
class RadiographPatient:
    """A patient: the CT phantom that is projected, the true class and the label."""

    case: PhantomCase
    truth: str
    label: str
    number: int


def draw_patients(settings: RadiographCohort) -> list[RadiographPatient]:
    """Draw the patients: as many of each class, in random order; labels may be permuted.

    Examples
    --------
    >>> drawn = draw_patients(RadiographCohort(internal=6, external={}))
    >>> sorted({one.truth for one in drawn})
    ['benign', 'malignant', 'normal']
    """
    profiles = tuple(dict.fromkeys(name for name in settings.classes.values() if name))
    base = PhantomCohort(
        internal=settings.internal,
        external=dict(settings.external),
        classes=profiles,
        shares=(1.0,) * len(profiles),
        difficulty=settings.difficulty,
        seed=settings.seed,
    )
    of_profile = {profile: name for name, profile in settings.classes.items() if profile}
    rng = np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(10**5,)))
    drawn: list[RadiographPatient] = []
    for centre in dict.fromkeys(case.cohort for case in draw_cohort(base)):
        cases = [case for case in draw_cohort(base) if case.cohort == centre]
        empty = [name for name, profile in settings.classes.items() if profile is None]
        healthy = round(len(cases) * len(empty) / len(settings.classes))
        without = set(rng.permutation(len(cases))[:healthy].tolist())
        truths = [
            empty[place % len(empty)] if place in without else of_profile[case.lesion.class_name]
            for place, case in enumerate(cases)
        ]
        labels = rng.permutation(truths).tolist() if settings.shuffle_labels else truths
        for case, truth, label in zip(cases, truths, labels, strict=True):
            own = replace(case, patient_id=case.case_id)  # each a patient: no second lesions
            drawn.append(RadiographPatient(own, truth, label, len(drawn)))
    return drawn


def _written(
    folder: Path, patients: Sequence[RadiographPatient], settings: RadiographCohort, workers: int
) -> Any:
    if workers <= 1:
        yield from map(_write_patient, repeat(folder), patients, repeat(settings))
        return
    spawn = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=end_with_parent) as pool:
        yield from pool.map(_write_patient, repeat(folder), patients, repeat(settings))


def _write_patient(
    folder: Path, patient: RadiographPatient, settings: RadiographCohort
) -> list[dict[str, Any]]:
    """Write the radiographs of a patient and return their rows."""
    case, rng = patient.case, np.random.default_rng(patient.case.seed)
    hu, mask = _render(patient, settings, rng)
    views: list[Projection] = ["frontal"]
    if patient.number % _LATERAL_EVERY == 0:
        views.append("lateral")
    rows: list[dict[str, Any]] = []
    for view in views:
        integrals = enlarged(line_integrals(hu, settings.spacing_mm, view), _FINER)
        grey = expose(integrals, settings.spacing_mm / _FINER, draw_exposure(rng), rng)
        box = _box_of(mask, view, rng, grey.shape)
        name = f"{case.case_id}_{view}"
        # Formats in turn: DICOM of both photometric interpretations, PNG of 8 and 16 bits, JPEG.
        place = write_film(
            folder, name, grey, kind=(patient.number + len(rows)) % 5, box=box, view=view
        )
        rows.append(
            {
                "case_id": name,
                "patient_id": case.case_id,
                "label": patient.label,
                "cohort": case.cohort,
                **place,
                "view": view,
            }
        )
    return rows


def _render(
    patient: RadiographPatient, settings: RadiographCohort, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Return HU, (x, y, z) in RAS order, and the place of the lesion, also where there is none."""
    case, step = patient.case, settings.spacing_mm
    nx, ny, nz = (round(edge / step) for edge in _FIELD_MM)
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = np.array([0.0, 20.0, -3.0]) - step * (np.array([nx, ny, nz]) - 1) / 2
    anatomy = render_anatomy(case.patient, affine, (nx, ny, nz))
    hu, mask = paint_lesion(
        anatomy.hu, affine, bone_mask=anatomy.sacrum, lesion=case.lesion, rng=rng
    )
    if settings.classes[patient.truth] is None:
        return anatomy.hu, mask
    return anatomy.hu + settings.contrast * (hu - anatomy.hu), mask


def _box_of(
    mask: NDArray, view: Projection, rng: np.random.Generator, shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """Return the box that a reader draws: that of the lesion's shadow, a few pixels wider.

    A patient without a lesion gets the box of the one that was not painted, so the presence and
    the size of a box do not tell the class.
    """
    shadow = np.asarray(mask.any(axis={"frontal": 1, "lateral": 0}[view]))[::-1, ::-1].T
    rows, columns = np.flatnonzero(shadow.any(axis=1)), np.flatnonzero(shadow.any(axis=0))
    low = np.array([columns[0], rows[0]]) * _FINER - rng.integers(2, 8, 2)
    high = np.array([columns[-1] + 1, rows[-1] + 1]) * _FINER + rng.integers(2, 8, 2)
    x0, y0 = np.maximum(low, 0).tolist()
    x1, y1 = np.minimum(high, shape[::-1]).tolist()
    return x0, y0, x1, y1


def draw_clinical(
    settings: RadiographCohort, patients: Sequence[RadiographPatient]
) -> dict[str, dict[str, object]]:
    """Draw clinical values by patient; each class is ``signal`` SD from the next in all of them.

    They do not depend on the images: another ``signal`` gives other values to the same patients.

    The scales are those of adults: C-reactive protein (mg/l), erythrocyte sedimentation rate
    (mm/h) and alkaline phosphatase (U/l) are log-normal; chosen for the phantom.
    """
    seed = np.random.SeedSequence(settings.seed, spawn_key=(_CLINICAL_KEY,))
    rng = np.random.default_rng(seed)
    middle = (len(settings.classes) - 1) / 2
    found: dict[str, dict[str, object]] = {}
    for patient in patients:
        shift = settings.signal * ([*settings.classes].index(patient.truth) - middle)
        draws = rng.standard_normal(7) + shift
        labs = np.exp(np.array([2.0, 2.9, 4.5]) + 0.6 * draws[:3])
        kept = rng.random(3) >= settings.missing
        cells = [f"{value:.1f}" if shown else "" for value, shown in zip(labs, kept, strict=True)]
        found[patient.case.patient_id] = {
            "age": int(np.clip(round(38 + 15 * draws[3]), 5, 88)),
            "sex": patient.case.patient.sex,
            "site": patient.case.site,
            **dict(zip(("crp", "esr", "alp"), cells, strict=True)),
            **{
                name: "yes" if draw > 0 else "no"
                for name, draw in zip(("pain", "swelling", "trauma"), draws[4:], strict=True)
            },
        }
    return found


def _scores(
    settings: RadiographCohort,
    patients: Sequence[RadiographPatient],
    rows: Sequence[Mapping[str, Any]],
) -> list[dict[str, object]]:
    """Draw the scores of six readers for every radiograph; a patient's evidence is shared."""
    seed = np.random.SeedSequence(settings.seed, spawn_key=(_SCORES_KEY,))
    rng = np.random.default_rng(seed)
    last = [*settings.classes][-1]
    evidence = {}
    for patient in patients:
        values = patient.case.lesion.evidence
        strength = abs(values[0] - values[-1]) if len(values) > 1 else 2.0
        sign = 1 if patient.truth == last else -1
        own = values[-1] - values[0] if len(values) > 1 else sign * strength
        evidence[patient.case.patient_id] = own
    found: list[dict[str, object]] = []
    for reader in draw_readers(rng):
        drawn = draw_scores(
            rng,
            reader,
            case_ids=[row["case_id"] for row in rows],
            evidence=[evidence[row["patient_id"]] for row in rows],
            sessions=("unaided",),
        )
        for score in drawn:
            cells = asdict(score)
            names = ("reader_id", "level", "session", "case_id", "score")
            found.append({name: cells[name] for name in names})
    return found


def _write_csv(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    table = StringIO()
    writer = csv.DictWriter(table, list(dict.fromkeys(k for row in rows for k in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    partial = file.with_name(f".{file.name}.partial")
    partial.write_text(table.getvalue(), encoding="utf-8", newline="\n")
    partial.replace(file)


__all__ = ["INTERNAL", "RadiographCohort", "draw_clinical", "draw_patients", "write_radiographs"]
