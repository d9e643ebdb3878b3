"""The section on worst cases: those that the models predict worst, with their 2D images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ctbone.config import BONE, Window
from ctbone.document import (
    Block,
    Cell,
    Gallery,
    PicturedCase,
    Section,
    Table,
    TableBlock,
    TableColumn,
    Text,
    number,
    plain_table,
)
from ctbone.errors import CtboneError
from ctbone.input_kind import RADIOGRAPH
from ctbone.predictions import probability_columns
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.mistake_maps import mistake_maps
from ctbone.reporting.sources import Source
from ctbone.study import Study, read_json, record_of

_MOST = 6  # cases of each set


@dataclass(frozen=True)
class RankedCase:
    """A case and the probabilities of its true class.

    Attributes
    ----------
    case_id, cohort, label
        The case, its centre and its true class.
    probabilities
        Of the true class, by model; NaN if a model does not have the case.
    mean
        Over the models that have the case.
    """

    case_id: str
    cohort: str
    label: str
    probabilities: dict[str, float]
    mean: float


def worst_cases(study: Study, analysis: Analysis, tables: Sequence[Source]) -> Section:
    """Show the cases of each set with the lowest probability of the true class, and their images.

    Parameters
    ----------
    study
        The study. Its 2D crops are shown in the bone window if they are there.
    analysis
        The judged sets.
    tables
        The tables of probabilities: only models count, not the reader and the fusions.
    """
    single = {
        source.name
        for source in tables
        if not source.fused and source.path.parent.name == "predictions"
    }
    text = (
        "Ranked by the probability of the true class, averaged over the models without the reader "
        "and the fusions."
    )
    images = (
        " The images are the input of the 2D network, centred on the lesion, in the bone window "
        f"(centre {BONE.center:g} HU, width {BONE.width:g} HU). The patient's right side, or "
        "front, is on the left."
    )
    blocks: list[Block] = []
    for judged in analysis.reported:
        table = ranked(judged, single)
        blocks.append(TableBlock(_table(judged, table[:_MOST])))
        pictured = [_pictured(study, case, judged) for case in table[:_MOST]]
        if any(case.images for case in pictured):
            blocks.append(Gallery(tuple(pictured)))
        blocks += mistake_maps(study, [case.case_id for case in table[:_MOST]])
    if any(isinstance(block, Gallery) for block in blocks):
        text += images
    return Section("worst", "Worst cases", (Text((text,)), *blocks))


def has_images(section: Section) -> bool:
    """Whether the section on worst cases has images."""
    return any(isinstance(block, Gallery) for block in section.blocks)


def ranked(judged: JudgedSet, single: set[str]) -> list[RankedCase]:
    """Rank the cases of a set by the mean probability of their true class, lowest first.

    Parameters
    ----------
    judged
        The set.
    single
        The models that count; if none of them is in the set, all models count.
    """
    counted = [a for a in judged.case_set.scored if a.name in single] or list(
        judged.case_set.scored
    )
    known = pd.concat([scored.cases for scored in counted]).drop_duplicates("case_id")
    columns = []
    for scored in counted:
        p = scored.matrix[np.arange(len(scored)), scored.class_numbers]
        columns.append(
            pd.Series(p, index=scored.cases["case_id"]).reindex(known["case_id"]).to_numpy()
        )
    wide = np.column_stack(columns)
    means = np.nanmean(wide, axis=1)
    cases = [
        RankedCase(
            case_id=str(case),
            cohort=str(cohort),
            label=str(label),
            probabilities=dict(zip((a.name for a in counted), row.tolist(), strict=True)),
            mean=mean,
        )
        for case, cohort, label, row, mean in zip(
            known["case_id"], known["cohort"], known["label"], wide, means.tolist(), strict=True
        )
    ]
    return sorted(cases, key=lambda case: (case.mean, case.case_id))


def png(image: np.ndarray, window: Window = BONE) -> bytes:
    """Encode one crop as a grey PNG in radiological orientation.

    Parameters
    ----------
    image
        HU, shape (first axis, second axis), both increasing towards R, A or S.
    window
        HU from black to white.
    """
    from PIL import Image

    low = window.center - window.width / 2
    grey = np.clip((image.astype(np.float32) - low) / window.width, 0, 1) * 255
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey[::-1, ::-1].T.round().astype(np.uint8))).save(
        file, format="PNG"
    )
    return file.getvalue()


def _table(judged: JudgedSet, cases: Sequence[RankedCase]) -> Table:
    models = list(cases[0].probabilities) if cases else []
    columns = [
        TableColumn("case_id", "Case", "text"),
        TableColumn("cohort", "Cohort", "text"),
        TableColumn("label", "Truth", "text"),
    ]
    columns += [TableColumn("mean", "Mean", digits=2)] + [
        TableColumn(name, name, digits=2) for name in models
    ]
    cells: list[list[Cell]] = [
        [
            *(case.case_id, case.cohort, case.label, case.mean),
            *(None if np.isnan(p) else p for p in case.probabilities.values()),
        ]
        for case in cases
    ]
    title = f"Lowest probability of the true class, {judged.case_set.inline_title}"
    return plain_table(key=f"worst_{judged.case_set.key}", title=title, columns=columns, rows=cells)


def _pictured(study: Study, case: RankedCase, judged: JudgedSet) -> PicturedCase:
    scored = judged.case_set.scored[0]
    called = _called(judged, case.case_id, len(probability_columns(scored.classes)))
    line = f"{case.label}; probability of it {number(case.mean, 2)}{called}"
    images, names = _images(study, case.case_id)
    return PicturedCase(case_id=case.case_id, line=line, images=images, names=names)


def _called(judged: JudgedSet, case: str, classes: int) -> str:
    """Name the most probable class if there are more than two classes."""
    if classes == 2:
        return ""
    scored = judged.case_set.scored[0]
    rows = np.flatnonzero((scored.cases["case_id"] == case).to_numpy())
    return (
        f"; {scored.name} called {scored.classes[int(scored.matrix[rows[0]].argmax())]}"
        if len(rows)
        else ""
    )


def _images(study: Study, case: str) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Return the images of a case and the names of their planes; none without a readable crop."""
    from ctbone.nifti import open_nifti  # imports nibabel; 'ctbone evaluate' does not need it

    path = study.crop(case, "radiograph" if study.settings.of_radiographs else "2d")
    if not path.is_file():
        return (), ()
    try:
        crop = open_nifti(path, case).read()
        if study.settings.of_radiographs:  # stored as shown; png turns both axes of CT
            return (png(crop[::-1, ::-1, 0], RADIOGRAPH.window),), ("radiograph",)
        views = read_json(record_of(path)).get("views", []) if record_of(path).is_file() else []
    except CtboneError:
        return (), ()
    names = (
        [str(view.get("name", "")) for view in views if isinstance(view, dict)]
        if isinstance(views, list)
        else []
    )
    count = min(crop.shape[2], 3)
    names = (
        names[:count] if len(names) >= count else [f"image {place + 1}" for place in range(count)]
    )
    return tuple(png(crop[:, :, place]) for place in range(count)), tuple(names)
