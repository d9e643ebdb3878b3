"""Read a radiograph from DICOM, PNG, JPEG or TIFF as grey values."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom.encaps import get_frame
from pydicom.uid import JPEG2000TransferSyntaxes, JPEGExtended12Bit, JPEGTransferSyntaxes

from ctbone.cohort import Case
from ctbone.errors import RadiographError
from ctbone.radiographs.grey import grey_of

if TYPE_CHECKING:
    from PIL.Image import Image

Decode = Callable[[Path, Sequence[int] | None, int], Iterator[np.ndarray]]
"""Decodes frames of a compressed DICOM file: the one frame, or those of the numbers from 0.

The last argument is the number of pixels of a frame. The values may hold bits above BitsStored;
those of lossy codecs do not leave its range.
"""

MODALITIES = ("CR", "DX", "RF", "RG", "XA")
"""Projection radiographs; see C.7.3.1.1.1."""
MOST_PIXELS = 120_000_000
"""Largest image that is decoded: the largest detectors have 20 million pixels, scanned films 60."""
_COLOURED = 16
"""Difference of two channels, of 255, above which a pixel counts as coloured; chosen for JPEG."""
_MOST_COLOURED = 0.05
"""Share of coloured pixels, such as marks, up to which a picture counts as a grey one."""


@dataclass(frozen=True)
class Radiograph:
    """One radiograph as it is stored.

    Attributes
    ----------
    grey
        float32, (rows, columns), 0 (black) to 1 (white); bone is bright.
    tall
        Height of a pixel divided by its width.
    orientation
        Directions of a row and of a column, such as ``("L", "F")``; None where no tag gives them.
    format
        ``DICOM CR``, ``PNG`` …
    """

    grey: np.ndarray
    tall: float = 1.0
    orientation: tuple[str, str] | None = None
    format: str = ""


def read_radiograph(case: Case, decode: Decode | None = None) -> Radiograph:
    """Read the radiograph of a case.

    Pictures are turned as their EXIF tag says; boxes and annotations refer to the turned picture.
    A picture has no tag for inverted grey except TIFF's, which is obeyed.

    Parameters
    ----------
    case
        Its ``image`` is the file, or a folder with this file alone.
    decode
        Decodes compressed DICOM pixels; None decodes them in this process.

    Raises
    ------
    RadiographError
        The file is missing, of another kind, coloured, animated, 1-bit, too large, or damaged.
    """
    path = file_of(case)
    with _named(case, path):
        if _is_dicom(path):
            return _read_dicom(case, path, decode)
        with _opened(path) as picture:
            return _read_picture(case, picture)


def size_of(case: Case) -> tuple[int, int]:
    """Return width and height of a case's radiograph from its header.

    Raises
    ------
    RadiographError
        As ``read_radiograph``, where the header shows it.
    """
    path = file_of(case)
    with _named(case, path):
        if _is_dicom(path):
            header = pydicom.dcmread(path, force=True, stop_before_pixels=True)
            _refuse_header(case, header)
            return int(header.Columns), int(header.Rows)
        with _opened(path) as picture:
            _refuse_picture(case, picture)
            sideways = picture.getexif().get(_EXIF_ORIENTATION, 1) >= 5
            return picture.size[::-1] if sideways else picture.size


_EXIF_ORIENTATION = 0x0112
"""EXIF tag; values from 5 on exchange width and height."""


def file_of(case: Case) -> Path:
    """Return the file of a case's radiograph.

    Raises
    ------
    RadiographError
        The file does not exist, or the folder does not hold exactly one file.
    """
    if not case.image.is_dir():
        if not case.image.is_file():
            raise RadiographError(
                "the radiograph does not exist", case=case.case_id, file=case.image
            )
        return case.image
    files = sorted(file for file in case.image.iterdir() if file.is_file())
    if len(files) != 1:
        raise RadiographError(
            "the folder does not hold exactly one radiograph",
            case=case.case_id,
            file=case.image,
            found=f"{len(files)} files",
            expected="1 file",
            remedy="name the file in the image column, one row a radiograph",
        )
    return files[0]


@contextlib.contextmanager
def _named(case: Case, path: Path) -> Iterator[None]:
    """Give every error the case and the file; decoders raise errors of any type."""
    try:
        yield
    except RadiographError as error:
        error.case, error.file = case.case_id, str(path)
        raise
    except Exception as error:
        raise RadiographError(
            "the radiograph cannot be read: it is damaged, or of an unknown format",
            case=case.case_id,
            file=path,
            found=type(error).__name__,
            expected="DICOM, PNG, JPEG or TIFF",
            remedy="export it again",
        ) from None


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        return True
    pictures = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"GIF8", b"BM")
    return not head.startswith(pictures) and head[:2] in (b"\x08\0", b"\0\x08", b"\x02\0")


def _refuse_header(case: Case, header: pydicom.Dataset) -> None:
    modality = str(header.get("Modality", "")).strip().upper()
    if modality not in MODALITIES:
        raise RadiographError(
            "the file is not a projection radiograph",
            found=f"modality {modality}" if modality.isalpha() and len(modality) < 6 else None,
            expected=", ".join(MODALITIES),
            remedy="name the radiograph in the image column",
        )
    if str(header.get("PhotometricInterpretation", "")) not in ("MONOCHROME1", "MONOCHROME2"):
        raise _coloured()
    _refuse_size(int(header.Columns), int(header.Rows))
    if not 8 <= int(header.BitsStored) <= 16:
        raise RadiographError(
            "the pixels have too few or too many bits",
            found=int(header.BitsStored),
            expected="8 to 16 bits stored",
        )
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1 and case.frame is None and not header.get("RepresentativeFrameNumber"):
        raise RadiographError(
            "the file has several frames",
            found=f"{frames} frames",
            expected="one frame, or its number",
            remedy="fill the column 'frame' of cohort.csv, from 1",
        )
    if (case.frame or 1) > frames:
        raise RadiographError("the file has no such frame", found=case.frame, expected=frames)


def _read_dicom(case: Case, path: Path, decode: Decode | None) -> Radiograph:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(path, force=True)
        _refuse_header(case, dataset)
        frames = int(dataset.get("NumberOfFrames") or 1)
        number = int(case.frame or dataset.get("RepresentativeFrameNumber") or 1) - 1
        wanted = [number] if frames > 1 else None
        if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit and dataset.BitsStored > 8:
            stored = _clipped(_twelve_bit_jpeg(dataset, number, frames), dataset)
        elif dataset.file_meta.TransferSyntaxUID.is_compressed and decode is not None:
            stored = next(iter(decode(path, wanted, dataset.Rows * dataset.Columns)))
        else:
            stored = _decoded_here(dataset, wanted)
        if stored.shape != (dataset.Rows, dataset.Columns):
            raise ValueError
        return Radiograph(
            grey=grey_of(stored, dataset),
            tall=_tall(dataset),
            orientation=_orientation(dataset),
            format=f"DICOM {dataset.Modality}",
        )


def _decoded_here(dataset: pydicom.Dataset, wanted: list[int] | None) -> np.ndarray:
    """Decode in this process; ``grey_of`` masks the bits and extends the sign."""
    frames = pydicom.pixels.iter_pixels(
        dataset,
        indices=wanted,
        raw=True,
        apply_jls_sign_correction=False,  # pydicom 3.0 writes into an array that is read-only
    )
    stored: np.ndarray = next(iter(frames))
    syntax = dataset.file_meta.TransferSyntaxUID
    overshoots = syntax in JPEGTransferSyntaxes or syntax in JPEG2000TransferSyntaxes
    return _clipped(stored, dataset) if overshoots else stored


def _clipped(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Clip values to the bits that are stored: lossy codecs overshoot them by a few levels."""
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    low = -(1 << (bits - 1)) if signed else 0
    return stored.clip(low, low + (1 << bits) - 1)


def _twelve_bit_jpeg(dataset: pydicom.Dataset, number: int, frames: int) -> np.ndarray:
    """Decode a frame of 12-bit lossy JPEG, for which pydicom has no codec."""
    try:
        import imagecodecs
    except ImportError:
        raise RadiographError(
            "no installed codec decodes 12-bit lossy JPEG",
            remedy="pip install imagecodecs; or export the radiograph without loss",
        ) from None
    stream = get_frame(dataset.PixelData, number, number_of_frames=frames)
    return np.asarray(imagecodecs.jpeg_decode(stream))


def _tall(dataset: pydicom.Dataset) -> float:
    """Return height / width of a pixel; the first number of each tag is the distance of rows."""
    for name in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        pair = dataset.get(name)
        if pair and len(pair) == 2 and min(float(pair[0]), float(pair[1])) > 0:
            return float(pair[0]) / float(pair[1])
    return 1.0


def _orientation(dataset: pydicom.Dataset) -> tuple[str, str] | None:
    pair = dataset.get("PatientOrientation")
    if pair is None or isinstance(pair, str) or len(pair) != 2 or not all(map(str, pair)):
        return None
    return str(pair[0]).strip().upper(), str(pair[1]).strip().upper()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image]:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF, and of sizes that are checked here
        try:
            picture = Image.open(path, formats=("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"))
        except Image.DecompressionBombError:
            raise _too_large("hundreds of millions of pixels") from None
        with picture:
            yield picture


def _refuse_picture(case: Case, picture: Image) -> None:
    _refuse_size(*picture.size)
    frames = int(getattr(picture, "n_frames", 1))
    if frames > 1 or picture.format not in ("PNG", "JPEG", "TIFF", "MPO"):
        raise RadiographError(
            "the file is animated, or has several pages"
            if frames > 1
            else "the format may have lost grey levels",
            found=f"{picture.format} with {frames} image{'s' * (frames > 1)}",
            expected="PNG, JPEG or TIFF with one image",
        )
    if picture.mode == "1":
        raise RadiographError(
            "the picture has one bit a pixel: it is a mask or a fax, not a radiograph",
            expected="8 to 16 bits of grey",
        )


def _refuse_size(width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MOST_PIXELS:
        raise _too_large(f"{width} x {height} pixels")


def _too_large(found: str) -> RadiographError:
    return RadiographError(
        "the image is too large, or has no pixels",
        found=found,
        expected=f"at most {MOST_PIXELS // 10**6} million pixels",
        remedy="check the file; it may be damaged, or made to exhaust the memory",
    )


def _read_picture(case: Case, picture: Image) -> Radiograph:
    from PIL import ImageFile, ImageOps

    assert not ImageFile.LOAD_TRUNCATED_IMAGES
    _refuse_picture(case, picture)
    # Before the tag is lost: Pillow inverts 8-bit TIFF of WhiteIsZero, and no 16-bit TIFF.
    tags = getattr(picture, "tag_v2", {})
    white_is_zero = picture.mode.startswith("I") and tags.get(262) == 0
    form = str(picture.format)
    turned = ImageOps.exif_transpose(picture)
    grey = _grey_of_picture(turned)
    return Radiograph(1 - grey if white_is_zero else grey, format=form)


def _grey_of_picture(picture: Image) -> np.ndarray:
    if picture.mode in ("I;16", "I;16L", "I;16B", "I"):
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise RadiographError("the picture has more than 16 bits", expected="8 to 16 bits")
        return (values / 65535).astype(np.float32)
    if picture.mode == "L":
        return np.asarray(picture, np.float32) / 255
    if picture.mode not in ("LA", "RGB", "RGBA", "P", "PA"):
        raise _coloured(picture.mode)
    full = np.asarray(picture.convert("RGBA"))
    if full[..., 3].min() < 255:
        raise RadiographError(
            "the picture is partly transparent", remedy="export it without an alpha channel"
        )
    colours = full[..., :3].astype(np.int16)
    spread = colours.max(axis=2) - colours.min(axis=2)
    if (spread > _COLOURED).mean() > _MOST_COLOURED:
        raise _coloured()
    luminance = np.asarray(picture.convert("RGB").convert("L"), np.float32)
    return luminance / 255


def _coloured(mode: str | None = None) -> RadiographError:
    return RadiographError(
        "the image is coloured",
        found=mode,
        expected=f"grey, or colour in at most {_MOST_COLOURED:.0%} of the pixels",
        remedy="export the radiograph in grey",
    )
