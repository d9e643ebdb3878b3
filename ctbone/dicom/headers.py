"""Find the files of a folder and read the DICOM header of every image."""

from __future__ import annotations

import datetime
import math
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal

import pydicom
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from ctbone.dicom.deflated import inflated, is_deflated
from ctbone.dicom.fast_header import StoredPixels, read_fast_header
from ctbone.dicom.header_vocabulary import (
    known_kernel,
    known_manufacturer,
    known_modality,
    known_model,
    known_phase,
    known_unit,
)
from ctbone.quiet_pydicom import quiet_pydicom

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "SeriesInstanceUID",
    "StudyInstanceUID", "PatientID", "FrameOfReferenceUID",
    "AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime",
    "TemporalPositionIdentifier",
    "ConvolutionKernel", "ContrastBolusAgent", "ImageOrientationPatient", "ImagePositionPatient",
    "PixelSpacing", "Rows", "Columns", "NumberOfFrames", "SliceThickness", "RescaleSlope",
    "RescaleIntercept", "RescaleType", "ModalityLUTSequence", "SamplesPerPixel", "BitsAllocated",
    "BitsStored", "HighBit", "KVP", "MonoenergeticEnergyEquivalent",
    "Exposure", "XRayTubeCurrent", "ExposureTime", "Manufacturer", "ManufacturerModelName",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
# SOP classes: CT Image, Enhanced CT Image and Legacy Converted Enhanced CT Image Storage.
CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
}
# Values of ImageType.
LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "REF_SURVIEW"}
PROJECTIONS = {
    "MIP", "CSA MIP", "MINIP", "MIN_IP", "PROJECTION IMAGE", "VRT", "VOLREN", "CSA 3D", "SSD",
    "CURVED",
}  # fmt: skip
REFORMATS = {"REFORMATTED", "MPR", "CSA MPR", "RESAMPLED"}
Unreadable = Literal["not a DICOM file", "damaged DICOM file", "cannot be read"]
# Limit against damaged or hostile headers: pixels along a side.
_LARGEST_SIDE = 16384


@dataclass(frozen=True)
class Identity:
    """Whose image it is, and in which coordinates; never shown or written.

    Attributes
    ----------
    patient, study, frame_of_reference
        PatientID, StudyInstanceUID and FrameOfReferenceUID; empty if missing.
    """

    patient: str
    study: str
    frame_of_reference: str


@dataclass(frozen=True)
class Acquisition:
    """The scan that an image belongs to; None or empty if the header does not say.

    Attributes
    ----------
    number
        AcquisitionNumber.
    seconds
        AcquisitionTime in seconds, of the day or of the calendar; never shown or written.
    kvp
        Tube voltage, kV.
    kev
        Energy of a virtual monoenergetic image, keV.
    contrast
        Whether the header names a contrast agent.
    phase
        ContrastBolusAgentPhase, a term of the standard.
    temporal
        TemporalPositionIdentifier.
    """

    number: int | None = None
    seconds: float | None = None
    kvp: float | None = None
    kev: float | None = None
    contrast: bool = False
    phase: str = ""
    temporal: int | None = None


@dataclass(frozen=True)
class Frame:
    """Header of one image: a classic file holds one frame, an enhanced file several.

    Attributes
    ----------
    path, index
        The file, and the number of the frame in it, from 0.
    series_key, identity
        Identify the series, and the patient and the examination; never shown or written.
    acquisition
        Number, time, energy and contrast phase of the scan.
    modality
        A modality of the standard, or empty.
    not_ct
        Empty for a CT image; otherwise the reason why the frame is not one.
    reformatted
        Whether ImageType says that the image was computed from another series.
    original
        Whether ImageType does not say DERIVED.
    rows, columns
        Size of the image in pixels.
    orientation, position, pixel_spacing
        ImageOrientationPatient (6), ImagePositionPatient (3), PixelSpacing (2: between rows,
        between columns), mm; None if missing or damaged.
    slope, intercept
        Rescale from stored values to HU; None if missing, 1 and 0 if the header holds a lookup
        table instead.
    unit
        Unit of the rescaled values, a defined term of RescaleType or ModalityLUTType, ``other``,
        or empty if missing.
    bits_stored, high_bit
        BitsStored and HighBit; None if missing.
    transfer_syntax, compressed
        Name of the transfer syntax, and whether a codec is needed.
    mas, thickness, kernel, manufacturer, model
        Scan parameters (mAs, mm); None or empty if missing.
    pixels
        Location of uncompressed pixels; None if a codec or pydicom must read them.
    instance
        SOPInstanceUID, empty if missing; only a salted digest of it is written.
    """

    path: Path
    index: int
    series_key: str
    identity: Identity
    acquisition: Acquisition
    modality: str
    not_ct: str
    reformatted: bool
    original: bool
    rows: int
    columns: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    unit: str
    bits_stored: int | None
    high_bit: int | None
    kernel: str
    thickness: float | None
    transfer_syntax: str
    compressed: bool
    mas: float | None
    manufacturer: str
    model: str
    pixels: StoredPixels | None = None
    instance: str = ""


def walk(folder: Path) -> list[Path]:
    """List every regular file below ``folder``, sorted; each folder is visited once."""
    if folder.is_file():
        return [folder]
    files: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        try:
            status = os.stat(parent)  # noqa: PTH116 (a string here, and there may be many)
        except OSError:
            folders.clear()
            continue
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        files += [Path(parent, name) for name in sorted(names)]
    return [path for path in files if _is_regular(path)]


def read_frames(path: Path) -> list[Frame] | Unreadable:
    """Read the header of a file: its frames, or the reason why it cannot be used."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
            if start[128:] != b"DICM" and start[:2] not in (b"\x08\x00", b"\x02\x00"):
                return "not a DICOM file"
            file.seek(0)
            fast = read_fast_header(file, os.fstat(file.fileno()).st_size)
            if fast is not None:
                return [
                    _frame(
                        path,
                        index=0,
                        header=fast.values,
                        shared=None,
                        own=None,
                        count=1,
                        syntax=fast.syntax,
                        pixels=fast.pixels,
                    )
                ]
            file.seek(0)
            if is_deflated(file):
                return _read_any(path, inflated(file), DeflatedExplicitVRLittleEndian)
            return _read_any(path, file)
    except OSError:
        return "cannot be read"
    except Exception:  # pydicom raises many kinds of error on a damaged header
        return "damaged DICOM file"


def _read_any(path: Path, file: BufferedIOBase, syntax: UID | None = None) -> list[Frame]:
    """Read any header with pydicom; ``syntax`` is that of the file if ``file`` has another."""
    with quiet_pydicom():
        header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        return _frames(path, header, syntax)


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _frames(path: Path, header: pydicom.Dataset, syntax: UID | None) -> list[Frame]:
    meta = getattr(header, "file_meta", None)
    syntax = syntax or getattr(meta, "TransferSyntaxUID", None)
    count = _whole(header.get("NumberOfFrames")) or 1
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    if groups and len(groups) < count:
        count = len(groups)
    frames = []
    for index in range(count if groups else 1):
        own = groups[index] if groups else None
        frames.append(
            _frame(
                path,
                index=index,
                header=header,
                shared=shared,
                own=own,
                count=count,
                syntax=syntax,
            )
        )
    return frames


def _frame(
    path: Path,
    *,
    index: int,
    header: pydicom.Dataset | dict[str, Any],
    shared: Any,
    own: Any,
    count: int,
    syntax: UID | None,
    pixels: StoredPixels | None = None,
) -> Frame:
    """Collect the values of one frame; ``own`` and ``shared`` are its functional groups."""

    def find(sequence: str, keyword: str) -> Any:
        """Search the frame's own functional group, then the shared one, then the header."""
        for group in (own, shared):
            item = _first(group.get(sequence)) if group is not None else None
            if item is not None and keyword in item:
                return item.get(keyword)
        return header.get(keyword)

    image_type = {
        str(word).strip().upper() for word in _many(find("CTImageFrameTypeSequence", "FrameType"))
    }
    image_type |= {str(word).strip().upper() for word in _many(header.get("ImageType"))}
    exposure = _number(find("CTExposureSequence", "ExposureInmAs")) or _number(
        header.get("Exposure")
    )
    if exposure is None:
        current, time = _number(header.get("XRayTubeCurrent")), _number(header.get("ExposureTime"))
        exposure = current * time / 1000 if current is not None and time is not None else None
    table = bool(header.get("ModalityLUTSequence"))
    return Frame(
        path=path,
        index=index,
        series_key=str(header.get("SeriesInstanceUID") or path.parent),
        identity=Identity(
            patient=_text(header.get("PatientID")),
            study=_text(header.get("StudyInstanceUID")),
            frame_of_reference=_text(header.get("FrameOfReferenceUID")),
        ),
        acquisition=_acquisition(header, find),
        modality=known_modality(_text(header.get("Modality"))),
        not_ct=_not_ct(header, image_type, count, in_groups=own is not None),
        reformatted=bool(image_type & REFORMATS),
        original="DERIVED" not in image_type,
        rows=_whole(header.get("Rows")) or 0,
        columns=_whole(header.get("Columns")) or 0,
        orientation=_numbers(find("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        position=_numbers(find("PlanePositionSequence", "ImagePositionPatient"), 3),
        pixel_spacing=_numbers(find("PixelMeasuresSequence", "PixelSpacing"), 2),
        slope=1.0 if table else _number(find("PixelValueTransformationSequence", "RescaleSlope")),
        intercept=0.0
        if table
        else _number(find("PixelValueTransformationSequence", "RescaleIntercept")),
        unit=_unit(header, find),
        bits_stored=_whole(header.get("BitsStored")),
        high_bit=_whole(header.get("HighBit")),
        kernel=known_kernel(_text(find("CTReconstructionSequence", "ConvolutionKernel"))),
        thickness=_number(find("PixelMeasuresSequence", "SliceThickness")),
        transfer_syntax=_syntax_name(syntax),
        compressed=syntax is not None and syntax.is_transfer_syntax and syntax.is_encapsulated,
        mas=exposure,
        manufacturer=known_manufacturer(_text(header.get("Manufacturer"))),
        model=known_model(_text(header.get("ManufacturerModelName"))),
        pixels=pixels,
        instance=str(header.get("SOPInstanceUID") or ""),
    )


def _acquisition(
    header: pydicom.Dataset | dict[str, Any], find: Callable[[str, str], Any]
) -> Acquisition:
    usage = find("ContrastBolusUsageSequence", "ContrastBolusAgentPhase")
    number = _whole(find("FrameContentSequence", "FrameAcquisitionNumber"))
    temporal = _whole(find("FrameContentSequence", "TemporalPositionIndex"))
    whole = find("FrameContentSequence", "FrameAcquisitionDateTime")
    date, time = _text(header.get("AcquisitionDate")), _text(header.get("AcquisitionTime"))
    return Acquisition(
        number=_whole(header.get("AcquisitionNumber")) if number is None else number,
        seconds=moment_seconds(_text(whole or header.get("AcquisitionDateTime")))
        or moment_seconds(date + time),
        kvp=_number(find("CTXRayDetailsSequence", "KVP")),
        kev=_number(header.get("MonoenergeticEnergyEquivalent")),
        contrast=bool(str(header.get("ContrastBolusAgent") or "").strip()),
        phase=known_phase(_text(usage)),
        temporal=_whole(header.get("TemporalPositionIdentifier")) if temporal is None else temporal,
    )


# DT (date and time), or TM (time) with or without a date before it; fractions of a second and the
# offset from UTC may follow.
_MOMENT = re.compile(r"(\d{8})?(\d\d)(\d\d)(\d\d(\.\d{1,6})?)([+-]\d{4})?")


def moment_seconds(moment: str) -> float | None:
    """Convert DT, TM or a date and TM to seconds; None if it is missing or incomplete.

    Days count from the year 1; without a date there are none.

    Examples
    --------
    >>> moment_seconds("010203.5"), moment_seconds("00010101000001"), moment_seconds("noon")
    (3723.5, 86401.0, None)
    """
    found = _MOMENT.fullmatch(moment.strip())
    if not found:
        return None
    day, hours, minutes, seconds = found[1], int(found[2]), int(found[3]), float(found[4])
    try:
        days = datetime.date(int(day[:4]), int(day[4:6]), int(day[6:])).toordinal() if day else 0
    except ValueError:
        return None
    return days * 86400.0 + hours * 3600 + minutes * 60 + seconds


def _unit(header: pydicom.Dataset | dict[str, Any], find: Callable[[str, str], Any]) -> str:
    table = _first(header.get("ModalityLUTSequence"))
    if table is not None:
        return known_unit(_text(table.get("ModalityLUTType"))) or "US"
    return known_unit(_text(find("PixelValueTransformationSequence", "RescaleType")))


def _not_ct(
    header: pydicom.Dataset | dict[str, Any], image_type: set[str], count: int, *, in_groups: bool
) -> str:
    """Return why an image is not a CT slice, or an empty string."""
    rows, columns = _whole(header.get("Rows")), _whole(header.get("Columns"))
    if not rows or not columns:
        return "no image (directory, dose or structured report)"
    if max(rows, columns) > _LARGEST_SIDE:
        return f"the header claims {columns} × {rows} pixels"
    modality = known_modality(_text(header.get("Modality")))
    if modality != "CT":
        return f"modality {modality or 'unknown'}, not CT"
    if image_type & LOCALIZERS:
        return "localizer"
    if header.get("SOPClassUID") is not None and str(header.get("SOPClassUID")) not in CT_CLASSES:
        return "secondary capture or other object, not a CT image"
    if (_whole(header.get("SamplesPerPixel")) or 1) != 1:
        return "colour picture"
    if image_type & PROJECTIONS:
        return "projected from another series"
    if count > 1 and not in_groups:
        return "multi-frame image without positions"
    return ""


def _syntax_name(syntax: UID | None) -> str:
    return syntax.name if syntax is not None and syntax.is_transfer_syntax else "unknown"


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _many(value: Any) -> list:
    if value is None or isinstance(value, str):
        return [value] if value else []
    try:
        return list(value)
    except TypeError:
        return [value]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    numbers = tuple(_number(item) for item in _many(value))
    if len(numbers) != count or any(number is None for number in numbers):
        return None
    return tuple(float(number) for number in numbers if number is not None)


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number >= 0 else None


def _text(value: Any) -> str:
    """Join the values of a text element."""
    words = [str(item).strip() for item in _many(value)]
    return " ".join(word for word in words if word)
