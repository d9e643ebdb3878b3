"""Write a volume as a DICOM CT series: one header is encoded once and patched for every slice."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctbone.errors import PhantomError
from ctbone.grid import LPS_TO_RAS
from ctbone.phantom.scanner import PatientPosition, PixelFormat

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
# Root of UIDs derived from a UUID, free for everyone (DICOM PS3.5, B.2).
_UID_ROOT = "2.25"
_LPS_SIGNS = LPS_TO_RAS.diagonal()[:3]
# PixelPaddingValue outside the circular field of view, stored value; chosen for the phantom.
_PADDING = -2000
# RescaleIntercept (HU) of each data type; chosen for the phantom so that −1024 to 3071 HU can be
# stored.
_INTERCEPTS = {"unsigned 12": -1024, "signed 16": 0, "unsigned 16": -8192}


@dataclass(frozen=True)
class SeriesHeader:
    """DICOM header values of a series other than its geometry.

    Parameters
    ----------
    case_id
        Used in PatientName and PatientID, both marked as a phantom's.
    seed
        Determines all UIDs, together with ``case_id``.
    age, sex
        Age in years; sex ``"female"`` or ``"male"``.
    manufacturer, model, kernel
        Scanner and ConvolutionKernel.
    kvp, mas, thickness_mm
        Tube voltage (kV), tube current–time product (mAs) and SliceThickness (mm; None for the
        distance between slices).
    position
        PatientPosition.
    pixels
        Data type of the stored values.
    padding
        Whether the corners outside the circular field of view hold a padding value; needs signed
        pixels.
    description
        SeriesDescription.
    """

    case_id: str
    seed: int
    age: int = 40
    sex: str = "female"
    manufacturer: str = "Meridian Imaging"
    model: str = "Aurora 64"
    kernel: str = "SOFT2"
    kvp: int = 120
    mas: float = 150.0
    thickness_mm: float | None = None
    position: PatientPosition = "HFS"
    pixels: PixelFormat = "signed 16"
    padding: bool = False
    description: str = "PELVIS"


def write_series(
    folder: Path, hu: NDArray, affine: NDArray, header: SeriesHeader, *, localizer: bool = False
) -> None:
    """Write a volume as one CT series, one file per slice, with file names in random order.

    Parameters
    ----------
    folder
        Output folder; created if needed.
    hu
        HU, axes (column, row, slice), −1024 to 3071.
    affine
        (4, 4), voxel index to RAS mm. The axes must be at right angles: gantry tilt is not
        supported.
    header
        Other header values.
    localizer
        Also write a frontal scout image as a series of its own.

    Raises
    ------
    PhantomError
        The axes of the grid are not at right angles.
    """
    matrix = np.asarray(affine, dtype=float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    cosines = matrix[:3, :3] / spacing
    if not np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-5):
        raise PhantomError(
            "the axes of the grid are not at right angles",
            case=header.case_id,
            found=cosines.round(4),
            expected="three orthogonal axes",
        )
    folder.mkdir(parents=True, exist_ok=True)
    count = hu.shape[2]
    template = _template(hu, matrix, header)
    names = np.random.default_rng(header.seed).permutation(count)
    start, step = matrix[:3, 3] * _LPS_SIGNS, matrix[:3, 2] * _LPS_SIGNS
    normal = np.cross(cosines[:, 0] * _LPS_SIGNS, cosines[:, 1] * _LPS_SIGNS)
    stored = _stored(hu, header)
    for k in range(count):
        position = start + k * step
        content = template.slice(
            k, position=position, location=float(normal @ position), pixels=stored[k].tobytes()
        )
        (folder / f"IM{names[k] + 1:04d}.dcm").write_bytes(content)
    if localizer:
        _write_localizer(folder / f"IM{count + 1:04d}.dcm", hu=hu, matrix=matrix, header=header)


@dataclass(frozen=True)
class _Template:
    """Encoded header, cut where the values of a slice (of fixed length) are inserted."""

    pieces: tuple[bytes, ...]
    fields: tuple[str, ...]
    uid: str

    def slice(self, number: int, position: NDArray, location: float, pixels: bytes) -> bytes:
        """Encode the file of one slice: shared pieces and the slice's own values in turn."""
        values = {
            _UID_MARK: _slice_uid(self.uid, number),
            _POSITION_MARK: "\\".join(f"{value:14.6f}" for value in position),
            _LOCATION_MARK: f"{location:14.6f}",
            _NUMBER_MARK: f"{number + 1:<6d}",
        }
        parts = [self.pieces[0]]
        for name, piece in zip(self.fields, self.pieces[1:], strict=True):
            parts += [values[name].encode("ascii"), piece]
        return b"".join([*parts, pixels])


# Placeholders for the values of a slice. They fill the whole width, because pydicom strips spaces.
_UID_DIGITS = 5
_POSITION_MARK = "\\".join(
    f"{value:14.6f}" for value in (-777777.123456, -777777.234567, -777777.345678)
)
_LOCATION_MARK = f"{-777777.456789:14.6f}"
_NUMBER_MARK = "777123"
_UID_MARK = "uid"


def _slice_uid(series_uid: str, number: int) -> str:
    return f"{series_uid}.{10 ** (_UID_DIGITS - 1) + number}"


def make_uid(*parts: object) -> str:
    """Derive a DICOM UID from its parts alone (SHA-256).

    Examples
    --------
    >>> make_uid("C1_001", 3) == make_uid("C1_001", 3), make_uid("a").startswith("2.25.")
    (True, True)
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    # Always 38 digits, so that UIDs have a fixed length.
    return f"{_UID_ROOT}.{10**37 + int.from_bytes(digest[:15], 'big')}"


def _template(hu: NDArray, matrix: NDArray, header: SeriesHeader) -> _Template:
    dataset = _dataset(hu.shape[:2], matrix, header)
    series = dataset.SeriesInstanceUID
    mark = _slice_uid(series, 7777)
    dataset.SOPInstanceUID = mark
    dataset.file_meta.MediaStorageSOPInstanceUID = mark
    dataset.ImagePositionPatient = _POSITION_MARK.split("\\")
    dataset.SliceLocation = _LOCATION_MARK
    dataset.InstanceNumber = _NUMBER_MARK
    dataset.PixelData = bytes(2 * hu.shape[0] * hu.shape[1])
    encoded = _encode(dataset)[: -2 * hu.shape[0] * hu.shape[1]]
    marks = {
        mark: _UID_MARK,
        _POSITION_MARK: _POSITION_MARK,
        _LOCATION_MARK: _LOCATION_MARK,
        _NUMBER_MARK: _NUMBER_MARK,
    }
    found = sorted(
        (place, text) for text in marks for place in _places(encoded, text.encode("ascii"))
    )
    if len(found) != len(marks) + 1:  # the SOPInstanceUID also stands in the file meta group
        raise RuntimeError(
            f"the encoded DICOM header holds {len(found)} placeholders, not {len(marks) + 1}"
        )
    pieces, fields, end = [], [], 0
    for place, text in found:
        pieces.append(encoded[end:place])
        fields.append(marks[text])
        end = place + len(text)
    pieces.append(encoded[end:])
    return _Template(tuple(pieces), tuple(fields), series)


def _places(content: bytes, mark: bytes) -> list[int]:
    places, place = [], content.find(mark)
    while place >= 0:
        places.append(place)
        place = content.find(mark, place + 1)
    return places


def _dataset(plane: tuple[int, int], matrix: NDArray, header: SeriesHeader) -> Dataset:
    from pydicom.dataset import Dataset, FileMetaDataset

    columns, rows = plane
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    cosines = matrix[:3, :3] / spacing * _LPS_SIGNS[:, None]
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = _CT_IMAGE_STORAGE
    data.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    data.file_meta.ImplementationClassUID = make_uid("implementation")
    data.SpecificCharacterSet = "ISO_IR 100"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SOPClassUID = _CT_IMAGE_STORAGE
    data.StudyDate = data.SeriesDate = data.AcquisitionDate = data.ContentDate = "20200101"
    data.StudyTime = data.SeriesTime = data.AcquisitionTime = data.ContentTime = "120000"
    data.AccessionNumber = ""
    data.Modality = "CT"
    data.Manufacturer = header.manufacturer
    data.ManufacturerModelName = header.model
    data.InstitutionName = "PHANTOM"
    data.ReferringPhysicianName = ""
    data.StudyDescription = "PHANTOM PELVIS CT"
    data.SeriesDescription = header.description
    data.PatientName = f"PHANTOM^{header.case_id}"
    data.PatientID = f"PHANTOM-{header.case_id}"
    data.PatientBirthDate = ""
    data.PatientSex = header.sex[:1].upper()
    data.PatientAge = f"{header.age:03d}Y"
    data.BodyPartExamined = "PELVIS"
    data.SliceThickness = _decimal(header.thickness_mm or spacing[2])
    data.KVP = str(header.kvp)
    data.Exposure = str(round(header.mas))
    data.ConvolutionKernel = header.kernel
    data.PatientPosition = header.position
    data.StudyInstanceUID = make_uid(header.case_id, header.seed, "study")
    data.SeriesInstanceUID = make_uid(header.case_id, header.seed, "series", header.description)
    data.StudyID = "1"
    data.SeriesNumber = "2"
    data.AcquisitionNumber = "1"
    data.ImageOrientationPatient = [_decimal(value) for value in (*cosines[:, 0], *cosines[:, 1])]
    data.FrameOfReferenceUID = make_uid(header.case_id, header.seed, "frame")
    data.PositionReferenceIndicator = ""
    data.SamplesPerPixel = 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = rows, columns
    data.PixelSpacing = [_decimal(spacing[1]), _decimal(spacing[0])]
    data.BitsAllocated = 16
    data.BitsStored = 12 if header.pixels == "unsigned 12" else 16
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = 1 if header.pixels == "signed 16" else 0
    if header.padding and header.pixels == "signed 16":
        data.PixelPaddingValue = _PADDING
    data.WindowCenter, data.WindowWidth = "300", "1500"
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = (
        str(_INTERCEPTS[header.pixels]),
        "1",
        "HU",
    )
    return data


def _encode(dataset: Dataset) -> bytes:
    from pydicom import dcmwrite

    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _decimal(value: float) -> str:
    """Format a decimal string (DS), which has at most 16 characters."""
    return f"{value:.10f}"[:16].rstrip("0").rstrip(".") or "0"


def _stored(hu: NDArray, header: SeriesHeader) -> NDArray:
    """Convert HU to stored values, axes (slice, row, column)."""
    kind = "<i2" if header.pixels == "signed 16" else "<u2"
    values = np.transpose(np.asarray(hu), (2, 1, 0)).astype(np.int32) - _INTERCEPTS[header.pixels]
    if header.padding and header.pixels == "signed 16":
        rows, columns = values.shape[1:]
        down, across = np.ogrid[:rows, :columns]
        outside = (2 * down - rows + 1) ** 2 / rows**2 + (
            2 * across - columns + 1
        ) ** 2 / columns**2 > 1
        values[:, outside] = _PADDING
    return np.ascontiguousarray(values.astype(kind))


def _write_localizer(file: Path, hu: NDArray, matrix: NDArray, header: SeriesHeader) -> None:
    """Write a frontal scout: the mean along the row axis, in the middle coronal plane."""
    mean = np.asarray(hu, dtype=np.float32).mean(axis=1)
    repeat = max(1, round(float(np.linalg.norm(matrix[:3, 2]) / np.linalg.norm(matrix[:3, 0]))))
    # 2 · mean + 600 gives the scout a visible contrast; chosen for the phantom.
    scout = np.clip(np.rint(np.repeat(mean, repeat, axis=1) * 2 + 600), -1024, 3071).astype(
        np.int16
    )[:, :, None]
    frame = np.eye(4)
    frame[:3, 0], frame[:3, 1] = matrix[:3, 0], matrix[:3, 2] / repeat
    frame[:3, 2] = np.cross(frame[:3, 0], frame[:3, 1])
    frame[:3, 2] /= np.linalg.norm(frame[:3, 2])
    frame[:3, 3] = matrix[:3, 3] + matrix[:3, 1] * (hu.shape[1] - 1) / 2
    dataset = _dataset(scout.shape[:2], frame, header)
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.SeriesDescription = "SCOUT"
    dataset.SeriesInstanceUID = make_uid(header.case_id, header.seed, "series", "scout")
    dataset.SeriesNumber = "1"
    dataset.SliceThickness = "500"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = _slice_uid(
        dataset.SeriesInstanceUID, 0
    )
    dataset.ImagePositionPatient = [_decimal(value) for value in frame[:3, 3] * _LPS_SIGNS]
    dataset.InstanceNumber = "1"
    if "PixelPaddingValue" in dataset:
        del dataset.PixelPaddingValue
    dataset.PixelData = _stored(scout, header)[0].tobytes()
    file.write_bytes(_encode(dataset))
