"""What the reader study shows: images, clinical data, and the model's answers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ctbone.clinical import refuse_giveaway
from ctbone.cohort import Cohort, read_cohort
from ctbone.custody import require_crops, require_current
from ctbone.errors import CtboneError, ReadingError
from ctbone.nifti import open_nifti, to_hu
from ctbone.overlay import crop_space, to_scanner
from ctbone.predictions import probability_columns
from ctbone.same_scans import read_identities
from ctbone.scan_identity import identify
from ctbone.study import Study, file_hash, read_json, read_table, record_of
from ctbone.viewer import ViewerImage, open_image

_MEMORY = 1 << 30
"""Bytes of the images that are kept for the next requests, 1 GiB: six of 512 × 512 × 300."""
_DEFAULT_COLUMNS = ("age", "sex")


@dataclass(frozen=True)
class TrainingCase:
    """A case of the training round: its image, its clinical data, and its class."""

    image: Path
    label: str
    clinical: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Answer:
    """The model's probabilities for a case of the study.

    Attributes
    ----------
    probabilities
        By class.
    low, high
        Smallest and largest probability of the positive class over the folds; None where one fold
        alone was not trained on the patient.
    folds
        Number of these folds.
    """

    probabilities: Mapping[str, float]
    low: float | None
    high: float | None
    folds: int


class Content:
    """The cases of a reader study, checked when it is made.

    Raises
    ------
    ReadingError
        A case has no volume, the model has no probability for a case, or a training case is in the
        study.
    CustodyError, CohortError
        A file does not belong to what it was made from; the cohort is not valid.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self.settings = study.settings.reading
        self.cohort: Cohort = read_cohort(study)
        self.cases = {case.case_id: case for case in self.cohort}
        self.columns = self._clinical_columns()
        self._require_volumes()
        require_crops(study, self.cohort.cases, "3d")
        self.answers = self._answers() if self.settings.shows_model else {}
        self.training = self._training_cases()
        self.images = ImageCache()

    @property
    def model(self) -> str:
        """The table whose probabilities are shown."""
        return self.settings.model or next(iter(self.study.settings.models))

    def clinical(self, case_id: str) -> list[tuple[str, str]]:
        """Return the clinical data of a case: column and cell."""
        if case_id in self.training:
            return list(self.training[case_id].clinical)
        row = dict(self.cases[case_id].metadata)
        return [(name, row.get(name, "")) for name in self.columns]

    def image(self, case_id: str, *, aided: bool) -> ViewerImage:
        """Return a case's image with its mask and, if aided, its heat map."""
        heat = self.heat_map(case_id) if aided else None
        return self.images.get((case_id, heat is not None), lambda: self._open(case_id, heat))

    def heat_map(self, case_id: str) -> Path | None:
        """Return a case's first heat map of ``explain.methods`` that is of the weights of now."""
        if case_id in self.training:
            return None
        for method in self.study.settings.explain.methods:
            path = self.study.explanation(self.model, method, case_id)
            if path.is_file() and self._is_inside(path) and self._is_current(path):
                return path
        return None

    def _is_current(self, heat: Path) -> bool:
        """Whether the record of a heat map describes this file and the weights of now."""
        try:
            record = read_json(record_of(heat))
            weights = {
                fold: read_json(self.study.run(self.model, int(fold)) / "card.json")[
                    "weights_sha256"
                ]
                for fold in record["made_from"]["weights"]
            }
            described = bool(record["map"] == file_hash(heat))
        except (CtboneError, KeyError, TypeError, ValueError):
            return False
        return described and weights == record["made_from"]["weights"]

    def _open(self, case_id: str, heat: Path | None) -> ViewerImage:
        if case_id in self.training:
            return open_image(self.training[case_id].image, case=case_id)
        return open_image(
            self._volume(case_id),
            case=case_id,
            mask=self._mask(case_id),
            heat=None if heat is None else open_nifti(heat, case_id).read(),
        )

    def _mask(self, case_id: str) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the lesion of the crop on the scanner's grid, interpolated at its edge."""
        path = self.study.crop_mask(case_id, "3d")
        if not path.is_file() or not self._is_inside(path):
            return None
        space = crop_space(self.study, case_id, "3d")
        share = to_scanner(open_nifti(path, case_id).read().astype(np.float32), space)
        return share >= 0.5, space.scanner.affine

    def _volume(self, case_id: str) -> Path:
        path = self.study.nifti(case_id)
        if not self._is_inside(path):
            raise ReadingError(
                "the volume is a link to a file outside the study",
                case=case_id,
                file=path,
                remedy="copy the file into the study, or run 'ctbone preprocess'",
            )
        return path

    def _is_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self.study.root.resolve())

    def _require_volumes(self) -> None:
        missing = [name for name in self.cases if not self._volume(name).is_file()]
        if missing:
            raise ReadingError(
                f"{len(missing)} of {len(self.cases)} cases have no volume",
                case=missing[0],
                file=self.study.nifti(missing[0]),
                remedy="run 'ctbone preprocess'",
            )

    def _clinical_columns(self) -> tuple[str, ...]:
        present = {column for case in self.cohort for column, _ in case.metadata}
        if self.settings.clinical is None:
            return tuple(name for name in _DEFAULT_COLUMNS if name in present)
        refuse_giveaway(self.cohort.cases, self.settings.clinical, ReadingError)
        return self.settings.clinical

    def _answers(self) -> dict[str, Answer]:
        of_model = self.study.predictions_csv(self.model).is_file()
        require_current(
            self.study, "predictions" if of_model else "fusion", [self.model], settings=False
        )
        table = self.study.predictions(self.model)
        classes = self.study.settings.classes
        rows = table[(table["view"] == "") & table["split"].isin(["test", "external"])]
        positive = probability_columns([self.study.settings.positive_class])[0]
        answers = {str(case): _answer(own, classes, positive) for case, own in _by_case(rows)}
        without = [name for name in self.cases if name not in answers]
        if without:
            raise ReadingError(
                f"{len(without)} of {len(self.cases)} cases have no out-of-fold probability of "
                f"the model '{self.model}'",
                case=without[0],
                remedy="run 'ctbone train' and 'ctbone predict', or set reading.model",
            )
        return answers

    def _training_cases(self) -> dict[str, TrainingCase]:
        if self.settings.training is None:
            return {}
        path = self.study.root / self.settings.training
        table = read_table(path, ("image", "label"), remedy="or leave out reading.training")
        found = {}
        for number, row in enumerate(table.to_dict("records"), start=1):
            clinical = tuple((name, str(row.get(name, ""))) for name in self.columns)
            image = self.study.root / str(row["image"])
            found[f"training {number}"] = TrainingCase(image, str(row["label"]), clinical)
        self._refuse_study_cases(found)
        return found

    def _refuse_study_cases(self, training: Mapping[str, TrainingCase]) -> None:
        """Refuse training cases that share a slice with a case of the study."""
        identities = read_identities(self.study, self.cohort)
        for case in training.values():
            if case.label not in self.study.settings.classes:
                raise ReadingError(
                    "the label of a training case is not a class",
                    file=case.image,
                    found=case.label,
                    expected=", ".join(self.study.settings.classes),
                )
            nifti = open_nifti(case.image)
            hu, _ = to_hu(nifti.read())
            slices = identify(hu, nifti.grid.affine, np.array([], np.uint64)).slices
            for name, identity in identities.items():
                if np.intersect1d(slices, identity.slices).size:
                    raise ReadingError(
                        "a training case is a case of the study",
                        case=name,
                        file=case.image,
                        remedy="train on cases outside the study",
                    )


def _by_case(rows: pd.DataFrame) -> Iterable[tuple[object, pd.DataFrame]]:
    return iter(rows.groupby("case_id", sort=False))


def _answer(rows: pd.DataFrame, classes: tuple[str, ...], positive: str) -> Answer:
    """Average over the folds that were not trained on the patient."""
    columns = probability_columns(classes)
    means = [float(value) for value in rows[columns].mean()]
    several = len(rows) > 1
    return Answer(
        probabilities=dict(zip(classes, means, strict=True)),
        low=float(rows[positive].min()) if several else None,
        high=float(rows[positive].max()) if several else None,
        folds=len(rows),
    )


class ImageCache:
    """The images that were opened last, up to 1 GiB; each is opened once at a time."""

    def __init__(self, most: int = _MEMORY) -> None:
        self._most = most
        self._images: OrderedDict[object, ViewerImage] = OrderedDict()
        self._opening: dict[object, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, key: object, open_: Callable[[], ViewerImage]) -> ViewerImage:
        """Return the image of a key; ``open_`` makes it where it is not kept."""
        with self._lock:
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:
            with self._lock:
                if key in self._images:
                    self._images.move_to_end(key)
                    return self._images[key]
            image = open_()
            with self._lock:
                self._images[key] = image
                while len(self._images) > 1 and self._bytes() > self._most:
                    self._images.popitem(last=False)
                self._opening.pop(key, None)
            return image

    def _bytes(self) -> int:
        return sum(image.nbytes for image in self._images.values())
