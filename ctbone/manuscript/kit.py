"""Write the manuscript kit beside a report; files that somebody edited are kept."""

from __future__ import annotations

import csv
import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ctbone
from ctbone.document.table import safe_text
from ctbone.document.word import MARGIN, PAGE_HEIGHT, PAGE_WIDTH
from ctbone.errors import ReportError, StudyError
from ctbone.manuscript.markdown import markdown
from ctbone.manuscript.methods import methods
from ctbone.manuscript.numbers import Numbers
from ctbone.manuscript.parts import (
    Block,
    Field,
    Heading,
    Manuscript,
    NumberedFigure,
    Paragraph,
    line,
)
from ctbone.manuscript.results import results
from ctbone.manuscript.tex import tex
from ctbone.manuscript.word import word
from ctbone.study import atomic_path, file_hash, read_json, write_json

FOLDER = "manuscript"
RECORD = "manuscript.json"
# Figures of the paper, in its order: of the first figure whose key is, or begins with, each word.
_FIGURES = (
    *("flow", "primary", "roc", "calibration_internal", "calibration_external", "decision"),
    *("reader_study_roc", "reader_study_distance"),
)
_CAPTION = 40.0  # mm of the page's height that a caption may take


@dataclass(frozen=True)
class Kit:
    """A written kit.

    Attributes
    ----------
    folder
        Where it is.
    files
        The written files, relative to the folder.
    kept
        Files that somebody had edited, under the names that they have now.
    """

    folder: Path
    files: tuple[str, ...]
    kept: tuple[str, ...]


def write_manuscript(report: Path) -> Kit:
    """Write Methods and Results as Word, Markdown and LaTeX, with tables and figures.

    Parameters
    ----------
    report
        Folder of a report: ``metrics.json`` and ``figures/``.

    Returns
    -------
    Kit
        ``report/manuscript/``. Besides the text it holds ``fields.csv``, which names for each
        number the field of ``metrics.json``. A file that was edited since it was written is not
        overwritten: it gets another name.

    Raises
    ------
    ReportError
        There is no report.
    StudyError
        The folder cannot be written.
    """
    source = report / "metrics.json"
    if not source.is_file():
        raise ReportError("there is no report", file=source, remedy="run 'ctbone report' first")
    made = compose(read_json(source), report)
    contents: dict[str, bytes] = {
        "manuscript.docx": word(made),
        "manuscript.md": markdown(made).encode(),
        "manuscript.tex": tex(made).encode(),
        "fields.csv": _fields(made).encode(),
    }
    for figure in made.figures:
        vector = figure.picture.with_suffix(".svg")
        contents[figure.file] = figure.picture.read_bytes()
        if vector.is_file():
            contents[figure.file.removesuffix(".png") + ".svg"] = vector.read_bytes()
    return _write(report / FOLDER, contents, source)


def compose(metrics: Mapping[str, Any], report: Path) -> Manuscript:
    """Compose the text, tables and figures from the content of ``metrics.json``.

    Parameters
    ----------
    metrics
        The content.
    report
        Folder of the report, whose figures are used.
    """
    numbers = Numbers(metrics)
    figures = _figures(numbers, report)
    blocks: list[Block] = [*methods(numbers), *results(numbers)]
    if figures:
        blocks += [Heading("Figures", 1), *figures]
    blocks += [Heading("About this draft", 1), _about(numbers)]
    title = numbers.get("study_title") or numbers.get("study") or "Manuscript"
    return Manuscript(str(title), tuple(blocks))


def _about(numbers: Numbers) -> Paragraph:
    return line(
        "Written by ctbone {version} from metrics.json of the report. Every number is a field of "
        "that file; fields.csv names it. Text in brackets that begins with “authors” is not proved "
        "by any record.",
        version=numbers.text("provenance", "ctbone"),
    )


def _figures(numbers: Numbers, report: Path) -> list[NumberedFigure]:
    keys = numbers.names("figures")
    chosen: dict[str, None] = {}
    for word_ in _FIGURES:
        found = [key for key in keys if key == word_] or [k for k in keys if k.startswith(word_)]
        chosen |= dict.fromkeys(found[:1])
    made: list[NumberedFigure] = []
    for key in chosen:
        picture = report / "figures" / f"{key}.png"
        if picture.is_file():
            caption = numbers.get("figures", key)
            made.append(
                NumberedFigure(
                    number=len(made) + 1,
                    title=str(caption.get("title", key)),
                    note=str(caption.get("note", "")),
                    picture=picture,
                    width=_width(picture, float(caption.get("width_mm", PAGE_WIDTH))),
                )
            )
    return made


def _width(picture: Path, width: float) -> float:
    """Return the width in print, in mm: that of the figure, unless the page is too small."""
    pixels, lines = struct.unpack(">II", picture.read_bytes()[16:24])  # the PNG's header
    highest = PAGE_HEIGHT - 2 * MARGIN - _CAPTION
    return min(width, PAGE_WIDTH - 2 * MARGIN, highest * pixels / lines)


def _fields(manuscript: Manuscript) -> str:
    """List every field of the text: where it stands, what it says, and its key."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("section", "text", "field"))
    heading = ""
    for block in manuscript.blocks:
        if isinstance(block, Heading):
            heading = block.text
        elif isinstance(block, tuple):
            for part in block:
                if isinstance(part, Field):
                    table.writerow((heading, safe_text(part.text), safe_text(part.path)))
    return text.getvalue()


def _write(folder: Path, contents: Mapping[str, bytes], source: Path) -> Kit:
    kept = []
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        former = _former(folder)
        for name, content in contents.items():
            path = folder / name
            if path.is_file() and path.read_bytes() != content and _edited(path, former.get(name)):
                kept.append(_set_aside(path))
            with atomic_path(path) as part:
                part.write_bytes(content)
        for name in set(former) - set(contents):
            path = folder / name
            if path.is_file() and not _edited(path, former[name]):
                path.unlink()
        record = {
            "stage": "manuscript",
            "ctbone": ctbone.__version__,
            "inputs": {source.name: file_hash(source)},
            "files": {name: file_hash(folder / name) for name in contents},
        }
        write_json(folder / RECORD, record)
    except OSError as error:
        raise StudyError(
            f"the manuscript cannot be written ({error.strerror})", file=folder
        ) from error
    return Kit(folder, tuple(contents), tuple(kept))


def _former(folder: Path) -> dict[str, str]:
    """Return the files that an earlier run wrote here, with their hashes."""
    try:
        files = read_json(folder / RECORD)["files"]
    except (OSError, StudyError, KeyError, TypeError):
        return {}
    if not isinstance(files, dict):
        return {}
    inside = {name for name in files if Path(name).name == name or Path(name).parts[0] == "figures"}
    return {name: str(files[name]) for name in inside if ".." not in Path(name).parts}


def _edited(path: Path, written: str | None) -> bool:
    return written is None or file_hash(path) != written


def _set_aside(path: Path) -> str:
    """Give an edited file another name and return it."""
    number = 1
    while (aside := path.with_name(f"{path.stem}.edited-{number}{path.suffix}")).exists():
        number += 1
    path.replace(aside)
    return aside.name
