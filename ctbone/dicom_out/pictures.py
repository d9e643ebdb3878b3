"""The heat map as secondary captures: colour pictures of the source slices for any viewer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from highdicom.sc import SCImage
from pydicom.uid import RLELossless

from ctbone.config import Window
from ctbone.dicom_out.heat import Heat
from ctbone.dicom_out.objects import NOTICE, completed, first_answer, new_series
from ctbone.dicom_out.source import SourceSeries
from ctbone.document.ct_panel import HEAT, LIGHT, OPAQUE, OUTLINE, QUIET

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

_LEAST_WIDTH = 512
"""Pixels; a narrower slice is enlarged by a whole factor."""
_HEAD_LINES = 3
_LINE = 0.034
"""Height of a line of text, as share of the picture's width: 17 pixels of 512."""
_PAPER = (16, 18, 20)
_BAR_WIDTH, _BAR_HEIGHT = 0.22, 0.35
"""Of the scale of heat: share of the picture's width, and of a line."""


def make_pictures(
    source: SourceSeries,
    lesion: np.ndarray,
    heat: Heat,
    *,
    on_slices: np.ndarray,
    answer: Mapping[str, Any],
    positive: str,
    window: Window,
) -> Iterator[SCImage]:
    """Yield one picture for each slice that shows heat or lesion, in the order of the slices.

    Parameters
    ----------
    source
        The slices; their pixels are read.
    lesion
        Boolean, (slices, rows, columns), drawn as outline.
    heat, on_slices
        The map, and its values on the slices, 0–1.
    answer
        For the probability in the head of each picture.
    positive
        The class whose probability is shown.
    window
        HU from black to white.
    """
    series, directions = new_series("pictures"), source.directions()
    shown = np.nonzero((on_slices > 0.5 / 255).any(axis=(1, 2)) | lesion.any(axis=(1, 2)))[0]
    head = _head(heat, answer, positive)
    for count, number in enumerate(shown.tolist(), start=1):
        header = source.headers[number]
        pixels = draw_slice(
            source.hu(number), lesion[number], on_slices[number], window=window, head=head
        )
        made = SCImage.from_ref_dataset(
            header,
            pixel_array=pixels,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            patient_orientation=(directions[0][0], directions[1][0]),  # one letter each
            transfer_syntax_uid=RLELossless,
            **series.attributes(count),
        )
        made.PatientOrientation = list(directions)
        made.ImageType = ["DERIVED", "SECONDARY"]
        made.BurnedInAnnotation = "NO"  # the text names neither patient nor date
        made.ImageComments = NOTICE
        completed(made, header)
        yield made


def draw_slice(
    hu: np.ndarray, lesion: np.ndarray, heat: np.ndarray, *, window: Window, head: list[str]
) -> np.ndarray:
    """Draw a slice with heat and outline, below a head of text and the scale of the heat.

    Parameters
    ----------
    hu, lesion, heat
        (rows, columns): HU, boolean, and 0–1.
    window
        HU from black to white.
    head
        Three lines of text.

    Returns
    -------
    numpy.ndarray
        uint8, (rows, columns, 3).
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    factor = -(-_LEAST_WIDTH // hu.shape[1])
    hu, lesion, heat = (one.repeat(factor, 0).repeat(factor, 1) for one in (hu, lesion, heat))
    low = window.center - window.width / 2
    grey = np.clip((hu.astype(np.float32) - low) / window.width, 0, 1)[..., None]
    colours = colormaps[HEAT](heat)[..., :3]
    opacity = (heat * OPAQUE)[..., None]
    drawn = grey * (1 - opacity) + colours * opacity
    drawn[_outline(lesion)] = to_rgb(OUTLINE)
    body = np.rint(255 * drawn).astype(np.uint8)
    return np.concatenate([_draw_head(head, body.shape[1]), body])


def _outline(lesion: np.ndarray) -> np.ndarray:
    """Return the pixels of a lesion that touch its outside."""
    from scipy import ndimage

    inner: np.ndarray = ndimage.binary_erosion(lesion, border_value=1)
    return lesion & ~inner


def _head(heat: Heat, answer: Mapping[str, Any], positive: str) -> list[str]:
    name, content = first_answer(answer)
    percent = 100 * content["probabilities"][positive]
    return [
        f"RESEARCH USE ONLY   P({positive}) {percent:.1f} %, {name}",
        f"Grad-CAM of {heat.model}: evidence for {heat.target}, {100 * heat.probability:.1f} %",
        f"layer {heat.layer}, cells of {heat.cell_mm:.2g} mm; outline: lesion",
    ]


def _draw_head(lines: list[str], width: int) -> np.ndarray:
    """Draw the lines of text, and the scale of the heat at their right."""
    from matplotlib import colormaps
    from PIL import Image, ImageDraw

    line = round(_LINE * width)
    picture = Image.new("RGB", (width, (_HEAD_LINES + 1) * line), _PAPER)
    pen = ImageDraw.Draw(picture)
    room = round(width * (1 - _BAR_WIDTH)) - 2 * line
    for number, text in enumerate(lines):
        font = _fitting(text, room if number == _HEAD_LINES - 1 else width - line, line)
        place = (line // 2, round((number + 0.4) * line))
        pen.text(place, text, font=font, fill=LIGHT if number < _HEAD_LINES - 1 else QUIET)
    pixels = np.array(picture)
    wide, high = round(_BAR_WIDTH * width), max(2, round(_BAR_HEIGHT * line))
    scale = np.rint(255 * colormaps[HEAT](np.linspace(0, 1, wide))[:, :3]).astype(np.uint8)
    top, right = round((_HEAD_LINES - 0.25) * line), width - line // 2
    pixels[top : top + high, right - wide : right] = scale
    small = Image.fromarray(pixels)
    font = _font(round(0.62 * line))
    pen = ImageDraw.Draw(small)
    at = round((_HEAD_LINES - 1 + 0.02) * line)
    pen.text((right - wide, at), "heat 0", font=font, fill=LIGHT)
    pen.text((right, at), "highest", font=font, fill=LIGHT, anchor="ra")
    return np.array(small)


def _fitting(text: str, room: int, line: int) -> FreeTypeFont:
    """Return the largest font in which a text fits into its room, 78 % of the line at most."""
    size = round(0.78 * line)
    while size > 6 and _font(size).getlength(text) > room:
        size -= 1
    return _font(size)


def _font(size: int) -> FreeTypeFont:
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)
