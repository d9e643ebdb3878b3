"""The page of a model's maps: what was drawn, how methods and classes differ, every picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ctbone.cohort import INTERNAL, Case
from ctbone.config import ExplainMethod
from ctbone.document import (
    DrawnFigure,
    FigureBlock,
    ImageFile,
    ImageFiles,
    Page,
    Section,
    SectionLink,
    Table,
    TableBlock,
    TableColumn,
    Text,
    finish,
    line_styles,
    panels,
    plain_table,
    style,
    write_page,
)
from ctbone.document.table import Cell
from ctbone.explaining.comparison import by_patient, comparisons, summaries
from ctbone.explaining.methods import NEEDS_LAYER, TITLES
from ctbone.study import Study, read_json, record_of

_CAUTION = (
    "A map shows where one network finds evidence for a class. It does not show "
    "why, and it is not a segmentation. For research use."
)


def write_explanations(
    study: Study, model: str, methods: Sequence[ExplainMethod], *, cases: Sequence[Case]
) -> tuple[Path, list[dict[str, Any]]]:
    """Write the page of the maps of some cases.

    Parameters
    ----------
    study, model
        Whose maps.
    methods
        The methods of the page, in order.
    cases
        They have maps of every method.

    Returns
    -------
    tuple
        The page, and the records of its maps.
    """
    paths = [study.explanation(model, method, case.case_id) for case in cases for method in methods]
    records = [read_json(record_of(path)) for path in paths]
    page = _page(study, model, records, methods, {case.case_id: case.patient_id for case in cases})
    return write_page(study.explanation_page(model).parent, page), records


def _page(
    study: Study,
    model: str,
    records: list[dict[str, Any]],
    methods: Sequence[ExplainMethod],
    patients: dict[str, str],
) -> Page:
    settings = study.settings
    level = settings.evaluation.confidence
    internal = [record for record in records if record["cohort"] == INTERNAL]
    used = internal or records
    table = by_patient(used, patients)
    every = summaries(used, table, methods=methods, classes=settings.classes, level=level)
    compared = comparisons(
        table, methods=methods, classes=settings.classes, titles=TITLES, level=level
    )
    blocks: list[Any] = [
        Text((_explained(bool(internal), level),)),
        TableBlock(_summary_table(every)),
        TableBlock(_comparison_table(compared)),
    ]
    if len(table):
        blocks.insert(1, FigureBlock(_figure(table, methods, settings.classes)))
    pictured = list(dict.fromkeys(str(record["case_id"]) for record in records))
    pictures = tuple(
        ImageFile(path=f"{case}.png", alt=f"Maps of {case}", anchor=f"maps-{case}")
        for case in pictured
    )
    return Page(
        title=settings.title or settings.name,
        subtitle=f"Study {settings.name}: what the model {model} uses",
        summary=(Text((_summary(records, pictured), _CAUTION)),),
        sections=(
            Section("methods", "Methods and classes", tuple(blocks)),
            Section("cases", "Cases", (TableBlock(_case_table(records)),)),
            Section("maps", "Maps", (ImageFiles(pictures),)),
        ),
        metrics={
            "model": model,
            "summaries": [
                {
                    "method": one.method,
                    "label": one.label,
                    "cases": one.cases,
                    "without_heat": one.without,
                    "pointing": one.points.as_dict(),
                    "extent": one.extent.as_dict(),
                    "ratio": one.ratio.as_dict(),
                }
                for one in every
            ],
            "comparisons": [
                {
                    "what": one.what,
                    "patients": one.cases,
                    "ratio": one.ratio.as_dict(),
                    "p_value": one.p,
                    "p_holm": one.adjusted,
                }
                for one in compared
            ],
        },
    )


def _summary(records: Sequence[dict[str, Any]], cases: Sequence[str]) -> str:
    methods = [TITLES[name] for name in dict.fromkeys(record["method"] for record in records)]
    told = f"{len(cases)} case{'s' * (len(cases) != 1)}: {', '.join(methods)}. "
    told += (
        "An internal case is explained by the network that has not seen it, an external case by "
        "the mean of all folds. Each map is evidence for the class that is named."
    )
    at_layer = [r for r in records if r["layer"] and r["method"] in NEEDS_LAYER]
    if at_layer:
        edges = [mm for record in at_layer for mm in record["cell_mm"]]
        layers = ", ".join(dict.fromkeys(record["layer"] for record in at_layer))
        span = f"{min(edges):.2g} to {max(edges):.2g}" if max(edges) > min(edges) * 1.02 else ""
        told += f" Class activation maps are drawn at {layers}, whose cells have an edge of "
        told += f"{span or f'{edges[0]:.2g}'} {at_layer[0]['unit']}."
    return told


def _explained(internal: bool, level: float) -> str:
    return (
        "Extent is the smallest share of the image that holds half of the heat: small for local "
        "heat. Heat over volume is the share of the heat that lies in the lesion, divided by the "
        "lesion's share of the image: 1 for heat that does not know the lesion. Both are "
        f"geometric means over patients with {100 * level:g} % t intervals"
        + (", over the internal cases." if internal else ".")
        + " The crop is centred on the lesion, so heat at the centre scores well whatever the "
        "network uses; the documentation has the check on lesions off the centre."
    )


def _summary_table(every: Sequence[Any]) -> Table:
    columns = [
        TableColumn("method", "Map", "text"),
        TableColumn("label", "Truth", "text"),
        TableColumn("cases", "Cases"),
        TableColumn("without", "Without heat"),
        TableColumn("points", "Hottest point in lesion", "estimate", 2),
        TableColumn("extent", "Extent", "estimate", 3),
        TableColumn("ratio", "Heat over volume", "estimate", 1),
    ]
    rows: list[list[Cell]] = [
        [
            *(TITLES[one.method], one.label, one.cases, one.without),
            *(one.points, one.extent, one.ratio),
        ]
        for one in every
    ]
    return plain_table("explain_summary", "Heat by map and true class", columns, rows)


def _comparison_table(compared: Sequence[Any]) -> Table:
    columns = [
        TableColumn("what", "Extent of", "text"),
        TableColumn("patients", "Patients"),
        TableColumn("ratio", "Ratio", "estimate", 2),
        TableColumn("p", "p", "p"),
        TableColumn("p_holm", "p, Holm", "p"),
    ]
    rows: list[list[Cell]] = [
        [one.what, one.cases, one.ratio, one.p, one.adjusted] for one in compared
    ]
    note = (
        "Ratio of geometric means: above 1, the first has the broader heat. Classes: Welch's "
        "t-test of the logarithms; methods: paired t-test over patients. Holm's adjustment over "
        "all rows."
    )
    return plain_table("explain_comparison", "Extent of the heat compared", columns, rows, note)


def _case_table(records: Sequence[dict[str, Any]]) -> Table:
    columns = [
        TableColumn("case_id", "Case", "text"),
        TableColumn("method", "Map", "text"),
        TableColumn("truth", "Truth", "text"),
        TableColumn("target", "Evidence for", "text"),
        TableColumn("probability", "Probability", digits=3),
        TableColumn("folds", "Folds", "text"),
        TableColumn("points", "Hottest point", "text"),
        TableColumn("inside", "Heat in lesion", digits=3),
        TableColumn("ratio", "Over volume", digits=1),
        TableColumn("extent", "Extent", digits=3),
    ]
    where = {True: "in the lesion", False: "outside", None: "no heat"}
    rows: list[list[Cell]] = [
        [
            SectionLink(str(record["case_id"]), f"maps-{record['case_id']}"),
            *(TITLES[record["method"]], record["truth"], record["target"]),
            *(record["probability"], ", ".join(map(str, record["folds"]))),
            where[record["points"]],
            *(record["inside"], record["ratio"], record["extent"]),
        ]
        for record in records
    ]
    return plain_table("explain_cases", "Maps", columns, rows)


def _figure(
    table: pd.DataFrame, methods: Sequence[ExplainMethod], classes: Sequence[str]
) -> DrawnFigure:
    """Draw the extent of each patient's heat by method and class, with geometric means."""
    shown = [method for method in methods if (table["method"] == method).any()]
    lines = line_styles(classes)
    random = np.random.default_rng(0)
    with style():
        figure, axes = panels(
            len(shown), columns=5, size=(30.0, 46.0), gap=(14.0, 17.0), margin=(14, 4, 12, 8)
        )
        for method, panel in zip(shown, axes, strict=True):
            for place, label in enumerate(classes):
                mine = table[(table["method"] == method) & (table["truth"] == label)]
                values = mine["extent"].to_numpy(float)
                across = place + random.uniform(-0.16, 0.16, len(values))
                colour = lines[label].colour
                panel.plot(across, values, "o", markersize=2.2, alpha=0.6, color=colour, mew=0)
                if len(values):
                    mean = float(np.exp(np.log(values).mean()))
                    panel.plot([place - 0.3, place + 0.3], [mean, mean], color=colour)
            panel.set(title=TITLES[method], yscale="log", xlim=(-0.6, len(classes) - 0.4))
            panel.set_xticks(range(len(classes)), classes)
            panel.set_ylabel("Share of the image with half of the heat")
        low, high = table["extent"].min(), table["extent"].max()
        for panel in axes:
            panel.set_ylim(low / 1.3, min(high * 1.3, 1.0))
        return finish(
            figure,
            key="explain_extent",
            title="Extent of the heat by map and true class",
            alt="Points: the share of the image that holds half of the heat, for each patient.",
            note="A point is a patient, a line the geometric mean; the scale is logarithmic.",
        )
