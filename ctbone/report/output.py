"""Where a report goes: the page, tables, figures and numbers, each written atomically."""

from __future__ import annotations

from pathlib import Path

from ctbone.report.latex import latex
from ctbone.report.page import Page, render
from ctbone.study import atomic_path, write_json, write_text


def write_report(folder: Path, page: Page) -> Path:
    """Write ``index.html``, ``metrics.json``, ``tables/*.{csv,tex}`` and ``figures/*.{svg,png}`` into a folder.

    All of it is computed before the first file is written; the page, written last, says that all is there.

    Returns
    -------
    Path
        ``index.html``.

    Raises
    ------
    StudyError
        The folder cannot be written.
    """
    html = render(page)
    for table in page.tables:
        table.write(folder / "tables")
        write_text(folder / "tables" / f"{table.key}.tex", latex(table))
    for figure in page.figures:
        for suffix, content in (("svg", figure.svg), ("png", figure.png)):
            with atomic_path(folder / "figures" / f"{figure.key}.{suffix}") as temporary:
                temporary.write_bytes(content)
    write_json(folder / "metrics.json", page.metrics)
    write_text(folder / "index.html", html)
    return folder / "index.html"
