"""A volume as a classic CT series in DICOM files, fast: one header is encoded, each slice changes a few bytes of it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ctbone.errors import PhantomError
from ctbone.phantom.scanner import PatientPosition, PixelFormat

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
# The root that anyone may use for identifiers made from a UUID.
_UID_ROOT = "2.25"
_PADDING = -2000


@dataclass(frozen=True)
class SeriesHeader:
    """What a series says about itself besides its geometry.

    Parameters
    ----------
    case_id
        Becomes patient name and ID, both marked as a phantom's.
    seed
        All identifiers (UIDs) follow from it.
    age, sex
        Of the patient; sex ``"female"`` or ``"male"``.
    manufacturer, model, kernel
        Of the scanner.
    kvp, mas, thickness_mm
        Of the scan.
    position
        How the patient lies.
    pixels
        How values are stored.
    padding
        Whether the corners outside of the round field hold a padding value.
    description
        Series description.
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
    """Write a volume as one CT series, a file a slice, file names in no spatial order.

    Parameters
    ----------
    folder
        Made if it does not exist.
    hu
        Hounsfield units, axes (column, row, slice), −1024 to 3071.
    affine
        4 × 4, voxel indices to RAS mm. The three axes must be at right angles: a tilted gantry is not written.
    header
        Everything else.
    localizer
        Also write a frontal scout image as a series of its own, as exam folders hold one.

    Raises
    ------
    PhantomError
        If the axes of the grid are not at right angles.
    """
    matrix = np.asarray(affine, dtype=float)
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    cosines = matrix[:3, :3] / spacing
    if not np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-5):
        raise PhantomError(
            "a DICOM series needs a grid with right angles",
            case=header.case_id,
            found=cosines.round(4),
        )
    folder.mkdir(parents=True, exist_ok=True)
    count = hu.shape[2]
    template = _template(hu, matrix, header)
    names = np.random.default_rng(header.seed).permutation(count)
    start = matrix[:3, 3] * (-1, -1, 1)
    step = matrix[:3, 2] * (-1, -1, 1)
    normal = np.cross(cosines[:, 0] * (-1, -1, 1), cosines[:, 1] * (-1, -1, 1))
    stored = _stored(hu, header)
    for k in range(count):
        position = start + k * step
        content = template.slice(k, position, float(normal @ position), stored[k].tobytes())
        (folder / f"IM{names[k] + 1:04d}.dcm").write_bytes(content)
    if localizer:
        _write_localizer(folder / f"IM{count + 1:04d}.dcm", hu, matrix, header)


@dataclass(frozen=True)
class _Template:
    """An encoded file with places, all of fixed length, where slices differ."""

    pieces: tuple[bytes, ...]
    fields: tuple[str, ...]
    uid: str

    def slice(self, number: int, position: NDArray, location: float, pixels: bytes) -> bytes:
        """Return the file of one slice: its own values between the pieces that all slices share."""
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


# Marks that stand for a slice's values until they are known. They fill their width, for padding would be stripped.
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
    """Make a DICOM identifier that follows from its parts and from nothing else.

    Examples
    --------
    >>> make_uid("C1_001", 3) == make_uid("C1_001", 3), make_uid("a").startswith("2.25.")
    (True, True)
    """
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    # Always 38 digits, so that files of all slices are equally long.
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
    if len(found) != len(marks) + 1:  # the slice's UID stands in the file's preamble, too
        raise RuntimeError(f"the encoded DICOM header holds {len(found)} marks")
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
    cosines = matrix[:3, :3] / spacing * np.array([[-1], [-1], [1]])
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
    data.RescaleIntercept, data.RescaleSlope, data.RescaleType = str(_intercept(header)), "1", "HU"
    return data


def _encode(dataset: Dataset) -> bytes:
    from pydicom import dcmwrite

    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _decimal(value: float) -> str:
    return f"{value:.10f}"[:16].rstrip("0").rstrip(".") or "0"


def _intercept(header: SeriesHeader) -> int:
    return {"unsigned 12": -1024, "signed 16": 0, "unsigned 16": -8192}[header.pixels]


def _stored(hu: NDArray, header: SeriesHeader) -> NDArray:
    """Turn HU into stored values, axes (slice, row, column)."""
    kind = "<i2" if header.pixels == "signed 16" else "<u2"
    values = np.transpose(np.asarray(hu), (2, 1, 0)).astype(np.int32) - _intercept(header)
    if header.padding and header.pixels == "signed 16":
        rows, columns = values.shape[1:]
        down, across = np.ogrid[:rows, :columns]
        outside = (2 * down - rows + 1) ** 2 / rows**2 + (
            2 * across - columns + 1
        ) ** 2 / columns**2 > 1
        values[:, outside] = _PADDING
    return np.ascontiguousarray(values.astype(kind))


def _write_localizer(file: Path, hu: NDArray, matrix: NDArray, header: SeriesHeader) -> None:
    """Write a frontal scout: the mean along the row axis of the volume, in a coronal plane through its middle."""
    mean = np.asarray(hu, dtype=np.float32).mean(axis=1)
    repeat = max(1, round(float(np.linalg.norm(matrix[:3, 2]) / np.linalg.norm(matrix[:3, 0]))))
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
    dataset.ImagePositionPatient = [_decimal(value) for value in frame[:3, 3] * (-1, -1, 1)]
    dataset.InstanceNumber = "1"
    if "PixelPaddingValue" in dataset:
        del dataset.PixelPaddingValue
    dataset.PixelData = _stored(scout, header)[0].tobytes()
    file.write_bytes(_encode(dataset))
