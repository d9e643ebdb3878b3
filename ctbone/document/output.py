"""Write a page with its tables, figures and numbers into a folder, all of them or none."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from ctbone.document.latex import latex
from ctbone.document.page import Page, render
from ctbone.errors import StudyError
from ctbone.study import temporary_folder, write_json, write_text

_FOLDERS = ("tables", "figures", "viewer")


def write_page(folder: Path, page: Page, numbers: str = "metrics.json") -> Path:
    """Write ``index.html``, ``metrics.json``, ``tables/*.{csv,tex}``, ``figures/*.{svg,png}``.

    Tables with ``word`` are also written as ``tables/*.docx``. ``metrics.json`` lists the files and
    the captions of the figures. Cases of galleries that have a page of the viewer get
    ``viewer/<case>.html``.

    All files are written to a temporary folder first and moved when they are complete. Files that
    an earlier page wrote and this one does not are deleted. ``index.html`` is moved last, so it is
    there only if everything else is.

    Parameters
    ----------
    folder, page
        Where, and what.
    numbers
        Name of the file that holds ``page.metrics``.

    Returns
    -------
    Path
        ``index.html``.

    Raises
    ------
    StudyError
        The folder cannot be written.
    """
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_folder(folder) as aside:
            _move(_write(aside, page, numbers), aside=aside, folder=folder, numbers=numbers)
    except OSError as error:
        raise StudyError(f"the page cannot be written ({error.strerror})", file=folder) from error
    finally:
        with suppress(OSError):
            if made and not any(folder.iterdir()):
                folder.rmdir()
    return folder / "index.html"


def _move(files: list[str], *, aside: Path, folder: Path, numbers: str) -> None:
    """Move complete files to their places, and delete those of an earlier page only."""
    former = _files_of(folder / numbers)
    (folder / "index.html").unlink(missing_ok=True)
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (aside / name).replace(folder / name)
    for name in former - set(files):
        (folder / name).unlink(missing_ok=True)


def _write(folder: Path, page: Page, numbers: str) -> list[str]:
    """Write every file, ``index.html`` last, and return their names in this order."""
    html = render(page)
    names = []
    for table in page.tables:
        table.write(folder / "tables")
        write_text(folder / "tables" / f"{table.key}.tex", latex(table))
        names += [f"tables/{table.key}.{suffix}" for suffix in ("csv", "tex")]
        if table.word:
            from ctbone.document.word import table_document  # python-docx takes 0.2 s to import

            content = table_document(table, base="../index.html")
            (folder / "tables" / f"{table.key}.docx").write_bytes(content)
            names.append(f"tables/{table.key}.docx")
    (folder / "figures").mkdir()
    for figure in page.figures:
        for suffix, content in (("svg", figure.svg), ("png", figure.png)):
            (folder / "figures" / f"{figure.key}.{suffix}").write_bytes(content)
            names.append(f"figures/{figure.key}.{suffix}")
    for name, html_of_viewer in page.viewer_pages.items():
        write_text(folder / name, html_of_viewer)
        names.append(name)
    captions = {
        figure.key: {"title": figure.title, "note": figure.note, "width_mm": figure.width}
        for figure in page.figures
    }
    write_json(folder / numbers, {**page.metrics, "figures": captions, "files": names})
    write_text(folder / "index.html", html)
    return [*names, numbers, "index.html"]


def _files_of(numbers: Path) -> set[str]:
    """Return the tables and figures that an earlier page lists as its own."""
    try:
        names = json.loads(numbers.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    if not isinstance(names, list):
        return set()
    parts = [name.split("/") for name in names if isinstance(name, str)]
    return {
        "/".join(found)
        for found in parts
        if len(found) == 2 and found[0] in _FOLDERS and found[1] not in ("", "..")
    }
