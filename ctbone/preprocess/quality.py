"""Quality table over all cases, and the page of their contact sheets, flagged cases first."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from ctbone.errors import StudyError
from ctbone.preprocess.outliers import FEWEST, LIMIT, outliers
from ctbone.preprocess.sheet import warnings_of
from ctbone.study import Study, read_json, record_of, write_table, write_text

_LENGTHS = ("lesion_ml", "longest_mm", "spacing_x_mm", "spacing_y_mm", "spacing_z_mm")
_NUMBERS = ("mean_hu",)
COLUMNS = (
    "case_id",
    *_LENGTHS[:2],
    *_NUMBERS,
    *_LENGTHS[2:],
    "scale_factor",
    "parts",
    "touches_border",
    "flags",
)

_STYLE = """
:root { color-scheme: dark }
body { margin: 2rem auto; padding: 0 1.5rem; max-width: 1500px; background: #101214; color: #f2f2f2;
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin-bottom: .2rem }
p { color: #9aa0a6; max-width: 60em }
table { border-collapse: collapse; margin: 1.5rem 0 2.5rem; width: 100%;
  font-variant-numeric: tabular-nums }
th { text-align: right; font-weight: 500; color: #9aa0a6 }
td { text-align: right }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #2a2d31 }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left }
a { color: inherit }
.flag { color: #ff8c5a }
section { display: grid; grid-template-columns: repeat(auto-fill, minmax(420px, 1fr)); gap: 1rem }
img { width: 100%; display: block; border: 1px solid #2a2d31 }
"""
_HEADINGS = ("Case", "ml", "Longest mm", "Mean HU", "Voxel mm", "Scale", "Parts", "To look at")


def write_quality(study: Study, case_ids: Sequence[str]) -> pd.DataFrame:
    """Write ``qc/qc.csv`` and ``qc/index.html`` over all of these cases that have crops.

    A case is flagged where the robust z of a measure is beyond 3.5 (``outliers``), or where its
    lesion was shrunk to fit, has several parts that matter, or touches the border of the scan.

    Parameters
    ----------
    study
        The study.
    case_ids
        Its cases; one without crops is left out.

    Returns
    -------
    pandas.DataFrame
        The table as written, one row a case.
    """
    records = {}
    for case_id in case_ids:
        try:
            records[case_id] = read_json(record_of(study.crop(case_id, "3d")))
        except StudyError:
            continue
    rows = [_row(case_id, record) for case_id, record in records.items()]
    table = pd.DataFrame(rows, columns=list(COLUMNS[:-1]))
    mode = study.settings.preprocess.crop_3d.mode
    apart = outliers(table, _LENGTHS, _NUMBERS)
    table["flags"] = [
        "; ".join([*warnings_of(record, mode), *found])
        for record, found in zip(records.values(), apart, strict=True)
    ]
    write_table(study.qc / "qc.csv", table)
    write_text(study.qc / "index.html", _page(study, table))
    return table


def _row(case_id: str, record: dict[str, Any]) -> dict[str, object]:
    summary = record["summary"]
    x, y, z = summary["spacing"]
    return {
        "case_id": case_id,
        **{name: summary[name] for name in ("lesion_ml", "longest_mm", "mean_hu", "scale_factor")},
        **{"spacing_x_mm": x, "spacing_y_mm": y, "spacing_z_mm": z},
        "parts": len(record["case"]["parts_ml"]),
        "touches_border": record["case"]["touches_border"],
    }


def _page(study: Study, table: pd.DataFrame) -> str:
    flagged_first = table.sort_values("flags", key=lambda flags: flags == "", kind="stable")
    cases = flagged_first.to_dict("records")
    told = "".join(f"<th>{heading}</th>" for heading in _HEADINGS)
    lines = "\n".join(_line(case) for case in cases)
    shown = [case for case in cases if study.qc_sheet(str(case["case_id"])).is_file()]
    sheets = "\n".join(_sheet(str(case["case_id"])) for case in shown)
    flagged = int((table["flags"] != "").sum())
    name = escape(study.settings.name)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{name}: quality</title>"
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>\n'
        f"<h1>{escape(study.settings.title or study.settings.name)}</h1>\n"
        f"<p>{len(cases)} case{'s' * (len(cases) != 1)}, {flagged} to look at. A measure is flagged"
        f" where its robust z is beyond {LIMIT} (volumes, lengths and spacings by their logarithm;"
        f" {FEWEST} cases or more), a case where the lesion was shrunk to fit, has several parts"
        " (1 % of the largest or more, or 2 mm beyond its box) or touches the border of the"
        " scan.</p>\n"
        f"<table><thead><tr>{told}</tr></thead><tbody>\n{lines}\n</tbody></table>\n"
        f"<section>\n{sheets}\n</section>\n</body></html>\n"
    )


def _line(case: dict[Any, Any]) -> str:
    spacing = " × ".join(f"{case[f'spacing_{axis}_mm']:.3g}" for axis in "xyz")
    cells = (
        f'<a href="#{escape(case["case_id"])}">{escape(case["case_id"])}</a>',
        f"{case['lesion_ml']:.3g}",
        f"{case['longest_mm']:.0f}",
        f"{case['mean_hu']:.0f}",
        spacing,
        f"{case['scale_factor']:.2f}",
        str(case["parts"]),
        f'<span class="flag">{escape(case["flags"])}</span>',
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _sheet(case_id: str) -> str:
    name = escape(case_id)
    image = f'<img src="{name}.png" alt="Contact sheet of {name}" loading="lazy">'
    return f'<a id="{name}" href="{name}.png">{image}</a>'
