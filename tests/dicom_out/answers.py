"""A planned answer, its series and its lesion, for tests of what is written."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom

from ctbone.cohort import Case
from ctbone.config import Settings
from ctbone.dicom_out import Heat, write_dicom
from ctbone.grid import Grid
from tests.dicom.writer import Plan, write_series

SHAPE = (12, 40, 36)  # slices, rows, columns
NAME = "PLANTED^王小东=王小東"
ANSWER = {
    "notice": "For research only; not a medical device.",
    "case": "new",
    "model_file": {"name": "sacrum", "sha256": "ab" * 32},
    "ctbone": "0.1.0",
    "answer": "both",
    "answers": {
        "both": {
            "kind": "combination",
            "probabilities": {"benign": 0.126544, "malignant": 0.873456},
            "class": "malignant",
            "threshold": 0.5,
            "conformal": {"set": ["malignant"]},
        }
    },
    "trust": {
        "outside_training_range": ["The age is above the training range."],
        "not_compared": [],
        "remarks": ["The lesion touches the border of the scan."],
    },
}


def settings_of(**changes) -> Settings:
    """Settings that resample irregular series, as those of a clinic would."""
    return Settings.model_validate(
        {
            "name": "sacrum",
            "dicom": {"irregular": "resample"},
            "prediction": {"bone": "sacrum"},
            **changes,
        }
    )


def plan_of(**changes) -> Plan:
    stored = np.random.default_rng(0).integers(900, 1300, SHAPE).astype(np.uint16)
    return Plan(**{"stored": stored, "patient": "PLANTED", "study": "1.2.3.9", **changes})


def write_source(folder: Path, plan: Plan, **attributes) -> Path:
    """Write the series; an attribute of None is deleted."""
    for path in write_series(folder, plan):
        dataset = pydicom.dcmread(path)
        for keyword, value in attributes.items():
            if value is None:
                if keyword in dataset:
                    delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        dataset.save_as(path)
    return folder


def middle_of(plan: Plan) -> np.ndarray:
    """Return the centre of the lesion, in DICOM's coordinates."""
    middle = plan.place(SHAPE[0] // 2)
    across = np.array(plan.directions[0]) * plan.pixel[1] * 20
    return middle + across + np.array(plan.directions[1]) * plan.pixel[0] * 18


def ball(path: Path, plan: Plan, *, radius: float = 7.0, spacing: float = 0.5) -> Path:
    """Write a ball as NIfTI on a fine grid of its own, in RAS."""
    middle = middle_of(plan) * [-1, -1, 1]
    size = int(2 * (radius + 2) / spacing) + 1
    index = np.indices((size,) * 3) - size // 2
    mask = np.linalg.norm(index * spacing, axis=0) <= radius
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = middle - spacing * (size // 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), affine), path)
    return path


def heat_of(plan: Plan, *, size: int = 16, spacing: float = 2.0) -> Heat:
    """A linear ramp along the head's direction in a cube around the lesion."""
    middle = middle_of(plan) * [-1, -1, 1]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = middle - spacing * (size - 1) / 2
    values = np.broadcast_to(np.linspace(0, 1, size), (size, size, size)).astype(np.float32)
    return Heat(
        model="3d",
        target="malignant",
        probability=0.91,
        layer="features.denseblock2",
        cell_mm=8.0,
        values=values,
        grids=(Grid((size, size, size), affine),),
    )


def written(tmp: Path, plan: Plan, *, heat="ramp", settings=None, **attributes):
    """Write series, mask and objects; return the objects by file name."""
    folder = write_source(tmp / "in", plan, **attributes)
    case = Case("new", "new", "", "new", folder, ball(tmp / "mask.nii.gz", plan))
    done = write_dicom(
        ANSWER,
        case,
        settings or settings_of(),
        out=tmp / "out",
        heat=heat_of(plan) if heat == "ramp" else heat,
    )
    return done, {path.name: pydicom.dcmread(path) for path in done.files}


def pixels_in_space(dataset: pydicom.Dataset, position, orientation, spacing) -> np.ndarray:
    """Return the place of every pixel, (rows, columns, 3), by equation C.7.6.2.1-1 of PS3.3."""
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    i, j = np.meshgrid(np.arange(dataset.Columns), np.arange(dataset.Rows))
    across = i[..., None] * row * float(spacing[1])
    return np.array(position, float) + across + j[..., None] * column * float(spacing[0])


def frames(dataset: pydicom.Dataset):
    """Yield the pixels of each frame, their places and the UID of the source image."""
    stored = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    (shared,) = dataset.SharedFunctionalGroupsSequence
    for pixels, own in zip(stored, dataset.PerFrameFunctionalGroupsSequence, strict=True):

        def group(name, own=own):
            return (own.get(name) or shared[name].value)[0]

        position = group("PlanePositionSequence").ImagePositionPatient
        orientation = group("PlaneOrientationSequence").ImageOrientationPatient
        spacing = group("PixelMeasuresSequence").PixelSpacing
        source = group("DerivationImageSequence").SourceImageSequence[0].ReferencedSOPInstanceUID
        yield pixels, pixels_in_space(dataset, position, orientation, spacing), source
