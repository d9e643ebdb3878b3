"""The cases that the models got most wrong, with the images that the 2D network saw."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ctbone.config import BONE, Window
from ctbone.errors import CtboneError
from ctbone.predictions import probability_columns
from ctbone.report.analysis import Analysis, JudgedSet
from ctbone.report.gather import Source
from ctbone.report.page import Block, Gallery, Pictured, Section, Shown, Text
from ctbone.report.table import Cell, Column, Table, number, plain_table
from ctbone.study import Study, read_json, record_of

_MOST = 6


def worst_cases(study: Study, analysis: Analysis, found: Sequence[Source]) -> Section:
    """Show, set by set, the cases to whose true class the models gave the least probability, and their images.

    Parameters
    ----------
    study
        The study, whose 2D crops are shown in the bone window where they are there.
    analysis
        The sets and models.
    found
        The tables, which tell models from fusions and the reader.
    """
    single = {source.name for source in found if not source.fused and source.path.parent.name == "predictions"}
    text = (
        "Ranked by the probability of the true class, averaged over the models without the reader and the fusions. The "
        f"images are those of the 2D network, centred on the lesion, in the bone window (centre {BONE.center:g} HU, "
        f"width {BONE.width:g} HU); the patient's right, or front, is on the left."
    )
    blocks: list[Block] = [Text((text,))]
    for judged in analysis.reported:
        table = ranked(judged, single)
        blocks.append(Shown(_table(judged, table.head(_MOST))))
        pictured = [_pictured(study, row, judged) for _, row in table.head(_MOST).iterrows()]
        if any(case.images for case in pictured):
            blocks.append(Gallery(tuple(pictured)))
    return Section("worst", "Worst cases", tuple(blocks))


def ranked(judged: JudgedSet, single: set[str]) -> pd.DataFrame:
    """Rank the cases of a set by the probability of their true class, the worst first.

    Parameters
    ----------
    judged
        The set.
    single
        The models that count; where none of them is there, all do.

    Returns
    -------
    pandas.DataFrame
        ``case_id, cohort, label``, one column a model with its probability of the true class, and their ``mean``.
    """
    counted = [a for a in judged.cases.answers if a.name in single] or list(judged.cases.answers)
    columns = {}
    for answers in counted:
        p = answers.matrix[np.arange(len(answers)), answers.class_numbers]
        columns[answers.name] = pd.Series(p, index=answers.cases["case_id"])
    wide = pd.DataFrame(columns)
    known = pd.concat([answers.cases for answers in counted]).drop_duplicates("case_id").set_index("case_id")
    wide.insert(0, "cohort", known["cohort"])
    wide.insert(1, "label", known["label"])
    wide["mean"] = wide[list(columns)].mean(axis=1)
    return wide.rename_axis("case_id").reset_index().sort_values(["mean", "case_id"], ignore_index=True)


def png(image: np.ndarray, window: Window = BONE) -> bytes:
    """Write one crop as a grey PNG, as it is looked at.

    Parameters
    ----------
    image
        HU, shape (first axis, second axis), both increasing towards R, A or S.
    window
        What becomes black and white.
    """
    from PIL import Image

    low = window.center - window.width / 2
    grey = np.clip((image.astype(np.float32) - low) / window.width, 0, 1) * 255
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(grey[::-1, ::-1].T.round().astype(np.uint8))).save(file, format="PNG")
    return file.getvalue()


def _table(judged: JudgedSet, rows: pd.DataFrame) -> Table:
    models = list(rows.columns[3:-1])
    columns = [Column("case_id", "Case", "text"), Column("cohort", "Cohort", "text"), Column("label", "Truth", "text")]
    columns += [Column(name, name, digits=2) for name in models] + [Column("mean", "Mean", digits=2)]
    cells: list[list[Cell]] = [
        [str(row["case_id"]), str(row["cohort"]), str(row["label"])]
        + [None if pd.isna(row[name]) else float(row[name]) for name in (*models, "mean")]
        for _, row in rows.iterrows()
    ]
    title = f"Least probability of the true class, {judged.cases.title[0].lower()}{judged.cases.title[1:]}"
    return plain_table(f"worst_{judged.cases.key}", title, columns, cells)


def _pictured(study: Study, row: pd.Series, judged: JudgedSet) -> Pictured:
    case = str(row["case_id"])
    answers = judged.cases.answers[0]
    called = _called(judged, case, len(probability_columns(answers.classes)))
    line = f"{row['label']}; probability of it {number(float(row['mean']), 2)}{called}"
    images, names = _images(study, case)
    return Pictured(case, line, images, names)


def _called(judged: JudgedSet, case: str, classes: int) -> str:
    """Say what the likeliest class was, where there are more than two."""
    if classes == 2:
        return ""
    answers = judged.cases.answers[0]
    rows = np.flatnonzero((answers.cases["case_id"] == case).to_numpy())
    return f"; {answers.name} called {answers.classes[int(answers.matrix[rows[0]].argmax())]}" if len(rows) else ""


def _images(study: Study, case: str) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """Return a case's images and the names of their planes; none where the crop is missing or cannot be read."""
    from ctbone.nifti import open_nifti  # nibabel, which 'ctbone evaluate' shall not wait for

    path = study.crop(case, "2d")
    if not path.is_file():
        return (), ()
    try:
        crop = open_nifti(path, case).read()
        views = read_json(record_of(path)).get("views", []) if record_of(path).is_file() else []
    except CtboneError:
        return (), ()
    names = [str(view.get("name", "")) for view in views if isinstance(view, dict)] if isinstance(views, list) else []
    count = min(crop.shape[2], 3)
    names = names[:count] if len(names) >= count else [f"image {place + 1}" for place in range(count)]
    return tuple(png(crop[:, :, place]) for place in range(count)), tuple(names)
