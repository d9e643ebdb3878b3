"""The quality table of all cases, ranked, and the page with their contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
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
from ctbone.preprocessing.impossible_values import impossible
from ctbone.preprocessing.outliers import (
    FEWEST,
    FLAGGED_SHARE,
    LIMIT,
    farthest_z,
    flagged,
    outliers,
    ranks,
)
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
    "rank",
    "findings",
    "flags",
)


def write_quality(study: Study, case_ids: Sequence[str]) -> pd.DataFrame:
    """Write ``qc/qc.csv`` and ``qc/index.html`` of all these cases that have crops.

    A case has a finding if the robust z of a measure is beyond 3.5 (``outliers``), or if its lesion
    was shrunk to fit, has several parts that matter, or touches the border of the scan. Cases are
    ranked by impossible values (``impossible``), findings and the largest |z|. Flagged are those
    with an impossible value, and the first by rank: one in twenty at most.

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
    table = pd.DataFrame(rows, columns=list(COLUMNS[:-3]))
    mode = study.settings.preprocess.crop_3d.mode
    wrong = [_impossible(record) for record in records.values()]
    square = (table["spacing_x_mm"] == table["spacing_y_mm"]).all()
    lengths = tuple(name for name in _LENGTHS if not (square and name == "spacing_y_mm"))
    apart = outliers(table, lengths, _NUMBERS)
    found = [
        [*values, *warnings_of(record, mode), *of_case]
        for values, record, of_case in zip(wrong, records.values(), apart, strict=True)
    ]
    counts, errors = [len(texts) for texts in found], [len(texts) for texts in wrong]
    table["rank"] = ranks(counts, farthest_z(table, lengths, _NUMBERS).tolist(), errors)
    table["findings"] = ["; ".join(texts) for texts in found]
    marked = flagged(table["rank"].tolist(), counts, errors)
    table["flags"] = table["findings"].where(np.array(marked, dtype=bool), "")
    write_table(study.qc / "qc.csv", table)
    write_text(study.qc / "index.html", render(_page(study, table)))
    return table


def _impossible(record: dict[str, Any]) -> list[str]:
    summary = record["summary"]
    return impossible(summary["mean_hu"], summary["longest_mm"], summary["spacing"])


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
    cases = table.sort_values("rank", kind="stable").to_dict("records")
    count = int((table["flags"] != "").sum())
    others = int((table["findings"] != "").sum()) - count
    text = (
        f"{len(cases)} case{'s' * (len(cases) != 1)}, {count} to look at first; {others} more "
        f"{'has' if others == 1 else 'have'} findings. A measure is a finding if its robust z is "
        f"beyond {LIMIT} (volumes, lengths and spacings by their logarithm; {FEWEST} cases or "
        "more); so is a lesion that was shrunk to fit, has several parts (1 % of the largest or "
        "more, or 2 mm beyond its box) or touches the border of the scan. Cases are ranked by "
        f"their number of findings, then by the largest z. At most one in {FLAGGED_SHARE} is "
        "flagged, and every case with a value that CT cannot have."
    )
    columns = [
        TableColumn("case_id", "Case", "text"),
        TableColumn("rank", "Rank"),
        TableColumn("lesion_ml", "ml"),
        TableColumn("longest_mm", "Longest mm"),
        TableColumn("mean_hu", "Mean HU"),
        TableColumn("spacing_mm", "Voxel mm"),
        TableColumn("scale_factor", "Scale"),
        TableColumn("parts", "Parts"),
        TableColumn("flags", "Look first", "text"),
        TableColumn("findings", "Findings", "text"),
    ]
    sheets = [name for case in cases if study.qc_sheet(name := str(case["case_id"])).is_file()]
    rows = [_cells(case, linked=str(case["case_id"]) in sheets) for case in cases]
    measures = plain_table("qc", title="Cases by rank", columns=columns, rows=rows)
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
        int(case["rank"]),
        f"{case['lesion_ml']:.3g}",
        f"{case['longest_mm']:.0f}",
        f"{case['mean_hu']:.0f}",
        " × ".join(f"{case[f'spacing_{axis}_mm']:.3g}" for axis in "xyz"),
        f"{case['scale_factor']:.2f}",
        int(case["parts"]),
        "yes" if case["flags"] else "",
        str(case["findings"]),
    ]


def _anchor(case_id: str) -> str:
    return f"sheet-{case_id}"
