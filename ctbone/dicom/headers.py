"""Every file of a folder, and what its DICOM header says about each image in it."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, Literal

import pydicom
from pydicom.uid import UID

from ctbone.dicom.fast_header import StoredPixels, inflates_beyond, read_plain
from ctbone.dicom.header_vocabulary import known_kernel, known_maker, known_modality, known_model
from ctbone.quiet_pydicom import quiet_pydicom

_TAGS = [
    "SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "ConvolutionKernel",
    "ContrastBolusAgent", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "Rows", "Columns",
    "NumberOfFrames", "SliceThickness", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "SamplesPerPixel",
    "BitsAllocated", "KVP", "Exposure", "XRayTubeCurrent", "ExposureTime", "Manufacturer", "ManufacturerModelName",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip
_CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
}
_LOCALIZERS = {"LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "REF_SURVIEW"}
_REFORMATS = {"REFORMATTED", "MPR", "CSA MPR", "MIP", "CSA MIP", "MINIP", "MIN_IP", "PROJECTION IMAGE", "VRT", "VOLREN",
              "CSA 3D", "SSD", "CURVED", "RESAMPLED"}  # fmt: skip
Stranger = Literal["no DICOM", "damaged DICOM", "cannot be read"]
_LARGEST_SIDE = 16384
_LARGEST_INFLATED = 1 << 29


@dataclass(frozen=True)
class Frame:
    """What the header says about one image: a classic file holds one, an enhanced file many.

    Attributes
    ----------
    path, index
        The file, and the frame's number in it from 0.
    series, study
        What tells series and studies apart; never shown, never written.
    kind
        Empty for a CT image; else why this is none.
    orientation, position, pixel_spacing
        ImageOrientationPatient (6), ImagePositionPatient (3), PixelSpacing (2: between rows, between columns); None
        where missing or damaged.
    slope, intercept
        From stored numbers to HU; None where the header does not say, 1 and 0 where it holds a table instead.
    transfer_syntax, compressed
        Its name, and whether a codec is needed.
    kvp, mas, thickness, kernel, maker, model
        Facts of the scan; None or empty where missing.
    pixels
        Where uncompressed pixels lie; None where a codec or the general reader must be asked.
    """

    path: Path
    index: int
    series: str
    study: str
    modality: str
    kind: str
    original: bool
    rows: int
    columns: int
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    pixel_spacing: tuple[float, ...] | None
    slope: float | None
    intercept: float | None
    kernel: str
    contrast: bool
    thickness: float | None
    transfer_syntax: str
    compressed: bool
    kvp: float | None
    mas: float | None
    maker: str
    model: str
    pixels: StoredPixels | None = None


def walk(folder: Path) -> list[Path]:
    """List every regular file below ``folder``, sorted; loops of symbolic links end."""
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


def read_frames(path: Path) -> list[Frame] | Stranger:
    """Read a file's header; or say why the file takes no part."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
            if start[128:] != b"DICM" and start[:2] not in (b"\x08\x00", b"\x02\x00"):
                return "no DICOM"
            file.seek(0)
            plain = read_plain(file, os.fstat(file.fileno()).st_size)
            if plain is not None:
                return [_frame(path, 0, plain.values, None, None, 1, plain.syntax, plain.pixels)]
            file.seek(0)
            if inflates_beyond(file, _LARGEST_INFLATED):
                return "damaged DICOM"
            file.seek(0)
            return _read_any(path, file)
    except OSError:
        return "cannot be read"
    except Exception:  # a damaged header raises anything
        return "damaged DICOM"


def _read_any(path: Path, file: BufferedIOBase) -> list[Frame]:
    with quiet_pydicom():
        return _frames(
            path, pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=_TAGS)
        )


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return False


def _frames(path: Path, header: pydicom.Dataset) -> list[Frame]:
    syntax = (
        getattr(header.file_meta, "TransferSyntaxUID", None)
        if hasattr(header, "file_meta")
        else None
    )
    count = _whole(header.get("NumberOfFrames")) or 1
    shared = _first(header.get("SharedFunctionalGroupsSequence"))
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    if groups and len(groups) < count:
        count = len(groups)
    frames = []
    for index in range(count if groups else 1):
        own = groups[index] if groups else None
        frames.append(_frame(path, index, header, shared, own, count, syntax))
    return frames


def _frame(
    path: Path,
    index: int,
    header: pydicom.Dataset | dict[str, Any],
    shared: Any,
    own: Any,
    count: int,
    syntax: UID | None,
    pixels: StoredPixels | None = None,
) -> Frame:
    def find(sequence: str, keyword: str) -> Any:
        """Look in the frame's own group, then in the shared one, then in the header itself."""
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
        series=str(header.get("SeriesInstanceUID") or path.parent),
        study=f"{header.get('PatientID')}\0{header.get('StudyInstanceUID')}",
        modality=known_modality(_text(header.get("Modality"))),
        kind=_kind(header, image_type, count, in_groups=own is not None),
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
        kernel=known_kernel(_text(find("CTReconstructionSequence", "ConvolutionKernel"))),
        contrast=bool(str(header.get("ContrastBolusAgent") or "").strip()),
        thickness=_number(find("PixelMeasuresSequence", "SliceThickness")),
        transfer_syntax=_syntax_name(syntax),
        compressed=syntax is not None and syntax.is_transfer_syntax and syntax.is_encapsulated,
        kvp=_number(find("CTXRayDetailsSequence", "KVP")),
        mas=exposure,
        maker=known_maker(_text(header.get("Manufacturer"))),
        model=known_model(_text(header.get("ManufacturerModelName"))),
        pixels=pixels,
    )


def _kind(
    header: pydicom.Dataset | dict[str, Any], image_type: set[str], count: int, *, in_groups: bool
) -> str:
    rows, columns = _whole(header.get("Rows")), _whole(header.get("Columns"))
    if not rows or not columns:
        return "no image (directory, dose or structured report)"
    if max(rows, columns) > _LARGEST_SIDE:
        return f"claims {columns} × {rows} pixels"
    modality = known_modality(_text(header.get("Modality")))
    if modality != "CT":
        return f"modality {modality or 'unknown'}, not CT"
    if image_type & _LOCALIZERS:
        return "localizer"
    if header.get("SOPClassUID") is not None and str(header.get("SOPClassUID")) not in _CT_CLASSES:
        return "secondary capture or other object, no CT image"
    if (_whole(header.get("SamplesPerPixel")) or 1) != 1:
        return "colour picture"
    if image_type & _REFORMATS:
        return "reformatted or projected from another series"
    if count > 1 and not in_groups:
        return "several frames without positions"
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
    """Return the values of a text element in one line."""
    words = [str(item).strip() for item in _many(value)]
    return " ".join(word for word in words if word)
