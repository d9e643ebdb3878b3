"""The quality table of all cases, and the page with their contact sheets, flagged cases first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ctbone.document import (
    Cell,
    ImageFile,
    ImageFiles,
    Page,
    Section,
    SectionLink,
    TableBlock,
    TableColumn,
    Text,
    plain_table,
    render,
)
from ctbone.errors import StudyError
from ctbone.preprocessing.outliers import FEWEST, LIMIT, outliers
from ctbone.preprocessing.sheet import warnings_of
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


def write_quality(study: Study, case_ids: Sequence[str]) -> pd.DataFrame:
    """Write ``qc/qc.csv`` and ``qc/index.html`` of all these cases that have crops.

    A case is flagged if the robust z of a measure is beyond 3.5 (``outliers``), or if its lesion
    was shrunk to fit, has several parts that matter, or touches the border of the scan.

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
    write_text(study.qc / "index.html", render(_page(study, table)))
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


def _page(study: Study, table: pd.DataFrame) -> Page:
    flagged_first = table.sort_values("flags", key=lambda flags: flags == "", kind="stable")
    cases = flagged_first.to_dict("records")
    flagged = int((table["flags"] != "").sum())
    text = (
        f"{len(cases)} case{'s' * (len(cases) != 1)}, {flagged} to look at. A measure is flagged "
        f"if its robust z is beyond {LIMIT} (volumes, lengths and spacings by their logarithm; "
        f"{FEWEST} cases or more). A case is flagged if the lesion was shrunk to fit, has several "
        "parts (1 % of the largest or more, or 2 mm beyond its box) or touches the border of the "
        "scan."
    )
    columns = [
        TableColumn("case_id", "Case", "text"),
        TableColumn("lesion_ml", "ml"),
        TableColumn("longest_mm", "Longest mm"),
        TableColumn("mean_hu", "Mean HU"),
        TableColumn("spacing_mm", "Voxel mm"),
        TableColumn("scale_factor", "Scale"),
        TableColumn("parts", "Parts"),
        TableColumn("flags", "To look at", "text"),
    ]
    sheets = [name for case in cases if study.qc_sheet(name := str(case["case_id"])).is_file()]
    rows = [_cells(case, linked=str(case["case_id"]) in sheets) for case in cases]
    measures = plain_table("qc", title="Cases, flagged ones first", columns=columns, rows=rows)
    images = tuple(
        ImageFile(
            path=f"{name}.png",
            alt=f"Contact sheet of {name}",
            anchor=_anchor(name),
            viewer=f"viewer/{name}.html" if study.qc_viewer(name).is_file() else "",
        )
        for name in sheets
    )
    return Page(
        title=study.settings.title or study.settings.name,
        subtitle=f"Study {study.settings.name}: quality of the crops",
        summary=(Text((text,)),),
        sections=(
            Section("cases", "Cases", (TableBlock(measures),)),
            Section("sheets", "Contact sheets", (ImageFiles(images),)),
        ),
    )


def _cells(case: dict[Any, Any], *, linked: bool) -> list[Cell]:
    name = str(case["case_id"])
    return [
        SectionLink(name, _anchor(name)) if linked else name,
        f"{case['lesion_ml']:.3g}",
        f"{case['longest_mm']:.0f}",
        f"{case['mean_hu']:.0f}",
        " × ".join(f"{case[f'spacing_{axis}_mm']:.3g}" for axis in "xyz"),
        f"{case['scale_factor']:.2f}",
        int(case["parts"]),
        str(case["flags"]),
    ]


def _anchor(case_id: str) -> str:
    return f"sheet-{case_id}"
